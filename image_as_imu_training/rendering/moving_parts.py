"""Things before the scene that move by themselves, or are fixed to the camera: an arm, a bonnet, somebody passing.

A part is a photograph on a plane with a motion of its own, cut out by a mask: at time t of the exposure a pixel sees
the part where the mask is at t, the scene elsewhere. The mask lies on the plane, given by where the pixels of
mid-exposure see it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from image_as_imu_training.rendering.motion import Motion, random_motion
from image_as_imu_training.rendering.planes import PlaneScene, random_planes
from image_as_imu_training.rendering.views import Views

_COVERED = (0.1, 0.4)  # of the frame
_FIXED = 0.25  # share of the parts that are fixed to the camera
_MASK = (48, 64)
_BLOBS = (4, 5)  # random heights between which masks are interpolated: some two or three blobs to a frame
_EDGE = 0.02  # softness of a mask's edge, in random heights
_MARGIN = 1.2  # how much more than the view a mask covers


@dataclass(frozen=True)
class MovingParts:
    """One thing before each of B scenes.

    Attributes:
        scene: what it shows, in the camera's frame at mid-exposure. motion: of the camera relative to it.
        mask: (B, 1, h, w) 0…1, over rays (x, y) within ±extent. extent: (B, 2).
    """

    scene: PlaneScene
    motion: Motion
    mask: torch.Tensor
    extent: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> MovingParts:
        return MovingParts(self.scene[index], self.motion[index], self.mask[index], self.extent[index])

    def seen(self, rays: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return light and how much of each ray meets the part, 0…1: (B, N, P) along (B, 3, P) rays at (N,) times."""
        rotation, position = self.motion.pose(times)
        met = self.scene.met(rays, rotation, position)
        points = (met[:, :, :2] / met[:, :, 2:] / self.extent[:, None, :, None]).movedim(2, 3)
        grid = points.flatten(1, 2)[:, :, None]
        covered = F.grid_sample(self.mask, grid, "bilinear", "border", align_corners=False)[:, 0, :, 0]
        return self.scene.light(rays, rotation, position), covered.unflatten(1, points.shape[1:3])


def random_parts(texture: torch.Tensor, views: Views, readout: torch.Tensor, generator: torch.Generator) -> MovingParts:
    """Invent parts that cover 10–40 % of the frame, a quarter of them fixed to the camera.

    Args:
        texture: (B, 1, S, S) linear luminance 0…1. readout: (B,) of the cameras, in exposures.
    """
    batch, device = len(texture), texture.device
    scene = random_planes(texture, views, generator)
    motion = random_motion(views, scene.inverse_depth(views.rays(views.cells())), generator)
    moves = (torch.rand(batch, 1, device=device, generator=generator) >= _FIXED).float()
    motion = replace(
        motion,
        angular=moves * motion.angular,
        linear=moves * motion.linear,
        angular_acceleration=moves * motion.angular_acceleration,
        readout=readout,
        deviation=None,
    )
    extent = _MARGIN * views.rays(views.pixels())[:, :2].abs().amax(2)
    return MovingParts(scene, motion, _random_masks(batch, device, generator), extent)


def _random_masks(batch: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
    heights = torch.rand(batch, 1, *_BLOBS, device=device, generator=generator)
    heights = F.interpolate(heights, _MASK, mode="bicubic", align_corners=False)
    low, high = _COVERED
    covered = low + (high - low) * torch.rand(batch, 1, device=device, generator=generator)
    ascending = heights.flatten(1).sort(1).values
    level = ascending.gather(1, ((1 - covered) * (ascending.shape[1] - 1)).long())
    return torch.sigmoid((heights - level[:, :, None, None]) / _EDGE)
