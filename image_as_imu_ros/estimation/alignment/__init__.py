"""Two frames → the camera's mean velocity between their mid-exposures.

Where was each pixel of this frame in the previous one? A motion (R, t) moves a point at inverse depth ρ on the ray r to
R·r + ρ·t; the right one makes the intensities of both frames equal up to gain and offset. It is found on a pyramid of
small, undistorted images (`levels`): many hypotheses are rated on the coarsest level (`hypotheses`), the best of them
refined there and on the finer levels by inverse-compositional Gauss–Newton (Baker & Matthews 2004) with robust weights
(`refinement`). Where there is little blur, corners are tracked too (`tracking`): they start what blur cannot start, and
where depth is at hand their two-view geometry (`two_view`) replaces the result, because it does not trust a depth map's
relief; a frame farther back corrects that relief (`long_baseline`). Where rotation and translation stay coupled, a
prior on v enters ω (`travel`).

Most shutters roll. Where the angular velocity is another one than it was in the previous frame, the bottom rows have
then rotated further, or less far, than the top ones: a shear, which would pass for a roll. It is found with the motion.
"""

from image_as_imu_ros.estimation.alignment.aligner import Aligner
from image_as_imu_ros.estimation.alignment.alignment import Alignment
from image_as_imu_ros.estimation.alignment.hypotheses import starts_along
from image_as_imu_ros.estimation.alignment.long_baseline import History
from image_as_imu_ros.estimation.alignment.measured_depth import with_measured_tracks
from image_as_imu_ros.estimation.alignment.moving_parts import MovingParts
from image_as_imu_ros.estimation.alignment.network_depth import with_tracks
from image_as_imu_ros.estimation.alignment.tracking import Tracks, tracked_rotations

__all__ = [
    "Aligner",
    "Alignment",
    "History",
    "MovingParts",
    "Tracks",
    "starts_along",
    "tracked_rotations",
    "with_measured_tracks",
    "with_tracks",
]
