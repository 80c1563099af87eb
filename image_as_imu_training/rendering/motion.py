"""Camera motion during one exposure, and the motion field it causes.

Time runs from −½ to ½ over the exposure, so velocities are per exposure: angular in rad, linear in m. The frame is
the camera's optical frame at mid-exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from image_as_imu_training.rendering.views import STRIDE, Views

MAX_BLUR_PX = 80.0
_MAX_ROTATION = 0.6  # rad per exposure; beyond that streaks are no streaks any more
_MAX_ROLL_OR_ZOOM = 0.35


@dataclass(frozen=True)
class Motion:
    """Motion of a batch of cameras: velocities at mid-exposure and a constant angular acceleration, each (B, 3)."""

    angular: torch.Tensor
    linear: torch.Tensor
    angular_acceleration: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> Motion:
        return Motion(self.angular[index], self.linear[index], self.angular_acceleration[index])

    def pose(self, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Camera-to-mid-exposure poses at (N,) times: rotation (B, N, 3, 3) and position (B, N, 3)."""
        t = times[:, None]
        rotation_vector = self.angular[:, None] * t + 0.5 * self.angular_acceleration[:, None] * t**2
        x, y, z = rotation_vector.unbind(-1)
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
        return torch.matrix_exp(skew), self.linear[:, None] * t


def motion_field(
    rays: torch.Tensor, inverse_depth: torch.Tensor, focal: torch.Tensor, angular: torch.Tensor, linear: torch.Tensor
) -> torch.Tensor:
    """Flow of static points over the exposure (Longuet-Higgins & Prazdny 1980).

    Args:
        rays: (B, 3, N) rays (x, y, 1). inverse_depth: (B, N) 1/m. focal: (B,) px.
        angular, linear: (B, 3) velocity per exposure.

    Returns:
        (B, 2, N) px.
    """
    x, y = rays[:, 0], rays[:, 1]
    wx, wy, wz = angular[:, :, None].unbind(1)
    vx, vy, vz = (linear[:, :, None] * inverse_depth[:, None]).unbind(1)
    u = x * y * wx - (1 + x * x) * wy + y * wz - vx + x * vz
    v = (1 + y * y) * wx - x * y * wy - x * wz - vy + y * vz
    return focal[:, None, None] * torch.stack([u, v], 1)


def axial_from_signed(flow: torch.Tensor) -> torch.Tensor:
    """Flow (B, 2, …) px → axial flow q = (‖f‖cos 2θ, ‖f‖sin 2θ), the same for f and −f; zero stays zero."""
    u, v = flow.unbind(1)
    length = torch.hypot(u, v)
    safe = length.clamp(min=1e-6)
    return torch.stack([(u * u - v * v) / safe, 2 * u * v / safe], 1)


def random_motion(views: Views, cell_inverse_depth: torch.Tensor, generator: torch.Generator) -> Motion:
    """Invented motions whose mean blur over each view follows the training distribution.

    9 % stand practically still (below 1 px), 79 % have 1–40 px, 12 % 40–80 px. Rotation and translation dominate
    or mix; a quarter of the rotations is mostly roll, a third of the translations mostly zoom.

    Args:
        views: B views. cell_inverse_depth: (B, cells) 1/m at their cell centres.
    """
    batch, device = len(views.focal), views.focal.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, *shape, device=device, generator=generator)

    def direction(mostly_z: float) -> torch.Tensor:
        vector = torch.randn(batch, 3, device=device, generator=generator)
        along_z = uniform(0, 1) < mostly_z
        vector[:, :2] *= torch.where(along_z, 0.2, 1.0)[:, None]
        vector[:, 2] *= torch.where(along_z, 1.0, 0.5)
        return vector

    rays = views.cell_rays()
    zero = torch.zeros(batch, 3, device=device)

    def mean_blur(angular: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
        return motion_field(rays, cell_inverse_depth, views.focal, angular, linear).norm(dim=1).mean(1)[:, None]

    angular, linear = direction(0.25), direction(0.33)
    angular = angular / mean_blur(angular, zero)
    linear = linear / mean_blur(zero, linear)
    kind = uniform(0, 1, 1)
    minor = uniform(0, 0.2, 1)
    mixed = uniform(0.2, 0.8, 1)
    share = torch.where(kind < 0.4, minor, torch.where(kind < 0.65, 1 - minor, mixed))
    angular, linear = (1 - share) * angular, share * linear
    amount = uniform(0, 1, 1)
    blur = torch.where(
        amount < 0.09,
        uniform(0, 1, 1),
        torch.where(amount < 0.88, 40.0 ** uniform(0, 1, 1) ** 0.8, uniform(40, MAX_BLUR_PX, 1)),
    )
    scale = blur / mean_blur(angular, linear)
    nearest = cell_inverse_depth.amax(1, keepdim=True)
    longest = motion_field(rays, cell_inverse_depth, views.focal, angular, linear).norm(dim=1).amax(1)[:, None]
    for value, limit in (
        (angular.norm(dim=1, keepdim=True), _MAX_ROTATION),
        (angular[:, 2:].abs(), _MAX_ROLL_OR_ZOOM),
        (linear[:, 2:].abs() * nearest, _MAX_ROLL_OR_ZOOM),
        (longest, MAX_BLUR_PX),
    ):
        scale = torch.minimum(scale, limit / value.clamp(min=1e-9))
    angular, linear = angular * scale, linear * scale
    acceleration = direction(0) * uniform(0, 0.3, 1) * angular.norm(dim=1, keepdim=True)
    return Motion(angular, linear, acceleration)


def subframe_count(views: Views, motion: Motion, cell_inverse_depth: torch.Tensor) -> torch.Tensor:
    """How many sub-frames keep the streaks whole, at least one per px of the longest blur: (B,) int64."""
    flow = motion_field(views.cell_rays(), cell_inverse_depth, views.focal, motion.angular, motion.linear)
    longest = flow.norm(dim=1).amax(1)
    speeding_up = 0.5 * motion.angular_acceleration.norm(dim=1) * views.focal
    return (1.1 * longest + speeding_up + STRIDE).ceil().long()
