"""Photographs on tilted planes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from image_as_imu_training.rendering.views import STRIDE, Views


def sample_mirrored(texture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Interpolate a texture (B, 1, h, w) at points (B, N, 2) in −1…1 (mirrored beyond), bilinearly: (B, N)."""
    grid = points[:, :, None]
    return F.grid_sample(texture, grid, "bilinear", "reflection", align_corners=False)[:, 0, :, 0]


@dataclass(frozen=True)
class PlaneScene:
    """Photographs on planes.

    Attributes:
        texture: (B, 1, S, S) linear luminance 0…1, repeated in mirrored tiles over the plane.
        plane: (B, 3) m = n/d in 1/m, such that m·X = 1 for points X of the plane in the mid-exposure frame.
        axes: (B, 2, 3) in-plane axes, in texture units (one tile is 2 long) per m.
        origin: (B, 2) texture coordinate where the axes' projection is zero.
    """

    texture: torch.Tensor
    plane: torch.Tensor
    axes: torch.Tensor
    origin: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> PlaneScene:
        return PlaneScene(self.texture[index], self.plane[index], self.axes[index], self.origin[index])

    def inverse_depth(self, rays: torch.Tensor) -> torch.Tensor:
        """Find (B, N) 1/Z such that the scene lies at Z·ray along (B, 3, N) rays."""
        return torch.einsum("bi,bin->bn", self.plane, rays)

    def measured(self, rays: torch.Tensor) -> torch.Tensor:
        """Say that the depth along all (B, 3, N) rays is the scene's own: (B, N) bool."""
        return torch.ones_like(rays[:, 0], dtype=torch.bool)

    def light(self, rays: torch.Tensor, rotation: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return (B, N, P) linear luminance along (B, 3, P) rays of the camera at N poses. An exact homography."""
        facing, onto_plane = self._onto_plane(rotation, position)
        homography = torch.cat([self.axes[:, None] @ onto_plane + self.origin[:, None, :, None] * facing, facing], 2)
        u, v, w = _mapped(homography, rays).unbind(2)
        points = torch.stack([u / w, v / w], -1)
        return sample_mirrored(self.texture, points.flatten(1, 2)).unflatten(1, points.shape[1:3])

    def met(self, rays: torch.Tensor, rotation: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return where (B, 3, P) rays of the camera at N poses meet the plane, up to a factor each: (B, N, 3, P)."""
        return _mapped(self._onto_plane(rotation, position)[1], rays)

    def _onto_plane(self, rotation: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return m·R (B, N, 1, 3), and the map of rays to where they meet the plane, times m·R·ray: (B, N, 3, 3)."""
        plane = self.plane[:, None, :, None]
        facing = plane.mT @ rotation
        return facing, position[..., None] @ facing + (1 - (position[..., None] * plane).sum(2, True)) * rotation


def _mapped(matrices: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
    """Multiply (B, N, 3, 3) matrices and (B, 3, P) rays, without a copy of the rays for each: (B, N, 3, P)."""
    return (matrices.flatten(1, 2) @ rays).unflatten(1, (-1, 3))


def random_planes(texture: torch.Tensor, views: Views, generator: torch.Generator) -> PlaneScene:
    """Put up planes 0.4–8 m away, tilted up to 50°, with the (B, 1, S, S) textures scaled so that little aliases."""
    batch, device = len(texture), texture.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, *shape, device=device, generator=generator)

    depth = 0.4 * 20.0 ** uniform(0, 1, 1)
    tilt, azimuth = torch.deg2rad(uniform(0, 50)), uniform(0, 2 * torch.pi)
    normal = torch.stack([tilt.sin() * azimuth.cos(), tilt.sin() * azimuth.sin(), tilt.cos()], -1)
    rays = views.rays(views.cells())
    centre = rays.mean(2)
    # 1/Z relative to the centre's; planes that nearly pass through the camera are rotated towards it.
    tilted = normal / (normal * centre).sum(1, keepdim=True)
    relative = torch.einsum("bi,bin->bn", tilted, rays)
    excess = torch.maximum((1 - relative.amin(1)) / 0.6, (relative.amax(1) - 1) / 1.5)
    keep = 1 / excess.clamp(min=1)[:, None]
    facing = torch.tensor([0.0, 0.0, 1.0], device=device)
    plane = (keep * tilted + (1 - keep) * facing) / depth

    normal = F.normalize(plane, dim=1)
    helper = torch.tensor([1.0, 0.0, 0.0], device=device).expand_as(normal)
    second = F.normalize(torch.linalg.cross(normal, helper), dim=1)
    first = torch.linalg.cross(second, normal)
    roll = uniform(0, 2 * torch.pi, 1)
    axes = torch.stack([roll.cos() * first + roll.sin() * second, roll.cos() * second - roll.sin() * first], 1)

    # Metres on the plane per px, at its most. One to two texels there: as sharp as cameras, without aliasing much.
    distance = 1 / torch.einsum("bi,bin->bn", plane, rays)
    points = (axes @ (rays * distance[:, None])).unflatten(2, (views.height // STRIDE, views.width // STRIDE))
    footprint = torch.maximum(points.diff(dim=2).norm(dim=1).amax((1, 2)), points.diff(dim=3).norm(dim=1).amax((1, 2)))
    texels_per_metre = uniform(1.2, 2.0) * STRIDE / footprint
    axes = axes * (2 * texels_per_metre / texture.shape[-1])[:, None, None]
    return PlaneScene(texture, plane, axes, uniform(-1, 1, 2))
