"""What every engine does around the network: fill its input, check its tensors, read its outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axial_flow import axial_from_signed

INPUT = "image"


class Tensors:
    """Input and outputs of a model, all float32.

    Attributes:
        shapes: name → shape, the input first.
        outputs: names of the outputs that are used.
    """

    def __init__(self, info: ModelInfo) -> None:
        height, width = info.height // info.stride, info.width // info.stride
        self._info = info
        self.shapes = {
            INPUT: (1, len(info.mean), info.height, info.width),
            "flow": (1, 2, height, width),
            "sigma": (1, 2, height, width),
        }
        if info.predicts_depth:
            self.shapes |= {"depth": (1, 1, height, width), "depth_sigma": (1, 1, height, width)}
        self.outputs = [name for name in self.shapes if name != INPUT]
        self._mean = 255 * np.array(info.mean, np.float32)[:, None, None]
        self._scale = 1 / (255 * np.array(info.std, np.float32)[:, None, None])
        self._sigma_scale = np.array(info.sigma_scale, np.float32)[:, None, None]

    def check(self, found: Mapping[str, tuple[list[int], str]], source: str) -> None:
        """Check the tensors that a file has against its metadata.

        Args:
            found: name → (shape, type), types named like NumPy's.
            source: where they were found, for the message.

        Raises:
            InputError: a tensor is missing, or has another shape or type.
        """
        for name, shape in self.shapes.items():
            expected = list(shape), "float32"
            if found.get(name) != expected:
                has = "{1} {0}".format(*found[name]) if name in found else "no such tensor"
                raise InputError(
                    f"{source}: tensor {name!r} should have shape {list(shape)} by its metadata and type float32, "
                    f"the file has {has}"
                )

    def write_image(self, image: np.ndarray, tensor: np.ndarray) -> None:
        """Normalise (height, width) luminance or (height, width, 3) RGB uint8 into `tensor`, the input's."""
        planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        np.subtract(planes, self._mean, out=tensor[0])
        tensor *= self._scale

    def network_output(self, outputs: Mapping[str, np.ndarray]) -> NetworkOutput:
        """Calibrate the outputs of one frame, which are not changed or copied."""
        info = self._info
        flow = outputs["flow"][0]
        return NetworkOutput(
            axial_flow=info.corrected(flow if info.flow == "axial" else axial_from_signed(flow)),
            sigma=outputs["sigma"][0] * self._sigma_scale,
            depth=outputs["depth"][0, 0] if info.predicts_depth else None,
            depth_sigma=outputs["depth_sigma"][0, 0] * info.depth_sigma_scale if info.predicts_depth else None,
            stride=info.stride,
            smoothing=info.flow_smoothing,
        )
