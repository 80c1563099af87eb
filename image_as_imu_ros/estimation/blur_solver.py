"""Axial flow → velocity: robust weighted least squares, with an honest covariance.

The unknown is the motion over the exposure, x = τ·(v, ω). A cell at which the motion field matrix is A predicts the
flow f = A·x and the axial flow q(f) = (‖f‖cos 2θ, ‖f‖sin 2θ), so x and −x explain a frame equally well. Two steps:

1. Hypotheses for x, without any guess about signs; see `blur_hypotheses`.
2. The best one is refined by Gauss–Newton on q itself: x minimises

       Σ ρ(‖S·(q̂ − q(A·x))‖²) + xᵀ·Λ·x

   with S the rotation into q's own axes and division by its sigmas along and across, ρ a loss that forgets outliers,
   and Λ the prior's information. Working in q keeps noise in weak blur unbiased, where a sign chosen per cell would
   turn noise into motion.

Errors of q along itself, of a streak's length, and across, of its orientation, have a sigma each: a streak may show the
one and not the other. The image's own spectra then correct the answer, as far as they are clear; see `blur_spectrum`.

With A the Jacobian ∂q/∂x in units of sigma, H = Σ w·AᵀA and n correlated cells per independent error, the covariance is
P = (H/n + Λ)⁻¹; see `velocity.Term` for the terms that are added to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_cells import AxialAxes, Cells, thinned_grid
from image_as_imu_ros.estimation.blur_hypotheses import best_hypothesis
from image_as_imu_ros.estimation.blur_refinement import refine
from image_as_imu_ros.estimation.blur_spectrum import BlurSpectra
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import BLUR_SOLVER
from image_as_imu_ros.estimation.velocity import Term, Velocity, considered_translation, relative_error
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix


@dataclass(frozen=True)
class Uncertainty:
    """Prior, and the errors that the cells of one frame share.

    Attributes:
        linear_velocity_std: standard deviation of a zero-mean prior on each component of the velocity, m/s, of the
            point that the camera rotates about.
        lever_arm: how far behind the camera that point lies, m. Hands and vehicles do not rotate about the camera; in
            a blur, the sideways motion that this gives it looks like a faster rotation.
        correlated_cells: how many cells share one independent error (≥ 1).
        flow_log_std: standard deviation of the log of a length error that all streaks share.
        typical_relative_sigma: `NetworkOutput.relative_sigma` of frames for which these two hold: standard
            deviations of shared errors are in proportion to it. None: they are the same in all frames.
        exposure_log_std: standard deviation of the log of the exposure time.
        depth_log_std: standard deviation of the log of a scale error of the depth map.
    """

    linear_velocity_std: float = 1.0
    lever_arm: float = 0.0
    correlated_cells: float = 1.0
    flow_log_std: float = 0.0
    typical_relative_sigma: float | None = None
    exposure_log_std: float = 0.0
    depth_log_std: float = 0.0

    def relative_error_of(self, field: NetworkOutput) -> float:
        """Shared errors of this field, relative to those of typical ones."""
        if self.typical_relative_sigma is None:
            return 1.0
        return field.relative_sigma / self.typical_relative_sigma


def camera_from_pivot(lever_arm: float) -> np.ndarray:
    """Matrix (6, 6) from (v, ω) of the point that the camera rotates about to (v, ω) of the camera.

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
        residual: root mean square of the inliers' residuals in units of their sigma; 1 is as good as expected.
        inliers: fraction of the usable cells that agree with the fit.
        log_likelihood_ratio: of the velocity against any blur, by the image's spectra; 0 if they were not asked.
        spectra_probability: posterior probability that this velocity is theirs rather than the field's.
    """

    velocity: Velocity
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
        error = relative_error(self.velocity.vector, log_std)
        return replace(self, velocity=self.velocity.with_terms({Term.EXPOSURE: error}))


@dataclass(frozen=True)
class _Motion:
    """Motion of the camera over the exposure, in the unknowns that are solved for.

    Attributes:
        motion: (P,) x. terms: covariances (P, P) by their source.
        determined: (P, P) which part of x follows from the data rather than from the prior.
        log_likelihood_ratio, spectra_probability: see `Solution`.
    """

    motion: np.ndarray
    terms: dict[Term, np.ndarray]
    determined: np.ndarray
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
    known_depth = _Depth.of(field, depth)
    _check(exposure, motion_model, known_depth)
    # The unknowns are those that the prior is about: the motion of the point that the camera rotates about.
    camera = camera_from_pivot(uncertainty.lever_arm) if full else np.eye(3)
    unknowns = slice(0, 6) if full else slice(3, 6)
    usable = _UsableCells.of(field, matrix, known_depth if full else None, camera)
    cells = usable.cells.weighed_for_measured_depth() if full and depth is not None else usable.cells
    prior_std = exposure * np.repeat([uncertainty.linear_velocity_std, BLUR_SOLVER.angular_prior_std], 3)
    relative = uncertainty.relative_error_of(field)
    correlated = max(1.0, relative**2 * uncertainty.correlated_cells / usable.thinning**2)
    # Errors shared by n cells make the data n times weaker; against the prior, that is a prior n times stronger.
    strong_prior_std = prior_std[unknowns] / math.sqrt(correlated)
    last = None if previous is None else np.linalg.solve(camera, exposure * np.asarray(previous, np.float64)[unknowns])
    coarse, regions = usable.regions()
    fit = refine(cells, strong_prior_std, best_hypothesis(cells.select(coarse), strong_prior_std, regions, last))

    to_pivot = np.linalg.inv(camera)
    prior = to_pivot.T @ np.diag(prior_std[unknowns] ** -2.0) @ to_pivot
    data = to_pivot.T @ fit.information @ to_pivot / (max(1.0, fit.residual**2) * correlated)
    found = _joined(camera @ fit.motion, data, prior, relative * uncertainty.flow_log_std, spectra)
    sensitivity = _sensitivity(cells, found.motion, None if full else usable.linear(matrix, known_depth))
    motion, terms = _expanded(found, full, uncertainty, sensitivity, float(prior_std[0]))
    flow = matrix.flow(motion, known_depth.seen.ravel() if full and known_depth is not None else None)
    return Solution(
        Velocity.of(motion, terms, exposure),
        np.nan_to_num(flow).T.reshape(2, *field.axial_flow.shape[1:]),
        fit.residual,
        fit.inliers,
        found.log_likelihood_ratio,
        found.spectra_probability,
    )


def _expanded(
    found: _Motion, full: bool, uncertainty: Uncertainty, sensitivity: np.ndarray, prior_std: float
) -> tuple[np.ndarray, dict[Term, np.ndarray]]:
    """Expand what was solved for to a motion (6,), and add the terms of errors that no data tell.

    Args:
        sensitivity: (3, 3) of a rotation to a translation that was not solved for. prior_std: of that, m.
    """
    unknowns = slice(0 if full else 3, 6)
    motion = np.zeros(6)
    motion[unknowns] = found.motion
    terms = {term: np.zeros((6, 6)) for term in found.terms}
    for term, covariance in found.terms.items():
        terms[term][unknowns, unknowns] = covariance
    terms[Term.EXPOSURE] = relative_error(motion, uncertainty.exposure_log_std)
    if full:
        # With depths too large by a factor, v is too large by it as far as the image determines v, not the prior.
        terms[Term.DEPTH_SCALE] = relative_error(found.determined[:, :3] @ motion[:3], uncertainty.depth_log_std)
    else:
        terms[Term.CONSIDERED] = considered_translation(sensitivity, prior_std)
    return motion, terms


def _check(exposure: float, motion_model: str, depth: _Depth | None) -> None:
    if not (math.isfinite(exposure) and exposure > 0):
        raise InputError(f"exposure time is {exposure} s; it must be positive")
    if motion_model not in tuple(MotionModel):
        raise InputError(f"motion model is {motion_model!r}, expected one of: {', '.join(MotionModel)}")
    if motion_model == MotionModel.FULL and depth is None:
        raise InputError("the full motion model needs depth: give a depth image or set motion_model to 'rotation'")


@dataclass(frozen=True)
class _Depth:
    """Depth of the cells, m, NaN where unknown: (h, w) as `seen`, and as `smooth` as the flow is."""

    seen: np.ndarray
    smooth: np.ndarray

    @classmethod
    def of(cls, field: NetworkOutput, measured: np.ndarray | None) -> _Depth | None:
        """Take measured depth where it is given, else the network's, which is smooth anyway; None if there is none."""
        if measured is not None:
            return cls(measured, field.as_smooth(measured))
        return None if field.depth is None else cls(field.depth, field.depth)


@dataclass(frozen=True)
class _UsableCells:
    """Cells that can be used, and where they lie in the grid.

    Attributes:
        thinning: every so many-th row and column was taken.
        index: (N,) in the grid, row by row. row, column: (N,). shape: (h, w) of the grid.
    """

    cells: Cells
    thinning: int
    index: np.ndarray
    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, field: NetworkOutput, matrix: MotionFieldMatrix, depth: _Depth | None, camera: np.ndarray
    ) -> _UsableCells:
        """Choose cells with finite flow, sigma, matrix and, if there is a translation, depth.

        Args:
            depth: None leaves the translation out.
            camera: (6, 6) from the unknowns to the motion of the camera.

        Raises:
            InputError: fewer than 12 are left.
        """
        rows, columns = field.axial_flow.shape[1:]
        thinning, index, row, column = thinned_grid(rows, columns)
        q = field.axial_flow.reshape(2, -1)[:, index].astype(np.float64)
        sigma = field.sigma.reshape(2, -1)[:, index].astype(np.float64)
        rays = matrix.select(index)
        flow_per_motion = rays.angular
        usable = np.asarray(np.isfinite(q).all(0) & ((sigma > 0) & (sigma < math.inf)).all(0))
        if depth is not None:
            flow_per_motion = rays.velocity_to_flow(depth.smooth.ravel()[index]) @ camera
            usable &= np.isfinite(depth.seen.ravel()[index])
        usable &= np.isfinite(flow_per_motion).all((1, 2))
        if usable.sum() < BLUR_SOLVER.least_cells:
            raise InputError(f"only {usable.sum()} of {len(usable)} cells are usable: no measurement from this frame")
        cells = Cells(q, sigma, np.ones_like(sigma), flow_per_motion.transpose(1, 2, 0)).select(usable)
        return cls(cells, thinning, index[usable], row[usable], column[usable], (rows, columns))

    def regions(self) -> tuple[np.ndarray, np.ndarray]:
        """Thin the cells once more for hypotheses: mask (N,), and weights (5, M) of all of these and each half."""
        coarse = (self.row // self.thinning + self.column // self.thinning) % 2 == 0
        coarse = coarse if coarse.sum() >= BLUR_SOLVER.least_cells else np.ones_like(coarse)
        left, top = (self.column < self.shape[1] / 2)[coarse], (self.row < self.shape[0] / 2)[coarse]
        return coarse, np.stack([np.ones_like(left), left, ~left, top, ~top]).astype(np.float64)

    def linear(self, matrix: MotionFieldMatrix, depth: _Depth | None) -> np.ndarray | None:
        """Matrix (2, 3, N) of a translation, for cells that are used without one; None without depth."""
        if depth is None:
            return None
        return matrix.select(self.index).velocity_to_flow(depth.smooth.ravel()[self.index])[..., :3].transpose(1, 2, 0)


def _joined(
    motion: np.ndarray, data: np.ndarray, prior: np.ndarray, length_log_std: float, spectra: BlurSpectra | None
) -> _Motion:
    """Join the network's answer with that of the spectra.

    Both answers are weighed by the posterior probability p that the spectra's lines are those of the blur: mean and
    covariance are those of the mixture, wide where the answers differ and either may be right.

    Args:
        motion: (P,) from the network. data, prior: (P, P) information matrices, of the camera's motion.
        length_log_std: of an error that the network's lengths share.
    """
    posterior = np.linalg.inv(data + prior)
    length = relative_error(motion, length_log_std)
    if spectra is None:
        return _Motion(
            motion, {Term.DATA: posterior, Term.SHARED_LENGTH: length}, np.eye(len(motion)) - posterior @ prior
        )
    refined = spectra.refine(motion, posterior + length)
    p = refined.posterior_probability
    moved = refined.motion - motion
    terms = {
        Term.DATA: (1 - p) * posterior + p * refined.covariance,
        Term.SHARED_LENGTH: (1 - p) * length,
        Term.SPECTRA: p * (1 - p) * np.outer(moved, moved),
    }
    # The length's error must not make the data look weaker than they are: it is a term of its own.
    independent = (1 - p) * posterior + p * np.linalg.inv(data + prior + refined.information)
    return _Motion(
        motion + p * moved, terms, np.eye(len(motion)) - independent @ prior, refined.log_likelihood_ratio, p
    )


def _sensitivity(cells: Cells, motion: np.ndarray, linear: np.ndarray | None) -> np.ndarray:
    """Differentiate the estimated rotation by a translation that is not solved for: ∂x̂_ω/∂x_v (3, 3).

    Args:
        linear: matrix (2, 3, N) of the translation; None if it is solved for, or unknown.
    """
    if linear is None:
        return np.zeros((3, 3))
    axes = AxialAxes.of(cells.flow(motion), cells.sigma)
    along, across = axes.jacobian(cells.matrix)
    along_linear, across_linear = axes.jacobian(linear)
    information = along @ along.T + across @ across.T
    return np.linalg.lstsq(information, along @ along_linear.T + across @ across_linear.T, rcond=None)[0]
