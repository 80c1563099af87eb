"""The steps towards the solution of `two_view`, and what is looked at before the last one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.jackknife import parts_of, widened_by_parts
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import FoundShape
from image_as_imu_ros.estimation.alignment.two_view_problem import Problem, State
from image_as_imu_ros.estimation.constants import STRUCTURE


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


def steps(
    problem: Problem,
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
        return _compiled_steps(problem, loops.steps, state, std, most, converged, translation_covariance)
    for _ in range(most):
        state, step = _step(problem, state, std, translation_covariance)
        if step.moved < converged:
            break
    return state, step


def at_the_end(
    problem: Problem, covariances: np.ndarray, state: State, std: np.ndarray, translation_covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Look at the parts of the scene, and at its shape, before the last step.

    Args:
        covariances: (S, 6, 6) after that step.

    Returns:
        Covariances as `jackknife` widens them, and (S,) the expected squares of the polynomials' factors.
    """
    at = problem.equations(state, std, translation_covariance)
    solution = np.linalg.solve(at.normal, at.right[..., None])[..., 0]
    across = np.pad(at.across, ((0, 0), (0, at.along.shape[1] - at.across.shape[1]), (0, 0)))
    rows = np.concatenate([across, at.along], 2)
    errors = at.errors[:, :2].reshape(len(rows), -1) - (solution[:, None] @ rows)[:, 0]
    weights = at.weights.reshape(len(rows), -1)
    parts = np.tile(parts_of(np.stack([problem.inverse_depth, problem.rays[0], problem.rays[1]])), 2)
    each = zip(covariances, at.normal, rows, weights, errors, strict=True)
    expected = 1 - np.linalg.inv(at.normal)[:, range(9, 14), range(9, 14)] / problem.smooth_std**2
    return np.array([widened_by_parts(*of_one, parts) for of_one in each]), expected.sum(1)


def shape_found(
    problem: Problem, state: State, std: np.ndarray, translation_covariance: np.ndarray, weight: np.ndarray
) -> FoundShape:
    """Tell the shape of the scene that S estimates of weights (S,) have found, and how wrong it may be.

    With x of the normal equations, motion and a, δ̂ = φ·â + k·(e − J·x̂), k = L·rough²/σ², where a track that does
    not fit has a larger σ. It is wrong by (φ − k·J)·(x̂ − x), and by (1 − k·L)·rough² of its own. The former is
    split into the polynomials and a rest.
    """
    at = problem.equations(state, std, translation_covariance)
    covariance, length = np.linalg.inv(at.normal), at.errors[:, 2]
    of_shape, variance = np.square(problem.rough * length), at.variances[:, 1]
    noise = (variance - of_shape) / (at.weights[:, 1] * variance * problem.sharing(at.variances, std)[:, 1])
    nearness = np.maximum(1 + state.delta, STRUCTURE.least_nearness)
    mean = weight @ nearness
    rows = -at.along * (length * np.square(problem.rough) / (of_shape + noise))[:, None]
    rows[:, 9:] += problem.polynomials
    inverse = np.linalg.pinv(problem.polynomials)
    fit = inverse / mean[:, None]  # to what the corrected map is wrong by, relative to itself
    smooth, apart = rows @ fit, nearness - mean
    rest = rows / mean - smooth @ problem.polynomials
    of_each = apart @ fit
    rough = np.square(problem.rough / mean) * noise / (of_shape + noise) + (rest * (covariance @ rest)).sum(1)
    rough += np.square(apart / mean - of_each @ problem.polynomials)
    bent = smooth.transpose(0, 2, 1) @ covariance @ smooth + of_each[:, :, None] * of_each[:, None]
    return FoundShape(
        nearness=mean,
        factors=weight @ state.smooth,
        smooth=np.tensordot(weight, bent, 1),
        rough=weight @ rough,
    )


def _step(
    problem: Problem, state: State, std: np.ndarray | None, translation_covariance: np.ndarray
) -> tuple[State, Step]:
    poses, smooth, tail = state.poses, state.smooth, STRUCTURE.tail
    at = problem.equations(state, std, translation_covariance)
    covariance = np.linalg.inv(at.normal)
    solution = (covariance @ at.right[..., None])[..., 0]

    small = np.clip(solution[:, :6], -STRUCTURE.largest_step, STRUCTURE.largest_step)
    remaining = at.errors[:, 1] - (solution[:, None] @ at.along)[:, 0]
    variance_along = at.variances[:, 1]
    delta = solution[:, 9:] @ problem.polynomials + remaining * at.errors[:, 2] * problem.rough**2 / variance_along
    squared = np.square(problem.left(at.errors, smooth)) / at.variances
    excess = np.maximum(1, np.median(np.sqrt(squared[:, 1]), axis=1) / 0.6745)
    # A shape that explains anything foretells nothing: what it costs to predict so little.
    costs = tail * np.log1p(squared / tail)
    costs[:, 1] += np.log(variance_along / np.square(at.std)[:, None])
    cost = (costs / problem.sharing(at.variances, at.std)).sum((1, 2))
    cost += np.square(poses.translation / problem.translation_std).sum(1)
    cost += np.square(smooth).sum(1) * problem.precision[-1, -1]
    moved = (np.abs(small[:, 3:]).max(1) + np.abs(small[:, :3]).max(1) * np.median(problem.inverse_depth)).max()
    share = (1 / (1 + squared[:, 0] / tail)).mean(1)
    taken = Step(float(moved * problem.focal[0, 0]), at.std, cost, covariance[:, :6, :6], share, excess)
    return State(poses.moved(small, solution[:, 6:9]), solution[:, 9:], delta), taken


def _compiled_steps(
    problem: Problem,
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
    figures = np.empty((count, 4))
    fixed = compiled.doubles(*problem.of_tracks, translation_covariance)
    changing = (poses.rotation, poses.translation, poses.shear, state.smooth, state.delta)
    covariance, determined = loop(*fixed, *changing, std, find_std, most, figures, problem.constants(converged))
    if not determined:
        raise np.linalg.LinAlgError("the tracks determine no motion")
    cost, share, moved, excess = figures.T
    return state, Step(float(moved.max() * problem.focal[0, 0]), std, cost, covariance, share, excess)
