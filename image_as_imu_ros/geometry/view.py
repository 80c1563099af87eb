"""The part of a camera image that the network sees: one centre crop and one resize, and what they do to geometry."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres

_NEAREST = 0.01  # m: no sensor measures nearer, but whole metres taken for mm are


@dataclass(frozen=True)
class View:
    """Largest centred crop with the network's aspect ratio, resampled to the network's input size.

    Attributes:
        source: camera of the full image.
        left, top, width, height: the crop, px of the full image.
        camera: camera of the network's input image (distortion unchanged: images are not undistorted).
    """

    source: Camera
    left: int
    top: int
    width: int
    height: int
    camera: Camera

    @classmethod
    def of(cls, source: Camera, width: int, height: int) -> View:
        """Cut a camera's view for a network input of width × height px."""
        scale = min(source.width / width, source.height / height)
        crop_width = min(source.width, max(1, round(width * scale)))
        crop_height = min(source.height, max(1, round(height * scale)))
        left, top = (source.width - crop_width) // 2, (source.height - crop_height) // 2
        camera = source.crop(left, top, crop_width, crop_height).resize(width, height)
        return cls(source, left, top, crop_width, crop_height, camera)

    @property
    def px_at_320(self) -> float:
        """Length of one px of the network's input when the full image is drawn 320 px wide."""
        return 320 / self.source.width * self.width / self.camera.width

    def prepare(self, image: np.ndarray, colour: str) -> np.ndarray:
        """Crop, convert and resize an image.

        Args:
            image: (H, W) luminance or (H, W, 3) RGB, uint8, of the source camera's size.
            colour: "gray" or "rgb", what the network takes.

        Returns:
            (height, width) or (height, width, 3) uint8.
        """
        check_image_size(image, self.source)
        crop = image[self.top : self.top + self.height, self.left : self.left + self.width]
        if colour == "gray" and crop.ndim == 3:
            crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        elif colour == "rgb" and crop.ndim == 2:
            crop = cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB)
        shrinks = crop.shape[1] >= self.camera.width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(crop, (self.camera.width, self.camera.height), interpolation=interpolation)

    def readout_of_crop(self, readout_time: float) -> float:
        """Tell how much of the time that a rolling shutter reads the full image, s, it reads the crop."""
        return readout_time * self.height / self.source.height

    def to_source(self, pixels: np.ndarray) -> np.ndarray:
        """Map pixels of the network's input (…, 2) to pixels of the full image (…, 2)."""
        scale = (self.width / self.camera.width, self.height / self.camera.height)
        return (pixels + 0.5) * scale - 0.5 + (self.left, self.top)

    def sample_depth(self, depth: np.ndarray, stride: int) -> np.ndarray:
        """Sample a measured depth image at the grid's cell centres; of a cell whose centre is unknown, take the median.

        Sparse depth, such as a lidar's, is seldom known at a centre.

        Args:
            depth: (H, W) m, registered to the full image, of any size with its aspect ratio; less than 1 cm, NaN or
                inf = unknown.
            stride: input px per cell.

        Returns:
            (h, w) float64 m, NaN where unknown.

        Raises:
            InputError: it has another aspect ratio.
        """
        check_depth_shape(depth, self.source)
        height, width = depth.shape
        rows, columns = self.camera.height // stride, self.camera.width // stride
        pixels = self.to_source(cell_centres(rows, columns, stride))
        j = np.clip(((pixels[:, 0] + 0.5) * width / self.source.width).astype(int), 0, width - 1)
        i = np.clip(((pixels[:, 1] + 0.5) * height / self.source.height).astype(int), 0, height - 1)
        sampled = depth[i, j].astype(np.float64)
        sampled[~_measured(sampled)] = np.nan
        sampled = sampled.reshape(rows, columns)
        if np.isnan(sampled).any():
            self._fill_with_medians(sampled, depth, stride)
        return sampled

    def _fill_with_medians(self, sampled: np.ndarray, depth: np.ndarray, stride: int) -> None:
        """Give cells that are NaN the median of the depths known anywhere in them."""
        (rows, columns), (height, width) = sampled.shape, depth.shape
        x = ((np.arange(width) + 0.5) * self.source.width / width - self.left) * self.camera.width / self.width
        y = ((np.arange(height) + 0.5) * self.source.height / height - self.top) * self.camera.height / self.height
        column, row = (x // stride).astype(int), (y // stride).astype(int)
        inside = (slice(*np.searchsorted(row, (0, rows))), slice(*np.searchsorted(column, (0, columns))))
        row, column, depth = row[inside[0]], column[inside[1]], depth[inside]
        i, j = np.nonzero(np.isnan(sampled)[row[:, None], column] & _measured(depth))
        cell, found = row[i] * columns + column[j], depth[i, j]
        order = np.lexsort((found, cell))
        cells, first, count = np.unique(cell[order], return_index=True, return_counts=True)
        sampled.flat[cells] = found[order][first + count // 2]


def check_image_size(image: np.ndarray, camera: Camera) -> None:
    """Check that an image (H, W) or (H, W, 3) is of its camera's size. Raises InputError: it is not."""
    if image.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f"image is {image.shape[1]}×{image.shape[0]} px but its camera_info is for "
            f"{camera.width}×{camera.height}: use the camera_info of this very stream"
        )


def check_depth_shape(depth: np.ndarray, camera: Camera) -> None:
    """Raise InputError if a depth image (H, W) has another aspect ratio than the images of a camera."""
    height, width = depth.shape
    if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
        raise InputError(
            f"depth image is {width}×{height} px, another shape than the image's {camera.width}×{camera.height}: "
            "use a depth stream registered to this camera"
        )


def _measured(depth: np.ndarray) -> np.ndarray:
    """Tell where a depth, m, can be one: sensors write 0, NaN or inf where they see nothing."""
    return np.isfinite(depth) & (depth > _NEAREST)
