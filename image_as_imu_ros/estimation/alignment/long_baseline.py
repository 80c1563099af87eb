"""The same corners seen from farther away: what a network's depth map lacks of the scene's shape.

From one frame to the next a camera travels little, and parallax corrects the map (`two_view`) only partly. So corners
are also tracked to a frame a third of a second back, from where the camera has travelled several times as far. With the
shape that this pair finds the pair of neighbours is then solved. Frames in a row have nearly the same long pair and
share its errors: of a fast camera, only some frames have one, and its smooth part serves those that follow at once. The
motion of the long pair is not used: it is no velocity at a stamp.

Motions from frame to frame tell where to look for the corners. As a start of the solution they are not enough: an
answer that once was wrong would prove itself anew in each frame. The other start is the epipolar geometry of the long
tracks themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.epipolar import epipolar_pose
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import FoundShape, Shape
from image_as_imu_ros.estimation.alignment.tracking import Tracks, there_and_back
from image_as_imu_ros.estimation.alignment.two_view import TwoView, solved, two_view
from image_as_imu_ros.estimation.alignment.two_view_problem import Problem
from image_as_imu_ros.estimation.alignment.two_view_steps import shape_found
from image_as_imu_ros.estimation.constants import ALIGNMENT, LONG_BASELINE, STRUCTURE
from image_as_imu_ros.estimation.scene_depth import polynomials
from image_as_imu_ros.geometry.camera import Camera


@dataclass(frozen=True)
class EarlierFrame:
    """An earlier frame.

    Attributes:
        stamp: its mid-exposure, ns. image: (H, W) uint8 of the finest level.
        pose: (1) of the latest frame, there.
    """

    stamp: int
    image: np.ndarray
    pose: Poses


@dataclass(frozen=True)
class LongPair:
    """This frame and an earlier one, `seconds` before.

    Attributes:
        stamp: of this frame, ns.
        now, before: (H, W) uint8. pose: (1) of the frame before this one, in the earlier one.
    """

    stamp: int
    now: np.ndarray
    before: np.ndarray
    pose: Poses
    seconds: float

    def corrected(self, tracks: Tracks, inverse_depth: np.ndarray, start: Poses) -> Corrected | None:
        """Correct a map where corners (N) are, see `correct`.

        Args:
            inverse_depth: (N,) 1/m of each, by the network. start: (1) pose of this frame in the one before.
        """
        start = self.pose.after(start)
        longer, kept = self._tracked(tracks, inverse_depth, start)
        return correct(longer, kept, inverse_depth, start, self.seconds)

    def _tracked(self, tracks: Tracks, inverse_depth: np.ndarray, start: Poses) -> tuple[Tracks, np.ndarray]:
        """Find the corners in the earlier frame, and tell which (N,) were found."""
        camera = tracks.camera
        points = np.column_stack([camera.rays(tracks.now), np.ones(len(tracks))]) @ start.rotation[0].T
        points += inverse_depth[:, None] * start.translation[0]
        near = camera.project(points[:, :2] / np.maximum(points[:, 2:], STRUCTURE.least_nearness))
        corners, near = (pixels.astype(np.float32)[:, None] for pixels in (tracks.now, near))
        there, kept = there_and_back(self.now, self.before, corners, near, LONG_BASELINE.levels)
        return Tracks(camera, tracks.now, there[:, 0].astype(np.float64)), kept


@dataclass(frozen=True)
class SmoothCorrection:
    """What a long pair has found of the smooth errors of a map, for the frames that follow at once.

    Attributes:
        stamp: of the pair's later frame, ns. found: the shape, of no track.
    """

    stamp: int
    found: FoundShape

    def corrected(self, tracks: Tracks, inverse_depth: np.ndarray, start: Poses) -> Corrected:
        """Correct the map of a later frame, as a long pair does; its start is not needed."""
        return Corrected.of(tracks, inverse_depth, np.zeros(len(tracks), bool), self.found)


@dataclass(frozen=True)
class Corrected:
    """A network's map at N corners, as a long baseline corrects it.

    Attributes:
        inverse_depth: (N,) 1/m. shape: what is left to be known about it.
        found: by the long pair.
    """

    inverse_depth: np.ndarray
    shape: Shape
    found: FoundShape

    @classmethod
    def of(cls, tracks: Tracks, inverse_depth: np.ndarray, kept: np.ndarray, found: FoundShape) -> Corrected:
        """Correct a map: by each corner's own error where it was found, by the smooth ones elsewhere."""
        by_shape = polynomials(tracks.camera.place(tracks.now)) @ found.factors
        nearness, rough = 1 + by_shape, np.full(len(tracks), STRUCTURE.rough_std**2)
        nearness[kept], rough[kept] = found.nearness, found.rough
        nearness = np.clip(nearness, STRUCTURE.least_nearness, 1 / STRUCTURE.least_nearness)
        left = LONG_BASELINE.left_std**2
        mixed = np.linalg.cholesky(found.smooth + left * np.eye(len(found.smooth)))
        shape = Shape(1.0, np.sqrt(rough + left), STRUCTURE.correlated_tracks, mixed)
        return cls(inverse_depth * nearness, shape, found)


@dataclass(frozen=True)
class History:
    """Frames of late between which the motion is known, the latest one last.

    Attributes:
        camera: of their images; other intrinsics start anew.
        correction: of the map of one of them, the latest that there was.
    """

    frames: tuple[EarlierFrame, ...] = ()
    camera: Camera | None = None
    correction: SmoothCorrection | None = None

    def after(
        self,
        camera: Camera,
        stamp: int,
        image: np.ndarray,
        sharp: bool,
        motion: np.ndarray | None,
        correction: SmoothCorrection | None = None,
    ) -> History:
        """Add a frame.

        Args:
            stamp: its mid-exposure, ns. image: (H, W) luminance. sharp: whether corners can be tracked in it.
            motion: (6,) (v, ω)·Δt since the latest frame; None where that is not known, and what came before is lost.
            correction: that this frame was aligned with, if any was.
        """
        frames: tuple[EarlierFrame, ...] = ()
        if motion is None or camera != self.camera:
            correction = None
        else:
            since, oldest = Poses.of(motion[None]), stamp - LONG_BASELINE.longest * 1e9
            frames = tuple(replace(one, pose=one.pose.after(since)) for one in self.frames if one.stamp > oldest)
        if sharp:
            frames = (*frames, EarlierFrame(stamp, cv2.convertScaleAbs(image), Poses.of(np.zeros((1, 6)))))
        return History(frames, camera, correction)

    def far(self, camera: Camera, stamp: int, image: np.ndarray, dt: float) -> LongPair | SmoothCorrection | None:
        """Pair a frame with the earliest one that is not too long ago; None if only the one before is left.

        Where a map has just been corrected, what that has found serves again.

        Args:
            dt: s, since the frame before. stamp, image: as in `after`.
        """
        if camera != self.camera:
            return None
        if self.correction is not None and 0 < stamp - self.correction.stamp < LONG_BASELINE.renewed * 1e9:
            return self.correction
        for one in self.frames:
            seconds = (stamp - one.stamp) * 1e-9
            if LONG_BASELINE.shortest * dt < seconds <= LONG_BASELINE.longest:
                return LongPair(stamp, cv2.convertScaleAbs(image), one.image, one.pose, seconds)
        return None


def with_network_depth(
    tracks: Tracks,
    inverse_depth: np.ndarray,
    starts: Poses,
    probability: np.ndarray,
    translation_std: float,
    far: LongPair | SmoothCorrection | None,
    common_std: float,
) -> tuple[TwoView, SmoothCorrection | None]:
    """Solve the pair of neighbours with a network's depth, see `two_view`; the motion by the corrected one.

    Its covariance lies between that of either: relief that noise has made would seem to tell a rotation from a slide.
    Over a long baseline all of the tracks' errors are common to regions: patches look different after a while.

    Args:
        common_std: of neighbours' tracks, see `two_view`.

    Returns:
        The solution, and by what the map was corrected, if by anything.
    """
    of_map = Shape(STRUCTURE.smooth_std, STRUCTURE.rough_std, STRUCTURE.correlated_tracks)
    fit = two_view(tracks, inverse_depth, starts, of_map, translation_std, probability, common_std)
    corrected = None if far is None else far.corrected(tracks, inverse_depth, starts.select([0]))
    if far is None or corrected is None:
        return fit, None
    try:
        by_pair = corrected.inverse_depth, starts, corrected.shape
        better = two_view(tracks, *by_pair, translation_std, probability, common_std)
    except np.linalg.LinAlgError:
        return fit, None
    covariance = LONG_BASELINE.trust * better.covariance + (1 - LONG_BASELINE.trust) * fit.covariance
    smooth = SmoothCorrection(far.stamp, corrected.found.without_tracks())
    return replace(fit, motion=better.motion, covariance=covariance), smooth


def correct(
    tracks: Tracks, kept: np.ndarray, inverse_depth: np.ndarray, start: Poses, seconds: float
) -> Corrected | None:
    """Correct a network's map by tracks over a long baseline; None where they are too few, or tell nothing.

    Args:
        tracks: (N) of this frame's corners; kept: (N,) bool, which of them were found.
        inverse_depth: (N,) 1/m of each. start: (1) pose near which to look, too. seconds: between the frames.
    """
    if kept.sum() < STRUCTURE.least_tracks:
        return None
    seen, of_map = tracks.select(kept), Shape(STRUCTURE.smooth_std, STRUCTURE.rough_std, STRUCTURE.correlated_tracks)
    pose = epipolar_pose(seen, inverse_depth[kept])
    starts = start if pose is None else Poses.concatenated([start, pose])
    try:
        found = _found(seen, inverse_depth[kept], starts, of_map, ALIGNMENT.travel_std * seconds)
        return Corrected.of(tracks, inverse_depth, kept, found)
    except np.linalg.LinAlgError:
        return None


def _found(
    tracks: Tracks, inverse_depth: np.ndarray, starts: Poses, of_map: Shape, translation_std: float
) -> FoundShape:
    """Solve as `two_view` does, for the shape."""
    problem = Problem.of(tracks, inverse_depth, of_map, translation_std)
    state, step, std = solved(problem, starts)
    return shape_found(problem, state, std, step.covariance[:, :3, :3], step.weight)
