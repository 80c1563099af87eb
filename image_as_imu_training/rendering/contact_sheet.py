"""Samples with their labels drawn in, to check before training on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axial_flow import signed_from_axial
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.messages.image_files import write_image_file
from image_as_imu_training.datasets import shards
from image_as_imu_training.rendering.views import STRIDE
from image_as_imu_training.samples import Samples

_COLUMNS = 6
_SCALE = 2  # screen px per px
_EVERY = 3  # cells
_STREAK = (30, 170, 255)  # amber, BGR
_SUBPIXEL_BITS = 4


def write_contact_sheet(part: Path, output: Path, samples: int) -> None:
    """Draw `samples` of a folder of shards into one image.

    Raises:
        InputError: the folder holds no samples, or the image cannot be written.
    """
    found = shards.load(part)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(samples, len(found))).round().astype(int))
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_image_file(output, contact_sheet(found[chosen], _COLUMNS))
    except OSError as error:
        raise InputError(f"{str(output)!r} cannot be written: {error.strerror}") from None


def contact_sheet(samples: Samples, columns: int) -> np.ndarray:
    """Show all samples side by side at twice their size, `columns` to a row.

    Amber lines are the labelled streaks at their true place, orientation and length; below each image: mean blur, and
    the depths' range where the image tells about depth.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    tiles = [_tile(samples, index) for index in range(len(samples))]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def _tile(samples: Samples, index: int) -> np.ndarray:
    image = cv2.resize(samples.image[index], None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_NEAREST)
    tile = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    flow = samples.flow[index].astype(np.float64)
    rows, columns = flow.shape[1:]
    shown = np.zeros((rows, columns), bool)
    shown[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY] = True
    centres = cell_centres(rows, columns, STRIDE)[shown.ravel()]
    streaks = signed_from_axial(flow[:, shown]).T
    for centre, streak in zip(centres, streaks, strict=True):
        ends = (centre + np.array([[-0.5], [0.5]]) * streak + 0.5) * _SCALE - 0.5
        start, end = (tuple(point) for point in np.round(ends * 2**_SUBPIXEL_BITS).astype(int).tolist())
        cv2.line(tile, start, end, _STREAK, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    text = f"{np.hypot(*flow).mean():.1f} px"
    if samples.depth_known[index]:
        text += f"  {np.nanmin(samples.depth[index]):.1f}-{np.nanmax(samples.depth[index]):.1f} m"
    strip = np.zeros((18, tile.shape[1], 3), np.uint8)
    cv2.putText(strip, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([tile, strip])
