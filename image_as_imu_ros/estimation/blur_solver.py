"""Axial flow → velocity: robust weighted least squares, with a consistent covariance.

The unknown is the motion over the exposure, x = τ·(v, ω). A cell at which the motion field matrix is A predicts the
flow f = A·x and the axial flow q(f) = (‖f‖cos 2θ, ‖f‖sin 2θ), so x and −x explain a frame equally well. Two steps:

1. Hypotheses for x, without any guess about signs; see `blur_hypotheses`.
2. The best one is refined by Gauss–Newton on q itself: x minimises

       Σ ρ(‖S·(q̂ − q(A·x))‖²) + xᵀ·Λ·x

   with S the rotation into q's own axes and division by its sigmas along and across, ρ a loss that forgets outliers,
   and Λ the prior's information. Working in q keeps noise in weak blur unbiased, where a sign chosen per cell would
   turn noise into motion.

What is expected of v decides which hypothesis is refined, but is no measurement of v: the answer is refined once more
with a bound on speed in its place, and only ω leans on what is expected (`travel`).

Errors of q along itself, of a streak's length, and across, of its orientation, have a sigma each: a streak may show the
one and not the other. The image's own spectra then correct the answer, as far as they are clear; see `blur_spectrum`.

With A the Jacobian ∂q/∂x in units of sigma, H = Σ w·AᵀA and n correlated cells per independent error, the covariance is
P = (H/n + Λ)⁻¹, with the bound's Λ; see `velocity.Term` for the terms that are added to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_cells import AxialAxes, Cells
from image_as_imu_ros.estimation.blur_field import Depth, UsableCells
from image_as_imu_ros.estimation.blur_hypotheses import best_hypothesis
from image_as_imu_ros.estimation.blur_refinement import Fit, refine
from image_as_imu_ros.estimation.blur_spectrum import BlurSpectra
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import ALIGNMENT, BLUR_SOLVER
from image_as_imu_ros.estimation.prior import camera_from_pivot
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import (
    Term,
    Velocity,
    considered_translation,
    mixture,
    of_unknown_scale,
    relative_error_covariance,
)
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix


@dataclass(frozen=True)
class Uncertainty:
    """What is expected, and the errors that the cells of one frame share.

    Attributes:
        travel: what is expected of v.
        correlated_cells: how many cells share one independent error (≥ 1).
        flow_log_std: standard deviation of the log of a length error that all streaks share.
        typical_relative_sigma: `NetworkOutput.relative_sigma` of frames for which these two hold: standard
            deviations of shared errors are in proportion to it. None: they are the same in all frames.
        exposure_log_std: standard deviation of the log of the exposure time.
        depth_log_std: standard deviation of the log of a scale error of the depth map.
        readout_change: (3,) rad/s, standard deviation of how much ω changes while the rows are read.
        recent_travel: (3,) m/s, v of late: a wrong shape of a network's depth makes a rotation of some of it.
    """

    travel: Travel = field(default_factory=lambda: Travel(1.0, 0.0))
    correlated_cells: float = 1.0
    flow_log_std: float = 0.0
    typical_relative_sigma: float | None = None
    exposure_log_std: float = 0.0
    depth_log_std: float = 0.0
    readout_change: np.ndarray = field(default_factory=lambda: np.zeros(3))
    recent_travel: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def relative_error_of(self, field: NetworkOutput) -> float:
        """Shared errors of this field, relative to those of typical ones."""
        if self.typical_relative_sigma is None:
            return 1.0
        return field.relative_sigma / self.typical_relative_sigma


@dataclass(frozen=True)
class Solution:
    """A velocity up to sign, and how well it explains the field.

    Attributes:
        velocity: one of the two signs, v as measured.
        start: (6,) m/s and rad/s, the likeliest velocity with what is expected of v: where to look for an alignment.
        flow: (2, h, w) the fitted flow, px over the exposure; zero where a cell has no ray.
        residual: root mean square of the inliers' residuals in units of their sigma; 1 is as good as expected.
        inliers: fraction of the usable cells that agree with the fit.
        log_likelihood_ratio: of the velocity against any blur, by the image's spectra; 0 if they were not asked.
        spectra_probability: posterior probability that this velocity is theirs rather than the field's.
    """

    velocity: Velocity
    start: np.ndarray
    flow: np.ndarray
    residual: float
    inliers: float
    log_likelihood_ratio: float
    spectra_probability: float

    @property
    def impossible(self) -> bool:
        """Whether no camera rotates so fast, so that the exposure time must be wrong."""
        return bool(np.linalg.norm(self.velocity.angular) > BLUR_SOLVER.fastest_rotation)

    def with_exposure_error(self, log_std: float) -> Solution:
        """Replace what the covariance says about the exposure time."""
        error = relative_error_covariance(self.velocity.vector, log_std)
        return replace(self, velocity=self.velocity.with_terms({Term.EXPOSURE: error}))


@dataclass(frozen=True)
class _Motion:
    """Motion of the camera over the exposure, in the unknowns that are solved for.

    Attributes:
        motion: (P,) x. covariance: (P, P), without that of the streaks' length.
        length_variance: of the log of an error of length that all streaks share.
        log_likelihood_ratio, spectra_probability: see `Solution`.
    """

    motion: np.ndarray
    covariance: np.ndarray
    length_variance: float
    log_likelihood_ratio: float = 0.0
    spectra_probability: float = 0.0


def solve(
    field: NetworkOutput,
    matrix: MotionFieldMatrix,
    exposure: float,
    *,
    motion_model: str = MotionModel.FULL,
    uncertainty: Uncertainty | None = None,
    depth: np.ndarray | None = None,
    previous: np.ndarray | None = None,
    spectra: BlurSpectra | None = None,
) -> Solution:
    """Find the velocity that explains an axial flow field, up to sign.

    Args:
        field: axial flow and sigma, (h, w) cells.
        matrix: motion field matrix at the cells' centres, row by row, for the network's input camera.
        exposure: τ, s.
        motion_model: "full" solves for (v, ω); "rotation" for ω, leaving v at zero with its prior's variance. If depth
            is known, the covariance of ω then includes what a v of that size would do to ω.
        uncertainty: errors that do not average out over cells.
        depth: (h, w) m as measured, instead of field.depth; cells where it is NaN are not used by the full model.
        previous: (6,) velocity (v, ω) of the last frame, a further hypothesis.
        spectra: of the image, for the same unknowns; they refine the velocity as far as they speak clearly.

    Raises:
        InputError: exposure or motion model are impossible, depth is missing, or fewer than 12 cells are usable.
    """
    uncertainty = uncertainty or Uncertainty()
    full = motion_model == MotionModel.FULL
    known_depth = Depth.of(field, depth)
    _check(exposure, motion_model, known_depth)
    # The unknowns are those that are expected: the motion of the point that the camera rotates about.
    camera = camera_from_pivot(uncertainty.travel.lever_arm) if full else np.eye(3)
    usable = UsableCells.of(field, matrix, known_depth if full else None, camera)
    cells = usable.cells.weighed_for_measured_depth() if full and depth is not None else usable.cells
    relative = uncertainty.relative_error_of(field)
    fit, information = _fitted(usable, cells, camera, uncertainty, relative, exposure, previous)
    found = _joined(camera @ fit.motion, information, relative * uncertainty.flow_log_std, spectra)
    if full:
        motion, terms, start = _with_travel_prior(found, uncertainty, exposure)
    else:
        linear = None if known_depth is None else usable.linear(matrix, known_depth)
        start, terms = _without_translation(found, cells, linear, exposure * uncertainty.travel.std)
        motion = start
    of_network = full and depth is None
    travel = uncertainty.recent_travel if of_network else np.zeros(3)
    neglected = usable.neglected(matrix, uncertainty.readout_change, travel)
    terms |= _neglected_terms(found, cells, camera, neglected, exposure)
    terms[Term.SHARED_LENGTH] = found.length_variance * np.outer(motion, motion)
    terms[Term.EXPOSURE] = relative_error_covariance(motion, uncertainty.exposure_log_std)
    flow = matrix.flow(motion, known_depth.seen.ravel() if full and known_depth is not None else None)
    return Solution(
        Velocity.of(motion, terms, exposure),
        start / exposure,
        np.nan_to_num(flow).T.reshape(2, *field.axial_flow.shape[1:]),
        fit.residual,
        fit.inliers,
        found.log_likelihood_ratio,
        found.spectra_probability,
    )


def _fitted(
    usable: UsableCells,
    cells: Cells,
    camera: np.ndarray,
    uncertainty: Uncertainty,
    relative: float,
    exposure: float,
    previous: np.ndarray | None,
) -> tuple[Fit, np.ndarray]:
    """Fit the unknowns to the cells.

    Args:
        camera: (P, P) from the unknowns to the motion of the camera. relative: size of shared errors.

    Returns:
        The fit, and what the data and the bound on speed say about the camera's motion: information (P, P).
    """
    unknowns, travel_std = slice(6 - len(camera), 6), uncertainty.travel.std
    expected, bound = (
        exposure * np.repeat([std, BLUR_SOLVER.angular_prior_std], 3)[unknowns]
        for std in (travel_std, max(travel_std, ALIGNMENT.travel_std))
    )
    # Errors shared by n cells make the data n times weaker; against a prior, that is a prior n times stronger.
    correlated = max(1.0, relative**2 * uncertainty.correlated_cells / usable.thinning**2)
    weaker = math.sqrt(correlated)
    last = None if previous is None else np.linalg.solve(camera, exposure * np.asarray(previous, np.float64)[unknowns])
    coarse, regions = usable.regions()
    motion = best_hypothesis(cells.select(coarse), expected / weaker, regions, last)
    fit = refine(cells, expected / weaker, motion)
    if len(camera) == 6:
        fit = refine(cells, bound / weaker, fit.motion)
    to_pivot = np.linalg.inv(camera)
    data = to_pivot.T @ fit.information @ to_pivot / (max(1.0, fit.residual**2) * correlated)
    return fit, data + to_pivot.T @ np.diag(bound**-2.0) @ to_pivot


def _with_travel_prior(
    found: _Motion, uncertainty: Uncertainty, exposure: float
) -> tuple[np.ndarray, dict[Term, np.ndarray], np.ndarray]:
    """Update ω by the prior on v, and consider that the depth's scale may be wrong.

    Returns:
        The motion (6,), its terms (6, 6), and where to look for an alignment (6,).
    """
    log_std = uncertainty.depth_log_std
    posterior = uncertainty.travel.rotation_posterior(found.motion, found.covariance, exposure, log_std)
    covariance, of_scale = of_unknown_scale(posterior.motion, posterior.covariance, log_std)
    return posterior.motion, {Term.DATA: covariance, Term.DEPTH_SCALE: of_scale}, posterior.likeliest


def _without_translation(
    found: _Motion, cells: Cells, linear: np.ndarray | None, std: float
) -> tuple[np.ndarray, dict[Term, np.ndarray]]:
    """Expand a rotation to a motion (6,), and consider the translation that was not solved for: terms (6, 6).

    Args:
        linear: matrix (2, 3, N) of the translation; None if it is not known what that does to the flow. std: of it, m.
    """
    data = np.zeros((6, 6))
    data[3:, 3:] = found.covariance
    sensitivity = np.zeros((3, 3)) if linear is None else _sensitivity(cells, found.motion, linear)
    considered = considered_translation(sensitivity, std)
    return np.concatenate([np.zeros(3), found.motion]), {Term.DATA: data, Term.CONSIDERED: considered}


def _neglected_terms(
    found: _Motion, cells: Cells, camera: np.ndarray, neglected: dict[Term, np.ndarray], exposure: float
) -> dict[Term, np.ndarray]:
    """Compute what errors that were not solved for do to the motion: terms (6, 6), see `UsableCells.neglected`."""
    terms = {}
    for term, flow in neglected.items():
        moved = np.zeros((6, flow.shape[1]))
        moved[6 - len(camera) :] = exposure * camera @ _sensitivity(cells, np.linalg.solve(camera, found.motion), flow)
        terms[term] = moved @ moved.T
    return terms


def _check(exposure: float, motion_model: str, depth: Depth | None) -> None:
    if not (math.isfinite(exposure) and exposure > 0):
        raise InputError(f"exposure time is {exposure} s; it must be positive")
    if motion_model not in tuple(MotionModel):
        raise InputError(f"motion model is {motion_model!r}, expected one of: {', '.join(MotionModel)}")
    if motion_model == MotionModel.FULL and depth is None:
        raise InputError("the full motion model needs depth: give a depth image or set motion_model to 'rotation'")


def _joined(motion: np.ndarray, information: np.ndarray, length_log_std: float, spectra: BlurSpectra | None) -> _Motion:
    """Join the network's answer with that of the spectra.

    Both answers are weighed by the posterior probability p that the spectra's lines are those of the blur: mean and
    covariance are those of the mixture, wide where the answers differ and either may be right.

    Args:
        motion: (P,) of the camera, from the network. information: (P, P) about it.
        length_log_std: of an error that the network's lengths share.
    """
    posterior = np.linalg.inv(information)
    if spectra is None:
        return _Motion(motion, posterior, length_log_std**2)
    refined = spectra.refine(motion, posterior + relative_error_covariance(motion, length_log_std))
    p = refined.posterior_probability
    weights, means = np.array([1 - p, p]), np.stack([motion, refined.motion])
    joined, covariance = mixture(weights, means, np.stack([posterior, refined.covariance]))
    return _Motion(joined, covariance, (1 - p) * length_log_std**2, refined.log_likelihood_ratio, p)


def _sensitivity(cells: Cells, motion: np.ndarray, neglected: np.ndarray) -> np.ndarray:
    """Differentiate the estimated motion by unknowns that are not solved for: (P, K).

    Args:
        neglected: matrix (2, K, N) from these to the cells' flow.
    """
    axes = AxialAxes.of(cells.flow(motion), cells.sigma)
    along, across = axes.jacobian(cells.matrix)
    along_neglected, across_neglected = axes.jacobian(neglected)
    information = along @ along.T + across @ across.T
    mixed = along @ along_neglected.T + across @ across_neglected.T
    return np.asarray(np.linalg.lstsq(information, mixed, rcond=None)[0])
