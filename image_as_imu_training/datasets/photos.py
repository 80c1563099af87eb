"""Plain folders of photographs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch.nn import functional as F

from image_as_imu_ros.errors import InputError
from image_as_imu_training.rendering.sensor import linear_from_srgb

TEXTURE_SIZE = 384
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def split_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photographs for training and for validation (about a tenth, by a hash of the file's name).

    Raises:
        InputError: the folder holds no photographs.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"no photographs ({', '.join(sorted(_SUFFIXES))}) in {folder}")
    held_out = [hashlib.sha256(path.name.encode()).digest()[0] < 26 for path in files]
    training = [path for path, held in zip(files, held_out, strict=True) if not held]
    validation = [path for path, held in zip(files, held_out, strict=True) if held]
    return training, validation


@dataclass(frozen=True)
class Photos:
    """Photographs as 8-bit sRGB luminance, each (h, w) uint8."""

    images: list[torch.Tensor]

    @classmethod
    def load(cls, files: list[Path]) -> Photos:
        images = []
        for path in files:
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise InputError(f"{path} is not a readable image")
            images.append(torch.from_numpy(image))
        return cls(images)

    def random_textures(self, count: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """Random square patches in linear light: (count, 1, TEXTURE_SIZE, TEXTURE_SIZE) float32 0…1."""
        decode = linear_from_srgb(torch.arange(256) / 255)
        chosen = torch.randint(len(self.images), (count,), generator=generator)
        place = torch.rand(count, 3, generator=generator)
        patches = []
        for index, (size, left, top) in zip(chosen.tolist(), place.tolist(), strict=True):
            image = self.images[index]
            height, width = image.shape
            side = int(min(height, width) * (0.7 + 0.3 * size))
            top, left = int((height - side) * top), int((width - side) * left)
            patch = decode[image[top : top + side, left : left + side].long()].to(device)
            size = (TEXTURE_SIZE, TEXTURE_SIZE)
            patches.append(F.interpolate(patch[None, None], size, mode="bilinear", antialias=True))
        return torch.cat(patches)
