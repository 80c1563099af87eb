"""Which way along the streaks? A neighbouring frame and the last velocity settle the one bit that blur cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres

SIGN_RESOLUTIONS = ("causal", "centered", "axial")

_PHOTOMETRIC_GAIN = 15.0  # log-odds per unit of relative photometric error
_PHOTOMETRIC_LIMIT = 7.0  # log-odds: the test fails once in a thousand times, however clear it looks
_RATE_LIMIT = 7.0  # log-odds: another sensor may be stuck, late or mounted otherwise than was said
_ANGULAR_ACCELERATION_STD = 60.0  # rad/s²
_LINEAR_ACCELERATION_STD = 15.0  # m/s²
_USUAL = 0.4  # how hard cameras mostly accelerate, as a fraction of that
_LONGEST_GAP = 0.5  # s; frames further apart say nothing about each other
_LEAST_OVERLAP = 0.2
_LENGTH_FACTOR = 4.0  # by which blur's velocity may be too short or too long
_CHI2_999_3 = 16.266  # 99.9 % quantile of χ² with 3 degrees of freedom


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
        shape = camera.height // stride, camera.width // stride
        pixels = cell_centres(*shape, stride)
        rays = np.nan_to_num(camera.rays(pixels))
        jacobian = np.ascontiguousarray(camera.projection_jacobian(rays).transpose(1, 2, 0))
        return cls(shape, stride, np.ascontiguousarray(pixels.T), np.ascontiguousarray(rays.T), jacobian)

    def displaced(self, velocity: np.ndarray, inverse_depth: np.ndarray | None, seconds: float) -> np.ndarray:
        """Where the points now at the grid's pixels were `seconds` ago, for a camera that moves with `velocity`.

        Args:
            velocity: (6,) (v, ω), m/s and rad/s.
            inverse_depth: (h, w) 1/m now; None leaves v out.
            seconds: of either sign.

        Returns:
            (2, h, w) float32 px.
        """
        # A static point P obeys dP/dt = −v − ω×P, so `seconds` ago it was at exp([ω]·seconds)·P + v·seconds.
        rotation = cv2.Rodrigues(velocity[3:] * seconds)[0]
        points = rotation[:, :2] @ self.rays + rotation[:, 2:]
        if inverse_depth is not None:
            points += (velocity[:3, None] * seconds) * inverse_depth.reshape(1, -1)
        moved = points[:2] / np.maximum(points[2], 1e-3) - self.rays
        pixels = self.pixels + self.jacobian[:, 0] * moved[0] + self.jacobian[:, 1] * moved[1]
        return pixels.astype(np.float32).reshape(2, *self.shape)


def small_image(image: np.ndarray, grid: Grid) -> np.ndarray:
    """A prepared image, (H, W) or (H, W, 3) uint8 → (h, w) float32 luminance, one value per cell of the grid."""
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
    if abs(seconds) > _LONGEST_GAP:
        return 0.0
    inverse_depth = None if depth is None else np.nan_to_num(1 / depth, posinf=0.0)
    forward = _difference(grid, velocity, inverse_depth, now, other, seconds)
    backward = _difference(grid, -velocity, inverse_depth, now, other, seconds)
    if not (math.isfinite(forward) and math.isfinite(backward)) or forward + backward <= 0:
        return 0.0
    log_odds = _PHOTOMETRIC_GAIN * (backward - forward) / (backward + forward)
    return float(np.clip(log_odds, -_PHOTOMETRIC_LIMIT, _PHOTOMETRIC_LIMIT))


def _difference(
    grid: Grid,
    velocity: np.ndarray,
    inverse_depth: np.ndarray | None,
    now: np.ndarray,
    other: np.ndarray,
    seconds: float,
) -> float:
    """Mean absolute difference of `now` and the warped `other`, both normalised over their overlap; inf without one."""
    where = (grid.displaced(velocity, inverse_depth, seconds) + 0.5) / grid.stride - 0.5
    warped = cv2.remap(other, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1)
    seen = (warped >= 0).astype(np.uint8)
    if cv2.countNonZero(seen) < _LEAST_OVERLAP * seen.size:
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
        velocity, previous: (6,) (v, ω), m/s and rad/s; previous with its direction known.
        covariance: (6, 6) of velocity.
        seconds: between the two.
    """
    if abs(seconds) > _LONGEST_GAP:
        return 0.0
    weighted = np.linalg.solve(2 * covariance + _change_covariance(seconds), previous)
    return float(np.clip(2 * velocity @ weighted, -_PHOTOMETRIC_LIMIT, _PHOTOMETRIC_LIMIT))


def alignment_log_odds(blur: Velocity, length_log_std: float, aligned: Velocity, seconds: float) -> float:
    """Log-odds that a blur's velocity rather than its reverse belongs to the motion that alignment found.

    Args:
        length_log_std: standard deviation of the log of a length error in the blur's covariance. A wrong length does
            not turn a motion round, so it is left out.
        seconds: between the times that the two are about.
    """
    velocity = blur.vector
    covariance = blur.covariance - length_log_std**2 * np.outer(velocity, velocity) + aligned.covariance
    weighted = np.linalg.solve(covariance + _change_covariance(_USUAL * seconds), aligned.vector)
    return float(np.clip(2 * velocity @ weighted, -_PHOTOMETRIC_LIMIT, _PHOTOMETRIC_LIMIT))


def rate_log_odds(blur: Velocity, rate: np.ndarray, rate_std: float) -> float:
    """Log-odds that a blur's turn rather than its reverse is the one that another sensor measured.

    Args:
        rate: (3,) rad/s, of the camera in its optical frame, with independent errors of `rate_std` rad/s per axis.
    """
    covariance = blur.covariance[3:, 3:] + rate_std**2 * np.eye(3)
    return float(np.clip(2 * blur.angular @ np.linalg.solve(covariance, rate), -_RATE_LIMIT, _RATE_LIMIT))


def contradicts(blur: Velocity, aligned: Velocity, seconds: float) -> bool:
    """Whether a turn seen in the blur cannot be the one that alignment found.

    Its sign does not matter, and its length little: a wrong exposure time must not rule out what could put it right.

    Args:
        seconds: between the times that the two are about.
    """
    covariance = (blur.covariance + aligned.covariance + _change_covariance(seconds))[3:, 3:]
    weighted = np.linalg.solve(covariance, blur.angular)
    scale = aligned.angular @ weighted / max(blur.angular @ weighted, 1e-9)
    scale = math.copysign(min(max(abs(scale), 1 / _LENGTH_FACTOR), _LENGTH_FACTOR), scale)
    error = aligned.angular - scale * blur.angular
    return bool(error @ np.linalg.solve(covariance, error) > _CHI2_999_3)


def _change_covariance(seconds: float) -> np.ndarray:
    """(6, 6) by how much (v, ω) may change, given how fast cameras accelerate."""
    return np.diag((np.repeat([_LINEAR_ACCELERATION_STD, _ANGULAR_ACCELERATION_STD], 3) * seconds) ** 2)
