"""A frame and what the network predicts for it, which depends on no other frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.engine import Engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.stopwatch import Stopwatch
from image_as_imu_ros.geometry.view import View


@dataclass(frozen=True)
class InferredFrame:
    """A frame after inference.

    Attributes:
        frame: as it came. image: (height, width) or (height, width, 3) uint8, the network's input. output: its outputs.
        seconds: that preparation and inference took.
    """

    frame: Frame
    image: np.ndarray
    output: NetworkOutput
    seconds: dict[str, float]

    @classmethod
    def of(cls, frame: Frame, engine: Engine) -> InferredFrame:
        """Run the network on a frame. A thread may do so while another one estimates from the frames before.

        Raises:
            InputError: the image is not of its camera's size.
        """
        steps, info = Stopwatch(), engine.info
        view = View.of(frame.camera, info.width, info.height)
        with steps.time("prepare"):
            image = view.prepare(frame.image, info.colour)
        with steps.time("network"):
            output = engine.infer(image)
        return cls(frame, image, output, steps.seconds)
