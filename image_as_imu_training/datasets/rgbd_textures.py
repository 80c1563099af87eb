"""RGB-D frames as the renderer sees them: textures with depth, all seen by one ideal camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.layouts import Recording
from image_as_imu_training.datasets.rgbd import LEAST_KNOWN, RgbdFrame, fill_holes, known_depth, linear_luminance

HEIGHT, WIDTH = 336, 448  # about 1.1–1.4 texels per px of the virtual camera

Item = TypeVar("Item")


@dataclass(frozen=True)
class RgbdTextures:
    """Frames of one ideal camera with a centred principal point.

    Attributes:
        texture: (F, 1, HEIGHT, WIDTH) linear luminance 0…1. inverse_depth: (F, 1, HEIGHT, WIDTH) 1/m, holes filled.
        focal: focal length / image width.
    """

    texture: torch.Tensor
    inverse_depth: torch.Tensor
    focal: float

    @classmethod
    def load(cls, recordings: list[Recording], count: int) -> RgbdTextures:
        """Read about `count` frames, evenly over all recordings. Frames almost without depth are left out."""
        recordings = [recording for recording in _evenly(recordings, count) if len(recording.open())]
        if not recordings:
            raise InputError("the RGB-D recordings are too short: no frame is left")
        focal = max(_narrowest_focal(recording.open()[0].camera) for recording in recordings)
        camera = Camera(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
        textures, inverse_depths = [], []
        for frame in _frames(recordings, count):
            frame = frame.seen_by(camera)
            if known_depth(frame.depth).mean() > LEAST_KNOWN:
                textures.append(linear_luminance(frame.colour))
                inverse_depths.append(1 / fill_holes(frame.depth))
        if not textures:
            raise InputError(f"{', '.join(recording.name for recording in recordings)}: no frame has usable depth")
        texture, inverse_depth = (torch.from_numpy(np.stack(maps)[:, None]) for maps in (textures, inverse_depths))
        return cls(texture, inverse_depth, focal / WIDTH)


def _narrowest_focal(camera: Camera) -> float:
    """Find the focal length, px, of the widest WIDTH×HEIGHT camera with a centred principal point that sees no more."""
    across = min(camera.cx + 0.5, camera.width - 0.5 - camera.cx) / camera.fx
    down = min(camera.cy + 0.5, camera.height - 0.5 - camera.cy) / camera.fy
    return max(WIDTH / 2 / across, HEIGHT / 2 / down)


def _frames(recordings: list[Recording], count: int) -> Iterator[RgbdFrame]:
    for recording in recordings:
        sequence = recording.open()
        for index in _evenly(range(len(sequence)), -(-count // len(recordings))):
            yield sequence[index]


def _evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Choose at most `count` of the items, evenly."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]
