"""Inverse-compositional Gauss–Newton on intensities.

With J the Jacobian of this frame's intensities I by motion, shear, gain and offset (`points`), and I' the previous
frame's intensities where a pose puts the points, one step solves

    (Σ w·JᵀJ + σ²·Λ)·δ = Σ w·Jᵀ·I' + σ²·Λ·(prior),    w = 1 / (1 + (r/(c·scale))²)²,

for the motion that the pose is wrong by times the gain, the gain and the offset, with r the residual, σ² the variance
of an intensity as many points share an error, and Λ the priors' information. The motion's information is the Schur
complement of shear, gain and offset, divided by σ².
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.jackknife import parts_of, widened_by_parts
from image_as_imu_ros.estimation.alignment.moving_parts import Answer
from image_as_imu_ros.estimation.alignment.points import Points, sample
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import ALIGNMENT
from image_as_imu_ros.estimation.loop_constants import RefinementLoopConstants
from image_as_imu_ros.estimation.prior import Prior, pivot_from_camera

NUISANCES = 5  # unknowns besides the motion: shear, gain and offset
_GAINS = 0.2, 5.0  # between two exposures


@dataclass(frozen=True)
class Fit:
    """What the last step of `refine` knew about each pose.

    Attributes:
        normal: (S, Q, Q) normal matrix of P motions, 3 of shear, gain and offset, with the priors that were used.
        weights: (S, N) of the points.
        error: (S, N) that the step leaves in the previous frame's intensities, divided by the gain. variance: (S,) of
            such an error.
    """

    normal: np.ndarray
    weights: np.ndarray
    error: np.ndarray
    variance: np.ndarray

    def information(self, which: int) -> np.ndarray:
        """Information matrix (P, P) of a pose's motion, whatever shear, gain and offset are."""
        return marginal(self.normal[which], self.normal.shape[1] - NUISANCES) / self.variance[which]

    def with_depth_considered(self, which: int, points: Points, pose: Poses, log_std: float) -> Answer:
        """Consider errors of log depth: of all of it, at the sides, and at top and bottom.

        Args:
            pose: (1), with a translation.
            log_std: of each of the three errors; the sides err by ±1 of it, and so do top and bottom.

        Returns:
            What the pose is, once it is moved by what it is still wrong by, whatever the depth's errors are.
        """
        normal, variance, weights = self.normal[which], self.variance[which], self.weights[which]
        translation = pose.rotation[0].T @ pose.translation[0]
        by_scale = translation.astype(np.float32) @ points.jacobian[:3]
        by_depth = np.vstack([np.ones_like(points.intensity), points.place]) * by_scale
        weighted = weights * by_depth
        both = points.jacobian @ weighted.T
        normal = np.block([[normal, both], [both.T, by_depth @ weighted.T + variance / log_std**2 * np.eye(3)]])
        right = np.concatenate([np.zeros(len(both)), weighted @ self.error[which]])
        size = len(both) - NUISANCES
        step = np.linalg.solve(normal, right)
        covariance = variance * np.linalg.inv(marginal(normal, size))
        rows = np.vstack([points.jacobian, by_depth])
        errors = self.error[which] - step @ rows
        assert points.inverse_depth is not None
        parts = parts_of(np.vstack([points.inverse_depth, points.place]))
        covariance = widened_by_parts(covariance, normal, rows, weights, errors, parts)
        pose = pose.moved(step[None, :size])
        return Answer(pose.motions()[0], pose.halfway(covariance[None])[0])


def marginal(normal: np.ndarray, size: int) -> np.ndarray:
    """Reduce a normal matrix to its first so many unknowns, whatever the others are (Schur complement)."""
    across = normal[:size, size:]
    return normal[:size, :size] - across @ np.linalg.solve(normal[size:, size:], across.T)


def refine(
    points: Points,
    before: np.ndarray,
    poses: Poses,
    motion_model: str,
    prior: Prior,
    shared: float,
    iterations: int,
) -> tuple[Poses, Fit]:
    """Refine all poses at once.

    The previous frame, sampled where a pose puts the points, is this frame seen by a camera that is moved by what is
    still wrong with the pose. Its intensities are linear in that motion times gain, in gain and in offset.

    Args:
        shared: number of points that share an error.
    """
    size = len(points.jacobian) - NUISANCES
    full = motion_model == MotionModel.FULL
    unknowns = slice(0 if full else size - 3, None)
    precision, by_motion = _precision(prior, size), pivot_from_camera(prior.lever_arm)
    if (loops := compiled.loops("refinement")) is not None:
        first = unknowns.start
        return _refine_compiled(loops.refine, points, before, poses, first, prior, shared, precision, iterations)
    gain = offset = np.empty(0)
    for iteration in range(iterations):
        intensity, weights = sample(before, points.positions(poses))
        if iteration == 0:
            gain, offset = _gain_and_offset(points.intensity, intensity, weights)
        error = intensity - gain[:, None] * points.intensity - offset[:, None]
        scale = (np.abs(error) * weights).sum(1) / (weights.sum(1) + 1e-6) + math.sqrt(ALIGNMENT.quantisation)
        weights /= np.square(1 + np.square(error / (ALIGNMENT.robust * scale[:, None])))
        weighted = (weights[:, None] * points.jacobian).reshape(-1, len(points.intensity))
        normal = (weighted @ points.jacobian.T).reshape(len(poses), size + NUISANCES, -1).astype(np.float64)
        right = ((weights * intensity) @ points.jacobian.T).astype(np.float64)
        # Outliers count: where many points do not fit, the others are less to be trusted too.
        variance = shared * (ALIGNMENT.mean_size_to_std * (scale / gain).astype(np.float64)) ** 2

        normal[:, :-2, :-2] += variance[:, None, None] * precision
        stiffness = (variance * gain)[:, None]
        right[:, size:-2] += stiffness * ALIGNMENT.shear_std**-2 * poses.shear
        if full:
            displaced = prior.displacement(poses.rotation, poses.translation)
            right[:, :6] += stiffness * prior.std**-2 * (displaced @ by_motion)
        step = np.linalg.solve(normal[:, unknowns, unknowns], right[:, unknowns, None])[..., 0]
        gain, offset = np.clip(step[:, -2], *_GAINS).astype(np.float32), step[:, -1].astype(np.float32)
        moved = np.clip(step[:, :-2] / gain[:, None], -ALIGNMENT.largest_step, ALIGNMENT.largest_step)
        poses = poses.moved(moved[:, :-3], moved[:, -3:])
        moving = np.abs(moved).max(1) * points.camera.fx >= ALIGNMENT.converged
        if not (moving & (scale < ALIGNMENT.abandoned * scale.min())).any():
            break
    remaining = intensity - step.astype(np.float32) @ points.jacobian[unknowns]
    return poses, Fit(normal, weights, remaining / gain[:, None], variance)


def _refine_compiled(
    loop: Callable,
    points: Points,
    before: np.ndarray,
    poses: Poses,
    first: int,
    prior: Prior,
    shared: float,
    precision: np.ndarray,
    iterations: int,
) -> tuple[Poses, Fit]:
    """Do the same in `refinement_loop`; `first` is the first unknown that is solved for."""
    poses = Poses(poses.rotation.copy(), poses.translation.copy(), poses.shear.copy())
    count, unknowns, size = len(poses), *points.jacobian.shape
    normal, variance = np.empty((count, unknowns, unknowns)), np.empty(count)
    weights, error = (np.empty((count, size), np.float32) for _ in range(2))
    constants = RefinementLoopConstants(
        robust=ALIGNMENT.robust,
        quantisation=ALIGNMENT.quantisation,
        shared=shared,
        mean_size_to_std=ALIGNMENT.mean_size_to_std,
        largest_step=ALIGNMENT.largest_step,
        converged=ALIGNMENT.converged,
        abandoned=ALIGNMENT.abandoned,
        least_gain=_GAINS[0],
        largest_gain=_GAINS[1],
        shear_std=ALIGNMENT.shear_std,
        prior_std=prior.std,
        lever_arm=prior.lever_arm,
    )
    gain = loop(
        *compiled.singles(before),
        *points.for_loops,
        *compiled.singles(points.jacobian),
        poses.rotation,
        poses.translation,
        poses.shear,
        *compiled.doubles(precision, pivot_from_camera(prior.lever_arm)),
        tuple(map(float, constants)),
        first,
        iterations,
        normal,
        weights,
        error,
        variance,
    )
    if np.isnan(gain).any():
        raise np.linalg.LinAlgError("the images determine no motion")
    return poses, Fit(normal, weights, error, variance)


def _precision(prior: Prior, size: int) -> np.ndarray:
    """Information (size + 3,)² of the priors on motion and shear; `size` is 6, or 3 without translation."""
    of_one = np.repeat([0.0, ALIGNMENT.rotation_prior_std**-2, ALIGNMENT.shear_std**-2], 3)
    precision = np.diag(of_one[-size - 3 :])
    if size == 6:
        by_motion = pivot_from_camera(prior.lever_arm)
        precision[:6, :6] += prior.std**-2 * by_motion.T @ by_motion
    return precision


def _gain_and_offset(now: np.ndarray, before: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (S,) that give (N,) intensities the mean and variance of those (S, N) that are seen."""
    count = seen.sum(1) + 1e-6
    mean_now, mean_before = seen @ now / count, (before * seen).sum(1) / count
    variance_now = (np.square(now - mean_now[:, None]) * seen).sum(1) / count
    variance_before = (np.square(before - mean_before[:, None]) * seen).sum(1) / count
    gain = np.sqrt((variance_before + ALIGNMENT.quantisation) / (variance_now + ALIGNMENT.quantisation))
    return gain, mean_before - gain * mean_now
