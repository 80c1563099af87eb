"""From linear light to the 8-bit luminance that the runtime sees.

Cameras deliver about twice the network's resolution and the runtime resizes by pixel area, so noise and JPEG blocks
are made at that size.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn import functional as F

MARGIN = 6  # px that the optics' blur and the interpolation need around a crop


def linear_from_srgb(encoded: torch.Tensor) -> torch.Tensor:
    """Decode sRGB values 0…1 to linear light 0…1."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def gaussian_blur(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Smooth (B, 1, H, W), each with its own (B,) sigma, px ≤ 2. Sides are repeated."""
    offsets = torch.arange(-5, 6, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    batch = image.transpose(0, 1)
    batch = F.conv2d(F.pad(batch, (5, 5, 0, 0), "replicate"), kernel[:, None, None], groups=len(sigma))
    batch = F.conv2d(F.pad(batch, (0, 0, 5, 5), "replicate"), kernel[:, None, :, None], groups=len(sigma))
    return batch.transpose(0, 1)


def photograph(light: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Take an 8-bit image of linear light, as a camera does, resized by area to the network's scale.

    Defocus, exposure with clipped highlights, shot and read noise (half of the time correlated over neighbouring
    pixels), gamma, sharpening, JPEG. One sample in eight is nearly drowned in noise or has hardly any contrast.

    Args:
        light: (B, 1, H + 2·MARGIN, W + 2·MARGIN) linear luminance 0…1.

    Returns:
        (B, H, W) uint8.
    """
    batch, device = len(light), light.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, 1, device=device, generator=generator)

    def choose(share: float) -> torch.Tensor:
        return uniform(0, 1) < share

    def noise_like(image: torch.Tensor) -> torch.Tensor:
        return torch.randn(image.shape, device=device, generator=generator)

    defocus = torch.where(choose(0.6), 0.3, uniform(0.3, 1.2)).flatten()
    light = gaussian_blur(light, defocus)
    mean = light.mean((1, 2, 3), keepdim=True)
    flat = choose(0.06)
    light = torch.where(flat, mean + uniform(0.03, 0.3) * (light - mean), light)
    exposure = 0.02 * 30 ** uniform(0, 1) ** 0.6
    light = light * exposure / mean.clamp(min=0.02)
    light = F.interpolate(light, scale_factor=2, mode="bicubic", align_corners=False)
    light = light[..., 2 * MARGIN : -2 * MARGIN, 2 * MARGIN : -2 * MARGIN].clamp(min=0)

    noisy = choose(0.07)
    shot = 1e-6 * 150 ** uniform(0, 1) * torch.where(noisy, 60.0, 1.0)
    read = 1e-4 * 12 ** uniform(0, 1) * torch.where(noisy, 12.0, 1.0)
    white = noise_like(light)
    grain = gaussian_blur(white, uniform(0.4, 1.2).flatten())
    grain = grain / grain.std((1, 2, 3), keepdim=True)
    # Clipped before the noise is added, as a full well is; a saturated highlight is quiet.
    light = light.clamp(max=1.02)
    light = light + (shot * light + read**2).sqrt() * torch.where(choose(0.5), grain, white)
    light = light.clamp(0, 1)

    gamma = uniform(1.8, 2.6)
    srgb = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-4) ** (1 / 2.4) - 0.055)
    encoded = torch.where(choose(0.6), srgb, light.clamp(min=1e-5) ** (1 / gamma))
    soft = gaussian_blur(encoded, torch.full((batch,), 1.0, device=device))
    encoded = encoded + torch.where(choose(0.5), uniform(0.2, 1.2), 0.0) * (encoded - soft)
    eight_bit = (encoded * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return _compress(eight_bit[:, 0], generator)


def _compress(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Compress to JPEG of quality 40–97: half at twice the network's scale, a quarter at its scale, the others not."""
    result = []
    device = images.device
    draws = torch.rand(len(images), 2, device=device, generator=generator).cpu().numpy()
    for image, (where, quality) in zip(images.cpu().numpy(), draws, strict=True):
        quality = int(98 - 58 * quality**2)
        if where < 0.5:
            image = _through_jpeg(image, quality)
        height, width = image.shape
        image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        if 0.5 <= where < 0.75:
            image = _through_jpeg(image, quality)
        result.append(image)
    return torch.from_numpy(np.stack(result)).to(device)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # what OpenCV encodes, it decodes
    return decoded
