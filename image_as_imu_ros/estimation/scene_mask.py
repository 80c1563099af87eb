"""The part of the view that shows the scene, not what moves with the camera: own arm, bumper, bonnet, gimbal."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.messages.image_files import read_image_file


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask, (H, W) bool of the camera's image: where it is not black, it shows the scene.

    Raises:
        InputError: it is not there, cannot be read, or hides everything.
    """
    if not Path(path).is_file():
        raise InputError(f"mask {path} is not there")
    image = read_image_file(path, cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"mask {path} cannot be read as an image: expected a PNG as large as the camera's images")
    if not image.any():
        raise InputError(f"mask {path} is all black: nothing is left to measure with; black hides, white shows")
    return image > 0


def check_mask_size(mask: np.ndarray, width: int, height: int) -> None:
    """Raise InputError if a mask (H, W) is not as large as the camera's images."""
    if mask.shape != (height, width):
        raise InputError(
            f"mask is {mask.shape[1]}×{mask.shape[0]} px but the images are {width}×{height}: draw it on one of them"
        )


def scene_cells(mask: np.ndarray | None, view: View, stride: int) -> np.ndarray:
    """Tell which cells (h, w) of a network's grid see nothing but scene; without a mask, all.

    Args:
        mask: (H, W) bool, of the camera's image.

    Raises:
        InputError: the mask is not as large as the camera's images, or hides all cells.
    """
    shape = view.camera.height // stride, view.camera.width // stride
    if mask is None:
        return np.ones(shape, bool)
    check_mask_size(mask, view.source.width, view.source.height)
    crop = mask[view.top : view.top + view.height, view.left : view.left + view.width].astype(np.float32)
    shown = cv2.resize(crop, (view.camera.width, view.camera.height), interpolation=cv2.INTER_AREA)
    shown = cv2.resize(shown, shape[::-1], interpolation=cv2.INTER_AREA) > 0.999  # of each cell, but for rounding
    cells = apart_from_others(shown)
    if not cells.any():
        raise InputError("the mask leaves nothing of what the network sees: white shows, black hides")
    return cells


def apart_from_others(cells: np.ndarray) -> np.ndarray:
    """Keep those of the cells (h, w) bool whose neighbours are such cells too: blur smears what is hidden."""
    return cv2.erode(cells.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
