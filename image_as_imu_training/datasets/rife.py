"""Sub-frames between two frames by RIFE (Huang et al. 2022), as published in https://github.com/hzwer/Practical-RIFE.

RIFE is a folder to import from, not a package: its checkout, with the files of a trained model (`RIFE_HDv3.py`,
`IFNet_HDv3.py`, `flownet.pkl`) in the subfolder `train_log`.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets.rgbd import RgbdFrame
from image_as_imu_training.rendering.sensor import linear_from_srgb

_MULTIPLE = 128  # of the image sides, as its inference_video.py pads them
_FIRST_VERSION = 3.9  # earlier ones know the middle between two frames only
_GRAY = (0.299, 0.587, 0.114)  # as OpenCV's


class Rife:
    """Called like `reprojection.subframes`, but uses the images alone: neither depth nor poses matter.

    RIFE runs on the device that it chooses itself: the GPU where there is one.
    """

    @cached_property
    def _model(self) -> Any:
        try:
            module = importlib.import_module("train_log.RIFE_HDv3")
        except ImportError as error:
            raise InputError(
                f"RIFE is not installed ({error}); clone https://github.com/hzwer/Practical-RIFE, put the files of a "
                "trained model into its train_log/, and add the clone to PYTHONPATH"
            ) from error
        model = module.Model()
        version = getattr(model, "version", 0)
        if version < _FIRST_VERSION:
            raise InputError(f"RIFE {version} cannot go to any time between two frames; use a model of 4.0 or later")
        try:
            model.load_model(str(Path(str(module.__file__)).parent), -1)
        except OSError as error:
            raise InputError(f"the weights of RIFE are missing: {error}") from error
        model.eval()
        model.device()
        return model

    def __call__(self, first: RgbdFrame, second: RgbdFrame, times: np.ndarray, device: torch.device) -> torch.Tensor:
        """Interpolate (N, h, w) linear luminance at `times` (N,), 0 at the first frame and 1 at the second."""
        images = torch.from_numpy(np.stack([first.colour, second.colour])).permute(0, 3, 1, 2) / 255
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE))
        images = images.to(next(self._model.flownet.parameters()).device)
        with torch.inference_mode():
            between = [self._model.inference(images[:1], images[1:], float(time)) for time in times]
        between = torch.cat(between)[..., :height, :width].clamp(0, 1).to(device)
        return linear_from_srgb((between * between.new_tensor(_GRAY)[:, None, None]).sum(1))
