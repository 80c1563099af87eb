"""The order of an alignment's steps, and what comes out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.hypotheses import Ratings, best
from image_as_imu_ros.estimation.alignment.levels import Level, cells_of
from image_as_imu_ros.estimation.alignment.long_baseline import LongPair, SmoothCorrection, with_network_depth
from image_as_imu_ros.estimation.alignment.points import Points
from image_as_imu_ros.estimation.alignment.poses import Poses, Prior
from image_as_imu_ros.estimation.alignment.refinement import Fit, refine
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.slides import find_slide, slide_probability
from image_as_imu_ros.estimation.alignment.tracking import Tracks, track, tracked_pose
from image_as_imu_ros.estimation.alignment.travel import Travel
from image_as_imu_ros.estimation.alignment.two_view import TwoView, two_view
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import ALIGNMENT, SHARED, STRUCTURE, TRACKING
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.velocity import (
    Term,
    Velocity,
    considered_translation,
    of_unknown_scale,
    relative_error,
)
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres


@dataclass(frozen=True)
class Alignment:
    """What two frames say about the motion between them.

    Attributes:
        velocity: mean velocity between the two mid-exposures, in the camera's optical frame halfway; None if nothing
            was found.
        similarity: correlation coefficient of the aligned images.
        overlap: fraction of this frame that the previous one saw.
        rejection: why `velocity` must not be used; None if it can be trusted.
        travel: what is expected of v after this measurement; None if it told nothing.
        correction: of the network's depth that it was measured with; None without one.
    """

    velocity: Velocity | None
    similarity: float
    overlap: float
    rejection: Rejection | None
    travel: Travel | None = None
    correction: SmoothCorrection | None = None

    @property
    def accepted(self) -> Velocity | None:
        """The velocity, if it can be trusted."""
        return None if self.rejection else self.velocity


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
        """
        if (unfit := _unfit(now, before, seconds)) is not None:
            return unfit
        inverse_depth = None if depth is None else (1 / depth.ravel()).astype(np.float32)
        points = [Points.of(level, image, inverse_depth) for level, image in zip(self.levels, now, strict=True)]
        if min(len(one.intensity) for one in points) < ALIGNMENT.least_points:
            return _rejected(Reason.UNKNOWN_DEPTH, "depth is not known")
        full = motion_model == MotionModel.FULL
        # What measured depth tells about v needs no prior; a network's depth would let the search drift without one.
        measured = full and depth_log_std == 0
        prior_std = ALIGNMENT.travel_std if measured else travel.std
        shared = ALIGNMENT.correlated_measured if measured else ALIGNMENT.correlated_points
        prior = Prior(prior_std * seconds, travel.lever_arm if full else 0.0)
        motions = starts * seconds if full else starts * seconds * np.repeat([0.0, 1.0], 3)
        poses, ratings, fit = _descend(points, before, Poses.of(motions), motion_model, prior, shared)
        error = ALIGNMENT.measured_depth_std if measured else depth_log_std
        if full:
            translation = poses.rotation[0].T @ poses.translation[0]
            step, covariance = fit.with_depth_considered(ratings.order[0], points[0], translation, error)
            poses = poses.select([0]).moved(step[None])
        motion = poses.motions()[0]
        learnt = None
        if measured:
            learnt = travel.after(motion, covariance, seconds, error)
            motion, covariance = learnt.lean(motion, covariance, seconds, error)
        information = np.linalg.inv(covariance) if full else fit.information(ratings.order[0])
        terms = _terms(information, motion, motion_model, prior.std, self._blur_shape(blur))
        if full and not measured:
            terms[Term.DEPTH_SHAPE] = np.diag(np.repeat([prior.std**2, 0.0], 3))
        velocity = Velocity.of(motion, terms, seconds)
        return Alignment(velocity, ratings.similarity[0], ratings.overlap[0], _rejection(ratings), learnt)

    def fixed_pattern(self, image: np.ndarray, tracks: Tracks, shown: np.ndarray) -> Alignment | None:
        """Reject what may be the sensor's own pattern: a faint image (H, W) that stays where it is. Else None.

        In darkness and in saturation the scene is not seen. What the sensor adds to every image is, and seems to prove
        that the camera is at rest. A camera that does rest before a pale wall is not believed either.

        Args:
            image: of the finest level. shown: (cells,) bool, which cells show the scene.
        """
        if not tracks.static:
            return None
        level = self.levels[0]
        if image.ravel()[level.index[shown[level.cells]]].std() < ALIGNMENT.faint:
            return _rejected(Reason.NO_TEXTURE, "the image is too faint to tell rest from the sensor's own pattern")
        return None

    def with_tracks(
        self,
        alignment: Alignment,
        tracks: Tracks,
        seconds: float,
        inverse_depth: np.ndarray,
        depth_log_std: float,
        travel: Travel,
        blur: float,
        far: LongPair | SmoothCorrection | None = None,
    ) -> Alignment:
        """Measure the motion from tracked corners, whatever the shape of a network's depth is worth.

        Args:
            alignment: of the same two frames, where to start; it is the result if the tracks are too few, or disagree.
            tracks: (N) on the finest level. inverse_depth: (N,) 1/m of each, NaN where it is not known.
            depth_log_std, blur: as in `align`. travel: what is expected of v.
            far: this frame and an earlier one, which corrects a network's depth, or what one has just found.
        """
        known = np.isfinite(inverse_depth)
        if known.sum() < STRUCTURE.least_tracks:
            return alignment
        tracks, inverse_depth = tracks.select(known), inverse_depth[known]
        network, error = depth_log_std > 0, ALIGNMENT.measured_depth_std
        start = None if alignment.velocity is None else Poses.of(alignment.velocity.vector[None] * seconds)
        fit, correction = _two_views(tracks, inverse_depth, start, seconds, network, far)
        if fit is None or not fit.share >= STRUCTURE.least_share:  # nor where it is not a number
            return alignment
        expected_std = max(depth_log_std, STRUCTURE.scale_std) if network else error
        learnt = travel.after(fit.motion, fit.covariance, seconds, expected_std)
        motion, covariance = learnt.lean(fit.motion, fit.covariance, seconds, expected_std)
        if network:
            learnt = replace(learnt, map_shape=travel.map_shape.after(fit.shape_found, fit.shape_expected))
        scale_std = max(depth_log_std, learnt.map_shape.scale_std) if network else error
        covariance, of_scale = of_unknown_scale(motion, covariance, scale_std)
        terms = _terms(np.linalg.inv(covariance), motion, MotionModel.FULL, 0.0, self._blur_shape(blur))
        measured = Velocity.of(motion, {**terms, Term.DEPTH_SCALE: of_scale}, seconds)
        slide = find_slide(tracks, inverse_depth) if network else None
        if slide is not None:
            probability = slide_probability(slide, len(tracks), fit.std, travel.slides, seconds)
            learnt, travel = replace(learnt, slides=probability), replace(travel, slides=probability)
            measured = slide.allowed_for(measured, probability, scale_std, seconds)
        # Corners that are smeared: an alignment that they do not contradict is the better answer, unless it is the less
        # sure, because it follows what moves by itself. With a network's depth both say v as unsurely as the depth is.
        accepted = alignment.accepted
        if blur > STRUCTURE.little_blur and accepted is not None and _agree(measured, accepted):
            if slide is not None:
                accepted = slide.allowed_for(accepted, travel.slides, scale_std, seconds)
                return replace(alignment, velocity=accepted, travel=travel, correction=correction)
            if _surer(accepted, measured):
                return alignment
        return replace(alignment, velocity=measured, rejection=None, travel=learnt, correction=correction)

    def _blur_shape(self, blur: float) -> float:
        """Compute the σ of a rotation, rad, whose two blurs of this length, px at 320 px width, differ in shape."""
        camera = self.levels[0].camera
        return ALIGNMENT.blur_shape * blur * camera.width / 320 / camera.fx


def _unfit(now: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...], seconds: float) -> Alignment | None:
    """Reject pyramids that need not be tried."""
    if seconds > SHARED.longest_dt:
        return _rejected(Reason.OLD_FRAME, f"the previous frame is {seconds:.2f} s old")
    contrast = min(float(cv2.meanStdDev(coarsest)[1][0, 0]) for coarsest in (now[-1], before[-1]))
    if contrast < ALIGNMENT.least_contrast:
        return _rejected(Reason.NO_TEXTURE, "no texture")
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


def _two_views(
    tracks: Tracks,
    inverse_depth: np.ndarray,
    start: Poses | None,
    seconds: float,
    network: bool,
    far: LongPair | SmoothCorrection | None,
) -> tuple[TwoView | None, SmoothCorrection | None]:
    """Solve for the motion of tracks, from a pose (1) and from their epipolar geometry; None without either.

    Args:
        network: whether the depth is a network's, which `far` then corrects; see `with_network_depth`.
    """
    pose = tracked_pose(tracks, inverse_depth, thorough=not network)
    starts = [one for one in (start, pose) if one is not None]
    if not starts:
        return None, None
    poses, bound = Poses.concatenated(starts), ALIGNMENT.travel_std * seconds
    if network:
        return with_network_depth(tracks, inverse_depth, poses, bound, far)
    error = ALIGNMENT.measured_depth_std
    of_sensor = Shape(error, error, (TRACKING.window / TRACKING.distance) ** 2)
    return two_view(tracks, inverse_depth, poses, of_sensor, bound), None


def _terms(
    information: np.ndarray, motion: np.ndarray, motion_model: str, prior_std: float, blur_shape: float
) -> dict[Term, np.ndarray]:
    """Covariance of a motion (v, ω)·seconds by source, from its information matrix.

    Args:
        information: (P, P), with the prior if v was solved for.
        prior_std: of each component of v·seconds, m. blur_shape: standard deviation of each angle, rad.
    """
    data = np.zeros((6, 6))
    terms = {Term.DATA: data, Term.SCALE: relative_error(motion, ALIGNMENT.scale_std)}
    if motion_model == MotionModel.FULL:
        data[:] = np.linalg.inv(information)
    else:
        data[3:, 3:] = np.linalg.inv(information[-3:, -3:])
        sensitivity = np.zeros((3, 3))
        if len(information) == 6:
            sensitivity = np.linalg.solve(information[3:, 3:], information[3:, :3])
        terms[Term.CONSIDERED] = considered_translation(sensitivity, prior_std)
    terms[Term.BLUR_SHAPE] = np.diag(np.repeat([0.0, blur_shape**2], 3))
    return terms


def _agree(one: Velocity, other: Velocity) -> bool:
    """Tell whether two velocities are the same up to their errors."""
    error = one.vector - other.vector
    return bool(error @ np.linalg.solve(one.covariance + other.covariance, error) < STRUCTURE.contradiction)


def _surer(one: Velocity, other: Velocity) -> bool:
    """Tell whether the covariance of one velocity has a smaller volume than another's."""
    return bool(np.linalg.slogdet(one.covariance)[1] < np.linalg.slogdet(other.covariance)[1])


def _rejected(reason: Reason, message: str) -> Alignment:
    return Alignment(None, 0.0, 0.0, Rejection(reason, message))


def _rejection(ratings: Ratings) -> Rejection | None:
    similarity, overlap = ratings.similarity[0], ratings.overlap[0]
    if similarity < ALIGNMENT.least_similarity:
        message = f"the images do not match (similarity {similarity:.2f}, overlap {overlap:.2f})"
        return Rejection(Reason.NO_MATCH, message)
    if len(ratings.order) > 1:
        return Rejection(Reason.AMBIGUOUS, "two different motions match the images")
    return None
