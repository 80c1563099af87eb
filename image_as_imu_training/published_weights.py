"""Weights of the SegNeXt network as its authors publish them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from image_as_imu_ros.errors import InputError
from image_as_imu_training.checkpoint import load_weights
from image_as_imu_training.networks.segnext import SegNeXt
from image_as_imu_training.rendering.views import STRIDE


def load_segnext(path: Path, stride: int = STRIDE) -> SegNeXt:
    """Load the network's weights from a state dict file, in evaluation mode. No code from the file is executed.

    Args:
        path: `.safetensors`, or a `.pth` written by torch.save(state_dict), as the authors do.
        stride: px per cell of the outputs, see SegNeXt.

    Raises:
        InputError: the file is missing or unreadable, or a tensor is missing, unexpected or of another shape.
    """
    tensors = _read(path)
    network = SegNeXt(stride)
    load_weights(network, tensors, path)
    return network.eval()


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError):
        raise InputError(f"{path} is damaged, or no file of tensors: expected .safetensors or a plain .pth") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise InputError(f"{path} is no plain state dict (names → tensors); save the network's state_dict() alone")
    return tensors
