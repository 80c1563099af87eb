"""Integrate what a moving camera sees over its exposure, in linear light.

With time t from −½ to ½ over the exposure, the pixel with ray r of the optical frame at mid-exposure sees at time t the
scene along R(t)·r from p(t), where R(t) = exp(ω·t + α·t²/2) and p(t) = v·t. What it integrates is

    L(r) = ∫ light(R(t)·r, p(t)) dt ≈ 1/N · Σ light(R(tₙ)·r, p(tₙ)),    tₙ = (n + ½)/N − ½,

the midpoint rule. Its streak is f = J·ẋ(r, Z) long (`motion.motion_field`); the sum stands for the integral while
neighbouring instants are less than a texel apart, N ≥ 1.5·‖f‖. A row of a rolling shutter has its mid-exposure at
another time τ: its rays are rotated by R(τ) first, and R(t)·R(τ)·r stands for R(t + τ)·r, from which it differs by
α·τ·t.
"""

from __future__ import annotations

from typing import Protocol

import torch

from image_as_imu_training.rendering.motion import Motion
from image_as_imu_training.rendering.moving_parts import MovingParts
from image_as_imu_training.rendering.views import Views

_POINTS_AT_ONCE = {"cpu": 400_000, "cuda": 20_000_000}  # bounds the memory; on a CPU about its cache


class Scene(Protocol):
    """A batch of things to see, given in the camera's frame at mid-exposure."""

    def __getitem__(self, index: torch.Tensor) -> Scene: ...

    def inverse_depth(self, rays: torch.Tensor) -> torch.Tensor:
        """Find (B, N) 1/Z such that the scene lies at Z·ray along (B, 3, N) rays from mid-exposure."""
        ...

    def measured(self, rays: torch.Tensor) -> torch.Tensor:
        """Say along which of (B, 3, N) rays that depth is the scene's own, not a guess to render by: (B, N) bool."""
        ...

    def light(self, rays: torch.Tensor, rotation: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return (B, N, P) linear luminance 0…1 along (B, 3, P) rays of the camera at poses (B, N, 3, 3), (B, N, 3)."""
        ...


def render_blur(
    scene: Scene, views: Views, motion: Motion, subframes: int, margin: int = 0, parts: MovingParts | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average `subframes` sharp images over the exposure.

    Args:
        scene, views, motion, parts: batches of B.
        subframes: equally spaced instants; enough of them, or streaks break up.
        margin: px more on each side.

    Returns:
        (B, 1, height + 2·margin, width + 2·margin) linear luminance 0…1, and for how much of the exposure each pixel
        sees a part that moves by itself, 0…1.
    """
    pixels = views.pixels(margin)
    rays, rows = views.rays(pixels), views.rows(pixels)
    of_scene = motion.rotated(rays, rows)
    of_parts = None if parts is None else parts.motion.rotated(rays, rows)
    times = (torch.arange(subframes, device=rays.device) + 0.5) / subframes - 0.5
    total, hidden = torch.zeros(2, rays.shape[0], rays.shape[2], device=rays.device)
    for chunk in times.split(max(1, _POINTS_AT_ONCE[rays.device.type] // total.numel())):
        light = scene.light(of_scene, *motion.pose(chunk))
        if parts is not None and of_parts is not None:
            before, covered = parts.seen(of_parts, chunk)
            light = light + covered * (before - light)
            hidden += covered.sum(1)
        total += light.sum(1)
    size = (-1, 1, views.height + 2 * margin, views.width + 2 * margin)
    return (total / subframes).view(size), (hidden / subframes).view(size)
