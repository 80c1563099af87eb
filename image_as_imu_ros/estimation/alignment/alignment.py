"""What an alignment says, and what its covariance is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.alignment.long_baseline import SmoothCorrection
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity, relative_error_covariance
from image_as_imu_ros.geometry.camera import Camera


@dataclass(frozen=True)
class Alignment:
    """What two frames say about the motion between them.

    Attributes:
        velocity: mean velocity between the two mid-exposures, in the camera's optical frame halfway; None if nothing
            was found.
        similarity: correlation coefficient of the aligned images.
        overlap: fraction of this frame that the previous one saw.
        rejection: why `velocity` must not be used; None if it can be trusted.
        travel: with what it has told about slides and the map's shape; None if it told nothing.
        correction: of the network's depth that it was measured with; None without one.
        parts_move: whether parts of the scene move by themselves, so that its larger part answers alone.
        difference: χ² of the answers of all of the scene and of its larger part, the larger one of intensities' and
            corners'; None if there are no two.
    """

    velocity: Velocity | None
    similarity: float
    overlap: float
    rejection: Rejection | None
    travel: Travel | None = None
    correction: SmoothCorrection | None = None
    parts_move: bool = False
    difference: float | None = None

    @property
    def accepted(self) -> Velocity | None:
        """The velocity, if it can be trusted."""
        return None if self.rejection else self.velocity


def rejected(reason: Reason, message: str) -> Alignment:
    """Say that nothing was found, and why."""
    return Alignment(None, 0.0, 0.0, Rejection(reason, message))


def motion_terms(covariance: np.ndarray, motion: np.ndarray, blur_shape: float) -> dict[Term, np.ndarray]:
    """Covariance (6, 6) of a motion (6,) (v, ω)·seconds by source.

    Args:
        covariance: of its data. blur_shape: standard deviation of each angle, rad.
    """
    of_blur = np.diag(np.repeat([0.0, blur_shape**2], 3))
    # A wrong focal length scales what displaces the image, not what expands or rotates it.
    across = motion * np.tile([1.0, 1.0, 0.0], 2)
    scale = relative_error_covariance(across, ALIGNMENT.scale_std)
    return {Term.DATA: covariance, Term.SCALE: scale, Term.BLUR_SHAPE: of_blur}


def blur_shape_std(camera: Camera, blur: float) -> float:
    """Compute the σ of a rotation, rad, whose two blurs of this length, px at 320 px width, differ in shape."""
    return ALIGNMENT.blur_shape * blur * camera.width / 320 / camera.fx


def agree(one: Velocity, other: Velocity) -> bool:
    """Tell whether two velocities are the same up to their errors."""
    error = one.vector - other.vector
    return bool(error @ np.linalg.solve(one.covariance + other.covariance, error) < STRUCTURE.contradiction)
