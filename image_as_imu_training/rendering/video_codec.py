"""What H.264 and H.265 take from a frame, modelled. This is no codec: nothing is searched, and nothing is written.

Per block: a smooth prediction, the DCT of what differs from it, uniform quantisation with a dead zone, and H.264's
deblocking filter across the edges of blocks. In a frame that is predicted from earlier ones, what was lost is coded
once more, on the grid that the motion has carried off. A codec would also predict by copying along an orientation, and
would choose the block's size by its content: at the same quantisation parameter it mostly loses less.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn import functional as F

from image_as_imu_training.rendering.filters import change

_MACROBLOCK = 16  # px, the least grid on which a frame is predicted
_INTRA, _INTER = 1 / 3, 1 / 6  # what is added before a coefficient is rounded down; the reference encoder's


def quantizer_step(qp: torch.Tensor) -> torch.Tensor:
    """Return the step of a quantisation parameter, in 8-bit units."""
    return 2 ** ((qp - 4) / 6)


def video_frame(image: torch.Tensor, qp: torch.Tensor, inter: torch.Tensor, block: int) -> torch.Tensor:
    """Compress and decompress frames.

    Args:
        image: (B, 1, H, W) 0…255, sides multiples of 16.
        qp: (B, 1, 1, 1) quantisation parameter.
        inter: (B, 1, 1, 1) bool, of a frame that is predicted from earlier ones.
        block: 8 or 16, the side of the transform.
    """
    means = F.avg_pool2d(image, _MACROBLOCK)
    prediction = F.interpolate(means, image.shape[2:], mode="bilinear", align_corners=False)
    decoded = _coded(image, prediction, qp, _INTRA, block)
    change(decoded, inter, partial(_refined, block=block), image, qp)
    return decoded.clamp_(0, 255)


def _refined(decoded: torch.Tensor, image: torch.Tensor, qp: torch.Tensor, block: int) -> torch.Tensor:
    """Code what was lost, on a grid half a block off."""
    inner = slice(block // 2, -block // 2)
    decoded[..., inner, inner] = _coded(image[..., inner, inner], decoded[..., inner, inner], qp, _INTER, block)
    return decoded


def _coded(
    image: torch.Tensor, prediction: torch.Tensor, qp: torch.Tensor, rounding: float, block: int
) -> torch.Tensor:
    residual = quantize_blocks(image - prediction, quantizer_step(qp), rounding, block)
    return deblock(prediction + residual, qp, block)


def quantize_blocks(image: torch.Tensor, step: torch.Tensor, rounding: float, block: int) -> torch.Tensor:
    """Quantise the orthonormal DCT of blocks: coefficients below (1 − rounding)·step vanish."""
    height, width = image.shape[2:]
    cosines = _dct(block, image)
    blocks = image.reshape(-1, height // block, block, width // block, block).transpose(2, 3)
    coefficients = cosines @ blocks @ cosines.T
    levels = (coefficients.abs() / step[..., None] + rounding).floor()
    blocks = cosines.T @ (coefficients.sign() * levels * step[..., None]) @ cosines
    return blocks.transpose(2, 3).reshape(image.shape)


def _dct(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return the orthonormal DCT-II as a matrix."""
    frequency = torch.arange(size, device=like.device, dtype=like.dtype)
    matrix = (math.pi / size * (frequency + 0.5) * frequency[:, None]).cos() * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def deblock(image: torch.Tensor, qp: torch.Tensor, block: int) -> torch.Tensor:
    """Smooth small steps across the edges of blocks; larger ones are taken for the scene's."""
    image = _deblock_columns(image, qp, block)
    return _deblock_columns(image.mT, qp, block).mT


def _deblock_columns(image: torch.Tensor, qp: torch.Tensor, block: int) -> torch.Tensor:
    """Smooth across vertical edges with H.264's normal filter, its tables of alpha, beta and tc as formulas."""
    alpha = 0.8 * (2 ** (qp / 6) - 1)
    beta = 0.5 * qp - 7
    most = 25 * 2 ** ((qp - 51) / 6)
    second, first = image[..., block - 2 : -block : block], image[..., block - 1 : -block : block]
    after, later = image[..., block::block], image[..., block + 1 :: block]
    small = (first - after).abs() < alpha
    small = small & ((second - first).abs() < beta) & ((later - after).abs() < beta)
    change = ((4 * (after - first) + second - later) / 8).clamp(-most, most) * small
    image = image.clone()
    image[..., block - 1 : -block : block] += change
    image[..., block::block] -= change
    return image
