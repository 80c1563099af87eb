"""What takes long only the first time, done before the first image comes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger

from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.nodes.engine_log import engines_log_to
from image_as_imu_ros.nodes.outputs import serialise_once
from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.nodes.pipeline import spare_cores


def load_estimator(model: str | Path, settings: Settings, logger: RcutilsLogger) -> MotionEstimator:
    """Load a model file as the parameters say; the engines log to the node's log meanwhile.

    Raises:
        InputError: the model or the engine cannot be used here.
    """
    with engines_log_to(logger):
        return MotionEstimator.from_model(
            model,
            settings.estimator,
            engine=settings.engine,
            threads=settings.threads or spare_cores(),
            precision=settings.precision,
            dla_core=settings.dla_core,
        )


def warm_up(estimator: MotionEstimator) -> None:
    """Estimate from two images of noise, as large as the network's input, and serialise a message of each type."""
    info = estimator.engine.info
    # A mask is as large as the camera's images.
    estimator = MotionEstimator(estimator.engine, replace(estimator.config, mask=""))
    camera = Camera(info.width, info.height, info.width, info.width, info.width / 2, info.height / 2)
    shape = (info.height, info.width) if info.colour == "gray" else (info.height, info.width, 3)
    noise = np.random.default_rng(0)
    for stamp in (1, 2):
        image = noise.integers(0, 256, shape, dtype=np.uint8)
        estimator.update(Frame(image, stamp * 10_000_000, camera, Shutter(exposure=0.01)))
    serialise_once()
