"""Rendered samples: made once, kept on disk as shards, read back into memory."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
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
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH, STRIDE, Views, random_views
from image_as_imu_training.samples import Samples
from image_as_imu_training.sources import Photos, RgbdFrames, split_photos, split_rgbd

SHARD_SIZE = 512
ROOM_SHARE, RGBD_SHARE = 0.1, 0.12


def render_samples(
    photos: Photos,
    frames: RgbdFrames,
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Samples:
    """Render `count` samples of `size` = (height, width): photographs on planes, rooms and RGB-D frames.

    `generator` must live on the CPU.
    """
    device = torch.device(device)
    of_rooms, of_rgbd = round(count * ROOM_SHARE), round(count * RGBD_SHARE)
    of_planes = count - of_rooms - of_rgbd
    local = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))

    def lenses(number: int) -> torch.Tensor:
        """(number,) radial distortion; two lenses in three have none."""
        bent, some = torch.rand(2, number, device=device, generator=local)
        return torch.where(some < 1 / 3, 0.3 * bent - 0.05, 0.0)

    def invented_views(number: int) -> Views:
        """Cameras that are 45–110° wide."""
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
    if of_rgbd:
        chosen = torch.randint(len(frames.texture), (of_rgbd,), generator=generator)
        texture, inverse_depth = frames.texture[chosen].to(device), frames.inverse_depth[chosen].to(device)
        scene, focal = random_rgbd(texture, inverse_depth, frames.focal, local)
        views = random_views(focal, torch.zeros_like(focal), *size, local)
        parts.append(_render_scenes(scene, views, local, depth_known=True))
    return Samples.concatenate(parts)


def _render_scenes(scene: Scene, views: Views, generator: torch.Generator, depth_known: bool) -> Samples:
    """Move cameras through B scenes. Samples of similar blur are rendered together: short blurs stay cheap."""
    cells = views.cells()
    motion = random_motion(views, scene.inverse_depth(views.rays(cells)), generator)
    inverse_depth = scene.inverse_depth(motion.turned(views.rays(cells), views.rows(cells)))
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
        depth=(1 / inverse_depth).unflatten(1, grid).half().cpu().numpy(),
        camera=torch.cat([views.focal[:, None], views.principal_point], 1).cpu().numpy(),
        motion=torch.where(exact[:, None], velocity, torch.nan).cpu().numpy(),
        depth_known=np.full(len(subframes), depth_known),
    )


def save(samples: Samples, path: Path) -> None:
    """Write a shard in one go."""
    partial_file = path.with_suffix(".partial.npz")
    np.savez(partial_file, **vars(samples))
    partial_file.rename(path)


def load(folder: Path) -> Samples:
    """All shards of a folder, in memory.

    Raises:
        InputError: the folder holds none.
    """
    files = sorted(path for path in folder.glob("shard_*.npz") if ".partial" not in path.name)
    if not files:
        raise InputError(f"no rendered samples (shard_*.npz) in {folder}; run `render` first")
    return Samples.concatenate([Samples(**np.load(path)) for path in files])


@dataclass(frozen=True)
class _ShardRenderer:
    """Renders shards of one part of the data set; each worker process loads the material once."""

    photo_files: list[Path]
    rgbd_files: list[Path]
    size: tuple[int, int]
    seed: int
    folder: Path
    device: str

    @cached_property
    def _sources(self) -> tuple[Photos, RgbdFrames]:
        return Photos.load(self.photo_files), RgbdFrames.load(self.rgbd_files)

    def __call__(self, shard: int) -> None:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + shard)
        parts = [render_samples(*self._sources, 64, self.size, generator, self.device) for _ in range(SHARD_SIZE // 64)]
        save(Samples.concatenate(parts), self.folder / f"shard_{shard:04d}.npz")


_renderer: _ShardRenderer  # of this worker process


def _start_worker(renderer: _ShardRenderer) -> None:
    global _renderer
    torch.set_num_threads(1)
    _renderer = renderer


def _render_in_worker(shard: int) -> None:
    _renderer(shard)


def render_dataset(photos: Path, rgbd: Path, output: Path, samples: int, seed: int, workers: int, device: str) -> None:
    """Write OUTPUT/train (128×128 crops), OUTPUT/validation (the same) and OUTPUT/frames (320×224, validation).

    Shards that are there already are kept, so an interrupted run continues, and a larger `samples` adds to it.
    """
    train_photos, held_photos = split_photos(photos)
    train_rgbd, held_rgbd = split_rgbd(rgbd)
    crop, frame = (128, 128), (FRAME_HEIGHT, FRAME_WIDTH)
    for name, photo_files, rgbd_files, size, part_seed, shards in (
        ("validation", held_photos, held_rgbd, crop, seed + 1, 3),
        ("frames", held_photos, held_rgbd, frame, seed + 2, 1),
        ("train", train_photos, train_rgbd, crop, seed, -(-samples // SHARD_SIZE)),
    ):
        _render_part(_ShardRenderer(photo_files, rgbd_files, size, part_seed, output / name, device), shards, workers)


def _render_part(renderer: _ShardRenderer, shards: int, workers: int) -> None:
    renderer.folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(shards) if not (renderer.folder / f"shard_{i:04d}.npz").exists()]
    with (
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(renderer,)
        ) as pool,
        tqdm(total=shards, initial=shards - len(missing), desc=f"render {renderer.folder.name}", unit="shard") as bar,
    ):
        for _ in pool.map(_render_in_worker, missing):
            bar.update()
