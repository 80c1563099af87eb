"""The steps of `two_view`: its problem linearised about estimates, its tracks weighed, its normal equations solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.jackknife import widened_by_parts
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import FoundShape, Shape, polynomials
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE


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
class Step:
    """What the last step knew before it was taken: per start, the tracks' standard deviation, px, and so on.

    Attributes:
        moved: px, by how much the step changed the tracks of any start at most, about.
        excess: of residuals along the lines: their σ over what was expected, where that is more than 1.
    """

    moved: float
    std: np.ndarray
    cost: np.ndarray
    covariance: np.ndarray
    share: np.ndarray
    excess: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """Probability (S,) of the estimates, by Laplace's method."""
        log_weight = -self.cost / 2 + np.linalg.slogdet(self.covariance)[1] / 2
        weight = np.exp(log_weight - log_weight.max())
        return np.asarray(weight / weight.sum())


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


@dataclass(frozen=True)
class _Linear:
    """Tracks about estimates, across and along their epipolar lines, px.

    Attributes:
        across: (S, 9, N) derivatives by small motion (t, ω) and shear.
        along: (S, 14, N), by the polynomials' factors too.
        error_across, error_along: (S, N). length: (S, N) of the epipolar line from infinity to the map's depth.
    """

    across: np.ndarray
    along: np.ndarray
    error_across: np.ndarray
    error_along: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class _Rated:
    """How far tracks are off, (S, N): variances, px²; squared errors over variances; weights of errors, 1/px²."""

    variance_along: np.ndarray
    squared_across: np.ndarray
    squared_along: np.ndarray
    weight_across: np.ndarray
    weight_along: np.ndarray


@dataclass(frozen=True)
class Problem:
    """What stays the same from step to step.

    Attributes:
        rays, matched: (3, N), and (2, N) rays (z = 1) of the previous frame. place: (N,) −1 to 1 down the image.
        focal: (2, 1) px. polynomials: (5, N). precision: (14, 14) of the priors on small motion, shear and shape.
        smooth_std, rough, shared: see `Shape`; rough is (N,). shape_variance: (N,) of δ.
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

    @classmethod
    def of(cls, tracks: Tracks, inverse_depth: np.ndarray, shape: Shape, translation_std: float) -> Problem:
        camera = tracks.camera
        place = (2 * tracks.now + 1) / (camera.width, camera.height) - 1
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
        )

    def steps(
        self,
        state: State,
        std: np.ndarray | None,
        most: int,
        converged: float = 0.0,
        translation_covariance: np.ndarray | None = None,
    ) -> tuple[State, Step]:
        """Take robust Gauss–Newton steps from each of S estimates, until one moves the tracks by less than `converged`.

        Args:
            std: (S,) px of a track; None to take it from the residuals. most: so many steps. converged: px.
            translation_covariance: (S, 3, 3) m², of how far the estimates may be off; None where that does not count.
        """
        if translation_covariance is None:
            translation_covariance = np.zeros((len(state.poses), 3, 3))
        if (loops := compiled.loops("two_view")) is not None:
            return self._compiled_steps(loops.steps, state, std, most, converged, translation_covariance)
        for _ in range(most):
            state, step = self._step(state, std, translation_covariance)
            if step.moved < converged:
                break
        return state, step

    def at_the_end(
        self, covariances: np.ndarray, state: State, std: np.ndarray, translation_covariance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Look at the parts of the scene, and at its shape, before the last step.

        Args:
            covariances: (S, 6, 6) after that step.

        Returns:
            Covariances as `jackknife` widens them, and (S,) the expected squares of the polynomials' factors.
        """
        at = self._linearise(state)
        rated = self._rate(at, state.smooth, np.square(std)[:, None], translation_covariance)
        normal, right = self._normal_equations(at, rated, state.poses)
        solution = np.linalg.solve(normal, right[..., None])
        across = np.pad(at.across, ((0, 0), (0, at.along.shape[1] - at.across.shape[1]), (0, 0)))
        rows = np.concatenate([across, at.along], 2)
        errors = np.concatenate([at.error_across, at.error_along], 1) - (rows.transpose(0, 2, 1) @ solution)[..., 0]
        weights = np.concatenate([rated.weight_across, rated.weight_along], 1)
        places = np.tile([self.inverse_depth, self.rays[0], self.rays[1]], 2)
        each = zip(covariances, normal, rows, weights, errors, strict=True)
        expected = 1 - np.linalg.inv(normal)[:, range(9, 14), range(9, 14)] / self.smooth_std**2
        return np.array([widened_by_parts(*of_one, places) for of_one in each]), expected.sum(1)

    def shape_found(
        self, state: State, std: np.ndarray, translation_covariance: np.ndarray, weight: np.ndarray
    ) -> FoundShape:
        """Tell the shape of the scene that S estimates of weights (S,) have found, and how wrong it may be.

        With x of the normal equations, motion and a, δ̂ = φ·â + k·(e − J·x̂), k = L·rough²/σ², where a track that does
        not fit has a larger σ. It is wrong by (φ − k·J)·(x̂ − x), and by (1 − k·L)·rough² of its own. The former is
        split into the polynomials and a rest.
        """
        at = self._linearise(state)
        rated = self._rate(at, state.smooth, np.square(std)[:, None], translation_covariance)
        covariance = np.linalg.inv(self._normal_equations(at, rated, state.poses)[0])
        of_shape = np.square(self.rough * at.length)
        noise = (rated.variance_along - of_shape) / (rated.weight_along * rated.variance_along * self.shared)
        nearness = np.maximum(1 + state.delta, STRUCTURE.least_nearness)
        mean = weight @ nearness
        rows = -at.along * (at.length * np.square(self.rough) / (of_shape + noise))[:, None]
        rows[:, 9:] += self.polynomials
        inverse = np.linalg.pinv(self.polynomials)
        fit = inverse / mean[:, None]  # to what the corrected map is wrong by, relative to itself
        smooth, apart = rows @ fit, nearness - mean
        rest = rows / mean - smooth @ self.polynomials
        of_each = apart @ fit
        rough = np.square(self.rough / mean) * noise / (of_shape + noise) + (rest * (covariance @ rest)).sum(1)
        rough += np.square(apart / mean - of_each @ self.polynomials)
        bent = smooth.transpose(0, 2, 1) @ covariance @ smooth + of_each[:, :, None] * of_each[:, None]
        return FoundShape(
            nearness=mean,
            factors=weight @ state.smooth,
            smooth=np.tensordot(weight, bent, 1),
            rough=weight @ rough,
        )

    def _step(self, state: State, std: np.ndarray | None, translation_covariance: np.ndarray) -> tuple[State, Step]:
        poses, smooth = state.poses, state.smooth
        at = self._linearise(state)
        if std is None:
            # A quantile that half of the tracks being wrong leaves alone; 0.6745 is a Gaussian's median.
            std = np.maximum(STRUCTURE.least_std, np.median(np.abs(at.error_across), axis=1) / 0.6745)
        variance, tail, shared = np.square(std)[:, None], STRUCTURE.tail, self.shared
        rated = self._rate(at, smooth, variance, translation_covariance)
        normal, right = self._normal_equations(at, rated, poses)
        covariance = np.linalg.inv(normal)
        solution = (covariance @ right[..., None])[..., 0]

        small = np.clip(solution[:, :6], -STRUCTURE.largest_step, STRUCTURE.largest_step)
        remaining = at.error_along - (solution[:, None] @ at.along)[:, 0]
        delta = solution[:, 9:] @ self.polynomials + remaining * at.length * self.rough**2 / rated.variance_along
        excess = np.maximum(1, np.median(np.sqrt(rated.squared_along), axis=1) / 0.6745)
        cost = tail * (np.log1p(rated.squared_across / tail) + np.log1p(rated.squared_along / tail))
        # A shape that explains anything foretells nothing: what it costs to predict so little.
        cost = (cost + np.log(rated.variance_along / variance)).sum(1) / shared
        cost += np.square(poses.translation / self.translation_std).sum(1)
        cost += np.square(smooth).sum(1) * self.precision[-1, -1]
        moved = np.abs(small[:, 3:]).max() + np.abs(small[:, :3]).max() * np.median(self.inverse_depth)
        share = (1 / (1 + rated.squared_across / tail)).mean(1)
        taken = Step(float(moved * self.focal[0, 0]), std, cost, covariance[:, :6, :6], share, excess)
        return State(poses.moved(small, solution[:, 6:9]), solution[:, 9:], delta), taken

    def _rate(
        self, at: _Linear, smooth: np.ndarray, variance: np.ndarray, translation_covariance: np.ndarray
    ) -> _Rated:
        """Rate the tracks' errors; `variance` is (S, 1) px² of a track."""
        residual = at.error_along - at.length * (smooth @ self.polynomials)
        variance_across = variance + self.shape_variance * _quadratic(at.across, translation_covariance)
        variance_along = variance + self.shape_variance * _quadratic(at.along, translation_covariance)
        variance_along += np.square(self.rough * at.length)
        squared_across = np.square(at.error_across) / variance_across
        squared_along = np.square(residual) / variance_along
        fits_across = 1 / (1 + squared_across / STRUCTURE.tail)
        fits_along = fits_across / (1 + squared_along / STRUCTURE.tail)
        across, along = fits_across / variance_across, fits_along / variance_along
        shared = self.shared
        return _Rated(variance_along, squared_across, squared_along, across / shared, along / shared)

    def _normal_equations(self, at: _Linear, rated: _Rated, poses: Poses) -> tuple[np.ndarray, np.ndarray]:
        """Sum up normal matrices (S, 14, 14), with the priors, and right sides (S, 14)."""
        weighted_across = at.across * rated.weight_across[:, None]
        weighted_along = at.along * rated.weight_along[:, None]
        normal = weighted_along @ at.along.transpose(0, 2, 1) + self.precision
        normal[:, :9, :9] += weighted_across @ at.across.transpose(0, 2, 1)
        right = (weighted_along @ at.error_along[..., None])[..., 0]
        right[:, :9] += (weighted_across @ at.error_across[..., None])[..., 0]
        # The priors are about the whole translation and shear, not about the step.
        right[:, :3] += (poses.translation[:, None] @ poses.rotation)[:, 0] / self.translation_std**2
        right[:, 6:9] += poses.shear / ALIGNMENT.shear_std**2
        return normal, right

    def _linearise(self, state: State) -> _Linear:
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
        return _Linear(rows_across, rows_along, (across * error).sum(1), (along * error).sum(1), length)

    def _compiled_steps(
        self,
        loop: Callable,
        state: State,
        std: np.ndarray | None,
        most: int,
        converged: float,
        translation_covariance: np.ndarray,
    ) -> tuple[State, Step]:
        """Do the same in `two_view_loop`."""
        count, find_std = len(state.poses), std is None
        poses = Poses(state.poses.rotation.copy(), state.poses.translation.copy(), state.poses.shear.copy())
        state = State(poses, state.smooth.copy(), state.delta.copy())
        std = np.empty(count) if std is None else std
        constants = np.array(
            [
                *(STRUCTURE.least_nearness, STRUCTURE.least_std, STRUCTURE.tail, self.shared),
                *(STRUCTURE.largest_step, ALIGNMENT.shear_std, self.translation_std),
                converged / self.focal[0, 0],
            ]
        )
        figures = np.empty((count, 4))
        of_tracks = self.rays, self.matched, self.inverse_depth, self.place, self.focal, self.polynomials, self.rough
        fixed = compiled.doubles(*of_tracks, self.precision, self.shape_variance, translation_covariance)
        changing = (poses.rotation, poses.translation, poses.shear, state.smooth, state.delta)
        covariance, determined = loop(*fixed, *changing, std, find_std, most, figures, constants)
        if not determined:
            raise np.linalg.LinAlgError("the tracks determine no motion")
        cost, share, moved, excess = figures.T
        return state, Step(float(moved.max() * self.focal[0, 0]), std, cost, covariance, share, excess)

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


def _quadratic(rows: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Compute g·Σ·gᵀ (S, N) of the translation's rows g of a Jacobian (S, P, N), and covariances (S, 3, 3)."""
    by_translation = rows[:, :3]
    return (by_translation * (covariance @ by_translation)).sum(1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a × b along the second axis of (S, 3, N); np.cross takes several times longer."""
    (ax, ay, az), (bx, by, bz) = a.transpose(1, 0, 2), b.transpose(1, 0, 2)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
