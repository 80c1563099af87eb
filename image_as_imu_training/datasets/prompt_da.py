"""Dense depth from coarse depth and the image, by PromptDA (Lin et al. 2025), https://github.com/DepthAnything/PromptDA."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import cv2
import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets.rgbd import RgbdFrame, fill_holes

_WEIGHTS = "depth-anything/prompt-depth-anything-vitl"
_HEIGHT, _MULTIPLE = 252, 14  # px; the image's sides are multiples of the encoder's patches


class PromptDepth:
    """Replaces the depth of frames. The weights are downloaded at the first use."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _model(self) -> Any:
        try:
            from promptda.promptda import PromptDA  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                f"PromptDA is not installed ({error}); clone https://github.com/DepthAnything/PromptDA and "
                "install it with pip install -e"
            ) from error
        return PromptDA.from_pretrained(_WEIGHTS).to(self._device).eval()

    def __call__(self, frame: RgbdFrame) -> RgbdFrame:
        """Give the frame depth everywhere, 252 px high."""
        height, width = frame.colour.shape[:2]
        size = (round(_HEIGHT * width / height / _MULTIPLE) * _MULTIPLE, _HEIGHT)
        colour = cv2.resize(frame.colour, size, interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(colour).permute(2, 0, 1)[None] / 255
        prompt = torch.from_numpy(fill_holes(frame.depth))[None, None]
        depth = self._model.predict(image.to(self._device), prompt.to(self._device))
        return replace(frame, depth=depth.reshape(size[::-1]).float().cpu().numpy())
