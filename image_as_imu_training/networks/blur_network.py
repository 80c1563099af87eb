"""The real-time network: local power spectra of a luminance image → axial flow, depth, and the sigmas of both.

A streak f multiplies the power of a spatial frequency k by sinc²(f·k). So the log power at some orientations and
frequencies k = ν·(cos φ, sin φ),

    log P(ν, φ) = log P₀(ν, φ) + 2·log|sinc(‖f‖·ν·cos(φ − θ))|,

tells the streak's orientation θ (where it is dim) and its length ‖f‖ (from which ν on, and where it is dimmest)
whatever the texture's own power P₀ is, as long as that is smooth. It depends on f and −f alike, hence axial flow.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from image_as_imu_training.networks.network import Network
from image_as_imu_training.networks.streak_refinement import StreakRefinement
from image_as_imu_training.rendering.views import STRIDE

OCTAVES = 5
ORIENTATIONS = 12
_FREQUENCIES = (0.21, 0.265, 0.334, 0.42)  # cycles per px of each octave; the next octave continues below
_WINDOW = 24  # px of each octave
_STRIDES = (8, 4, 4, 2, 2)  # px of each octave
_CONTRAST_SCALE = 64.0
_QUANTISATION = 1e-4  # power of 8-bit rounding at that scale; below it nothing can be seen
KNEE = 0.3  # 1/px; blur is compressed logarithmically beyond about 1/KNEE
_LOG_DEPTH = 3.0  # log m; the network says depths from e^−3 to e^3 m
FARTHEST = math.exp(_LOG_DEPTH)  # m
DEPTH_FROM = 4  # output of the head, from which on they are about depth
_LONGEST = 11.8  # compressed length of about 110 px, beyond which nothing is trained


def compress(flow: torch.Tensor) -> torch.Tensor:
    """Compress axial flow (B, 2, …) px: the same angle with length log(1 + 0.3 ‖q‖) / 0.3.

    In these terms errors of short blurs count absolutely, errors of long ones relatively, and the orientation can be
    learned before the length is known.
    """
    length = (flow.square().sum(1, keepdim=True) + 1e-4).sqrt()
    return flow * (torch.log1p(KNEE * length) / (KNEE * length))


def expand(compressed: torch.Tensor) -> torch.Tensor:
    """Undo `compress`, for lengths up to 110 px."""
    length = (compressed.square().sum(1, keepdim=True) + 1e-4).sqrt()
    return compressed * ((torch.exp(KNEE * length.clamp(max=_LONGEST)) - 1) / (KNEE * length))


def _fourier_bank() -> torch.Tensor:
    """Make waves under a Hann window, by orientation, first all cosines: (2 · ORIENTATIONS · frequencies, 24, 24)."""
    offset = torch.arange(_WINDOW) - (_WINDOW - 1) / 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    hann = torch.cos(math.pi * offset / _WINDOW) ** 2
    window = hann[:, None] * hann / hann.sum() ** 2
    cosines, sines = [], []
    for orientation in range(ORIENTATIONS):
        angle = math.pi * orientation / ORIENTATIONS
        for frequency in _FREQUENCIES:
            phase = 2 * math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle))
            cosine = window * phase.cos()
            cosines.append(cosine - window * cosine.sum())  # blind to brightness, as sines are
            sines.append(window * phase.sin())
    return torch.stack(cosines + sines)


class LocalSpectrum(nn.Module):
    """Log power of the image at 12 orientations × 4 frequencies × 5 octaves, in windows of 24 px of each octave."""

    channels = ORIENTATIONS * len(_FREQUENCIES) * OCTAVES
    filters: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _fourier_bank() * _CONTRAST_SCALE, persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the log power of (B, 1, H, W) 0…1 at stride 8.

        Returns:
            Log power relative to its octave's mean (B, channels, h, w), octave by octave and in it orientation by
            orientation, and the octaves' mean log power (B, OCTAVES, h, w).
        """
        grid = (image.shape[-2] // STRIDE, image.shape[-1] // STRIDE)
        relative, means = [], []
        for octave in range(OCTAVES):
            log_power = 0.5 * (self._power(image, _STRIDES[octave]) + _QUANTISATION).log()
            if log_power.shape[-2:] != grid:
                log_power = F.interpolate(log_power, grid, mode="bilinear", align_corners=False)
            mean = log_power.mean(1, keepdim=True)
            relative.append(log_power - mean)
            means.append(0.5 * mean)
            image = F.avg_pool2d(image, 2)
        return torch.cat(relative, 1), torch.cat(means, 1)

    def _power(self, image: torch.Tensor, stride: int) -> torch.Tensor:
        """Power (B, orientations · frequencies, H/stride, W/stride), averaged over 3×3 windows."""
        # The same as a convolution with that stride; in blocks of pixels as channels it runs several times faster.
        # ONNX Runtime keeps its own memory layout from the padding to the average if the blocks are made by a
        # convolution in place of pixel_unshuffle, and if cosines and sines are not parts of one tensor.
        blocks = self.filters.unflatten(1, (-1, stride)).unflatten(3, (-1, stride))
        filters = blocks.permute(0, 2, 4, 1, 3).flatten(1, 2)
        padding = (_WINDOW - stride) // 2
        each_pixel = torch.eye(stride**2, device=image.device).view(-1, 1, stride, stride)
        pixels = F.conv2d(F.pad(image, (padding,) * 4, "replicate"), each_pixel, stride=stride)
        cosine, sine = (F.conv2d(pixels, half) for half in filters.chunk(2))
        return F.avg_pool2d(cosine.square() + sine.square(), 3, 1, 1, count_include_pad=False)


class OrientationConvolution(nn.Module):
    """1×1 convolution, batch norm and ReLU that treat all orientations alike.

    Channels are grouped by orientation; the weights depend on the difference between two orientations only, so what is
    learned about one orientation holds for all.

    Args:
        inputs, outputs: channels per orientation.
        blocks: in so many blocks do the inputs come, each grouped by orientation.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        self.blocks = blocks
        self.weight = nn.Parameter(torch.randn(outputs, ORIENTATIONS, inputs) * math.sqrt(2 / (ORIENTATIONS * inputs)))
        self.norm = nn.BatchNorm2d(ORIENTATIONS * outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ORIENTATIONS · inputs, h, w) → (B, ORIENTATIONS · outputs, h, w)."""
        orientation = torch.arange(ORIENTATIONS, device=x.device)
        difference = (orientation - orientation[:, None]) % ORIENTATIONS
        weight = self.weight[:, difference].unflatten(3, (self.blocks, -1)).permute(1, 0, 3, 2, 4)
        return F.relu(self.norm(F.conv2d(x, weight.reshape(self.norm.num_features, -1, 1, 1))))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _convolutions(count: int, inputs: int, outputs: int) -> nn.Sequential:
    """So many convolutions, the first of which halves the resolution."""
    return nn.Sequential(
        _convolution(inputs, outputs, stride=2), *(_convolution(outputs, outputs) for _ in range(count - 1))
    )


class BlurNetwork(Network):
    """Encoder-decoder on local power spectra, and a `StreakRefinement` of the streaks that it sees.

    Input: (B, 1, H, W) luminance 0…1, H and W multiples of 32.
    Outputs at stride 8: flow (B, 2, h, w) axial q in px, sigma (B, 2, h, w) standard deviation of q along itself and
    across in px, depth (B, 1, h, w) in m, depth_sigma (B, 1, h, w) standard deviation of its logarithm.
    """

    stride = STRIDE
    flow = "axial"
    colour = "gray"
    mean, std = (0.0,), (1.0,)

    def __init__(
        self, widths: tuple[int, int, int] = (96, 128, 192), per_orientation: tuple[int, int] = (24, 16)
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        first, second = per_orientation
        self.spectrum = LocalSpectrum()
        # `directional` and `picture` are names of tensors in published weights.
        self.directional = nn.Sequential(
            OrientationConvolution(LocalSpectrum.channels // ORIENTATIONS, first, blocks=OCTAVES),
            OrientationConvolution(first, second),
        )
        # Sixteen channels, since convolutions are fastest on multiples of that.
        self.contrast = nn.Conv2d(OCTAVES, 16, 1)
        # Spectra of 24 px do not tell where a near thing ends; the image does.
        self.picture = nn.Sequential(
            nn.Conv2d(1, 32, 8, 4, 2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            _convolution(32, 64, stride=2),
            _convolution(64, 48),
        )
        features = ORIENTATIONS * second + 16 + 48
        self.encode8 = _convolution(features, fine)
        self.encode16 = _convolutions(3, fine, middle)
        # Deep where cells are few: one rigid motion explains the whole frame, so all of it tells about each cell.
        self.encode32 = _convolutions(6, middle, coarse)
        self.decode16 = nn.Sequential(_convolution(coarse + middle, fine), _convolution(fine, fine))
        self.decode8 = nn.Sequential(_convolution(fine + fine, fine), _convolution(fine, fine))
        # The head sees the features by orientation, too, so flow starts from a linear guess.
        self.head = nn.Conv2d(fine + features, 6, 1)
        nn.init.zeros_(self.head.weight)
        self.refinement = StreakRefinement()
        self.refines = True  # without, the flow is the first guess

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predict flow, sigma, depth and depth_sigma: see the class."""
        # Squares and logarithms of power want more digits than half precision training has.
        with torch.autocast(image.device.type, enabled=False), torch.no_grad():
            log_power, means = self.spectrum(image)
            standardised = _standardised(image)
        features = torch.cat([self.directional(log_power), self.contrast(means), self.picture(standardised)], 1)
        skip8 = self.encode8(features)
        skip16 = self.encode16(skip8)
        x = self.decode16(torch.cat([_double(self.encode32(skip16)), skip16], 1))
        x = self.decode8(torch.cat([_double(x), skip8], 1))
        # As `head` would do with both together; putting them together takes longer than this layer.
        for_x, for_features = self.head.weight.split((x.shape[1], features.shape[1]), 1)
        head = F.conv2d(x, for_x, self.head.bias) + F.conv2d(features, for_features)
        flow, sigma, depth, depth_sigma = head.float().split((2, 2, 1, 1), 1)
        with torch.autocast(image.device.type, enabled=False):
            flow, sigma = expand(4 * flow), 0.05 + F.softplus(sigma + 1)
            if self.refines:
                flow, sigma = self.refinement(image.float(), flow, sigma)
        return flow, sigma, torch.exp(depth.clamp(-_LOG_DEPTH, _LOG_DEPTH)), 0.05 + F.softplus(depth_sigma)


def _standardised(image: torch.Tensor) -> torch.Tensor:
    """Make the image the same however bright it is and however much contrast it has."""
    image = image - image.mean((2, 3), keepdim=True)
    return image / (image.square().mean((2, 3), keepdim=True) + 1e-4).sqrt()


def _double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
