"""Points that a window of frames sees, under a gyroscope's rotation: reprojection errors and their reduced equations.

With R(t) the orientation that the gyroscope integrates to, A the rotation from its axes to the camera's, p(t) the
camera's position and a point given by a direction v and an inverse distance ρ, all in the gyroscope's axes at the
middle of the window's reference frame,

    h = A·R(t)ᵀ·(v − ρ·p(t)),    d = (h_x, h_y)/h_z,    e = f·(1 + k·|d|²)·d − (x, y),

t being the time of the row where the point is seen, and k the radial distortion that camera_info leaves: without it a
lens that bends a little shows as readout time. Positions are free, one per frame, quadratic between. They have no
scale, which a weak prior of ρ about 1 settles; it also holds where a camera only rotates. Points, then positions, are
eliminated from each window's normal equations (Schur complement): what is left is about the parameters that all
windows share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.evaluation.calibration.rates import Orientations, Rates
from image_as_imu_ros.geometry import so3

# Where the parameters stand: rotation vector of A, rad; bias, rad/s; clock offset, s; readout time, s; log of the focal
# length over the one that the rays were made with; radial distortion.
AXES, BIAS, OFFSET, READOUT, LOG_FOCAL, RADIAL = slice(0, 3), slice(3, 6), 6, 7, 8, 9
COUNT = 10

_INVERSE_SIGMA = 1.0  # of ρ about its mean, 1: from half the mean distance to the sky
_NEAREST = 1e-3  # of a point's distance, that it is at least before the camera
_LEAST_DAMPING = 1e-9


@dataclass(frozen=True)
class Window:
    """Points seen in several successive frames: P of them, in K ≥ 3 frames.

    Attributes:
        rays: (P, K, 2) normalised image coordinates; anything where not seen.
        seen: (P, K).
        rows: (P, K) rows from the one whose mid-exposure `times` are, as a share of the image's height.
        times: (K,) s, mid-exposures.
        pulls: (P, 2, 2, 2) px, error of a track per unit of its patch's deformation, a matrix (2, 2).
        height: px.
        reference: number of the frame in which all points are seen.
        focal_length: px.
    """

    rays: np.ndarray
    seen: np.ndarray
    rows: np.ndarray
    times: np.ndarray
    pulls: np.ndarray
    height: int
    reference: int
    focal_length: float


@dataclass(frozen=True)
class Scene:
    """What is free in each window: directions v (P, 3), inverse distances ρ (P,), positions p (K, 3)."""

    unit_rays: np.ndarray
    inverse: np.ndarray
    positions: np.ndarray

    @property
    def prior_residual(self) -> np.ndarray:
        """(P,) residuals of the prior on the inverse distances, in standard deviations."""
        return (self.inverse - 1) / _INVERSE_SIGMA


def start_of(window: Window, rates: Rates, parameters: np.ndarray) -> Scene:
    """Begin with a camera that stays where it is, and points of one distance."""
    seen = window.rays[:, window.reference] * np.exp(-parameters[LOG_FOCAL])
    rays = np.concatenate([seen, np.ones_like(seen[:, :1])], 1) @ so3.exp(parameters[AXES])
    rotation = _orientations(window, rates, parameters)[1].rotation[:, window.reference]
    unit_rays = np.einsum("pij,pj->pi", rotation, rays)
    unit_rays /= np.linalg.norm(unit_rays, axis=1, keepdims=True)
    return Scene(unit_rays, np.ones(len(unit_rays)), np.zeros((len(window.times), 3)))


def residuals(window: Window, scene: Scene, rates: Rates, parameters: np.ndarray) -> np.ndarray:
    """Compute the reprojection errors (P, K, 2), px; 0 where a point is not seen."""
    return linearise(window, scene, rates, parameters, only_errors=True).error


@dataclass(frozen=True)
class Linear:
    """Errors (P, K, 2), px, and their derivatives by what is moved.

    Attributes:
        by_parameters: (P, K, 2, COUNT). by_point: (P, K, 2, 3), along two directions across v, and by ρ.
        by_positions: (P, K, 2, 3 · (K − 1)) of all frames but the reference, where the position is 0.
        by_time: (P, K, 2) px/s, by the time of the row.
    """

    error: np.ndarray
    by_parameters: np.ndarray
    by_point: np.ndarray
    by_positions: np.ndarray
    by_time: np.ndarray


def linearise(
    window: Window, scene: Scene, rates: Rates, parameters: np.ndarray, *, only_errors: bool = False
) -> Linear:
    """Compute the errors and, unless they alone are asked for, their derivatives."""
    times, orientations = _orientations(window, rates, parameters)
    blend, slopes = _blend(window.times, times)
    axes = so3.exp(parameters[AXES])
    apart = scene.unit_rays[:, None] - scene.inverse[:, None, None] * (blend @ scene.positions)
    local = np.einsum("pkji,pkj->pki", orientations.rotation, apart) @ axes.T
    x, y, z = np.moveaxis(local, -1, 0)
    z = np.maximum(z, _NEAREST)
    scale = window.focal_length * np.exp(parameters[LOG_FOCAL])
    flat = np.stack([x / z, y / z], -1)
    squared = np.square(flat).sum(-1, keepdims=True)
    bent = 1 + parameters[RADIAL] * squared
    pixels = scale * bent * flat
    error = np.where(window.seen[..., None], pixels - window.focal_length * window.rays, 0)
    if only_errors:
        return Linear(error, *4 * [np.empty(0)])
    by_bent = np.where(window.seen, scale / z, 0)[..., None, None]
    by_flat = by_bent * (bent[..., None] * np.eye(2) + 2 * parameters[RADIAL] * flat[..., None] * flat[..., None, :])
    by_local = np.concatenate([by_flat, -by_flat @ flat[..., None]], -1)
    by_apart = by_local @ axes @ orientations.rotation.swapaxes(-1, -2)
    # A small rotation φ of R in the fixed axes: apart → apart − φ × apart.
    by_rotation = np.cross(by_apart, apart[:, :, None])
    rate = np.einsum("pkij,pkj->pki", orientations.rotation, orientations.rate)
    inverse = scene.inverse[:, None, None]
    travel = inverse * (slopes @ scene.positions)
    by_time = np.einsum("pkai,pki->pka", by_rotation, rate) - np.einsum("pkai,pki->pka", by_apart, travel)
    by_parameters = np.concatenate(
        [
            np.cross(local[:, :, None], by_local),
            -by_rotation @ orientations.swept,
            np.einsum("pkai,pki->pka", by_rotation, rate - orientations.rate_at_reference)[..., None],
            (by_time * window.rows[..., None])[..., None],
            np.where(window.seen[..., None], pixels, 0)[..., None],
            np.where(window.seen[..., None], scale * squared * flat, 0)[..., None],
        ],
        -1,
    )
    by_inverse = -np.einsum("pkai,pki->pka", by_apart, blend @ scene.positions)
    by_point = np.concatenate([by_apart @ _tangents(scene.unit_rays)[:, None], by_inverse[..., None]], -1)
    free = np.delete(np.arange(len(window.times)), window.reference)
    by_position = -(inverse * blend[:, :, free])[:, :, None, :, None] * by_apart[:, :, :, None]
    return Linear(error, by_parameters, by_point, by_position.reshape(*error.shape, -1), by_time)


def undeformed(window: Window, linear: Linear, parameters: np.ndarray) -> Window:
    """Correct the tracks for the displacements that the deformation of their patches causes.

    Between the reference and another frame a patch is deformed by the rotation, and by the readout, during which the
    camera moves: x′ = B·x with B = (I − s·V′·e_yᵀ)⁻¹·F·(I − s·V·e_yᵀ), V and V′ px/s being the point's velocities, s
    the time between rows and F the derivative at the same times.
    """
    across = linear.by_point[..., :2]
    same_time = across @ np.linalg.inv(across[:, window.reference])[:, None]
    skew = np.zeros_like(same_time)
    skew[..., 1] = linear.by_time * parameters[READOUT] / (window.height - 1)
    skew = np.eye(2) - skew
    deformation = np.linalg.solve(skew, same_time @ skew[:, window.reference, None]) - np.eye(2)
    taken = np.einsum("paij,pkij->pka", window.pulls, deformation)
    return replace(window, rays=window.rays - np.where(window.seen[..., None], taken, 0) / window.focal_length)


@dataclass(frozen=True)
class Reduced:
    """Normal equations of a window without points and positions: hessian·δ = −gradient for the parameters.

    Attributes:
        hessian: (COUNT, COUNT). gradient: (COUNT,).
        points, positions: what gives theirs back.
    """

    hessian: np.ndarray
    gradient: np.ndarray
    points: tuple[np.ndarray, np.ndarray]
    positions: tuple[np.ndarray, np.ndarray]

    def moved(self, window: Window, scene: Scene, step: np.ndarray) -> Scene:
        """Move points and positions as a step (COUNT,) of the parameters asks for."""
        positions = -self.positions[0] - self.positions[1] @ step
        delta = -self.points[0] - self.points[1] @ np.r_[step, positions]
        unit_rays = scene.unit_rays + np.einsum("pij,pj->pi", _tangents(scene.unit_rays), delta[:, :2])
        unit_rays /= np.linalg.norm(unit_rays, axis=1, keepdims=True)
        free = np.arange(len(scene.positions)) != window.reference
        moved_positions = scene.positions.copy()
        moved_positions[free] += positions.reshape(-1, 3)
        return Scene(unit_rays, scene.inverse + delta[:, 2], moved_positions)


def reduce(linear: Linear, scene: Scene, weights: np.ndarray, prior_weight: float, damping: float) -> Reduced:
    """Eliminate points and positions.

    Args:
        weights: (P, K) of the errors' squares. prior_weight: px², of the squares of `Scene.prior_residual`.
        damping: of points and positions, relative to their diagonals.
    """
    count = len(weights)
    error = linear.error.reshape(count, -1, 1)
    own = linear.by_point.reshape(count, -1, 3)
    shared = np.concatenate([linear.by_parameters, linear.by_positions], -1).reshape(count, error.shape[1], -1)
    weighed = np.repeat(weights, 2, 1)[..., None]
    by_own = (weighed * own).swapaxes(-1, -2)
    points = by_own @ own
    points[:, 2, 2] += prior_weight / _INVERSE_SIGMA**2
    gradient = by_own @ error
    gradient[:, 2, 0] += prior_weight * scene.prior_residual / _INVERSE_SIGMA
    mixed = by_own @ shared
    solved = np.linalg.solve(_damped(points, damping), np.concatenate([gradient, mixed], -1))
    rows = shared.reshape(-1, shared.shape[-1])
    by_rows = (weighed * shared).reshape(rows.shape).T
    flat = mixed.reshape(-1, mixed.shape[-1]).T
    hessian = by_rows @ rows - flat @ solved[..., 1:].reshape(flat.shape[::-1])
    right = by_rows @ error.ravel() - flat @ solved[..., 0].ravel()
    free = np.linalg.solve(
        _damped(hessian[COUNT:, COUNT:], damping), np.column_stack([right[COUNT:], hessian[COUNT:, :COUNT]])
    )
    return Reduced(
        hessian[:COUNT, :COUNT] - hessian[:COUNT, COUNT:] @ free[:, 1:],
        right[:COUNT] - hessian[:COUNT, COUNT:] @ free[:, 0],
        (solved[..., 0], solved[..., 1:]),
        (free[:, 0], free[:, 1:]),
    )


def moved(parameters: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Add a step; a rotation's is one about the camera's axes."""
    result = parameters + step
    result[AXES] = so3.log(so3.exp(step[AXES]) @ so3.exp(parameters[AXES]))
    return result


def _orientations(window: Window, rates: Rates, parameters: np.ndarray) -> tuple[np.ndarray, Orientations]:
    """Compute the times of the rows (P, K), s on the images' clock, and the gyroscope's orientations then."""
    times = window.times + parameters[READOUT] * window.rows
    offset = parameters[OFFSET]
    return times, rates.orientations(parameters[BIAS], times + offset, float(window.times[window.reference] + offset))


def _blend(nodes: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the positions at the nodes (K,) s in those at times (P, K), and their derivatives, (P, K, K): Lagrange.

    Quadratic through three nodes around each.
    """
    count = len(nodes)
    frames = np.arange(count)
    chosen = np.clip(frames - 1, 0, count - 3)[:, None] + np.arange(3)
    three = nodes[chosen]
    since = times[..., None] - three
    blend, slopes = np.zeros((2, *times.shape, count))
    for j in range(3):
        a, b = (j + 1) % 3, (j + 2) % 3
        size = (three[:, j] - three[:, a]) * (three[:, j] - three[:, b])
        blend[:, frames, chosen[:, j]] = since[..., a] * since[..., b] / size
        slopes[:, frames, chosen[:, j]] = (since[..., a] + since[..., b]) / size
    return blend, slopes


def _damped(matrices: np.ndarray, damping: float) -> np.ndarray:
    """Enlarge the diagonals of matrices (…, N, N)."""
    index = np.arange(matrices.shape[-1])
    damped = matrices.copy()
    damped[..., index, index] = (1 + damping) * damped[..., index, index] + _LEAST_DAMPING
    return damped


def _tangents(unit_rays: np.ndarray) -> np.ndarray:
    """Two directions (P, 3, 2) across each unit vector (P, 3)."""
    axis = np.eye(3)[np.abs(unit_rays).argmin(1)]
    first = np.cross(unit_rays, axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(unit_rays, first)], -1)
