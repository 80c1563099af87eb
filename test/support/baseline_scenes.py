"""Sharp images of textured planes by a camera whose poses are known, and frames of them as baselines take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.geometry.camera import Camera

CAMERA = Camera(320, 240, 260.0, 258.0, 158.0, 121.0)
INTERVAL = 50_000_000  # ns
FIRST_STAMP = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class FramesInMemory:
    """Stands where `Frames` of a recording would."""

    frames: list[np.ndarray | None]
    camera: Camera = CAMERA
    digest: str = "frames"

    @property
    def stamps(self) -> np.ndarray:
        return FIRST_STAMP + INTERVAL * np.arange(len(self.frames))

    @property
    def times(self) -> np.ndarray:
        return self.stamps

    def __len__(self) -> int:
        return len(self.frames)

    def images(self, colour: str) -> Iterator[np.ndarray | None]:
        for image in self.frames:
            yield image if colour == "gray" or image is None else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def texture(seed: int, size: int = 900) -> np.ndarray:
    """(size, size) uint8 with corners at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(size // cell, size // cell)), (size, size), interpolation=cv2.INTER_CUBIC)
        for cell in (12, 30, 75)
    ]
    return np.clip(128 + 35 * sum(layers), 0, 255).astype(np.uint8)


def view_of(rotation: np.ndarray, position: np.ndarray, planes: list[tuple[float, float, int]]) -> np.ndarray:
    """Draw what a camera sees of upright square planes.

    Args:
        rotation: (3, 3) camera → world. position: (3,) m.
        planes: (z, side, seed) of squares about the world's z axis, m, the farthest first.
    """
    seen = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    for z, side, seed in planes:
        image = texture(seed)
        size = len(image)
        # Texture pixel → point on the plane → camera.
        metres = np.array([[side / size, 0, -side / 2], [0, side / size, -side / 2], [0, 0, 1.0]])
        plane = np.column_stack([[1, 0, 0], [0, 1, 0], np.array([0, 0, z]) - position])
        homography = CAMERA.matrix @ rotation.T @ plane @ metres
        warp = {"dsize": (CAMERA.width, CAMERA.height), "flags": cv2.INTER_AREA}
        mask = cv2.warpPerspective(np.full_like(image, 255), homography, **warp)
        seen = np.where(mask > 127, cv2.warpPerspective(image, homography, **warp), seen)
    return seen
