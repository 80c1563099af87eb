"""Motion field → velocity: robust weighted least squares on an axial field, with an honest covariance.

The unknown is the motion over the exposure, x = τ·(v, ω). A cell at which the motion field matrix is A predicts the
flow f = A·x and the axial flow q(f) = (‖f‖cos 2θ, ‖f‖sin 2θ), so x and −x explain a frame equally well. Two steps:

1. Candidates for x. q fixes f·fᵀ = A·(x·xᵀ)·Aᵀ, which is linear in the symmetric matrix X = x·xᵀ: least squares for X
   and its leading eigenvector give x with no guess about signs. A dominant direction, a roll, a zoom and the last
   motion are further candidates; alternating between signs per cell and a linear solve improves them all at once.
2. The best candidate is refined by Gauss–Newton on q itself. Working in q keeps noise in weak blur unbiased, where a
   sign chosen per cell would turn noise into motion.

Errors of q along itself, of a streak's length, and across, of its direction, have a spread each: a streak may show the
one and not the other. The image's own spectra then correct the answer, as far as they are clear; see `blur_spectrum`.

Measured depth tells a shift from a turn by small differences of flow, which drown in errors that neighbouring cells
share. Networks err alike the more, the less a cell shows of its own, and in lengths more than in directions. So with
measured depth, unsure cells weigh less than their spread says, and so do lengths; the covariance allows for it. And the
depth is smoothed as the flow is. With the network's depth its errors outweigh these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_spectrum import BlurSpectra
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.axial_flow import axial_from_signed, signed_from_axial
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix

MOTION_MODELS = ("full", "rotation")

_ANGULAR_PRIOR_STD = 30.0  # rad/s; no camera turns faster, and a frame without texture must not give infinities
# By rendered frames: velocities are nearest to the truth if cells weigh by this power of their precision (spread⁻²),
# and if lengths count as so much less sure than their spread says, directions as so much surer.
_PRECISION_POWER = 1.5
_LENGTH_DOUBT = math.sqrt(2)
_INLIER_SIGMAS = 3.0  # residuals beyond this many standard deviations lose their weight
_CELLS = 400  # about as many are used; neighbours repeat each other, for a network's output is smooth
_MIN_CELLS = 12


@dataclass(frozen=True)
class Uncertainty:
    """What the solver must be told about errors that the cells of one frame share.

    Attributes:
        linear_prior_std: standard deviation of a zero-mean prior on each component of the velocity, m/s, of the point
            that the camera is turned about.
        lever_arm: how far behind the camera that point lies, m. Hands and vehicles do not turn about the camera; in a
            blur, the sideways motion that this gives it looks like a faster turn.
        correlated_cells: how many cells share one independent error (≥ 1).
        flow_log_std: standard deviation of the log of a length error that all streaks share.
        typical_relative_sigma: `NetworkOutput.relative_sigma` of frames for which these two hold: standard
            deviations of shared errors are in proportion to it. None: they are the same in all frames.
        exposure_log_std: standard deviation of the log of the exposure time.
        depth_log_std: standard deviation of the log of a scale error of the depth map.
    """

    linear_prior_std: float = 1.0
    lever_arm: float = 0.0
    correlated_cells: float = 1.0
    flow_log_std: float = 0.0
    typical_relative_sigma: float | None = None
    exposure_log_std: float = 0.0
    depth_log_std: float = 0.0


def camera_from_pivot(lever_arm: float) -> np.ndarray:
    """(6, 6) matrix: (v, ω) of the point that the camera is turned about → (v, ω) of the camera.

    Both in the camera's axes. The point lies `lever_arm` m behind the camera: v_camera = v + ω × (0, 0, lever_arm).
    """
    matrix = np.eye(6)
    matrix[0, 4], matrix[1, 3] = lever_arm, -lever_arm
    return matrix


@dataclass(frozen=True)
class Solution:
    """A velocity up to sign, and how well it explains the field.

    Attributes:
        velocity: one of the two signs.
        flow: (2, h, w) the fitted flow, px over the exposure; zero where a cell has no ray.
        residual: root mean square of the inliers' residuals in units of their spread; 1 is as good as expected.
        inliers: fraction of the usable cells that agree with the fit.
        evidence: how clearly the image's spectra speak for a velocity, as χ²; 0 if they were not asked.
        belief: how far, 0…1, this velocity is theirs rather than the field's.
        shared_log_std: standard deviation of the log of an error that the whole velocity shares, contained in its
            covariance: of the exposure, and of the streaks' length where only the network read it.
    """

    velocity: Velocity
    flow: np.ndarray
    residual: float
    inliers: float
    evidence: float
    belief: float
    shared_log_std: float


@dataclass(frozen=True)
class _Cells:
    """The usable cells of a field, cells last.

    Attributes:
        q: (2, N) px.
        sigma: (2, N) px, of q along itself and across, by which the cells weigh.
        error: (2, N) their predicted spread in units of that.
        matrix: A, (2, P, N) px per unit of x.
    """

    q: np.ndarray
    sigma: np.ndarray
    error: np.ndarray
    matrix: np.ndarray

    def select(self, chosen: np.ndarray) -> _Cells:
        matrix = np.ascontiguousarray(self.matrix[:, :, chosen])
        return _Cells(self.q[:, chosen], self.sigma[:, chosen], self.error[:, chosen], matrix)

    def weighed(self) -> _Cells:
        """The same, weighing as suits measured depth. See the module."""
        typical = np.exp(np.log(self.sigma).mean(1, keepdims=True))
        error = (typical / self.sigma) ** (_PRECISION_POWER - 1) * [[1 / _LENGTH_DOUBT], [_LENGTH_DOUBT]]
        return _Cells(self.q, self.sigma / error, error, self.matrix)

    def flow(self, motions: np.ndarray) -> np.ndarray:
        """Flow (2, …, N) px of motions (…, P)."""
        return np.stack([motions @ self.matrix[0], motions @ self.matrix[1]])


def solve(
    field: NetworkOutput,
    matrix: MotionFieldMatrix,
    exposure: float,
    *,
    motion_model: str = "full",
    uncertainty: Uncertainty | None = None,
    depth: np.ndarray | None = None,
    previous: np.ndarray | None = None,
    spectra: BlurSpectra | None = None,
) -> Solution:
    """Velocity that explains an axial motion field, up to sign.

    Args:
        field: axial flow and spread, (h, w) cells.
        matrix: motion field matrix at the cells' centres, row by row, for the network's input camera.
        exposure: τ, s.
        motion_model: "full" solves for (v, ω); "rotation" for ω, leaving v at zero with its prior's variance. If depth
            is known, the covariance of ω then includes what a v of that size would do to ω.
        uncertainty: errors that do not average out over cells.
        depth: (h, w) m as measured, instead of field.depth; cells where it is NaN are not used by the full model.
        previous: (6,) velocity (v, ω) of the last frame, a further starting point.
        spectra: of the image, for the same unknowns; they refine the velocity as far as they speak clearly.

    Raises:
        InputError: exposure is not positive, the motion model is unknown, the full model has no depth, or fewer than
            12 cells are usable.
    """
    if not (math.isfinite(exposure) and exposure > 0):
        raise InputError(f"exposure time is {exposure} s; it must be positive")
    if motion_model not in MOTION_MODELS:
        raise InputError(f"motion model is {motion_model!r}, expected one of: {', '.join(MOTION_MODELS)}")
    uncertainty = uncertainty or Uncertainty()
    full = motion_model == "full"
    measured = depth is not None
    smooth_depth = field.as_smooth(depth) if measured else field.depth
    depth = depth if measured else field.depth
    if full and depth is None:
        raise InputError("the full motion model needs depth: give a depth image or set motion_model to 'rotation'")

    rows, columns = field.axial_flow.shape[1:]
    thinning, thinned, row, column = _thinned_grid(rows, columns)
    q = field.axial_flow.reshape(2, -1)[:, thinned].astype(np.float64)
    sigma = field.sigma.reshape(2, -1)[:, thinned].astype(np.float64)
    rays = matrix.select(thinned)
    # The unknowns are those that the prior is about: the motion of the point that the camera is turned about.
    camera = camera_from_pivot(uncertainty.lever_arm) if full else np.eye(3)
    flow_per_motion = rays.velocity_to_flow(smooth_depth.ravel()[thinned]) @ camera if full else rays.angular
    usable = np.isfinite(q).all(0) & ((sigma > 0) & (sigma < math.inf)).all(0)
    usable &= np.isfinite(flow_per_motion).all((1, 2))
    if full:
        usable &= np.isfinite(depth.ravel()[thinned])
    if usable.sum() < _MIN_CELLS:
        raise InputError(f"only {usable.sum()} of {len(usable)} cells are usable: no measurement from this frame")
    cells = _Cells(q, sigma, np.ones_like(sigma), flow_per_motion.transpose(1, 2, 0)).select(usable)
    if measured and full:
        cells = cells.weighed()

    unknowns = slice(0, 6) if full else slice(3, 6)
    prior_std = exposure * np.repeat([uncertainty.linear_prior_std, _ANGULAR_PRIOR_STD], 3)
    doubt = (
        1.0 if uncertainty.typical_relative_sigma is None else field.relative_sigma / uncertainty.typical_relative_sigma
    )
    correlated = max(1.0, doubt**2 * uncertainty.correlated_cells / thinning**2)
    flow_log_std = doubt * uncertainty.flow_log_std
    # Errors shared by n cells make the data n times weaker; against the prior, that is a prior n times stronger.
    strong_prior_std = prior_std[unknowns] / math.sqrt(correlated)
    last = None if previous is None else np.linalg.solve(camera, exposure * np.asarray(previous, np.float64)[unknowns])

    row, column = row[usable], column[usable]
    coarse = (row // thinning + column // thinning) % 2 == 0
    coarse = coarse if coarse.sum() >= _MIN_CELLS else np.ones_like(coarse)
    left, top = (column < columns / 2)[coarse], (row < rows / 2)[coarse]
    regions = np.stack([np.ones_like(left), left, ~left, top, ~top]).astype(np.float64)
    candidate = _best_candidate(cells.select(coarse), strong_prior_std, regions, last)
    motion, information, residual, inliers = _refine(cells, strong_prior_std, candidate)

    scale = max(1.0, residual**2) * correlated
    prior = np.diag(prior_std[unknowns] ** -2.0)
    motion, known = camera @ motion, camera @ np.linalg.inv(information / scale + prior) @ camera.T
    known += flow_log_std**2 * np.outer(motion, motion)
    evidence = belief = 0.0
    if spectra is not None:
        refined = spectra.refine(motion, known)
        evidence, belief = refined.evidence, refined.belief
        # Mean and covariance of the two answers together: where they disagree and either may be right, it is wide.
        moved = refined.motion - motion
        known = (1 - belief) * known + belief * refined.covariance + belief * (1 - belief) * np.outer(moved, moved)
        motion = motion + belief * moved
    shared_log_std = math.hypot(math.sqrt(1 - belief) * flow_log_std, uncertainty.exposure_log_std)
    covariance = np.diag(prior_std**2)
    covariance[unknowns, unknowns] = known
    if not full and depth is not None:
        linear = rays.velocity_to_flow(smooth_depth.ravel()[thinned])[usable, :, :3].transpose(1, 2, 0)
        # ω̂ is wrong by leakage·v, v̂ = 0 by −v.
        leakage, variance = _leakage(cells, motion, linear), prior_std[0] ** 2
        covariance[3:, 3:] += variance * leakage @ leakage.T
        covariance[3:, :3] = -variance * leakage
        covariance[:3, 3:] = -variance * leakage.T
    everything = np.zeros(6)
    everything[unknowns] = motion
    covariance += uncertainty.exposure_log_std**2 * np.outer(everything, everything)
    if full:
        # With depths too large by a factor, v is too large by it as far as the image tells v, not the prior.
        told = np.eye(6) - known @ np.linalg.solve(camera.T, prior) @ np.linalg.inv(camera)
        pulled = uncertainty.depth_log_std * told[:, :3] @ everything[:3]
        covariance += np.outer(pulled, pulled)

    velocity = Velocity(everything[:3] / exposure, everything[3:] / exposure, covariance / exposure**2)
    flow = matrix.flow(everything, depth.ravel() if full else None)
    flow = np.nan_to_num(flow).T.reshape(2, rows, columns)
    return Solution(velocity, flow, residual, inliers, evidence, belief, shared_log_std)


@cache
def _thinned_grid(rows: int, columns: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Every so many-th row and column of a grid: the step, and index, row and column of the cells that are left."""
    step = max(1, round(math.sqrt(rows * columns / _CELLS)))
    row, column = np.meshgrid(np.arange(step // 2, rows, step), np.arange(step // 2, columns, step), indexing="ij")
    row, column = row.ravel(), column.ravel()
    return step, row * columns + column, row, column


def _best_candidate(cells: _Cells, prior_std: np.ndarray, regions: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """Step 1: the motion x (P,) with the least robust cost among all starts, before refinement.

    Flows are compared in units of q's spreads: x should give `length` along the measured flow of a cell, with the
    cell's sign, and nothing across. Errors across count half of what they do for q: far from the answer, wrong
    directions would outweigh right lengths.
    """
    size = len(prior_std)
    flow = signed_from_axial(cells.q)
    along, across = _QAxes.of(flow, cells.sigma).jacobian(cells.matrix)
    across = across / 2
    length = np.hypot(*cells.q) / cells.sigma[0]
    products = np.einsum("in,jn->nij", along, along) + np.einsum("in,jn->nij", across, across)
    products = products.reshape(-1, size * size)
    projections = (along * length).T
    prior = np.diag(prior_std**-2.0)

    def least_squares(signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(K, N) signs and weights → (K, P) motions."""
        normal = (weights @ products).reshape(-1, size, size) + prior
        return np.linalg.solve(normal, ((weights * signs) @ projections)[..., None])[..., 0]

    roll_u, roll_v = cells.matrix[:, -1]
    angle = 0.5 * math.atan2(cells.q[1].sum(), cells.q[0].sum())
    dominant = np.broadcast_to([[math.cos(angle)], [math.sin(angle)]], flow.shape)
    patterns = np.stack([dominant, [roll_u, roll_v], [-roll_v, roll_u]], axis=1)
    signs = _signs(np.einsum("ckn,cn->kn", patterns, flow))
    starts = [least_squares(signs, np.ones_like(signs)), _lifted(along, across, length, prior_std, regions)]
    if last is not None:
        starts.append(last[None])
    motions = np.concatenate(starts)
    confined = np.ones((len(motions), len(length)))
    confined[len(signs) : len(signs) + len(regions)] = regions

    for iteration in range(4):
        predicted = motions @ along
        signs = _signs(predicted)
        squared = np.square(signs * length - predicted) + np.square(motions @ across)
        limit = _inlier_limit(squared)
        weights = np.square(limit / np.maximum(squared, limit))
        # A start from one region first settles there, before the rest of the image may pull at it.
        motions = least_squares(signs, weights * confined if iteration < 2 else weights)
    cost = _robust_cost(squared, limit.min()) + np.square(motions / prior_std).sum(1)
    return motions[np.argmin(cost)]


def _signs(along: np.ndarray) -> np.ndarray:
    """Signs that turn measured flows towards predicted ones, given the part of these along those."""
    return np.where(along < 0, -1.0, 1.0)


def _lifted(
    along: np.ndarray, across: np.ndarray, length: np.ndarray, prior_std: np.ndarray, regions: np.ndarray
) -> np.ndarray:
    """x (K, P) from f·fᵀ = A·X·Aᵀ: linear least squares for X = x·xᵀ, then its leading eigenvector.

    One x per region, given as (K, N) weights: where a large object moves on its own, some region is free of it. f is
    `length` along the measured flow and zero across, in units of spreads as A = (along, across). The three equations
    of a cell are those for f₁², √2·f₁f₂ and f₂², so that all weigh the same.
    """
    size = len(prior_std)
    scale = 1 / np.maximum(np.sqrt((np.square(along) + np.square(across)).mean(1) / 2), 1e-9)
    u, v = along * scale[:, None], across * scale[:, None]
    i, j = np.triu_indices(size)
    root2 = math.sqrt(2)
    design = np.stack([u[i] * u[j], (u[i] * v[j] + u[j] * v[i]) / root2, v[i] * v[j]], axis=1)
    design *= np.where(i == j, 1.0, 2.0)[:, None, None]
    weights = regions / (2 * length**2 + 1)

    rows = design.reshape(len(i), -1)
    normal = np.stack([(design * of_region).reshape(len(i), -1) @ rows.T for of_region in weights])
    diagonal = np.arange(len(i))
    prior = 1e-9 * (scale / prior_std)[i] * (scale / prior_std)[j]
    normal[:, diagonal, diagonal] += prior + 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None]
    projections = (design[:, 0] * length**2).T
    lifted = np.linalg.solve(normal, (weights @ projections)[..., None])[..., 0]
    symmetric = np.zeros((len(regions), size, size))
    symmetric[:, j, i] = lifted
    values, vectors = np.linalg.eigh(symmetric, UPLO="L")
    return scale * vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0.0))


def _inlier_limit(squared: np.ndarray) -> np.ndarray:
    """(…, N) squared normalised residuals → (…, 1) limit, wider while the residuals say that the fit is still poor.

    Judged by their 30 % quantile, which stands up to half of the cells being outliers; for two Gaussian components it
    is −2 ln 0.7.
    """
    rank = int(0.3 * squared.shape[-1])
    quantile = np.partition(squared, rank, axis=-1)[..., rank, None]
    return _INLIER_SIGMAS**2 * np.maximum(1.0, quantile / (-2 * math.log(0.7)))


def _robust_cost(squared: np.ndarray, limit: float) -> np.ndarray:
    """(…, N) → (…,): sum of the loss whose weight is 1 inside the limit and (limit / squared)² outside it."""
    return np.where(squared <= limit, squared, 2 * limit - limit**2 / np.maximum(squared, limit)).sum(-1)


def _refine(cells: _Cells, prior_std: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Step 2: robust Gauss–Newton on q from `motion`.

    Full weight inside the limit keeps the estimate efficient; the falling weight outside it forgets outliers.

    Returns:
        motion (P,), information about it that the data have (P, P), residual and inliers as in `Solution`.
    """
    prior = prior_std**-2.0
    flow = cells.flow(motion)
    for _ in range(12):
        axes = _QAxes.of(flow, cells.sigma)
        along, across = axes.jacobian(cells.matrix)
        along_error, across_error = axes.resolve(cells.q - axial_from_signed(flow))
        squared = np.square(along_error) + np.square(across_error)
        limit = _inlier_limit(squared)
        weights = np.square(limit / np.maximum(squared, limit))
        weighted_along, weighted_across = along * weights, across * weights
        information = weighted_along @ along.T + weighted_across @ across.T
        gradient = weighted_along @ along_error + weighted_across @ across_error - prior * motion
        step = np.linalg.solve(information + np.diag(prior), gradient)
        cost = _robust_cost(squared, limit) + prior @ motion**2
        for _ in range(6):
            trial = motion + step
            trial_flow = cells.flow(trial)
            trial_along, trial_across = axes.resolve(cells.q - axial_from_signed(trial_flow))
            trial_squared = np.square(trial_along) + np.square(trial_across)
            if _robust_cost(trial_squared, limit) + prior @ trial**2 <= cost:
                break
            step = step / 2
        else:
            break
        moved = np.abs(trial_flow - flow).max()
        motion, flow, squared = trial, trial_flow, trial_squared
        if moved < 0.2 * cells.sigma.min():
            break
    inlier = squared <= _inlier_limit(squared)
    along_error, across_error = _QAxes.of(flow, cells.sigma * cells.error).resolve(cells.q - axial_from_signed(flow))
    residual = math.sqrt((np.square(along_error) + np.square(across_error))[inlier].mean() / 2)
    # Where errors have other spreads than those they are weighed by, the gradient's variance is not the information.
    weighted_along, weighted_across = cells.error[:, None] * [weighted_along, weighted_across]
    variance = weighted_along @ weighted_along.T + weighted_across @ weighted_across.T
    information = information @ np.linalg.pinv(variance, hermitian=True) @ information
    return motion, information, residual, float(inlier.mean())


def _leakage(cells: _Cells, motion: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """How much a neglected translation is taken for rotation: ∂x̂_ω/∂x_v (3, 3), for its matrix `linear` (2, 3, N)."""
    axes = _QAxes.of(cells.flow(motion), cells.sigma)
    along, across = axes.jacobian(cells.matrix)
    along_linear, across_linear = axes.jacobian(linear)
    information = along @ along.T + across @ across.T
    return np.linalg.lstsq(information, along @ along_linear.T + across @ across_linear.T, rcond=None)[0]


@dataclass(frozen=True)
class _QAxes:
    """Axes along and across the axial flow q(f) at each cell, in units of its spread along and across.

    Attributes:
        cos, sin: (N,) of f's angle. per_spread: (2, N) 1/px.
    """

    cos: np.ndarray
    sin: np.ndarray
    per_sigma: np.ndarray

    @classmethod
    def of(cls, flow: np.ndarray, sigma: np.ndarray) -> _QAxes:
        length = np.maximum(np.hypot(flow[0], flow[1]), 1e-12)
        return cls(flow[0] / length, flow[1] / length, 1 / sigma)

    def jacobian(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂q/∂x along and across, both (P, N): along f, q grows as f does; across it, its doubled angle turns twice."""
        along, across = self.per_sigma * [[1.0], [2.0]]
        return (
            self.cos * along * matrix[0] + self.sin * along * matrix[1],
            self.cos * across * matrix[1] - self.sin * across * matrix[0],
        )

    def resolve(self, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An error (2, N) of q along and across, both (N,)."""
        cos2, sin2 = self.cos**2 - self.sin**2, 2 * self.cos * self.sin
        along, across = self.per_sigma
        return (cos2 * error[0] + sin2 * error[1]) * along, (cos2 * error[1] - sin2 * error[0]) * across
