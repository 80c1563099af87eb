"""RGB-D frames, seen by a moving virtual camera."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from image_as_imu_training.rendering.planes import sample_mirrored
from image_as_imu_training.rendering.views import FRAME_WIDTH

_MOSTLY = 0.99  # a depth that was interpolated with an unknown one is unknown


@dataclass(frozen=True)
class RgbdScene:
    """RGB-D frames, seen by a virtual camera at the same place that may be rolled about its axis.

    Attributes:
        texture: (B, 1, h, w) linear luminance 0…1. inverse_depth_map: (B, 1, h, w) 1/m, without holes.
        known_map: (B, 1, h, w) bool, where that was measured.
        projection: (B, 2, 3) maps rays (x, y, 1) of the virtual camera to texture coordinates −1…1.
    """

    texture: torch.Tensor
    inverse_depth_map: torch.Tensor
    known_map: torch.Tensor
    projection: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> RgbdScene:
        parts = (self.texture, self.inverse_depth_map, self.known_map, self.projection)
        return RgbdScene(*(part[index] for part in parts))

    def inverse_depth(self, rays: torch.Tensor) -> torch.Tensor:
        """Find (B, N) 1/Z such that the scene lies at Z·ray along (B, 3, N) rays."""
        points = (self.projection @ (rays / rays[:, 2:])).mT
        return rays[:, 2] * sample_mirrored(self.inverse_depth_map, points)

    def measured(self, rays: torch.Tensor) -> torch.Tensor:
        """Say along which of (B, 3, N) rays depth was measured: (B, N) bool."""
        points = (self.projection @ (rays / rays[:, 2:])).mT
        return sample_mirrored(self.known_map.float(), points) > _MOSTLY

    def light(self, rays: torch.Tensor, rotation: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return (B, N, P) linear luminance along (B, 3, P) rays of the camera at N poses.

        Every pixel keeps its depth of mid-exposure, which is right to first order: the streak of each pixel is
        exactly the one that its own depth explains.
        """
        moved = rotation @ rays[:, None] + position[..., None] * self.inverse_depth(rays)[:, None, None]
        points = (self.projection[:, None] @ (moved / moved[:, :, 2:])).mT
        return sample_mirrored(self.texture, points.flatten(1, 2)).unflatten(1, points.shape[1:3])


def random_rgbd(
    texture: torch.Tensor,
    inverse_depth_map: torch.Tensor,
    known_map: torch.Tensor,
    source_focal: torch.Tensor,
    generator: torch.Generator,
) -> tuple[RgbdScene, torch.Tensor]:
    """Place virtual cameras in RGB-D frames: up to 30 % zoom, up to 20° roll.

    Args:
        texture, inverse_depth_map, known_map: (B, 1, h, w), as in RgbdScene.
        source_focal: (B,) focal length / image width of the RGB-D cameras.

    Returns:
        The scenes, and the virtual focal lengths (B,) in px.
    """
    batch, device = len(texture), texture.device
    zoom = 1 + 0.3 * torch.rand(batch, device=device, generator=generator)
    roll = torch.deg2rad(40 * torch.rand(batch, device=device, generator=generator) - 20)
    height, width = texture.shape[-2:]
    scale = 2 * source_focal[:, None] * torch.tensor([1, width / height], device=device)
    zero = torch.zeros_like(roll)
    rotation = torch.stack([roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero], -1).unflatten(-1, (2, 3))
    scene = RgbdScene(texture, inverse_depth_map, known_map, scale[:, :, None] * rotation)
    return scene, FRAME_WIDTH * source_focal * zoom
