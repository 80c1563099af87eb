"""The room of the demo: walls hung with photographs, a stony floor and a few boxes, metric and textured all over."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from image_as_imu_ros.demo.renderer import Face, Solid
from image_as_imu_ros.geometry.so3 import exp

HALF_SIZE = np.array([2.6, 1.4, 2.6])  # m: half the room's width, height and depth; its middle is the origin

_PIXELS_PER_METRE = 256
_FRAME = 12  # px
_FRAME_COLOUR = (1500, 2500, 5000)  # linear light BGR
_ASSETS = Path(__file__).parent / "assets"


def room() -> Solid:
    """Build walls, floor and ceiling."""
    x, y, z = HALF_SIZE
    hung = (
        [["flowers", "rocks", "leaves"], ["guitar", "landscape", "skyline"]],
        [
            ["city", "dog", "sky"],
            ["leaves", "graffiti", "flowers"],
        ],
    )
    walls = [_wall(hung[index % 2], index) for index in range(4)]
    width, height, depth = 2 * x, 2 * y, 2 * z
    return Solid(
        (
            _face((-x, -y, z), (width, 0, 0), (0, height, 0), walls[0]),
            _face((x, -y, z), (0, 0, -depth), (0, height, 0), walls[1]),
            _face((x, -y, -z), (-width, 0, 0), (0, height, 0), walls[2]),
            _face((-x, -y, -z), (0, 0, depth), (0, height, 0), walls[3]),
            _face((-x, y, z), (width, 0, 0), (0, 0, -depth), _tiled("sand", width, depth, tile=1.3)),
            _face((-x, -y, -z), (width, 0, 0), (0, 0, depth), _tiled("sky", width, depth, tile=2.6)),
        )
    )


def boxes() -> list[Solid]:
    """Build the boxes on the floor, photographs on their sides."""
    floor = HALF_SIZE[1]
    return [
        _box((-1.3, floor, 1.3), (0.7, 1.2, 0.6), 25, "grass"),
        _box((1.0, floor, 1.5), (0.9, 0.8, 0.6), -20, "graffiti"),
        _box((1.8, floor, -0.5), (0.6, 1.4, 0.6), 10, "leaves"),
        _box((-1.9, floor, -0.6), (0.5, 1.0, 0.8), 0, "rocks"),
    ]


def _box(foot: tuple[float, float, float], size: tuple[float, float, float], yaw: float, photograph: str) -> Solid:
    """Build a box that stands on the middle of its bottom, rotated about the vertical by `yaw` degrees.

    Foot and size are x, y, z in m.
    """
    x, y, z = np.array(size) / 2
    rotation = exp(np.array([0.0, np.radians(yaw), 0.0]))

    def side(corner: tuple, right: tuple, down: tuple, brightness: float) -> Face:
        texture = (_photograph(photograph) * brightness).astype(np.uint16)
        return _face(rotation @ corner + foot, rotation @ right, rotation @ down, texture)

    return Solid(
        (
            side((-x, -2 * y, -z), (2 * x, 0, 0), (0, 2 * y, 0), 1.0),
            side((x, -2 * y, -z), (0, 0, 2 * z), (0, 2 * y, 0), 0.7),
            side((x, -2 * y, z), (-2 * x, 0, 0), (0, 2 * y, 0), 1.0),
            side((-x, -2 * y, z), (0, 0, -2 * z), (0, 2 * y, 0), 0.7),
            side((-x, -2 * y, z), (2 * x, 0, 0), (0, 0, -2 * z), 0.9),
        )
    )


def _face(corner: ArrayLike, right: ArrayLike, down: ArrayLike, texture: np.ndarray) -> Face:
    return Face(np.array(corner, np.float64), np.array(right, np.float64), np.array(down, np.float64), texture)


@cache
def _photograph(name: str) -> np.ndarray:
    """Load a photograph of the assets folder as (h, w, 3) uint16 linear light BGR."""
    image = cv2.imread(str(_ASSETS / f"{name}.jpg"))
    assert image is not None, f"the package lacks {name}.jpg"
    encoded = image / np.float64(255)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.round(linear * 65535).astype(np.uint16)


def _tiled(name: str, width: float, height: float, tile: float) -> np.ndarray:
    """Tile a photograph, mirrored at every other tile so that no seam shows; sizes in m."""
    size = round(tile * _PIXELS_PER_METRE)
    photograph = cv2.resize(_photograph(name), (size, size), interpolation=cv2.INTER_AREA)
    pair = np.hstack([photograph, photograph[:, ::-1]])
    four = np.vstack([pair, pair[::-1]])
    rows, columns = round(height * _PIXELS_PER_METRE), round(width * _PIXELS_PER_METRE)
    return np.tile(four, (rows // len(four) + 1, columns // four.shape[1] + 1, 1))[:rows, :columns]


def _wall(rows: list[list[str]], index: int) -> np.ndarray:
    """Paint rough plaster with rows of framed photographs."""
    width, height = 2 * HALF_SIZE[0], 2 * HALF_SIZE[1]
    tint = np.array([[0.75, 0.9, 1.0], [0.9, 1.0, 0.85], [1.0, 0.9, 0.8], [0.85, 0.85, 1.0]])[index]
    plaster = _tiled("sand", width, height, tile=0.9).astype(np.float64)
    plaster = 0.6 * plaster + 0.4 * plaster.mean((0, 1))
    wall = (np.minimum(plaster * 1.9, 65535) * tint).astype(np.uint16)
    cell_height, cell_width = wall.shape[0] // len(rows), wall.shape[1] // len(rows[0])
    for row, names in enumerate(rows):
        for column, name in enumerate(names):
            framed = _framed(name, cell_width, cell_height)
            top = row * cell_height + (cell_height - framed.shape[0]) // 2
            left = column * cell_width + (cell_width - framed.shape[1]) // 2
            wall[top : top + framed.shape[0], left : left + framed.shape[1]] = framed
    return wall


def _framed(name: str, width: int, height: int) -> np.ndarray:
    """Scale a photograph into a cell of the wall, px, and frame it."""
    photograph = _photograph(name)
    scale = 0.8 * min(height / photograph.shape[0], width / photograph.shape[1])
    photograph = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    edge = _FRAME
    return cv2.copyMakeBorder(photograph, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=_FRAME_COLOUR)
