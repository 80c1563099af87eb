"""Smoothing of batches in which every image has its own parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F


def gaussian_blur(image: torch.Tensor, sigma: torch.Tensor, reach: int = 5) -> torch.Tensor:
    """Smooth (B, 1, H, W), each with its own (B,) sigma, px ≤ 0.4 · reach. Sides are repeated."""
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    batch = image.transpose(0, 1)
    batch = F.conv2d(F.pad(batch, (reach, reach, 0, 0), "replicate"), kernel[:, None, None], groups=len(sigma))
    batch = F.conv2d(F.pad(batch, (0, 0, reach, reach), "replicate"), kernel[:, None, :, None], groups=len(sigma))
    return batch.transpose(0, 1)


def median_of_nine(image: torch.Tensor) -> torch.Tensor:
    """Take medians of (B, 1, H, W) over 3×3 px. Sides are repeated."""
    padded = F.pad(image, (1, 1, 1, 1), "replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values


def change(
    image: torch.Tensor, chosen: torch.Tensor, step: Callable[..., torch.Tensor], *parameters: torch.Tensor
) -> None:
    """Apply a step to the chosen (B,) images of a batch, in place; `parameters` have one row per image of the batch."""
    index = chosen.flatten().nonzero()[:, 0]
    if len(index):
        image[index] = step(image[index], *(parameter[index] for parameter in parameters))
