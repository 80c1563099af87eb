"""Where the windows lie in which spectra show a blur."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import SPECTRUM
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix


@dataclass(frozen=True)
class WindowGrid:
    """Where the windows of an image lie.

    Attributes:
        shrink: 1, or 2 if the windows lie in the image at half its resolution.
        corners: (W, 2) row and column of each window, px of the shrunk image.
        matrix: at the windows' centres, px of the shrunk image.
        cells: (W, C) network cells around each centre, by index, row by row.
    """

    shrink: int
    corners: np.ndarray
    matrix: MotionFieldMatrix
    cells: np.ndarray

    @classmethod
    def of(cls, camera: Camera, stride: int, shrink: int, scene: np.ndarray | None = None) -> WindowGrid:
        """For images of `camera`, of which a network predicts one cell per `stride` px.

        Args:
            scene: (h, w) bool, which of the cells see the scene: windows that see anything else are left out.
        """
        rows, columns = (_starts(side // shrink) for side in (camera.height, camera.width))
        corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        if scene is not None:
            spans = np.hstack([corners * shrink, (corners + SPECTRUM.window) * shrink - 1]) // stride
            shown = [scene[top : bottom + 1, left : right + 1].all() for top, left, bottom, right in spans]
            corners = corners[np.array(shown, bool)]
        centres = (corners[:, ::-1] + SPECTRUM.window / 2) * shrink - 0.5
        matrix = MotionFieldMatrix.at(camera, centres)
        offsets = np.arange(-1, 2) * shrink * SPECTRUM.window // 8 // stride
        grid = camera.height // stride, camera.width // stride
        near = [
            np.clip(centres[:, axis, None] // stride + offsets, 0, size - 1).astype(int)
            for axis, size in ((1, grid[0]), (0, grid[1]))
        ]
        cells = (near[0][:, :, None] * grid[1] + near[1][:, None, :]).reshape(len(corners), len(offsets) ** 2)
        return cls(shrink, corners, MotionFieldMatrix(matrix.linear / shrink, matrix.angular / shrink), cells)


def _starts(length: int) -> np.ndarray:
    """Of windows that cover so many px."""
    room = length - SPECTRUM.window
    return np.round(np.linspace(0, room, max(1, math.ceil(room / SPECTRUM.step)) + 1)).astype(int)
