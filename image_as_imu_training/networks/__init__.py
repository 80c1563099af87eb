"""The networks. Each maps an image (B, C, H, W) to flow, spread, depth and depth_sigma, as `ModelInfo` describes them.

They carry what `ModelInfo` says about them as attributes: stride, flow ("axial" or "signed"), colour ("gray" or "rgb"),
mean and std.
"""

from __future__ import annotations

import torch

from image_as_imu_training.networks.blur_network import BlurNetwork
from image_as_imu_training.networks.segnext import SegNeXt

NETWORKS = {"blur": BlurNetwork, "segnext": SegNeXt}


def create_network(name: str) -> torch.nn.Module:
    """A network with initial weights, by its name in NETWORKS."""
    return NETWORKS[name]()
