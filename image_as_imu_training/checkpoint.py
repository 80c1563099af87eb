"""Checkpoints: plain tensors and numbers in one file, written in one go."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_training.networks.blur_network import BlurNetwork


def save_checkpoint(path: Path, **state: object) -> None:
    """Write the state; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: the file is missing or not a checkpoint.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}; run `train` first") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is not a checkpoint: {str(error).splitlines()[0]}") from None


def load_network(path: Path) -> BlurNetwork:
    """The averaged network of a checkpoint, in evaluation mode.

    Raises:
        InputError: as `load_checkpoint`, or the weights do not fit this version's network.
    """
    network = BlurNetwork()
    try:
        network.load_state_dict(load_checkpoint(path)["average"])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path} does not fit this network: {str(error).splitlines()[0]}") from None
    return network.eval()
