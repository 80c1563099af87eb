"""What the network said before stage `recordings`, held against what it says while it learns velocities.

Velocities alone would let the field collapse into whatever happens to solve well.
"""

from __future__ import annotations

from pathlib import Path

import torch

from image_as_imu_training.checkpoint import load_network
from image_as_imu_training.training.axial_network import AxialNetwork, Outputs
from image_as_imu_training.training.losses import Terms, depth_term, flow_term


class PseudoLabels:
    """Predictions of the averaged network of a checkpoint, frozen."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        """Load the checkpoint. Raises InputError: as `load_network`."""
        self._network = AxialNetwork(load_network(checkpoint)).to(device).requires_grad_(False)

    def terms(self, outputs: Outputs, image: torch.Tensor) -> Terms:
        """Measure how far flow, depth and their sigmas are from those predicted for the images (B, 1, H, W) 0…1."""
        flow, sigma, depth, depth_sigma = outputs
        with torch.no_grad():
            start_flow, start_sigma, start_depth, start_depth_sigma = self._network(image)
        everywhere = torch.ones_like(start_depth, dtype=torch.bool)
        return {
            "flow": flow_term(flow, start_flow, everywhere[:, 0]),
            "sigma": (sigma.log() - start_sigma.log()).abs().mean(),
            "depth": depth_term(depth, start_depth, everywhere),
            "depth_sigma": (depth_sigma.log() - start_depth_sigma.log()).abs().mean(),
        }
