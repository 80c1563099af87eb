"""Samples of photographs on planes, of rooms and of RGB-D frames, with invented motions."""

from __future__ import annotations

import numpy as np
import torch

from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.rgbd_textures import RgbdScenes
from image_as_imu_training.rendering.blur import Scene, render_blur
from image_as_imu_training.rendering.motion import (
    axial_from_signed,
    random_motion,
    rolling_motion_field,
    subframe_count,
)
from image_as_imu_training.rendering.planes import random_planes
from image_as_imu_training.rendering.rgbd import random_rgbd
from image_as_imu_training.rendering.rooms import TEXTURES, random_rooms
from image_as_imu_training.rendering.sensor import MARGIN, photograph
from image_as_imu_training.rendering.views import FRAME_WIDTH, STRIDE, Views, random_views
from image_as_imu_training.samples import Samples

ROOM_SHARE, RGBD_SHARE = 0.25, 0.15


def render_invented_motion(
    photos: Photos,
    scenes: RgbdScenes | None,
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    room_share: float = ROOM_SHARE,
    rgbd_share: float = RGBD_SHARE,
) -> Samples:
    """Render `count` samples of `size` = (height, width): photographs on planes, rooms and RGB-D frames, if any.

    `generator` must live on the CPU.
    """
    device = torch.device(device)
    of_rooms = round(count * room_share)
    # Both may be rounded up.
    of_rgbd = 0 if scenes is None else min(round(count * rgbd_share), count - of_rooms)
    of_planes = count - of_rooms - of_rgbd
    local = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))

    def lenses(number: int) -> torch.Tensor:
        """Draw (number,) radial distortion; two lenses in three have none."""
        bent, some = torch.rand(2, number, device=device, generator=local)
        return torch.where(some < 1 / 3, 0.3 * bent - 0.05, 0.0)

    def invented_views(number: int) -> Views:
        """Draw cameras that are 45–110° wide."""
        degrees = 45 + 65 * torch.rand(number, device=device, generator=local)
        return random_views(FRAME_WIDTH / 2 / torch.deg2rad(degrees / 2).tan(), lenses(number), *size, local)

    parts = []
    if of_planes:
        views = invented_views(of_planes)
        scene = random_planes(photos.random_textures(of_planes, generator, device), views, local)
        parts.append(_render_scenes(scene, views, local, depth_known=False))
    if of_rooms:
        views = invented_views(of_rooms)
        textures = photos.random_textures(of_rooms * TEXTURES, generator, device).unflatten(0, (of_rooms, TEXTURES))
        parts.append(_render_scenes(random_rooms(textures[:, :, 0], views, local), views, local, depth_known=True))
    if of_rgbd and scenes is not None:
        frames = scenes.draw(of_rgbd, generator).to(device)
        scene, focal = random_rgbd(frames.texture, frames.inverse_depth, frames.known, frames.focal, local)
        views = random_views(focal, torch.zeros_like(focal), *size, local)
        parts.append(_render_scenes(scene, views, local, depth_known=True))
    return Samples.concatenate(parts)


def _render_scenes(scene: Scene, views: Views, generator: torch.Generator, depth_known: bool) -> Samples:
    """Move cameras through B scenes. Samples of similar blur are rendered together: short blurs stay cheap."""
    cells = views.cells()
    motion = random_motion(views, scene.inverse_depth(views.rays(cells)), generator)
    rays = motion.rotated(views.rays(cells), views.rows(cells))
    inverse_depth = scene.inverse_depth(rays)
    subframes = subframe_count(views, motion, inverse_depth)
    light = torch.empty(
        len(subframes), 1, views.height + 2 * MARGIN, views.width + 2 * MARGIN, device=inverse_depth.device
    )
    for group in subframes.argsort().split(4):
        count = int(subframes[group].max())
        light[group] = render_blur(scene[group], views[group], motion[group], count, MARGIN)
    flow = rolling_motion_field(views, cells, inverse_depth, motion)
    grid = (views.height // STRIDE, views.width // STRIDE)
    exact = (views.distortion == 0) & (motion.readout == 0)
    velocity = torch.cat([motion.linear, motion.angular], 1)
    return Samples(
        image=photograph(light, generator).cpu().numpy(),
        flow=axial_from_signed(flow).unflatten(2, grid).half().cpu().numpy(),
        depth=torch.where(scene.measured(rays), 1 / inverse_depth, torch.nan).unflatten(1, grid).half().cpu().numpy(),
        camera=torch.cat([views.focal[:, None], views.principal_point], 1).cpu().numpy(),
        motion=torch.where(exact[:, None], velocity, torch.nan).cpu().numpy(),
        depth_known=np.full(len(subframes), depth_known),
    )
