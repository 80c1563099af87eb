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

But t is not known exactly either. At t̂ = 0 no shape matters, and the map seems to prove that the camera does not
travel, with relief that may not be there. So the last step counts, along and across, what an uncertain translation of
covariance Σₜ does with an uncertain shape: (rough² + smooth²·Σφ²)·g·Σₜ·gᵀ, where a track moves by g = ∂π·ρ₀ with t.

Neighbouring tracks share errors, so that several count as one: those of the map, and what blur displaces, are common to
whole regions; what a track errs by itself, only tracks whose patches overlap share. Of a variance made of both, the
number is the mean, weighted by variance.

From different starts Gauss–Newton may descend to different motions, such as a rotation and a slide that look alike
(Laplace's method: each weighs exp(−cost/2)·√det of its covariance). The answer is the mean of the mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.alignment.two_view_problem import Problem, State
from image_as_imu_ros.estimation.alignment.two_view_steps import Step, at_the_end, steps
from image_as_imu_ros.estimation.constants import STRUCTURE
from image_as_imu_ros.estimation.velocity import mixture


@dataclass(frozen=True)
class TwoView:
    """What the tracks of two frames say.

    Attributes:
        motion: (6,) (v, ω)·Δt, in the axes of the frame halfway. covariance: (6, 6), without the depth's scale.
        share: of the tracks that fit. std: px, of a track.
        shape_found, shape_expected: squared factors of the polynomials over their variance, and what they would be on
            average if that were right; see `map_shape`.
    """

    motion: np.ndarray
    covariance: np.ndarray
    share: float
    std: float
    shape_found: float
    shape_expected: float


def two_view(
    tracks: Tracks,
    inverse_depth: np.ndarray,
    starts: Poses,
    shape: Shape,
    translation_std: float,
    probability: np.ndarray | float = 1.0,
    common_std: float = math.inf,
) -> TwoView:
    """Find the motion that explains tracks.

    Args:
        inverse_depth: (N,) 1/m of each track in this frame, more than 0.
        starts: (S) poses near which to look.
        translation_std: m, of a zero-mean prior on each component of the translation: a bound.
        probability: (S,) of the starts, before the tracks are looked at.
        common_std: px, of what of a track's error whole regions share, as errors of the map are.
    """
    problem = Problem.of(tracks, inverse_depth, shape, translation_std, common_std)
    state, step, std = solved(problem, starts)
    px = tracks.camera.fx * np.repeat([np.median(inverse_depth), 1.0], 3)
    weight = step.weight * probability
    kept, weight = _distinct(px * state.poses.motions(), weight / weight.sum())
    state, std, of_translation = state.select(kept), std[kept], step.covariance[kept, :3, :3]
    last, (state, step) = state, steps(problem, state, std, 1, translation_covariance=of_translation)
    covariances = step.covariance * np.square(step.excess)[:, None, None]
    covariances, shape_expected = at_the_end(problem, covariances, last, std, of_translation)
    shape_found = np.square(last.smooth / shape.smooth).sum(1)
    each = step.share, std, shape_found, shape_expected
    covariances = state.poses.halfway(covariances)
    return TwoView(*mixture(weight, state.poses.motions(), covariances), *(float(weight @ one) for one in each))


def _distinct(motions: np.ndarray, weight: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Keep one of motions (S, 6), px, that are the same, with the weights (S,) of all: most starts end alike."""
    kept: list[int] = []
    of_kept: list[float] = []
    for number, (motion, one) in enumerate(zip(motions, weight, strict=True)):
        alike = [np.abs(motion - motions[other]).max() < STRUCTURE.converged for other in kept]
        if any(alike):
            of_kept[alike.index(True)] += one
        else:
            kept.append(number)
            of_kept.append(one)
    return kept, np.array(of_kept)


def solved(problem: Problem, starts: Poses) -> tuple[State, Step, np.ndarray]:
    """Descend from S poses: the estimates, the last step, and (S,) px, the standard deviation that all are rated by."""
    start = State.at(starts, len(problem.inverse_depth))
    state, step = steps(problem, start, None, STRUCTURE.iterations, STRUCTURE.converged)
    # A wrong motion would excuse itself with the large residuals that it leaves: all are rated by the smallest ones.
    std = np.full(len(starts), step.std.min())
    return *steps(problem, state, std, STRUCTURE.last_iterations), std
