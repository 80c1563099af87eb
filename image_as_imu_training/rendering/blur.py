"""Integrate what a moving camera sees over its exposure, in linear light."""

from __future__ import annotations

import torch

from image_as_imu_training.rendering.motion import Motion
from image_as_imu_training.rendering.scenes import PlaneScene, RgbdScene, sample_mirrored
from image_as_imu_training.rendering.views import Views

_POINTS_AT_ONCE = 400_000  # bounds the memory; about a processor's cache


def render_blur(
    scene: PlaneScene | RgbdScene, views: Views, motion: Motion, subframes: int, margin: int = 0
) -> torch.Tensor:
    """Mean of `subframes` sharp images over the exposure.

    Args:
        scene, views, motion: batches of B.
        subframes: equally spaced instants; at least one per px of blur, or streaks break up.
        margin: px more on each side.

    Returns:
        (B, 1, height + 2·margin, width + 2·margin) linear luminance 0…1.
    """
    rays = views.pixel_rays(margin)
    times = (torch.arange(subframes, device=rays.device) + 0.5) / subframes - 0.5
    total = torch.zeros(rays.shape[0], rays.shape[2], device=rays.device)
    for chunk in times.split(max(1, _POINTS_AT_ONCE // total.numel())):
        points = scene.texture_points(rays, *motion.pose(chunk))
        total += sample_mirrored(scene.texture, points.flatten(1, 2)).unflatten(1, points.shape[1:3]).sum(1)
    return (total / subframes).view(-1, 1, views.height + 2 * margin, views.width + 2 * margin)
