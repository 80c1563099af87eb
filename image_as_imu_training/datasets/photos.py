"""Plain folders of photographs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch.nn import functional as F

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.image_files import read_image_file
from image_as_imu_training.rendering.sensor import linear_from_srgb

TEXTURE_SIZE = 384
_DECODE = linear_from_srgb(torch.arange(256) / 255)
_SMALLEST = 64  # px; smaller ones, enlarged to a texture, are soft, and are no photographs but icons
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def split_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """Split photographs into those for training and those for validation (about a tenth, by a hash of the file's name).

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
        """Read photographs. Raises InputError: one is not readable, or too small."""
        images = []
        for path in files:
            image = read_image_file(path, cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise InputError(f"{path} is not a readable image")
            height, width = image.shape[:2]
            if min(height, width) < _SMALLEST:
                raise InputError(
                    f"{path} is {width}×{height} px, too small for a sharp photograph: take it out, or give one of at "
                    f"least {_SMALLEST} px on each side"
                )
            images.append(torch.from_numpy(image))
        return cls(images)

    def random_textures(self, count: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """Cut random square patches in linear light, half of them collages of four photographs, which show more detail.

        Returns:
            (count, 1, TEXTURE_SIZE, TEXTURE_SIZE) float32 0…1.
        """
        decode = _DECODE.to(device)
        collage = (torch.rand(count, generator=generator) < 0.5).tolist()
        textures = []
        for four in collage:
            if four:
                a, b, c, d = (self._random_patch(TEXTURE_SIZE // 2, generator, decode) for _ in range(4))
                textures.append(torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)]))
            else:
                textures.append(self._random_patch(TEXTURE_SIZE, generator, decode))
        return torch.stack(textures)[:, None]

    def _random_patch(self, size: int, generator: torch.Generator, decode: torch.Tensor) -> torch.Tensor:
        """Cut (size, size) linear light of at least half of a photograph's area; `decode` (256,) on the device."""
        image = self.images[int(torch.randint(len(self.images), (1,), generator=generator))]
        share, left, top = torch.rand(3, generator=generator).tolist()
        height, width = image.shape
        side = int(min(height, width) * (0.7 + 0.3 * share))
        top, left = int((height - side) * top), int((width - side) * left)
        # 8-bit values travel to a GPU, not what they decode to.
        patch = decode[image[top : top + side, left : left + side].to(decode.device).int()]
        return F.interpolate(patch[None, None], (size, size), mode="bilinear", antialias=True)[0, 0]
