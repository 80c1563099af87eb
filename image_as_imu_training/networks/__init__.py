"""The networks by their names."""

from __future__ import annotations

from image_as_imu_training.networks.blur_network import BlurNetwork
from image_as_imu_training.networks.network import Network
from image_as_imu_training.networks.segnext import SegNeXt

NETWORKS: dict[str, type[Network]] = {"blur": BlurNetwork, "segnext": SegNeXt}


def create_network(name: str) -> Network:
    """Create a network with initial weights, by its name in NETWORKS."""
    return NETWORKS[name]()
