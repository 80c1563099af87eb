"""Local tone mapping, as phones do it: large differences of luminance are compressed, small ones kept or raised."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from image_as_imu_training.rendering.filters import gaussian_blur

_CELL = 16  # px; what is wider is far wider than a cell
_BLACK = 0.002  # of white, below which noise is not raised


def map_tones(light: torch.Tensor, width: torch.Tensor, compression: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Divide log luminance into base and detail, and compress the base towards its mean.

    Args:
        light: (B, 1, H, W) linear luminance 0…1.
        width: (B, 1, 1, 1) sigma of the blur that makes the base, px ≤ 32.
        compression, gain: (B, 1, 1, 1) factors of the base and of the detail.
    """
    luminance = (light + _BLACK).log()
    cells = F.interpolate(luminance, scale_factor=1 / _CELL, mode="area")
    cells = gaussian_blur(cells, width.flatten() / _CELL)
    base = F.interpolate(cells, light.shape[2:], mode="bilinear", align_corners=False)
    mean = base.mean((2, 3), keepdim=True)
    return ((mean + compression * (base - mean) + gain * (luminance - base)).exp() - _BLACK).clamp(0, 1)
