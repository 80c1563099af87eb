"""The room of the demo: walls hung with pictures, a stony floor and a few boxes, metric and textured all over."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.demo.renderer import Face, Solid

HALF_SIZE = np.array([2.6, 1.4, 2.6])  # m: half the room's width, height and depth; its middle is the origin

_PIXELS_PER_METRE = 256
_ASSETS = Path(__file__).parent / "assets"


def room() -> Solid:
    """Walls, floor and ceiling."""
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
    """Boxes on the floor, pictures on their sides."""
    floor = HALF_SIZE[1]
    return [
        _box((-1.3, floor, 1.3), (0.7, 1.2, 0.6), 25, "grass"),
        _box((1.0, floor, 1.5), (0.9, 0.8, 0.6), -20, "graffiti"),
        _box((1.8, floor, -0.5), (0.6, 1.4, 0.6), 10, "leaves"),
        _box((-1.9, floor, -0.6), (0.5, 1.0, 0.8), 0, "rocks"),
    ]


def _box(foot: tuple[float, float, float], size: tuple[float, float, float], turn: float, picture: str) -> Solid:
    """A box standing on the middle of its bottom, turned about the vertical by `turn` degrees; size is x, y, z in m."""
    x, y, z = np.array(size) / 2
    rotation = cv2.Rodrigues(np.array([0.0, np.radians(turn), 0.0]))[0]

    def side(corner: tuple, right: tuple, down: tuple, brightness: float) -> Face:
        texture = (_picture(picture) * brightness).astype(np.uint16)
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


def _face(corner, right, down, texture: np.ndarray) -> Face:
    return Face(*(np.array(vector, dtype=np.float64) for vector in (corner, right, down)), texture)


@cache
def _picture(name: str) -> np.ndarray:
    """A photograph of the assets folder → (h, w, 3) uint16 linear light BGR."""
    encoded = cv2.imread(str(_ASSETS / f"{name}.jpg")) / np.float64(255)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.round(linear * 65535).astype(np.uint16)


def _tiled(name: str, width: float, height: float, tile: float) -> np.ndarray:
    """A photograph, mirrored at every other tile so that no seam shows; sizes in m."""
    size = round(tile * _PIXELS_PER_METRE)
    picture = cv2.resize(_picture(name), (size, size), interpolation=cv2.INTER_AREA)
    pair = np.hstack([picture, picture[:, ::-1]])
    four = np.vstack([pair, pair[::-1]])
    rows, columns = round(height * _PIXELS_PER_METRE), round(width * _PIXELS_PER_METRE)
    return np.tile(four, (rows // len(four) + 1, columns // four.shape[1] + 1, 1))[:rows, :columns]


def _wall(rows: list[list[str]], index: int) -> np.ndarray:
    """Rough plaster with two rows of framed pictures."""
    width, height = 2 * HALF_SIZE[0], 2 * HALF_SIZE[1]
    tint = np.array([[0.75, 0.9, 1.0], [0.9, 1.0, 0.85], [1.0, 0.9, 0.8], [0.85, 0.85, 1.0]])[index]
    plaster = _tiled("sand", width, height, tile=0.9).astype(np.float64)
    plaster = 0.6 * plaster + 0.4 * plaster.mean((0, 1))
    wall = (np.minimum(plaster * 1.9, 65535) * tint).astype(np.uint16)
    cell_height, cell_width = wall.shape[0] // len(rows), wall.shape[1] // len(rows[0])
    frame = 12  # px
    for row, names in enumerate(rows):
        for column, name in enumerate(names):
            picture = _picture(name)
            scale = 0.8 * min(cell_height / picture.shape[0], cell_width / picture.shape[1])
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            picture = cv2.copyMakeBorder(picture, *(frame,) * 4, cv2.BORDER_CONSTANT, value=(1500, 2500, 5000))
            top = row * cell_height + (cell_height - picture.shape[0]) // 2
            left = column * cell_width + (cell_width - picture.shape[1]) // 2
            wall[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return wall
