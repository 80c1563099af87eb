"""One view of all networks: luminance in, an axial motion field out."""

from __future__ import annotations

import torch
from torch import nn

from image_as_imu_training.networks.network import Network
from image_as_imu_training.rendering.motion import axial_from_signed

Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Axial flow q (B, 2, h, w) px, its sigma along itself and across (B, 2, h, w) px, depth (B, 1, h, w) m, sigma of its
logarithm (B, 1, h, w)."""


class AxialNetwork(nn.Module):
    """A network that takes luminance (B, 1, H, W) 0…1, normalised as it wants it, and whose flow is axial.

    Networks for colour see luminance in all channels, networks with signed flow may choose its sign cell by cell.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(network, name))[:, None, None], persistent=False)

    def forward(self, image: torch.Tensor) -> Outputs:
        """Predict the motion field: see the class."""
        flow, *others = self.network((image - self.mean) / self.std)
        return (flow if self.network.flow == "axial" else axial_from_signed(flow)), *others
