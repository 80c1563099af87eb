"""Two-view geometry of tracked corners: motion and the shape of the scene together.

Two frames of a translating camera fix the direction of its translation and the *relative* depth, whatever a depth map
says; the map is needed for one number, the scale. So the map's shape is only a prior. With ρ₀ its inverse depth at a
track with ray r, x and y from −1 to 1 across and down the image,

    ρ = ρ₀·(1 + δ),   δ = Σ a·φ(x, y) + n,   a ~ N(0, smooth²),   n ~ N(0, rough²),

with φ the five polynomials of first and second degree, and the point was seen in the previous frame at π(R·r + ρ·t).
δ moves it along ∂π·t, the epipolar line. n is eliminated track by track (a Schur complement of rank one): a residual
counts with 1/σ² across the line and with 1/(σ² + rough²·‖∂π·t·ρ₀‖²) along it. Where t is small, so is the line, and
shape is neither needed nor changed; where it is large, parallax decides. a is solved for with the motion. The
covariance is the marginal over the shape: motions that a shape could explain as well stay coupled in it.

From different starts Gauss–Newton may descend to different motions, such as a rotation and a slide that look alike
(Laplace's method: each weighs exp(−cost/2)·√det of its covariance). The answer is the mean of the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.config import ALIGNMENT, STRUCTURE


@dataclass(frozen=True)
class Shape:
    """What is known about the shape of a depth map, as relative errors of its inverse depth.

    Attributes:
        smooth: standard deviation of each of the five polynomials' factors. rough: that of each point's own error.
    """

    smooth: float
    rough: float


@dataclass(frozen=True)
class TwoView:
    """What the tracks of two frames say.

    Attributes:
        motion: (6,) (v, ω)·Δt, v in the axes of the frame halfway. covariance: (6, 6), without the depth's scale.
        share: of the tracks that fit.
    """

    motion: np.ndarray
    covariance: np.ndarray
    share: float


def two_view(tracks: Tracks, inverse_depth: np.ndarray, starts: Poses, shape: Shape, translation_std: float) -> TwoView:
    """Find the motion that explains tracks.

    Args:
        inverse_depth: (N,) 1/m of each track in this frame, more than 0.
        starts: (S) poses near which to look.
        translation_std: m, of a zero-mean prior on each component of the translation: a bound.
    """
    problem = _Problem.of(tracks, inverse_depth, shape, translation_std)
    state = _State(starts, np.zeros((len(starts), problem.polynomials.shape[1])), np.zeros((len(starts), len(tracks))))
    std = None
    for _ in range(STRUCTURE.iterations):
        state, step = problem.step(state, std)
        if step.moved < STRUCTURE.converged:
            break
    # A wrong motion would excuse itself with the large residuals that it leaves: all are rated by the smallest ones.
    std = np.full(len(starts), step.std.min())
    for _ in range(STRUCTURE.last_iterations):
        state, step = problem.step(state, std)
    log_weight = -step.cost / 2 + np.linalg.slogdet(step.covariance)[1] / 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    motions = np.array([state.poses.select([which]).motion() for which in range(len(starts))])
    mean = weight @ motions
    apart = motions - mean
    covariance = np.tensordot(weight, step.covariance, 1) + (apart * weight[:, None]).T @ apart
    return TwoView(mean, covariance, float(weight @ step.share))


def polynomials(place: np.ndarray) -> np.ndarray:
    """Evaluate the five φ, (N, 5), at places (N, 2) from −1 to 1 across and down the image."""
    x, y = place.T
    # Legendre's of second degree: as large as those of first degree, and of zero mean.
    return np.stack([x, y, 1.5 * x * x - 0.5, 1.5 * x * y, 1.5 * y * y - 0.5], 1)


@dataclass(frozen=True)
class _State:
    """Estimates: S poses, factors of the polynomials (S, 5), and δ of the tracks (S, N)."""

    poses: Poses
    smooth: np.ndarray
    delta: np.ndarray


@dataclass(frozen=True)
class _Step:
    """What a step knew before it was taken: per start, the tracks' standard deviation, px, and so on.

    Attributes:
        moved: px, by how much the step changed the tracks of any start at most, about.
    """

    moved: float
    std: np.ndarray
    cost: np.ndarray
    covariance: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class _Problem:
    """What stays the same from step to step.

    Attributes:
        rays, matched: (N, 3), and (N, 2) rays (z = 1) of the previous frame. place: (N,) −1 to 1 down the image.
        focal: (2,) px. polynomials: (N, 5). precision: (14, 14) of the priors on small motion, shear and shape.
    """

    rays: np.ndarray
    matched: np.ndarray
    inverse_depth: np.ndarray
    place: np.ndarray
    focal: np.ndarray
    polynomials: np.ndarray
    rough: float
    translation_std: float
    precision: np.ndarray

    @classmethod
    def of(cls, tracks: Tracks, inverse_depth: np.ndarray, shape: Shape, translation_std: float) -> _Problem:
        camera = tracks.camera
        place = (2 * tracks.now + 1) / (camera.width, camera.height) - 1
        stds = np.repeat(
            [translation_std, ALIGNMENT.rotation_prior_std, ALIGNMENT.shear_std, shape.smooth], [3, 3, 3, 5]
        )
        rays = np.column_stack([camera.rays(tracks.now), np.ones(len(tracks))])
        matched = camera.rays(tracks.before)
        focal = np.array([camera.fx, camera.fy])
        return cls(
            rays=rays,
            matched=matched,
            inverse_depth=inverse_depth,
            place=place[:, 1],
            focal=focal,
            polynomials=polynomials(place),
            rough=shape.rough,
            translation_std=translation_std,
            precision=np.diag(stds**-2.0),
        )

    def step(self, state: _State, std: np.ndarray | None) -> tuple[_State, _Step]:
        """Take one robust Gauss–Newton step from each of S estimates.

        Args:
            std: (S,) px of a track; None to take it from the residuals.
        """
        poses, smooth = state.poses, state.smooth
        nearness = self.inverse_depth * np.maximum(1 + state.delta, STRUCTURE.least_nearness)
        of_map = self.inverse_depth * np.maximum(1 + smooth @ self.polynomials.T, STRUCTURE.least_nearness)
        error, by_depth, projection = self._linearise(poses, nearness)
        error += by_depth * state.delta[..., None]  # as if the map were right: shape is solved for as a whole
        length = np.sqrt(np.square(by_depth).sum(-1)) + 1e-9
        along = np.where((length > 1e-6)[..., None], by_depth / length[..., None], [1.0, 0.0])
        across = np.stack([-along[..., 1], along[..., 0]], -1)
        error_across, error_along = (across * error).sum(-1), (along * error).sum(-1)
        residual = error_along - length * (smooth @ self.polynomials.T)
        if std is None:
            # A quantile that half of the tracks being wrong leaves alone; 0.6745 is a Gaussian's median.
            std = np.maximum(STRUCTURE.least_std, np.median(np.abs(error_across), axis=1) / 0.6745)
        variance = np.square(std)[:, None]
        variance_along = variance + np.square(self.rough * length)
        squared_across, squared_along = np.square(error_across) / variance, np.square(residual) / variance_along
        tail = STRUCTURE.tail
        fits_across = 1 / (1 + squared_across / tail)
        fits_along = fits_across / (1 + squared_along / tail)

        shared = ALIGNMENT.correlated_points
        rows_across = self._rows(across, projection, poses, nearness)
        # With each track's own depth here, errors of depth would count twice, in the residual and in its derivative,
        # and make the translation too long.
        rows_along = np.concatenate(
            [self._rows(along, projection, poses, of_map), length[..., None] * self.polynomials], axis=-1
        )
        weighted_across = rows_across * (fits_across / variance / shared)[..., None]
        weighted_along = rows_along * (fits_along / variance_along / shared)[..., None]
        normal = weighted_along.transpose(0, 2, 1) @ rows_along + self.precision
        normal[:, :9, :9] += weighted_across.transpose(0, 2, 1) @ rows_across
        right = (weighted_along * error_along[..., None]).sum(1)
        right[:, :9] += (weighted_across * error_across[..., None]).sum(1)
        # The priors are about the whole translation and shear, not about the step.
        translation = (poses.translation[:, None] @ poses.rotation)[:, 0]
        right[:, :3] += translation / self.translation_std**2
        right[:, 6:9] += poses.shear / ALIGNMENT.shear_std**2
        solution = np.linalg.solve(normal, right[..., None])[..., 0]

        limit = STRUCTURE.largest_step
        small = np.clip(solution[:, :6], -limit, limit)
        cost = tail * (np.log1p(squared_across / tail) + np.log1p(squared_along / tail))
        # A shape that explains anything foretells nothing: what it costs to predict so little.
        cost = (cost + np.log(variance_along / variance)).sum(1) / shared
        cost += np.square(poses.translation / self.translation_std).sum(1)
        cost += np.square(smooth).sum(1) * self.precision[-1, -1]
        covariance = np.linalg.inv(normal)[:, :6, :6]
        remaining = error_along - (rows_along @ solution[..., None])[..., 0]
        smooth = solution[:, 9:]
        delta = smooth @ self.polynomials.T + remaining * length * self.rough**2 / variance_along
        state = _State(poses.moved(small, solution[:, 6:9]), smooth, delta)
        moved = float(np.abs(small[:, 3:]).max() * self.focal[0])
        moved += float(np.abs(small[:, :3]).max() * self.focal[0] * np.median(self.inverse_depth))
        return state, _Step(moved, std, cost, covariance, fits_across.mean(1))

    def _linearise(self, poses: Poses, nearness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors (S, N, 2) px, how δ moves the pixels, and the projection's Jacobian (S, N, 2, 3), px/m."""
        points = self.rays @ poses.rotation.transpose(0, 2, 1) + nearness[..., None] * poses.translation[:, None]
        depth = np.maximum(points[..., 2:], STRUCTURE.least_nearness)
        seen = points[..., :2] / depth
        projection = np.zeros((*seen.shape, 3))
        projection[..., 0, 0], projection[..., 1, 1] = np.moveaxis(self.focal / depth, -1, 0)
        projection[..., 2] = -self.focal * seen / depth
        by_depth = (projection @ poses.translation[:, None, :, None])[..., 0] * self.inverse_depth[:, None]
        by_shear = self.place[:, None, None] / 2 * _cross(projection, points[..., None, :])
        error = (self.matched - seen) * self.focal + (by_shear @ poses.shear[:, None, :, None])[..., 0]
        return error, by_depth, projection

    def _rows(self, axis: np.ndarray, projection: np.ndarray, poses: Poses, nearness: np.ndarray) -> np.ndarray:
        """Jacobian (S, N, 9) of the pixels along unit vectors (S, N, 2), by small motion (t, ω) and shear."""
        by_point = (axis[..., None, :] @ projection)[..., 0, :] @ poses.rotation
        by_rotation = _cross(by_point, self.rays)
        parts = -nearness[..., None] * by_point, by_rotation, self.place[:, None] / 2 * by_rotation
        return np.concatenate(parts, axis=-1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a × b along the last axis; np.cross takes several times longer."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
