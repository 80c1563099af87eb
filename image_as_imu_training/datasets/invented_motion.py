"""Samples of photographs on planes, of rooms and of RGB-D frames, with invented or recorded motions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from image_as_imu_training.datasets.carrier_motion import CarrierMotions
from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.rgbd_textures import RgbdScenes
from image_as_imu_training.rendering.blur import Scene, render_blur
from image_as_imu_training.rendering.motion import (
    axial_from_signed,
    random_motion,
    rolling_motion_field,
    subframe_count,
)
from image_as_imu_training.rendering.moving_parts import random_parts
from image_as_imu_training.rendering.planes import random_planes
from image_as_imu_training.rendering.point_lights import with_point_lights
from image_as_imu_training.rendering.rgbd import random_rgbd
from image_as_imu_training.rendering.rooms import TEXTURES, random_rooms
from image_as_imu_training.rendering.sensor import MARGIN, photograph
from image_as_imu_training.rendering.views import FRAME_WIDTH, STRIDE, Views, random_views
from image_as_imu_training.samples import Samples

_HIDDEN = 0.1  # of a cell and its exposure, from which on it is said to move by itself


@dataclass(frozen=True)
class Mixture:
    """What samples show.

    Attributes:
        rooms, rgbd: share of rooms and of RGB-D frames, 0…1; the others are photographs on planes.
        parts: share of samples before which something moves by itself.
    """

    rooms: float = 0.25
    rgbd: float = 0.15
    parts: float = 0.0


USUAL = Mixture()


def render_invented_motion(
    photos: Photos,
    scenes: RgbdScenes | None,
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    mixture: Mixture = USUAL,
    recorded: CarrierMotions | None = None,
) -> Samples:
    """Render `count` samples of `size` = (height, width): photographs on planes, rooms and RGB-D frames, if any.

    Args:
        generator: must live on the CPU.
        recorded: motions of which half of the samples get theirs; all are invented without.
    """
    device = torch.device(device)
    of_rooms = round(count * mixture.rooms)
    # Both may be rounded up.
    of_rgbd = 0 if scenes is None else min(round(count * mixture.rgbd), count - of_rooms)
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

    def render(scene: Scene, views: Views, depth_known: bool) -> Samples:
        number = len(views.focal)
        paths = None if recorded is None else recorded.draw(number, generator).to(device)
        before = torch.rand(number, generator=generator) < mixture.parts
        textures = photos.random_textures(int(before.sum()), generator, device) if before.any() else None
        return _render_scenes(scene, views, local, depth_known, paths, before.to(device), textures)

    samples = []
    if of_planes:
        views = invented_views(of_planes)
        textures = with_point_lights(photos.random_textures(of_planes, generator, device), local)
        samples.append(render(random_planes(textures, views, local), views, depth_known=False))
    if of_rooms:
        views = invented_views(of_rooms)
        textures = with_point_lights(photos.random_textures(of_rooms * TEXTURES, generator, device), local)
        textures = textures.unflatten(0, (of_rooms, TEXTURES))
        samples.append(render(random_rooms(textures[:, :, 0], views, local), views, depth_known=True))
    if of_rgbd and scenes is not None:
        frames = scenes.draw(of_rgbd, generator).to(device)
        texture = with_point_lights(frames.texture, local)
        scene, focal = random_rgbd(texture, frames.inverse_depth, frames.known, frames.focal, local)
        views = random_views(focal, torch.zeros_like(focal), *size, local)
        samples.append(render(scene, views, depth_known=True))
    return Samples.concatenate(samples)


def _render_scenes(
    scene: Scene,
    views: Views,
    generator: torch.Generator,
    depth_known: bool,
    paths: torch.Tensor | None,
    before: torch.Tensor,
    textures: torch.Tensor | None,
) -> Samples:
    """Move cameras through B scenes.

    Args:
        paths: (B, KNOTS, 6) recorded motions, of which some are taken.
        before: (B,) bool, before which scenes something moves by itself. textures: (number of these, 1, S, S) of it.
    """
    cells = views.cells()
    motion = random_motion(views, scene.inverse_depth(views.rays(cells)), generator, paths)
    rays = motion.rotated(views.rays(cells), views.rows(cells))
    inverse_depth = scene.inverse_depth(rays)
    subframes = subframe_count(views, motion, inverse_depth)
    light = torch.empty(
        len(subframes), 1, views.height + 2 * MARGIN, views.width + 2 * MARGIN, device=inverse_depth.device
    )
    hidden = torch.zeros_like(light)
    for group in _similar(subframes, ~before):
        count = int(subframes[group].max())
        light[group], _ = render_blur(scene[group], views[group], motion[group], count, MARGIN)
    if textures is not None:
        which = before.nonzero().flatten()
        parts = random_parts(textures, views[which], motion.readout[which], generator)
        of_parts = subframe_count(views[which], parts.motion, parts.scene.inverse_depth(views[which].rays(cells)))
        subframes[which] = torch.maximum(subframes[which], of_parts)
        number = torch.full_like(subframes, -1)
        number[which] = torch.arange(len(which), device=which.device)
        for group in _similar(subframes, before):
            count, own = int(subframes[group].max()), parts[number[group]]
            light[group], hidden[group] = render_blur(scene[group], views[group], motion[group], count, MARGIN, own)
    flow = rolling_motion_field(views, cells, inverse_depth, motion)
    grid = (views.height // STRIDE, views.width // STRIDE)
    moving = F.avg_pool2d(hidden[..., MARGIN:-MARGIN, MARGIN:-MARGIN], STRIDE)[:, 0] > _HIDDEN
    depth = torch.where(scene.measured(rays), 1 / inverse_depth, torch.nan).unflatten(1, grid)
    exact = (views.distortion == 0) & (motion.readout == 0)
    velocity = torch.cat([motion.linear, motion.angular], 1)
    return Samples(
        image=photograph(light, generator).cpu().numpy(),
        flow=axial_from_signed(flow).unflatten(2, grid).half().cpu().numpy(),
        depth=depth.masked_fill(moving, torch.nan).half().cpu().numpy(),
        moving=moving.cpu().numpy(),
        camera=torch.cat([views.focal[:, None], views.principal_point], 1).cpu().numpy(),
        motion=torch.where(exact[:, None], velocity, torch.nan).cpu().numpy(),
        depth_known=np.full(len(subframes), depth_known),
    )


def _similar(subframes: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Group the chosen ones of B samples by their number of sub-frames: short blurs stay cheap."""
    which = chosen.nonzero().flatten()
    return tuple(group for group in which[subframes[which].argsort()].split(max(1, -(-len(which) // 4))) if len(group))
