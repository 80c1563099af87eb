"""Networks that map an image to flow, spread and depth."""

from __future__ import annotations

import torch

from image_as_imu_training.networks.blur_network import BlurNetwork


def create_network(name: str) -> torch.nn.Module:
    """A network with initial weights, by its name."""
    return {"blur": BlurNetwork}[name]()
