"""Sign of the motion: a neighbouring frame and the last velocity settle the one bit that blur cannot tell.

For a measured velocity x with covariance C, and another y with covariance D of the same motion but for a change with
covariance A over the time between them, the log-odds of x against −x are

    log N(x − y; C + D + A) − log N(−x − y; C + D + A) = 2·xᵀ·(C + D + A)⁻¹·y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.estimation.constants import SHARED, SIGN
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.geometry.so3 import exp


@dataclass(frozen=True)
class Grid:
    """Rays of a camera at the cells of a coarse grid, and how pixels move with them: enough to warp small images.

    Attributes:
        shape: (h, w) cells, each stride × stride px of the camera's image.
        pixels: (2, h·w) px. rays: (2, h·w). jacobian: (2, 2, h·w) ∂ pixel / ∂ ray.
    """

    shape: tuple[int, int]
    stride: int
    pixels: np.ndarray
    rays: np.ndarray
    jacobian: np.ndarray

    @classmethod
    def of(cls, camera: Camera, stride: int) -> Grid:
        """Grid of a camera's image with cells of `stride` px."""
        shape = camera.height // stride, camera.width // stride
        pixels = cell_centres(*shape, stride)
        rays = np.nan_to_num(camera.rays(pixels))
        jacobian = np.ascontiguousarray(camera.projection_jacobian(rays).transpose(1, 2, 0))
        return cls(shape, stride, np.ascontiguousarray(pixels.T), np.ascontiguousarray(rays.T), jacobian)

    def displaced(self, velocity: np.ndarray, inverse_depth: np.ndarray | None, seconds: float) -> np.ndarray:
        """Predict where the points now at the grid's pixels were `seconds` ago, for a camera with `velocity`.

        Args:
            velocity: (6,) (v, ω), m/s and rad/s.
            inverse_depth: (h, w) 1/m now; None leaves v out.
            seconds: of either sign.

        Returns:
            (2, h, w) float32 px.
        """
        # A static point P obeys dP/dt = −v − ω×P, so `seconds` ago it was at exp([ω]·seconds)·P + v·seconds.
        rotation = exp(velocity[3:] * seconds)
        points = rotation[:, :2] @ self.rays + rotation[:, 2:]
        if inverse_depth is not None:
            points += (velocity[:3, None] * seconds) * inverse_depth.reshape(1, -1)
        moved = points[:2] / np.maximum(points[2], 1e-3) - self.rays
        pixels = self.pixels + self.jacobian[:, 0] * moved[0] + self.jacobian[:, 1] * moved[1]
        return pixels.astype(np.float32).reshape(2, *self.shape)


def small_image(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Shrink a prepared image, (H, W) or (H, W, 3) uint8, to (h, w) float32 luminance, one value per cell."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(image, grid.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def photometric_log_odds(
    grid: Grid,
    velocity: np.ndarray,
    depth: np.ndarray | None,
    now: np.ndarray,
    other: np.ndarray,
    seconds: float,
) -> float:
    """Log-odds that `velocity` rather than its reverse links two small images.

    Both velocities predict where each pixel of `now` is in `other`; the one under which the two images differ less
    is right. The comparison is free of gain and offset, so a change of exposure does not matter.

    Args:
        grid: of the network's input camera.
        velocity: (6,) (v, ω) at the time of `now`.
        depth: (h, w) m at the time of `now`, NaN counts as far away; None leaves v out.
        now, other: (h, w) float32 from `small_image`.
        seconds: from `other` to `now`, negative if `other` is later.

    Returns:
        Positive where `velocity` fits better; 0 where the images do not tell.
    """
    if abs(seconds) > SHARED.longest_dt:
        return 0.0
    inverse_depth = None if depth is None else np.nan_to_num(1 / depth, posinf=0.0)
    forward = _difference(grid, velocity, inverse_depth, now, other, seconds)
    backward = _difference(grid, -velocity, inverse_depth, now, other, seconds)
    if not (math.isfinite(forward) and math.isfinite(backward)) or forward + backward <= 0:
        return 0.0
    log_odds = SIGN.photometric_gain * (backward - forward) / (backward + forward)
    return float(np.clip(log_odds, -SIGN.photometric_limit, SIGN.photometric_limit))


def _difference(
    grid: Grid,
    velocity: np.ndarray,
    inverse_depth: np.ndarray | None,
    now: np.ndarray,
    other: np.ndarray,
    seconds: float,
) -> float:
    """Mean absolute difference of `now` and the warped `other`, both normalised over their overlap; inf without one."""
    x, y = (grid.displaced(velocity, inverse_depth, seconds) + 0.5) / grid.stride - 0.5
    warped = cv2.remap(other, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1)
    seen = (warped >= 0).astype(np.uint8)
    if cv2.countNonZero(seen) < SIGN.least_overlap * seen.size:
        return math.inf
    (mean_now, std_now), (mean_other, std_other) = (
        np.ravel(cv2.meanStdDev(image, mask=seen)) for image in (now, warped)
    )
    if min(std_now, std_other) < 1e-3:
        return math.inf
    difference = (now - mean_now) / std_now - (warped - mean_other) / std_other
    return cv2.norm(difference, cv2.NORM_L1, mask=seen) / cv2.countNonZero(seen)


def continuity_log_odds(velocity: np.ndarray, covariance: np.ndarray, previous: np.ndarray, seconds: float) -> float:
    """Log-odds that `velocity` rather than its reverse follows `previous`, given how fast cameras accelerate.

    Args:
        velocity, previous: (6,) (v, ω), m/s and rad/s; previous with its sign known.
        covariance: (6, 6) of velocity.
        seconds: between the two.
    """
    if abs(seconds) > SHARED.longest_dt:
        return 0.0
    weighted = np.linalg.solve(2 * covariance + _change_covariance(seconds), previous)
    return float(np.clip(2 * velocity @ weighted, -SIGN.photometric_limit, SIGN.photometric_limit))


def alignment_log_odds(blur: Velocity, aligned: Velocity, seconds: float) -> float:
    """Log-odds that a blur's velocity rather than its reverse belongs to the motion that alignment found.

    A wrong length does not reverse a motion, so the terms for errors of all lengths are left out.

    Args:
        seconds: between the times that the two are about.
    """
    velocity = blur.vector
    covariance = blur.covariance_without((Term.SHARED_LENGTH, Term.EXPOSURE)) + aligned.covariance
    weighted = np.linalg.solve(covariance + _change_covariance(SIGN.usual_acceleration * seconds), aligned.vector)
    return float(np.clip(2 * velocity @ weighted, -SIGN.photometric_limit, SIGN.photometric_limit))


def rate_log_odds(blur: Velocity, rate: np.ndarray, rate_std: float) -> float:
    """Log-odds that a blur's rotation rather than its reverse is the one that another sensor measured.

    Args:
        rate: (3,) rad/s, of the camera in its optical frame, with independent errors of `rate_std` rad/s per axis.
    """
    covariance = blur.covariance[3:, 3:] + rate_std**2 * np.eye(3)
    return float(np.clip(2 * blur.angular @ np.linalg.solve(covariance, rate), -SIGN.rate_limit, SIGN.rate_limit))


def contradicts(blur: Velocity, aligned: Velocity, seconds: float) -> bool:
    """Tell whether a rotation seen in the blur cannot be the one that alignment found.

    Its sign does not matter, and its length little: a wrong exposure time must not rule out what could put it right.

    Args:
        seconds: between the times that the two are about.
    """
    covariance = (blur.covariance + aligned.covariance + _change_covariance(seconds))[3:, 3:]
    weighted = np.linalg.solve(covariance, blur.angular)
    scale = aligned.angular @ weighted / max(blur.angular @ weighted, 1e-9)
    scale = math.copysign(min(max(abs(scale), 1 / SIGN.length_factor), SIGN.length_factor), scale)
    error = aligned.angular - scale * blur.angular
    return bool(error @ np.linalg.solve(covariance, error) > SIGN.contradiction)


def disagreement(blur: Velocity, aligned: Velocity, change: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute how a blur differs from an alignment: d (6,), and χ² = dᵀ·(C + D + A)⁻¹·d of the rotations.

    Args:
        blur: it counts with the sign that is nearer.
        change: A (6, 6), covariance of the change between the times that the two are about.
    """
    if blur.angular @ aligned.angular < 0:
        blur = blur.reversed()
    difference = blur.vector - aligned.vector
    covariance = (blur.covariance + aligned.covariance + change)[3:, 3:]
    return difference, float(difference[3:] @ np.linalg.solve(covariance, difference[3:]))


def contradiction(difference: np.ndarray, squared: float) -> np.ndarray:
    """Compute what it adds to the covariances (6, 6) of both that a blur and an alignment contradict each other.

    Something that goes with the camera holds alignments back, a vibration makes streaks of its own: see `widened_by`,
    by 1 − c/χ² beyond the 90 % quantile c. Nothing below it: v, which χ² is not about, differs far more than ω.

    Args:
        difference, squared: d and χ², see `disagreement`.
    """
    return widened_by(difference, max(0.0, 1 - SIGN.disagreement / max(squared, 1e-9)))


def widened_by(difference: np.ndarray, share: float) -> np.ndarray:
    """Compute what it adds to the covariance (6, 6) of a velocity that another one differs from it.

    Where they differ by more than their covariances say, the whole difference d (6,) is an error that either may have,
    and where one axis is wrong, the others are not sure: a third of |d|² is added to each. All of that counts by a
    share.
    """
    every_axis = np.repeat(np.square(difference).reshape(2, 3).mean(1), 3)
    return share * (np.outer(difference, difference) + np.diag(every_axis))


def _change_covariance(seconds: float) -> np.ndarray:
    """Covariance (6, 6) of a change of (v, ω), given how fast cameras accelerate."""
    return np.diag((np.repeat([SHARED.linear_acceleration_std, SHARED.angular_acceleration_std], 3) * seconds) ** 2)
