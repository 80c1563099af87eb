"""The blur network: orientation energies of a luminance image → axial flow, its spread, and depth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from image_as_imu_training.rendering.views import STRIDE

OCTAVES = 5
# Lags (dx, dy), px, of the brightness differences: eight directions, about two px each.
_LAGS = ((2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (-1, 2), (-1, 1), (-2, 1))
_CONTRAST_SCALE = 16.0  # keeps squared differences well inside FP16's range
_QUANTISATION = 1e-3  # energy of 8-bit rounding at that scale; below it nothing can be told
_KNEE = 0.15  # 1/px; blur is compressed logarithmically beyond about 1/_KNEE
_LONGEST = 19.0  # compressed length of about 110 px, beyond which nothing is trained


def compress(flow: torch.Tensor) -> torch.Tensor:
    """Axial flow (B, 2, …) px → the same direction with length log(1 + 0.15 ‖q‖) / 0.15.

    In these terms errors of short blurs count absolutely, errors of long ones relatively, and the direction can be
    learned before the length is known.
    """
    length = (flow.square().sum(1, keepdim=True) + 1e-4).sqrt()
    return flow * (torch.log1p(_KNEE * length) / (_KNEE * length))


def expand(compressed: torch.Tensor) -> torch.Tensor:
    """The inverse of `compress`, for lengths up to 110 px."""
    length = (compressed.square().sum(1, keepdim=True) + 1e-4).sqrt()
    return compressed * ((torch.exp(_KNEE * length.clamp(max=_LONGEST)) - 1) / (_KNEE * length))


def _filter_bank() -> torch.Tensor:
    """Sobel gx and gy, then one difference per lag: (10, 1, 5, 5)."""
    bank = torch.zeros(2 + len(_LAGS), 1, 5, 5)
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    bank[0, 0, 1:4, 1:4], bank[1, 0, 1:4, 1:4] = sobel, sobel.T
    for index, (dx, dy) in enumerate(_LAGS, start=2):
        # The pair lies symmetrically about the pixel, or half a px off it on each side.
        bank[index, 0, 2 + dy // 2 + dy % 2, 2 + dx // 2 + dx % 2] += 1
        bank[index, 0, 2 - dy // 2, 2 - dx // 2] -= 1
    return bank


class OrientationEnergy(nn.Module):
    """Local orientation energies at several octaves.

    Per octave: the structure tensor in double-angle form, contrast-free and aligned with axial flow, its log energy,
    and the log energies of brightness differences along eight directions, which tell how far streaks reach.
    Octaves 0–2 are pooled to the output's stride; the coarser ones keep their own.
    """

    channels = 3 + len(_LAGS)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _filter_bank() * _CONTRAST_SCALE, persistent=False)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, H, W) 0…1 → features at strides 4 (three octaves), 8 and 16."""
        octaves = []
        for octave in range(OCTAVES):
            response = F.conv2d(F.pad(image, (2, 2, 2, 2), "replicate"), self.filters)
            gx, gy, differences = response[:, :1], response[:, 1:2], response[:, 2:]
            products = torch.cat([gx * gx - gy * gy, 2 * gx * gy, gx * gx + gy * gy, differences * differences], 1)
            stride = max(1, STRIDE >> octave)
            window = {4: 8, 2: 6, 1: 5}[stride]
            energies = F.avg_pool2d(products, window, stride, (window - stride) // 2, count_include_pad=False)
            doubled, energy = energies[:, :2], energies[:, 2:] + _QUANTISATION
            total = energy[:, :1]
            logarithm = energy.log()
            relative = logarithm[:, 1:] - logarithm[:, :1]
            octaves.append(torch.cat([2 * doubled / total, 0.5 * logarithm[:, :1], relative], 1))
            image = F.avg_pool2d(image, 2)
        return [torch.cat(octaves[:3], 1), *octaves[3:]]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class BlurNetwork(nn.Module):
    """Dense encoder-decoder on orientation energies.

    Input: (B, 1, H, W) luminance 0…1, H and W multiples of 32.
    Outputs at stride 4: flow (B, 2, h, w) axial q in px, spread (B, 1, h, w) standard deviation of each component
    of q in px, depth (B, 1, h, w) in m.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (48, 96, 160, 192)) -> None:
        super().__init__()
        fine, middle, coarse, coarsest = widths
        energies = OrientationEnergy.channels
        self.energies = OrientationEnergy()
        self.encode4 = nn.Sequential(_convolution(3 * energies, fine), _convolution(fine, fine))
        self.reduce8 = _convolution(fine, middle, stride=2)
        self.encode8 = _convolution(middle + energies, middle)
        self.reduce16 = _convolution(middle, coarse, stride=2)
        self.encode16 = _convolution(coarse + energies, coarse)
        self.encode32 = nn.Sequential(_convolution(coarse, coarsest, stride=2), _convolution(coarsest, coarsest))
        self.decode16 = _convolution(coarsest + coarse, middle)
        self.decode8 = _convolution(middle + middle, middle)
        self.decode4 = nn.Sequential(_convolution(middle + fine, fine), _convolution(fine, fine))
        # The head sees the energies, too: blur lies across their orientation, so flow starts from a linear guess.
        self.head = nn.Conv2d(fine + 3 * energies, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See the class."""
        # Squares and logarithms of energies want more digits than half precision training has.
        with torch.autocast(image.device.type, enabled=False), torch.no_grad():
            energies4, energies8, energies16 = self.energies(image)
        skip4 = self.encode4(energies4)
        skip8 = self.encode8(torch.cat([self.reduce8(skip4), energies8], 1))
        skip16 = self.encode16(torch.cat([self.reduce16(skip8), energies16], 1))
        x = self.decode16(torch.cat([_double(self.encode32(skip16)), skip16], 1))
        x = self.decode8(torch.cat([_double(x), skip8], 1))
        x = self.decode4(torch.cat([_double(x), skip4], 1))
        flow, spread, depth = self.head(torch.cat([x, energies4], 1)).float().split((2, 1, 1), 1)
        return expand(4 * flow), 0.05 + F.softplus(spread + 1), torch.exp(depth.clamp(-3, 3))


def _double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
