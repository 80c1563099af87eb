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
from image_as_imu_training.rendering.blur import render_blur
from image_as_imu_training.rendering.motion import axial_from_signed, motion_field, random_motion, subframe_count
from image_as_imu_training.rendering.scenes import PlaneScene, RgbdScene, random_planes, random_rgbd
from image_as_imu_training.rendering.sensor import MARGIN, photograph
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH, STRIDE, Views, random_views
from image_as_imu_training.sources import Photos, RgbdFrames, split_photos, split_rgbd

SHARD_SIZE = 512
_RGBD_SHARE = 0.15


@dataclass(frozen=True)
class Samples:
    """Images and what the network should say about them.

    Attributes:
        image: (N, h, w) uint8 luminance.
        flow: (N, 2, h/4, w/4) float16 axial flow q over the exposure, px.
        depth: (N, h/4, w/4) float16 m; NaN in photographs, which tell nothing about distance.
    """

    image: np.ndarray
    flow: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def save(self, path: Path) -> None:
        partial_file = path.with_suffix(".partial.npz")
        np.savez(partial_file, image=self.image, flow=self.flow, depth=self.depth)
        partial_file.rename(path)

    @classmethod
    def load(cls, folder: Path) -> Samples:
        """All shards of a folder, in memory.

        Raises:
            InputError: the folder holds none.
        """
        files = sorted(path for path in folder.glob("shard_*.npz") if ".partial" not in path.name)
        if not files:
            raise InputError(f"no rendered samples (shard_*.npz) in {folder}; run `render` first")
        shards = [np.load(path) for path in files]
        return cls(*(np.concatenate([shard[key] for shard in shards]) for key in ("image", "flow", "depth")))

    @classmethod
    def concatenate(cls, parts: list[Samples]) -> Samples:
        return cls(*(np.concatenate([getattr(p, key) for p in parts]) for key in ("image", "flow", "depth")))


def render_samples(
    photos: Photos,
    frames: RgbdFrames,
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Samples:
    """Render `count` samples of `size` = (height, width), 85 % of them of photographs.

    `generator` must live on the CPU.
    """
    device = torch.device(device)
    of_rgbd = round(count * _RGBD_SHARE)
    local = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))

    texture = photos.random_textures(count - of_rgbd, generator, device)
    degrees = 45 + 65 * torch.rand(count - of_rgbd, device=device, generator=local)
    views = random_views(FRAME_WIDTH / 2 / torch.deg2rad(degrees / 2).tan(), *size, local)
    parts = [_render_scenes(random_planes(texture, views, local), views, local)]
    parts[0].depth[:] = np.nan

    chosen = torch.randint(len(frames.texture), (of_rgbd,), generator=generator)
    scene, focal = random_rgbd(
        frames.texture[chosen].to(device), frames.inverse_depth[chosen].to(device), frames.focal, local
    )
    parts.append(_render_scenes(scene, random_views(focal, *size, local), local))
    return Samples.concatenate(parts)


def _render_scenes(scene: PlaneScene | RgbdScene, views: Views, generator: torch.Generator) -> Samples:
    """Move cameras through B scenes. Samples of similar blur are rendered together: short blurs stay cheap."""
    rays = views.cell_rays()
    inverse_depth = scene.inverse_depth(rays)
    motion = random_motion(views, inverse_depth, generator)
    subframes = subframe_count(views, motion, inverse_depth)
    grid = (views.height // STRIDE, views.width // STRIDE)
    light = torch.empty(len(rays), 1, views.height + 2 * MARGIN, views.width + 2 * MARGIN, device=rays.device)
    for group in subframes.argsort().split(8):
        count = int(subframes[group].max())
        light[group] = render_blur(scene[group], views[group], motion[group], count, MARGIN)
    flow = motion_field(rays, inverse_depth, views.focal, motion.angular, motion.linear)
    return Samples(
        photograph(light, generator).cpu().numpy(),
        axial_from_signed(flow).unflatten(2, grid).half().cpu().numpy(),
        (1 / inverse_depth).unflatten(1, grid).half().cpu().numpy(),
    )


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
        Samples.concatenate(parts).save(self.folder / f"shard_{shard:04d}.npz")


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
