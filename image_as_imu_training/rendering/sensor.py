"""From linear light to the 8-bit luminance that the runtime sees.

Cameras deliver about twice the network's resolution and the runtime resizes by pixel area, so noise, sharpening and
compression are made at that size.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from image_as_imu_training.rendering.draws import Draws
from image_as_imu_training.rendering.filters import change, gaussian_blur, median_of_nine
from image_as_imu_training.rendering.tone_mapping import map_tones
from image_as_imu_training.rendering.video_codec import video_frame

MARGIN = 6  # px that the optics' blur and the interpolation need around a crop
_THREADS = min(16, os.cpu_count() or 1)


def linear_from_srgb(encoded: torch.Tensor) -> torch.Tensor:
    """Decode sRGB values 0…1 to linear light 0…1."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def photograph(light: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Take an 8-bit image of linear light, as a camera does, resized by area to the network's scale.

    Defocus, exposure with clipped highlights, noise, tone curve, sharpening, compression. One sample in eight is
    nearly drowned in noise or has hardly any contrast, one in 25 is dark.

    Args:
        light: (B, 1, H + 2·MARGIN, W + 2·MARGIN) linear luminance; white is 1, lamps are brighter. H and W are
            multiples of 8.

    Returns:
        (B, H, W) uint8.
    """
    draws = Draws(len(light), light.device, generator)
    dark = draws.choose(0.04)
    light = _defocused(light, draws)
    light = _exposed(light, dark, draws)
    light = _with_noise(light, dark, draws)
    _reduce_noise(light, dark, draws)
    _map_tones(light, draws)
    encoded = _encoded(light, draws)
    _sharpen(encoded, draws)
    return _compressed((encoded * 255 + 0.5).clamp_(0, 255).floor_(), draws)


def _defocused(light: torch.Tensor, draws: Draws) -> torch.Tensor:
    sigma = torch.where(draws.choose(0.6), 0.3, draws.per_image(0.3, 1.2))
    return gaussian_blur(light, sigma.flatten())


def _exposed(light: torch.Tensor, dark: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Expose to some mean, which lamps have no part in, and interpolate to twice the network's scale."""
    mean = light.clamp(max=1).mean((1, 2, 3), keepdim=True)
    flat = draws.choose(0.06)
    light = torch.where(flat, mean + draws.per_image(0.03, 0.3) * (light - mean), light)
    exposure = 0.02 * 30 ** draws.per_image(0, 1) ** 0.6
    exposure = torch.where(dark, draws.log_uniform(0.003, 0.02), exposure)
    light = light * exposure / mean.clamp(min=0.02)
    # The interpolation would put black rims around lamps.
    light = F.interpolate(light.clamp(max=1.5), scale_factor=2, mode="bicubic", align_corners=False)
    return light[..., 2 * MARGIN : -2 * MARGIN, 2 * MARGIN : -2 * MARGIN].clamp(min=0)


def _with_noise(light: torch.Tensor, dark: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Add shot and read noise, half of the time correlated over neighbouring pixels."""
    noisy = draws.choose(0.07)
    shot = draws.log_uniform(1e-6, 1.5e-4) * torch.where(noisy, 60.0, torch.where(dark, 20.0, 1.0))
    read = draws.log_uniform(1e-4, 1.2e-3) * torch.where(noisy, 12.0, torch.where(dark, 4.0, 1.0))
    noise, sigma = draws.noise_like(light), draws.per_image(0.4, 1.2)
    change(noise, draws.choose(0.5), _grain, sigma)
    # Clipped before the noise is added, as a full well is; a saturated highlight is quiet.
    light = light.clamp(max=1.02)
    return noise.mul_((shot * light).add_(read**2).sqrt_()).add_(light).clamp_(0, 1)


def _grain(white: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Correlate white noise, and keep its variance."""
    grain = gaussian_blur(white, sigma.flatten())
    return grain / grain.std((1, 2, 3), keepdim=True)


def _reduce_noise(light: torch.Tensor, dark: torch.Tensor, draws: Draws) -> None:
    """Smooth dark images, half of them by a median."""
    median, sigma = draws.choose(0.5), draws.per_image(0.5, 1.2).flatten()
    change(light, dark & median, median_of_nine)
    change(light, dark & ~median, gaussian_blur, sigma)


def _map_tones(light: torch.Tensor, draws: Draws) -> None:
    """Map the tones of one image in seven locally."""
    chosen, width = draws.choose(0.15), draws.per_image(16, 32)
    change(light, chosen, map_tones, width, draws.per_image(0.4, 1), draws.per_image(0.9, 1.4))


def _encoded(light: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Encode by sRGB or by a power."""
    standard, gamma = draws.choose(0.6), draws.per_image(1.8, 2.6)
    power = light.clamp(min=1e-5).pow_(1 / torch.where(standard, 2.4, gamma))
    return torch.where(standard, torch.where(light <= 0.0031308, 12.92 * light, 1.055 * power - 0.055), power)


def _sharpen(encoded: torch.Tensor, draws: Draws) -> None:
    """Sharpen half of the images, a third of these with halos."""
    halos = draws.choose(0.3)
    sigma = torch.where(halos, draws.per_image(0.6, 2.5), 1.0)
    amount = torch.where(halos, draws.per_image(0.4, 2), draws.per_image(0.2, 1.2))
    change(encoded, draws.choose(0.5), sharpen, sigma, amount)


def sharpen(encoded: torch.Tensor, sigma: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Add what a blur of (B, 1, 1, 1) sigma, px, takes away: edges overshoot by up to half of `amount`."""
    return encoded + amount * (encoded - gaussian_blur(encoded, sigma.flatten(), reach=7))


def _compressed(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Compress (B, 1, 2H, 2W) images 0…255, in place, and resize them by area to (B, H, W) uint8.

    A fifth is from videos. Of the others, half are JPEG of quality 40–97 at twice the network's scale, a quarter at
    its scale.
    """
    video, large = draws.choose(0.2), draws.choose(0.5)
    qp, inter = draws.per_image(20, 38), draws.choose(0.8)
    for block, chosen in ((16, video & large), (8, video & ~large)):
        change(images, chosen, partial(video_frame, block=block), qp, inter)
    where = torch.where(video, 1.0, draws.per_image(0, 1))
    quality = (98 - 58 * draws.per_image(0, 1) ** 2).int()
    whole = images.add_(0.5).to(torch.uint8)[:, 0].cpu().numpy()
    with ThreadPoolExecutor(_THREADS) as pool:
        resized = list(pool.map(_resized, whole, where.flatten().tolist(), quality.flatten().tolist()))
    return torch.from_numpy(np.stack(resized)).to(images.device)


def _resized(image: np.ndarray, where: float, quality: int) -> np.ndarray:
    """Halve an image's size; JPEG before if `where` is below 0.5, after if it is below 0.75."""
    if where < 0.5:
        image = _through_jpeg(image, quality)
    height, width = image.shape
    image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return _through_jpeg(image, quality) if 0.5 <= where < 0.75 else image


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # what OpenCV encodes, it decodes
    return decoded
