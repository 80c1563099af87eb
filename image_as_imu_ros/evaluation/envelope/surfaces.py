"""Textured parallelograms, and the boxes that are made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from image_as_imu_ros.evaluation.envelope.textures import SIDE, Material, atlas
from image_as_imu_ros.geometry.camera import Camera

_ALIASING = 0.2  # octaves, by which textures may be finer than the image
_SMALLEST_LEVEL = 8  # px, side of a reduced texture below which it is reduced no further


@dataclass(frozen=True, eq=False)
class Face:
    """A textured parallelogram, seen from both sides.

    Attributes:
        corner: (3,) m, the texture's top left corner.
        right, down: (3,) m, its edges.
        texture: (h, w) uint16 linear light, 65535 is white.
    """

    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    texture: np.ndarray
    _reduced: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def corners(self) -> np.ndarray:
        """(4, 3) m, round the face."""
        return self.corner + np.array([0 * self.right, self.right, self.right + self.down, self.down])

    def reduced(self, level: tuple[int, int]) -> np.ndarray:
        """Return the texture at 2^−level of its width and height: each halved by itself, for slanted views."""
        if level not in self._reduced:
            height, width = self.texture.shape
            size = (max(width >> level[0], 1), max(height >> level[1], 1))
            same = size == (width, height)
            self._reduced[level] = (
                self.texture if same else cv2.resize(self.texture, size, interpolation=cv2.INTER_AREA)
            )
        return self._reduced[level]

    def level_at(self, camera: Camera, quad: np.ndarray, pixel: np.ndarray) -> tuple[int, int]:
        """Choose the level with about one texture pixel per image pixel, in both axes, around an image pixel (2,).

        Args:
            quad: (4, 3) m, `corners` as the camera sees them.
        """
        matrix = homography(camera, quad, self.texture.shape)
        texel = np.linalg.solve(matrix, np.array([*pixel, 1.0]))
        denominator = matrix[2] @ (texel / texel[2])
        # Columns of the homography's Jacobian: image pixels per texture pixel.
        jacobian = (matrix[:2, :2] - np.outer(pixel, matrix[2, :2])) / denominator
        levels = np.ceil(-np.log2(np.maximum(np.linalg.norm(jacobian, axis=0), 1e-9)) - _ALIASING)
        most = [max(int(np.log2(side / _SMALLEST_LEVEL)), 0) for side in self.texture.shape[::-1]]
        return int(np.clip(levels[0], 0, most[0])), int(np.clip(levels[1], 0, most[1]))


def homography(camera: Camera, quad: np.ndarray, shape: tuple) -> np.ndarray:
    """Compute the (3, 3) homography from pixels of a texture of some (h, w) to pixels of the image.

    Args:
        quad: (4, 3) m, corners of the face as the camera sees them, round it from the texture's top left one.
    """
    height, width = shape
    right, down = (quad[1] - quad[0]) / width, (quad[3] - quad[0]) / height
    return camera.matrix @ np.stack([right, down, quad[0] + (right + down) / 2], 1)


class Painter:
    """Cuts textures at random out of atlases of one scene."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._seed = seed

    def uniform(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self._rng.uniform(low, high))

    def texture(self, material: Material, width: float, height: float, density: float) -> np.ndarray:
        """Cut (h, w) uint16 at random, a view into the atlas, for a surface of width × height m.

        Args:
            density: texture px per metre; less where the atlas is too small.
        """
        whole = atlas(material, self._seed)
        columns, rows = (max(8, min(SIDE, round(side * density))) for side in (width, height))
        left = int(self._rng.integers(0, SIDE - columns + 1))
        # The stripe is in the middle.
        top = (SIDE - rows) // 2 if material == Material.STRIPE else int(self._rng.integers(0, SIDE - rows + 1))
        return whole[top : top + rows, left : left + columns]

    def face(self, corner: tuple, right: tuple, down: tuple, material: Material, density: float) -> Face:
        """Make a face with a texture of its own; (3,) m each."""
        corner_, right_, down_ = (np.array(v, np.float64) for v in (corner, right, down))
        width, height = float(np.linalg.norm(right_)), float(np.linalg.norm(down_))
        return Face(corner_, right_, down_, self.texture(material, width, height, density))

    def panels(
        self, corner: tuple, right: tuple, down: tuple, material: Material, density: float, longest: float = 2.0
    ) -> list[Face]:
        """Make a large wall of panels of at most `longest` m, each with a texture and a level of detail of its own."""
        corner_, right_, down_ = (np.array(v, np.float64) for v in (corner, right, down))
        columns, rows = (int(np.ceil(np.linalg.norm(edge) / longest)) for edge in (right_, down_))
        right_, down_ = right_ / columns, down_ / rows
        return [
            self.face(tuple(corner_ + column * right_ + row * down_), tuple(right_), tuple(down_), material, density)
            for row in range(rows)
            for column in range(columns)
        ]

    def box(self, middle: tuple, size: tuple, rotation: np.ndarray, material: Material, density: float) -> list[Face]:
        """Make the six faces of a box of `size` (3,) m about its middle, rotated by (3, 3)."""
        half = np.array(size) / 2
        faces = []
        for axis in range(3):
            for side in (-1.0, 1.0):
                first, second = np.zeros(3), np.zeros(3)
                first[(axis + 1) % 3], second[(axis + 2) % 3] = 2 * half[(axis + 1) % 3], 2 * half[(axis + 2) % 3]
                corner = -half.copy()
                corner[axis] = side * half[axis]
                start, first, second = (tuple(rotation @ edge) for edge in (corner, first, second))
                faces.append(self.face(tuple(np.add(start, middle)), first, second, material, density))
        return faces
