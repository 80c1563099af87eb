"""The problem that `two_view` solves: linearised about estimates, its tracks weighed, its normal equations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.tracking import OVERLAPPING, Tracks
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE
from image_as_imu_ros.estimation.loop_constants import TwoViewLoopConstants
from image_as_imu_ros.estimation.scene_depth import polynomials


@dataclass(frozen=True)
class State:
    """Estimates: S poses, factors of the polynomials (S, 5), and δ of the tracks (S, N)."""

    poses: Poses
    smooth: np.ndarray
    delta: np.ndarray

    def select(self, index: list[int]) -> State:
        """Keep some of the estimates."""
        return State(self.poses.select(index), self.smooth[index], self.delta[index])

    @classmethod
    def at(cls, poses: Poses, tracks: int) -> State:
        """Start from poses, with the map as it is."""
        return cls(poses, np.zeros((len(poses), 5)), np.zeros((len(poses), tracks)))


@dataclass(frozen=True)
class Equations:
    """Normal equations of S estimates, and what they are made of.

    Attributes:
        across: (S, 9, N) and along: (S, 14, N) derivatives of the tracks by the unknowns, see `Problem.precision`.
        std: (S,) px of a track.
        errors: (S, 3, N) px, across and along the epipolar lines, and the length of these.
        weights, variances: (S, 2, N) 1/px² and px², across and along.
        normal: (S, 14, 14) with the priors. right: (S, 14).
    """

    std: np.ndarray
    across: np.ndarray
    along: np.ndarray
    errors: np.ndarray
    weights: np.ndarray
    variances: np.ndarray
    normal: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Problem:
    """What stays the same from step to step.

    Attributes:
        rays, matched: (3, N), and (2, N) rays (z = 1) of the previous frame. place: (N,) −1 to 1 down the image.
        focal: (2, 1) px. polynomials: (5, N). precision: (14, 14) of the priors on small motion, shear and shape.
        smooth_std, rough, shared: see `Shape`; rough is (N,). shape_variance: (N,) of δ. common_std: see `two_view`.
    """

    rays: np.ndarray
    matched: np.ndarray
    inverse_depth: np.ndarray
    place: np.ndarray
    focal: np.ndarray
    polynomials: np.ndarray
    smooth_std: float
    rough: np.ndarray
    shared: float
    translation_std: float
    precision: np.ndarray
    shape_variance: np.ndarray
    common_std: float

    @classmethod
    def of(
        cls,
        tracks: Tracks,
        inverse_depth: np.ndarray,
        shape: Shape,
        translation_std: float,
        common_std: float = math.inf,
    ) -> Problem:
        camera = tracks.camera
        place = camera.place(tracks.now)
        stds = np.repeat(
            [translation_std, ALIGNMENT.rotation_prior_std, ALIGNMENT.shear_std, shape.smooth], [3, 3, 3, 5]
        )
        of_shape = np.ascontiguousarray((polynomials(place) @ shape.mixed).T)
        rough = np.full(len(tracks), shape.rough)
        return cls(
            rays=np.vstack([camera.rays(tracks.now).T, np.ones(len(tracks))]),
            matched=np.ascontiguousarray(camera.rays(tracks.before).T),
            inverse_depth=inverse_depth,
            place=place[:, 1],
            focal=np.array([[camera.fx], [camera.fy]]),
            polynomials=of_shape,
            smooth_std=shape.smooth,
            rough=rough,
            shared=shape.shared,
            translation_std=translation_std,
            precision=np.diag(stds**-2.0),
            shape_variance=rough**2 + shape.smooth**2 * np.square(of_shape).sum(0),
            common_std=common_std,
        )

    def equations(self, state: State, std: np.ndarray | None, translation_covariance: np.ndarray) -> Equations:
        """Set up the equations that the next step of each of S estimates solves.

        Args:
            std: (S,) px of a track; None to take it from the residuals.
            translation_covariance: (S, 3, 3) m², of how far the estimates may be off.
        """
        loops = compiled.loops("two_view")
        if loops is None or std is None:
            return self._equations(state, std, translation_covariance)
        count, size = state.delta.shape
        shapes = (9, size), (14, size), (3, size), (2, size), (2, size), (14, 14), (14,)
        filled = [np.empty((count, *shape)) for shape in shapes]
        estimates = state.poses.rotation, state.poses.translation, state.poses.shear, state.smooth, state.delta
        fixed = compiled.doubles(*self.of_tracks, translation_covariance, *estimates, std)
        loops.equations(*fixed, self.constants(), *filled)
        return Equations(std, *filled)

    @property
    def of_tracks(self) -> tuple[np.ndarray, ...]:
        """What loops are given first."""
        of_tracks = self.rays, self.matched, self.inverse_depth, self.place, self.focal, self.polynomials, self.rough
        return *of_tracks, self.precision, self.shape_variance

    def constants(self, converged: float = 0.0) -> tuple[float, ...]:
        """Collect what loops are given last. converged: px."""
        constants = TwoViewLoopConstants(
            least_nearness=STRUCTURE.least_nearness,
            least_std=STRUCTURE.least_std,
            tail=STRUCTURE.tail,
            shared=self.shared,
            overlapping=OVERLAPPING,
            common_std=self.common_std,
            largest_step=STRUCTURE.largest_step,
            shear_std=ALIGNMENT.shear_std,
            translation_std=self.translation_std,
            converged=converged / self.focal[0, 0],
        )
        return tuple(map(float, constants))

    def _equations(self, state: State, std: np.ndarray | None, translation_covariance: np.ndarray) -> Equations:
        """Set them up in NumPy."""
        across, along, errors = self._linearise(state)
        if std is None:
            # A quantile that half of the tracks being wrong leaves alone; 0.6745 is a Gaussian's median.
            std = np.maximum(STRUCTURE.least_std, np.median(np.abs(errors[:, 0]), axis=1) / 0.6745)
        by_translation = np.stack([_quadratic(rows, translation_covariance) for rows in (across, along)], 1)
        variances = np.square(std)[:, None, None] + self.shape_variance * by_translation
        variances[:, 1] += np.square(self.rough * errors[:, 2])
        squared = np.square(self.left(errors, state.smooth)) / variances
        fits = np.cumprod(1 / (1 + squared / STRUCTURE.tail), axis=1)  # what is off across is wrong along too
        weights = fits / variances / self.sharing(variances, std)

        weighted_across, weighted_along = across * weights[:, :1], along * weights[:, 1:]
        normal = weighted_along @ along.transpose(0, 2, 1) + self.precision
        normal[:, :9, :9] += weighted_across @ across.transpose(0, 2, 1)
        right = (weighted_along @ errors[:, 1, :, None])[..., 0]
        right[:, :9] += (weighted_across @ errors[:, 0, :, None])[..., 0]
        # The priors are about the whole translation and shear, not about the step.
        poses = state.poses
        right[:, :3] += (poses.translation[:, None] @ poses.rotation)[:, 0] / self.translation_std**2
        right[:, 6:9] += poses.shear / ALIGNMENT.shear_std**2
        return Equations(std, across, along, errors, weights, variances, normal, right)

    def sharing(self, variances: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Tell how many tracks share an error: (S, 2, N), for their variances across and along.

        Args:
            std: (S,) px of a track. What is above `common_std` of it, only tracks whose patches overlap share.
        """
        own = np.maximum(np.square(std) - self.common_std**2, 0)[:, None, None] / variances
        return self.shared + own * (OVERLAPPING - self.shared)

    def left(self, errors: np.ndarray, smooth: np.ndarray) -> np.ndarray:
        """Tell what polynomials of factors (S, 5) leave of errors (S, 3, N): (S, 2, N) px, across and along."""
        along = errors[:, 1] - errors[:, 2] * (smooth @ self.polynomials)
        return np.stack([errors[:, 0], along], 1)

    def _linearise(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the derivatives across and along, and the errors, of `Equations`."""
        poses, smooth = state.poses, state.smooth
        of_map = self._nearness(smooth @ self.polynomials)
        nearness = self._nearness(state.delta)
        projection = self._project(poses, nearness)
        by_depth = projection.change(poses.translation[..., None]) * self.inverse_depth
        sheared = _cross(projection.points, poses.shear[..., None]) * (self.place / 2)
        error = (self.matched - projection.seen) * self.focal + projection.change(sheared)
        error += by_depth * state.delta[:, None]  # as if the map were right: shape is solved for as a whole
        length = np.hypot(by_depth[:, 0], by_depth[:, 1]) + 1e-9
        along = np.where((length > 1e-6)[:, None], by_depth / length[:, None], [[1.0], [0.0]])
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        rows_across = self._rows(projection.gradient(across), poses, nearness)
        # With each track's own depth here, errors of depth would count twice, in the residual and in its derivative,
        # and make the translation too long.
        by_motion = self._rows(projection.gradient(along), poses, of_map)
        rows_along = np.concatenate([by_motion, length[:, None] * self.polynomials], axis=1)
        return rows_across, rows_along, np.stack([(across * error).sum(1), (along * error).sum(1), length], 1)

    def _nearness(self, delta: np.ndarray) -> np.ndarray:
        """Inverse depth (S, N) 1/m, never behind the camera."""
        return self.inverse_depth * np.maximum(1 + delta, STRUCTURE.least_nearness)

    def _project(self, poses: Poses, nearness: np.ndarray) -> _Projection:
        points = poses.rotation @ self.rays + nearness[:, None] * poses.translation[..., None]
        depth = np.maximum(points[:, 2:], STRUCTURE.least_nearness)
        return _Projection(points, points[:, :2] / depth, self.focal / depth)

    def _rows(self, gradient: np.ndarray, poses: Poses, nearness: np.ndarray) -> np.ndarray:
        """Jacobian (S, 9, N) by small motion (t, ω) and shear, from that by the points (S, 3, N)."""
        by_point = poses.rotation.transpose(0, 2, 1) @ gradient
        by_rotation = _cross(by_point, self.rays[None])
        return np.concatenate([-nearness[:, None] * by_point, by_rotation, self.place / 2 * by_rotation], axis=1)


@dataclass(frozen=True)
class _Projection:
    """Where points are seen, and how that changes with them: arrays (S, …, N), coordinates before tracks.

    Attributes:
        points: (S, 3, N) m in the previous frame. seen: (S, 2, N), rays of it. by_point: (S, 2, N) px/m, focal / depth.
    """

    points: np.ndarray
    seen: np.ndarray
    by_point: np.ndarray

    def change(self, moved: np.ndarray) -> np.ndarray:
        """Move the points by (S, 3, N) m, or all alike by (S, 3, 1): (S, 2, N) px."""
        return self.by_point * (moved[:, :2] - self.seen * moved[:, 2:])

    def gradient(self, axis: np.ndarray) -> np.ndarray:
        """Differentiate the pixels along unit vectors (S, 2, N) by the points: (S, 3, N) px/m."""
        along = axis * self.by_point
        return np.concatenate([along, -(along * self.seen).sum(1, keepdims=True)], axis=1)


def _quadratic(rows: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Compute g·Σ·gᵀ (S, N) of the translation's rows g of a Jacobian (S, P, N), and covariances (S, 3, 3)."""
    by_translation = rows[:, :3]
    return (by_translation * (covariance @ by_translation)).sum(1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a × b along the second axis of (S, 3, N); np.cross takes several times longer."""
    (ax, ay, az), (bx, by, bz) = a.transpose(1, 0, 2), b.transpose(1, 0, 2)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
