"""Least squares over the reprojection errors of all windows: the parameters, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.evaluation.calibration.bundle import (
    COUNT,
    Linear,
    Reduced,
    Scene,
    Window,
    linearise,
    moved,
    reduce,
    residuals,
    start_of,
    undeformed,
)
from image_as_imu_ros.evaluation.calibration.rates import Rates

_MOST_ITERATIONS = 40
_HELD = 8  # iterations in which points and positions alone are moved
_CONVEX = 5  # iterations with a convex loss before one that lets go of outliers
_MOST_TRIES = 6  # of a step, each shorter than the one before
# Robust standard deviations from which a track counts little (Geman–McClure), at first and in the end: things that move
# by themselves are let go of little by little.
_CUTS = 2.0, 1.0
_RAYLEIGH = 0.8493  # standard deviations of a normal distribution in the median length of errors in a plane
_CONVERGED = 0.1  # standard deviations of each parameter, were the tracks' errors independent
_ROUGHLY = 1.0  # the same, before the patches' deformation is known
_LEAST_SCALE = 1e-3  # px
_GROUPS = 10  # of a recording, whose errors are taken for independent
# What tracking errs by throughout a recording, in the order of the parameters: about the root mean square of the errors
# of ten rendered captures (tools/check_calibrate.py, seeds 110 to 119, before distortion was fitted); of bias and
# distortion, a judgement. rad, rad/s, s, s, 1, 1.
_SYSTEMATIC = np.array([*3 * [0.001], *3 * [0.0005], 0.06e-3, 0.045e-3, 0.0006, 0.002])


@dataclass(frozen=True)
class Solution:
    """Parameters (COUNT,) of `bundle`, their standard deviations, and that of the errors per axis, px (robust)."""

    parameters: np.ndarray
    sigma: np.ndarray
    residual: float


@dataclass(frozen=True)
class _State:
    """Where the search stands: parameters (COUNT,), and for every window its scene and its errors (P, K, 2), px."""

    parameters: np.ndarray
    scenes: list[Scene]
    errors: list[np.ndarray]


def solve(windows: Sequence[Window], rates: Rates, start: np.ndarray) -> Solution:
    """Minimise the robust sum of squares (Levenberg–Marquardt).

    Standard deviations are those of a delete-group jackknife, over windows, within which tracks share errors, or over
    tenths of the recording, within which windows do (a clock that drifts, a scene), whichever is larger; and of what
    tracking errs by throughout. They know nothing of what is wrong all the time, as a principal point.

    Args:
        start: (COUNT,).
    """
    state = _at(windows, rates, start, [start_of(window, rates, start) for window in windows])
    state = _settled(windows, rates, state)
    state = _minimised(windows, rates, state, _CUTS[0], _ROUGHLY, convex=_CONVEX)
    linear = _linearised(windows, rates, state)
    windows = [undeformed(window, one, state.parameters) for window, one in zip(windows, linear, strict=True)]
    state = _minimised(windows, rates, _at(windows, rates, state.parameters, state.scenes), _CUTS[1], _CONVERGED)
    scale, weights = _weights(windows, state, _CUTS[1])
    return Solution(state.parameters, _sigma(windows, state, rates, weights, scale), scale)


def _settled(windows: Sequence[Window], rates: Rates, state: _State) -> _State:
    """Let points and positions settle while the parameters are held, which would follow a scene that is far off."""
    damping = 1e-2
    for _ in range(_HELD):
        scale, weights = _weights(windows, state, None)
        linear = _linearised(windows, rates, state)
        scenes = _step(windows, state, linear, weights, scale, damping, held=True)[2]
        tried = _at(windows, rates, state.parameters, scenes)
        better = _cost(tried, weights, scale) < _cost(state, weights, scale)
        state, damping = (tried, damping / 5) if better else (state, damping * 10)
    return state


def _minimised(
    windows: Sequence[Window], rates: Rates, state: _State, cut: float, enough: float, *, convex: int = 0
) -> _State:
    """Minimise, the first iterations with a convex loss."""
    damping = 1e-3
    for iteration in range(_MOST_ITERATIONS):
        scale, weights = _weights(windows, state, None if iteration < convex else cut)
        linear = _linearised(windows, rates, state)
        cost = _cost(state, weights, scale)
        found = False
        for _ in range(_MOST_TRIES):
            step, hessian, scenes = _step(windows, state, linear, weights, scale, damping)
            tried = _at(windows, rates, moved(state.parameters, step), scenes)
            if found := _cost(tried, weights, scale) < cost:
                state, damping = tried, damping / 5
                break
            damping *= 10
        small = (np.abs(step) < enough * scale / np.sqrt(np.diag(hessian))).all()
        if iteration >= convex and (small or not found):
            break
    return state


def _linearised(windows: Sequence[Window], rates: Rates, state: _State) -> list[Linear]:
    return [
        linearise(window, scene, rates, state.parameters) for window, scene in zip(windows, state.scenes, strict=True)
    ]


def _at(windows: Sequence[Window], rates: Rates, parameters: np.ndarray, scenes: list[Scene]) -> _State:
    errors = [residuals(window, scene, rates, parameters) for window, scene in zip(windows, scenes, strict=True)]
    return _State(parameters, scenes, errors)


def _cost(state: _State, weights: list[np.ndarray], scale: float) -> float:
    return sum(
        float((weight * np.square(error).sum(-1)).sum() + scale**2 * np.square(scene.prior_residual).sum())
        for error, weight, scene in zip(state.errors, weights, state.scenes, strict=True)
    )


def _weights(windows: Sequence[Window], state: _State, cut: float | None) -> tuple[float, list[np.ndarray]]:
    """Compute the errors' standard deviation, px, and weights (P, K) by them: those that do not fit get little.

    Blurred windows are tracked less exactly than sharp ones.

    Args:
        cut: standard deviations, of a loss that lets go of outliers. None: a convex one (Huber's), which finds the way
            where nothing fits yet.
    """
    lengths = [np.linalg.norm(error, axis=2) for error in state.errors]
    seen = [length[window.seen] for window, length in zip(windows, lengths, strict=True)]
    scale = _scale(np.concatenate(seen))
    weights = []
    for window, length, one in zip(windows, lengths, seen, strict=True):
        own = max(_scale(one), scale)
        relative = np.square(scale / own) * window.seen
        if cut is None:
            weights.append(relative * np.minimum(1, 2 * own / np.maximum(length, 2 * own)))
        else:
            weights.append(relative / np.square(1 + np.square(length / (cut * own)) / 2))
    return scale, weights


def _scale(lengths: np.ndarray) -> float:
    """Robust standard deviation per axis, px, of errors of these lengths (M,), px."""
    return max(_RAYLEIGH * float(np.median(lengths)), _LEAST_SCALE)


def _step(
    windows: Sequence[Window],
    state: _State,
    linear: list[Linear],
    weights: list[np.ndarray],
    scale: float,
    damping: float,
    *,
    held: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[Scene]]:
    """Compute a damped step of the parameters (COUNT,), 0 if held, their Hessian, and the windows' scenes after it."""
    reduced = [
        reduce(one, scene, weight, scale**2, damping)
        for one, scene, weight in zip(linear, state.scenes, weights, strict=True)
    ]
    hessian = np.sum([one.hessian for one in reduced], 0)
    gradient = np.sum([one.gradient for one in reduced], 0)
    step = np.zeros(COUNT) if held else -np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
    return (
        step,
        hessian,
        [one.moved(window, scene, step) for one, window, scene in zip(reduced, windows, state.scenes, strict=True)],
    )


def _sigma(
    windows: Sequence[Window], state: _State, rates: Rates, weights: list[np.ndarray], scale: float
) -> np.ndarray:
    """Compute the standard deviations (COUNT,); infinite where the tracks determine no minimum."""
    reduced: list[Reduced] = [
        reduce(one, scene, weight, scale**2, 0)
        for one, scene, weight in zip(_linearised(windows, rates, state), state.scenes, weights, strict=True)
    ]
    hessian = np.sum([one.hessian for one in reduced], 0)
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return np.full(COUNT, np.inf)
    variances = [jackknife(reduced, groups) for groups in (len(reduced), min(_GROUPS, len(reduced)))]
    return np.sqrt(np.max(variances, 0) + np.square(_SYSTEMATIC))


def jackknife(reduced: list[Reduced], groups: int) -> np.ndarray:
    """Compute variances (COUNT,) from what the parameters are without one group of successive windows after the other.

    They are found by one Newton step from the minimum of all. Infinite where the others determine no minimum.
    """
    if groups < 2:
        return np.full(COUNT, np.inf)
    hessians = np.array([one.hessian for one in reduced])
    gradients = np.array([one.gradient for one in reduced])
    steps = []
    for group in np.array_split(np.arange(len(reduced)), groups):
        hessian, gradient = hessians.sum(0) - hessians[group].sum(0), gradients.sum(0) - gradients[group].sum(0)
        if np.linalg.eigvalsh(hessian)[0] <= 0:
            return np.full(COUNT, np.inf)
        steps.append(-np.linalg.solve(hessian, gradient))
    return (groups - 1) * np.var(steps, axis=0)
