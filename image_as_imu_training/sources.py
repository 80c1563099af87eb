"""The material that scenes are made of: photographs and RGB-D frames, split into training and validation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from image_as_imu_ros.errors import InputError
from image_as_imu_training.rendering.sensor import linear_from_srgb

TEXTURE_SIZE = 384
RGBD_TEXTURE = (336, 448)  # rows, columns; about 1.1–1.4 texels per px of the virtual camera
_DECODE = linear_from_srgb(torch.arange(256) / 255)


def split_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photographs for training and for validation (about a tenth, by a hash of the file's name).

    Raises:
        InputError: the folder holds no JPEG files.
    """
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise InputError(f"no photographs (*.jpg) in {folder}")
    held_out = [hashlib.sha256(path.name.encode()).digest()[0] < 26 for path in files]
    training = [path for path, held in zip(files, held_out, strict=True) if not held]
    validation = [path for path, held in zip(files, held_out, strict=True) if held]
    return training, validation


def split_rgbd(folder: Path) -> tuple[list[Path], list[Path]]:
    """Colour images of the RGB-D frames: the first 80 % for training, the rest, contiguous, for validation.

    Raises:
        InputError: the folder holds no frames.
    """
    files = sorted(folder.glob("frame-*.color.jpg"))
    if not files:
        raise InputError(f"no RGB-D frames (frame-*.color.jpg) in {folder}")
    cut = len(files) * 4 // 5
    return files[:cut], files[cut:]


def _read(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise InputError(f"{path} is not a readable image")
    return image


@dataclass(frozen=True)
class Photos:
    """Photographs as 8-bit sRGB luminance, each (h, w) uint8."""

    images: list[torch.Tensor]

    @classmethod
    def load(cls, files: list[Path]) -> Photos:
        return cls([torch.from_numpy(_read(path, cv2.IMREAD_GRAYSCALE)) for path in files])

    def random_textures(self, count: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """Random square patches in linear light, half of them collages of four photographs, which show more detail.

        Returns:
            (count, 1, TEXTURE_SIZE, TEXTURE_SIZE) float32 0…1.
        """
        collage = (torch.rand(count, generator=generator) < 0.5).tolist()
        textures = []
        for four in collage:
            if four:
                a, b, c, d = (self._random_patch(TEXTURE_SIZE // 2, generator, device) for _ in range(4))
                textures.append(torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)]))
            else:
                textures.append(self._random_patch(TEXTURE_SIZE, generator, device))
        return torch.stack(textures)[:, None]

    def _random_patch(self, size: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """(size, size) linear light: at least half of a photograph's area."""
        image = self.images[int(torch.randint(len(self.images), (1,), generator=generator))]
        share, left, top = torch.rand(3, generator=generator).tolist()
        height, width = image.shape
        side = int(min(height, width) * (0.7 + 0.3 * share))
        top, left = int((height - side) * top), int((width - side) * left)
        patch = _DECODE[image[top : top + side, left : left + side].long()].to(device)
        return F.interpolate(patch[None, None], (size, size), mode="bilinear", antialias=True)[0, 0]


@dataclass(frozen=True)
class RgbdFrames:
    """RGB-D frames at texture resolution.

    Attributes:
        texture: (F, 1, h, w) linear luminance 0…1. inverse_depth: (F, 1, h, w) 1/m, holes filled.
        focal: focal length / image width.
    """

    texture: torch.Tensor
    inverse_depth: torch.Tensor
    focal: float

    @classmethod
    def load(cls, files: list[Path]) -> RgbdFrames:
        """Read colour images, the depth images beside them (16-bit mm, 0 = none), and the intrinsics."""
        textures, inverse_depths = [], []
        for path in files:
            colour = torch.from_numpy(_read(path, cv2.IMREAD_GRAYSCALE)).float()
            depth_file = path.with_name(path.name.replace("color.jpg", "depth.png"))
            depth = _fill_holes(_read(depth_file, cv2.IMREAD_UNCHANGED) / np.float32(1000))
            light = linear_from_srgb(colour / 255)[None, None]
            textures.append(F.interpolate(light, RGBD_TEXTURE, mode="bilinear", antialias=True))
            inverse = torch.from_numpy(1 / depth)[None, None]
            inverse_depths.append(F.interpolate(inverse, RGBD_TEXTURE, mode="nearest"))
        intrinsics = np.loadtxt(files[0].with_name("camera-intrinsics.txt"))
        return cls(torch.cat(textures), torch.cat(inverse_depths), float(intrinsics[0, 0] / colour.shape[1]))


def _fill_holes(depth: np.ndarray) -> np.ndarray:
    """Give pixels without a plausible depth (0.3–10 m) the nearest one's. (h, w) float32 m."""
    hole = ~((depth > 0.3) & (depth < 10))
    if hole.all():
        raise InputError("a depth image holds no depth between 0.3 and 10 m")
    _, labels = cv2.distanceTransformWithLabels(hole.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    value_of_label = np.zeros(labels.max() + 1, np.float32)
    value_of_label[labels[~hole]] = depth[~hole]
    return value_of_label[labels]
