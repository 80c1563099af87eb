"""The points of one level of the pyramid, at which two frames are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import ALIGNMENT
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix


@dataclass(frozen=True)
class Level:
    """The points of one level at which two images are compared.

    Attributes:
        camera: pinhole.
        index: (N,) of each point's pixel in the flattened image.
        rays: (3, N) float32. linear, angular: (2, 3, N) float32, the motion field matrix.
        place: (2, N) float32, from −1 to 1 across the image and down it.
        cells: (N,) which cell of the motion field's grid sees the point.
        smooth: (N, 15) orthonormal, polynomials of fourth degree at the points.
    """

    camera: Camera
    index: np.ndarray
    rays: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    place: np.ndarray
    cells: np.ndarray
    smooth: np.ndarray

    @classmethod
    def of(cls, camera: Camera, source: Camera, scene: np.ndarray, stride: int) -> Level:
        """Choose the points of a level seen by `camera`.

        Args:
            source: camera of the network's input, whose grid has cells of `stride` px.
            scene: (h, w) bool, which of the cells see the scene.
        """
        step = max(1, round(math.sqrt(camera.width * camera.height / ALIGNMENT.points)))
        # One pixel at the border is left out: gradients need neighbours.
        columns, rows = np.meshgrid(
            np.arange(max(1, step // 2), camera.width - 1, step), np.arange(max(1, step // 2), camera.height - 1, step)
        )
        index = (rows * camera.width + columns).ravel()
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
        cells, seen = cells_of(source, scene, stride, camera, pixels)
        rays = camera.rays(pixels[seen])
        matrix = MotionFieldMatrix.at(camera, pixels[seen])
        place = camera.place(pixels[seen])
        return cls(
            camera,
            index[seen],
            np.vstack([rays.T, np.ones(len(rays))]).astype(np.float32),
            np.ascontiguousarray(matrix.linear.transpose(1, 2, 0), np.float32),
            np.ascontiguousarray(matrix.angular.transpose(1, 2, 0), np.float32),
            np.ascontiguousarray(place.T, np.float32),
            cells[seen],
            _smooth(place),
        )

    def texture(self, image: np.ndarray) -> float:
        """Measure the σ of an image (H, W) at the points, apart from what varies smoothly.

        The fall-off of a lens (cos⁴) stays where it is while the camera moves, and a wall that is lit from one side
        tells hardly more.
        """
        intensity = image.ravel()[self.index].astype(np.float64)
        if not len(intensity):
            return 0.0
        left = np.square(intensity).sum() - np.square(intensity @ self.smooth).sum()
        return math.sqrt(max(left, 0.0) / len(intensity))


def _smooth(place: np.ndarray) -> np.ndarray:
    """Evaluate polynomials of fourth degree at places (N, 2): an orthonormal basis (N, 15) of them."""
    powers = [place[:, 0] ** i * place[:, 1] ** j for i in range(5) for j in range(5 - i)]
    return np.asarray(np.linalg.qr(np.stack(powers, 1))[0])


def cells_of(
    source: Camera, scene: np.ndarray, stride: int, camera: Camera, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Look up which cells of the grid see the points at pixels (N, 2) of another camera at the same place.

    Args:
        source: camera of the network's input, whose grid has cells of `stride` px.
        scene: (h, w) bool, which of the cells see the scene.

    Returns:
        (N,) numbers of the cells, row by row, and (N,) bool, whether there is one that sees the scene; where there is
        none at all, the number is 0.
    """
    cell = ((source.project(camera.rays(pixels)) + 0.5) // stride).astype(int)
    columns, rows = source.width // stride, source.height // stride
    inside = np.all((cell >= 0) & (cell < (columns, rows)), axis=1)
    number = np.where(inside, cell[:, 1] * columns + cell[:, 0], 0)
    return number, inside & scene.ravel()[number]
