"""What all networks say about themselves, so that others can use them alike."""

from __future__ import annotations

from torch import nn


class Network(nn.Module):
    """A network that maps an image (B, C, H, W) to flow, sigma, depth and depth_sigma, as `ModelInfo` describes them.

    Attributes:
        stride, flow, colour, mean, std: as the fields of the same names in ModelInfo.
    """

    stride: int
    flow: str
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
