"""The order of an alignment's steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.alignment import Alignment, blur_shape_std, motion_terms, rejected
from image_as_imu_ros.estimation.alignment.hypotheses import Ratings, best
from image_as_imu_ros.estimation.alignment.levels import Level, cells_of
from image_as_imu_ros.estimation.alignment.measured_depth import of_intensities
from image_as_imu_ros.estimation.alignment.moving_parts import Answer
from image_as_imu_ros.estimation.alignment.points import Points
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.refinement import Fit, refine
from image_as_imu_ros.estimation.alignment.tracking import Tracks, track
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import ALIGNMENT, SHARED
from image_as_imu_ros.estimation.prior import Prior
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity, considered_translation
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres


@dataclass(frozen=True)
class Aligner:
    """What is computed once per camera.

    Attributes:
        source: camera of the network's input, whose grid has cells of `stride` px.
        size: (width, height) of the finest level.
        undistortion: maps for cv2.remap from the finest level to the network's input, or None without distortion.
        levels: from the finest to the coarsest, each half the size of the one before.
        scene: (h, w) bool, which cells see the scene.
    """

    source: Camera
    stride: int
    size: tuple[int, int]
    undistortion: tuple[np.ndarray, np.ndarray] | None
    levels: tuple[Level, ...]
    scene: np.ndarray

    @classmethod
    def of(cls, camera: Camera, stride: int, scene: np.ndarray | None = None) -> Aligner:
        """Prepare for images taken by `camera`, and depth on a grid with cells of `stride` px.

        Args:
            scene: (h, w) bool, which of the cells see the scene; None for all.
        """
        scene = np.ones((camera.height // stride, camera.width // stride), bool) if scene is None else scene
        width = min(ALIGNMENT.width, camera.width)
        small = camera.resize(width, round(camera.height * width / camera.width))
        pinhole = Camera(small.width, small.height, small.fx, small.fy, small.cx, small.cy)
        undistortion = None
        if small.distortion:
            pixels = small.project(pinhole.rays(cell_centres(small.height, small.width, 1)))
            maps = pixels.T.reshape(2, small.height, small.width).astype(np.float32)
            undistortion = cv2.convertMaps(maps[0], maps[1], cv2.CV_16SC2)
        cameras = [pinhole.resize(pinhole.width >> level, pinhole.height >> level) for level in range(ALIGNMENT.levels)]
        levels = tuple(Level.of(level_camera, camera, scene, stride) for level_camera in cameras)
        return cls(camera, stride, (small.width, small.height), undistortion, levels, scene)

    def pyramid(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Build undistorted luminance per level, float32, of a network input (H, W) or (H, W, 3) RGB uint8."""
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if image.shape[::-1] != self.size:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        if self.undistortion is not None:
            image = cv2.remap(image, *self.undistortion, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pyramid: list[np.ndarray] = [image.astype(np.float32)]
        for level in self.levels[1:]:
            size = level.camera.width, level.camera.height
            pyramid.append(np.asarray(cv2.resize(pyramid[-1], size, interpolation=cv2.INTER_AREA)))
        return tuple(pyramid)

    def track(self, now: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...]) -> tuple[Tracks, np.ndarray]:
        """Track corners of the scene from one pyramid back to the previous one, see `tracking`.

        Returns:
            The tracks (N), and (N,) which cell each is in now, row by row.
        """
        tracks = track(self.levels[0].camera, now[0], before[0])
        cells, seen = cells_of(self.source, self.scene, self.stride, tracks.camera, tracks.now)
        return tracks.select(seen), cells[seen]

    def align(
        self,
        now: tuple[np.ndarray, ...],
        before: tuple[np.ndarray, ...],
        seconds: float,
        starts: np.ndarray,
        depth: np.ndarray | None,
        *,
        motion_model: str,
        travel: Travel,
        blur: float,
        depth_log_std: float = 0.0,
        larger_part: np.ndarray | None = None,
        parts_move: bool = False,
    ) -> Alignment:
        """Find the motion from the previous frame to this one.

        Args:
            now, before: pyramids of this frame and the previous one.
            seconds: between their mid-exposures, more than 0. starts: (S, 6) velocities (v, ω) to start from.
            depth: (h, w) m on the grid, for this frame; points where it is NaN are left out. None if not known.
            motion_model: "full" solves for (v, ω) and needs depth; "rotation" for ω, leaving v at zero with its
                prior's variance. If depth is known, the covariance of ω then includes what such a v would do to ω.
            travel: what is expected of v. blur: mean length, px at 320 px width, of the more blurred frame.
            depth_log_std: standard deviation of the log of the depth map's errors: of its scale, of the scale at the
                sides against the middle, and of that at top and bottom.
            larger_part: (h, w) m, measured, of the larger of two parts of the scene, see `moving_parts`; None if there
                are no two. parts_move: whether one of them is expected to, so that the larger one comes first.
        """
        if (unfit := _unfit(self.levels[-1], now, before, seconds)) is not None:
            return unfit
        larger_first = parts_move and larger_part is not None
        first, second = (larger_part, depth) if larger_first else (depth, larger_part)
        inverse_depth = None if first is None else (1 / first.ravel()).astype(np.float32)
        points = [Points.of(level, image, inverse_depth) for level, image in zip(self.levels, now, strict=True)]
        if min(len(one.intensity) for one in points) < ALIGNMENT.least_points:
            return rejected(Reason.UNKNOWN_DEPTH, "depth is not known")
        full = motion_model == MotionModel.FULL
        # What measured depth tells about v needs no prior; a network's depth would let the search drift without one.
        measured = full and depth_log_std == 0
        prior_std = ALIGNMENT.travel_std if measured else travel.std
        shared = ALIGNMENT.correlated_measured if measured else ALIGNMENT.correlated_points
        prior = Prior(prior_std * seconds, travel.lever_arm if full else 0.0)
        motions = starts * seconds if full else starts * seconds * np.repeat([0.0, 1.0], 3)
        poses, ratings, fit = _descend(points, before, Poses.of(motions), motion_model, prior, shared)
        rated = Alignment(None, ratings.similarity[0], ratings.overlap[0], _rejection(ratings))
        blur_shape, best_pose = blur_shape_std(self.levels[0].camera, blur), poses.select([0])
        if measured:
            answer = fit.with_depth_considered(ratings.order[0], points[0], best_pose, ALIGNMENT.measured_depth_std)
            again = None if second is None else self._again(now[0], before[0], best_pose, prior, second)
            whole, larger = (again, answer) if larger_first else (answer, again)
            return of_intensities(rated, whole, larger, larger_first, travel, seconds, blur_shape)
        if full:
            answer = fit.with_depth_considered(ratings.order[0], points[0], best_pose, depth_log_std)
            terms = motion_terms(answer.covariance, answer.motion, blur_shape)
            terms[Term.DEPTH_SHAPE] = np.diag(np.repeat([prior.std**2, 0.0], 3))
            return replace(rated, velocity=Velocity.of(answer.motion, terms, seconds))
        data, considered = best_pose.halfway(_rotation_alone(fit.information(ratings.order[0]), prior.std))
        terms = {**motion_terms(data, best_pose.motions()[0], blur_shape), Term.CONSIDERED: considered}
        return replace(rated, velocity=Velocity.of(best_pose.motions()[0], terms, seconds))

    def _again(
        self, now: np.ndarray, before: np.ndarray, pose: Poses, prior: Prior, depth: np.ndarray
    ) -> Answer | None:
        """Refine a pose (1) with another measured depth (h, w), on the finest level; None where it tells nothing."""
        points = Points.of(self.levels[0], now, (1 / depth.ravel()).astype(np.float32))
        shared, iterations = ALIGNMENT.correlated_measured, ALIGNMENT.iterations[0]
        try:
            pose, fit = refine(points, before, pose, MotionModel.FULL, prior, shared, iterations)
            return fit.with_depth_considered(0, points, pose, ALIGNMENT.measured_depth_std)
        except np.linalg.LinAlgError:
            return None

    def fixed_pattern(self, image: np.ndarray, tracks: Tracks, shown: np.ndarray) -> Alignment | None:
        """Reject what may be the sensor's own pattern: a faint image (H, W) that stays where it is. Else None.

        In darkness and in saturation the scene is not seen. What the sensor adds to every image is, and seems to prove
        that the camera is at rest. A camera that does rest before a pale wall is rejected, too.

        Args:
            image: of the finest level. shown: (cells,) bool, which cells show the scene.
        """
        if not tracks.static:
            return None
        level = self.levels[0]
        if image.ravel()[level.index[shown[level.cells]]].std() < ALIGNMENT.faint:
            return rejected(Reason.NO_TEXTURE, "the image is too faint to tell rest from the sensor's own pattern")
        return None


def _unfit(
    coarsest: Level, now: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...], seconds: float
) -> Alignment | None:
    """Reject pyramids that need not be tried."""
    if seconds > SHARED.longest_dt:
        return rejected(Reason.OLD_FRAME, f"the previous frame is {seconds:.2f} s old")
    if min(coarsest.texture(pyramid[-1]) for pyramid in (now, before)) < ALIGNMENT.least_contrast:
        return rejected(Reason.NO_TEXTURE, "no texture")
    return None


def _descend(
    points: list[Points],
    before: tuple[np.ndarray, ...],
    poses: Poses,
    motion_model: str,
    prior: Prior,
    shared: float,
) -> tuple[Poses, Ratings, Fit]:
    """Refine poses from the coarsest level to the finest one.

    Returns:
        The best poses, their ratings, and the fit in which the ratings' order is to be looked for.
    """
    kept, apart = ALIGNMENT.refined, ALIGNMENT.apart
    coarsest = len(points) - 1
    poses, ratings = best(points[-1], before[-1], poses, math.inf, apart[coarsest], kept)
    for number in reversed(range(len(points))):
        iterations = ALIGNMENT.iterations[number]
        poses, fit = refine(points[number], before[number], poses, motion_model, prior, shared, iterations)
        if len(poses) > 1 or number == 0:
            worse = ALIGNMENT.ambiguous if number == 0 else ALIGNMENT.kept_misfit
            poses, ratings = best(points[number], before[number], poses, worse, apart[number], kept)
    return poses, ratings, fit


def _rotation_alone(information: np.ndarray, translation_std: float) -> np.ndarray:
    """Covariances (2, 6, 6) of a rotation, by its data and by a translation that was not solved for.

    Args:
        information: (3, 3), or (6, 6) where depth tells what a translation would do. translation_std: m.
    """
    data, sensitivity = np.zeros((6, 6)), np.zeros((3, 3))
    data[3:, 3:] = np.linalg.inv(information[-3:, -3:])
    if len(information) == 6:
        sensitivity = np.linalg.solve(information[3:, 3:], information[3:, :3])
    return np.stack([data, considered_translation(sensitivity, translation_std)])


def _rejection(ratings: Ratings) -> Rejection | None:
    similarity, overlap = ratings.similarity[0], ratings.overlap[0]
    if similarity < ALIGNMENT.least_similarity:
        message = f"the images do not match (similarity {similarity:.2f}, overlap {overlap:.2f})"
        return Rejection(Reason.NO_MATCH, message)
    if len(ratings.order) > 1:
        return Rejection(Reason.AMBIGUOUS, "two different motions match the images")
    return None
