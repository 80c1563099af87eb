"""One image and its camera → velocity up to sign."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, SignResolution
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.exposure import unusable_exposure
from image_as_imu_ros.evaluation.open_engine import open_engine
from image_as_imu_ros.geometry.camera import Intrinsics
from image_as_imu_ros.messages.image_files import read_image_file, write_image_file

_STAMP = 1  # ns; an image on its own has no time, a frame needs one


@dataclass(frozen=True)
class ImageConfig:
    """How an image file is evaluated.

    Attributes:
        exposure: s.
        estimator: its measurement and sign resolution say nothing about a single image.
    """

    intrinsics: Intrinsics
    exposure: float
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


def estimate_image(path: str | Path, config: ImageConfig) -> tuple[np.ndarray, MotionEstimate]:
    """Estimate the velocity from the blur of an image file, with an arbitrary sign.

    Returns:
        The image, (H, W) or (H, W, 3) RGB uint8, and the estimate.

    Raises:
        InputError: file, camera, exposure or model cannot be used.
    """
    shutter = Shutter(config.exposure)
    options = replace(config.estimator, measurement=Measurement.SINGLE, sign_resolution=SignResolution.AXIAL)
    with closing(open_engine(config.engine)) as engine:
        estimator = MotionEstimator(engine, options)
        image = read_image(path, engine.info.colour)
        camera = config.intrinsics.camera(image.shape[1], image.shape[0])
        estimate = estimator.update(Frame(image, _STAMP, camera, shutter))
    if estimate is None:
        raise InputError(f"image file {str(path)!r} has no answer: {unusable_exposure(options)}")
    return image, estimate


def check_image_file(path: str | Path) -> None:
    """Raise InputError where there is no such file."""
    if Path(path).is_dir():
        raise InputError(f"{str(path)!r} is a folder, expected one image file; convert images reads folders")
    if not Path(path).exists():
        raise InputError(f"image file {str(path)!r} does not exist")


def read_image(path: str | Path, colour: str) -> np.ndarray:
    """Read an image upright: (H, W) uint8 for "gray", (H, W, 3) RGB for "rgb".

    Raises:
        InputError: there is no such file, or OpenCV cannot read it.
    """
    check_image_file(path)
    image = read_image_file(path, cv2.IMREAD_GRAYSCALE if colour == "gray" else cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"image file {str(path)!r} cannot be read as an image (JPEG, PNG, …)")
    return image if colour == "gray" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: str | Path, bgr: np.ndarray) -> None:
    """Write an image file.

    Raises:
        InputError: the folder does not exist, or it cannot be written, or OpenCV does not know the suffix.
    """
    try:
        write_image_file(path, bgr)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}") from None
