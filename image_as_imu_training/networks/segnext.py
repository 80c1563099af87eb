"""The network of "Image as an IMU" (Chen & Clark 2025): SegNeXt (Guo et al. 2022) with a flow and a depth decoder.

Module names are those of the authors' checkpoint, so that it loads with strict=True.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from image_as_imu_training.networks.network import Network
from image_as_imu_training.rendering.views import STRIDE

_CHANNELS = (64, 128, 320, 512)
_DEPTHS = (3, 3, 12, 3)
_MLP_RATIOS = (8, 8, 4, 4)
_STRIP_LENGTHS = (7, 11, 21)
_HAMBURGER_CHANNELS = 512
_NMF_RANK = 64
_NMF_UPDATES_TRAINING, _NMF_UPDATES = 6, 7
_DECODER_CHANNELS = 64


class SegNeXt(Network):
    """The published network.

    Input: (B, 3, H, W) RGB with ImageNet's normalisation, H and W multiples of 32.
    Outputs: flow (B, 2, h, w) signed f over the exposure, px; sigma (B, 2, h, w) px of the axial flow along itself and
    across; depth (B, 1, h, w) m; depth_sigma (B, 1, h, w) of its logarithm.

    The authors' outputs have full resolution (`stride` 1), finer than what the decoders add up and far finer than what
    a solver needs: by default they are averaged over the cells of the grid that all networks here share, flow as it is
    and depth in its logarithm. The mean over a cell belongs to the cell's centre, as `NetworkOutput` has it.

    The network predicts no sigmas, and its authors weight all px alike. So `sigma` and `depth_sigma` are 1
    everywhere, and their calibration, `ModelInfo.sigma_scale` and `depth_sigma_scale`, is the standard deviation.
    """

    flow = "signed"
    colour = "rgb"
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, stride: int = STRIDE) -> None:
        super().__init__()
        self.stride = stride
        self.backbone = _Backbone()
        self.ll_enc = _LowLevelEncoder()
        self.flow_decoder = _FlowDecoder()
        self.depth_decoder = _DepthDecoder()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predict flow, sigma, depth and depth_sigma: see the class."""
        stages, low_level = self.backbone(image), self.ll_enc(image)
        flow = F.avg_pool2d(self.flow_decoder(stages, low_level), self.stride)
        depth = F.avg_pool2d(self.depth_decoder(stages, low_level), self.stride).exp().clamp(min=1e-8)
        return flow, torch.ones_like(flow), depth, torch.ones_like(depth)


class _ConvReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


class _Backbone(nn.Module):
    """MSCAN-B: image (B, 3, H, W) → features of four stages, at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        stages = zip(_CHANNELS, (None, *_CHANNELS), _DEPTHS, _MLP_RATIOS, strict=False)
        for number, (channels, inputs, depth, mlp_ratio) in enumerate(stages, start=1):
            embedding = _Stem(channels) if inputs is None else _Downsampling(inputs, channels)
            setattr(self, f"patch_embed{number}", embedding)
            setattr(self, f"block{number}", nn.Sequential(*(_Block(channels, mlp_ratio) for _ in range(depth))))
            setattr(self, f"norm{number}", nn.LayerNorm(channels))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        # The authors swap the channels and scale to 0…255 after the normalisation. It looks like a mistake; the
        # weights need it.
        x = 255 * image[:, [2, 1, 0]]
        stages = []
        for number in range(1, len(_CHANNELS) + 1):
            x = getattr(self, f"patch_embed{number}")(x)
            x = getattr(self, f"block{number}")(x)
            x = getattr(self, f"norm{number}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            stages.append(x)
        return stages


class _Stem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, 2, 1),
            nn.BatchNorm2d(channels // 2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, 2, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


class _Downsampling(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, channels, 3, 2, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.proj(x))


class _Block(nn.Module):
    def __init__(self, channels: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = _Attention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = _Mlp(channels, mlp_ratio * channels)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 0.01))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.layer_scale_1[:, None, None] * self.attn(self.norm1(x))
        return x + self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.spatial_gating_unit = _GatingUnit(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))


class _GatingUnit(nn.Module):
    """Multi-scale convolutional attention: depth-wise 5×5, then pairs of strips of several lengths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        for number, length in enumerate(_STRIP_LENGTHS):
            for part, kernel in ((1, (1, length)), (2, (length, 1))):
                strip = nn.Conv2d(channels, channels, kernel, padding="same", groups=channels)
                setattr(self, f"conv{number}_{part}", strip)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attention = total = self.conv0(x)
        for number in range(len(_STRIP_LENGTHS)):
            total = total + getattr(self, f"conv{number}_2")(getattr(self, f"conv{number}_1")(attention))
        return x * self.conv3(total)


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.dwconv = _DepthWise(hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class _DepthWise(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dwconv(x)


class _LowLevelEncoder(nn.Module):
    """Image (B, 3, H, W) → features (B, 64, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _ConvReLU(3, _DECODER_CHANNELS, 3)
        self.conv2 = _ConvReLU(_DECODER_CHANNELS, _DECODER_CHANNELS, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(image))


class _FlowDecoder(nn.Module):
    """Stages and low-level features → signed flow (B, 2, H, W) px."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = _LightHam()
        self.linear_pred_flow = nn.Conv2d(_DECODER_CHANNELS, 2, 1)

    def forward(self, stages: list[torch.Tensor], low_level: torch.Tensor) -> torch.Tensor:
        return self.linear_pred_flow(self.decoder(stages, low_level))


class _DepthDecoder(nn.Module):
    """Stages and low-level features → log of depth in m (B, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = _LightHam()
        self.linear_pred_depth = nn.Conv2d(_DECODER_CHANNELS, 1, 1)

    def forward(self, stages: list[torch.Tensor], low_level: torch.Tensor) -> torch.Tensor:
        return self.linear_pred_depth(self.decoder(stages, low_level))


class _LightHam(nn.Module):
    """Decoder: stages and low-level features (B, 64, H, W) → features (B, 64, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = _ConvReLU(sum(_CHANNELS), _HAMBURGER_CHANNELS)
        self.hamburger = _Hamburger()
        self.align = _ConvReLU(_HAMBURGER_CHANNELS, _DECODER_CHANNELS)
        self.out_conv = _ConvReLU(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, bias=False)
        self.ll_fusion = _Fusion()

    def forward(self, stages: list[torch.Tensor], low_level: torch.Tensor) -> torch.Tensor:
        finest, *others = stages
        enlarged = [_enlarged(x, 2.0**octave) for octave, x in enumerate(others, start=1)]
        x = self.align(self.hamburger(self.squeeze(torch.cat([finest, *enlarged], 1))))
        x = self.out_conv(_enlarged(x, 2.0))
        return self.ll_fusion(_enlarged(x, 2.0), low_level)


def _enlarged(x: torch.Tensor, factor: float) -> torch.Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class _Hamburger(nn.Module):
    """Global context (Geng et al. 2021): what a non-negative matrix factorisation of rank 64 keeps is added.

    Features of N positions make a 512×N matrix ≈ bases (512×64) · coefficientsᵀ (64×N). The authors start from bases
    drawn anew in every forward pass, so their results differ from run to run; here the draw is fixed.
    """

    bases: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.ham_in = _ConvReLU(_HAMBURGER_CHANNELS, _HAMBURGER_CHANNELS)
        self.ham_out = _ConvReLU(_HAMBURGER_CHANNELS, _HAMBURGER_CHANNELS)
        bases = np.random.default_rng(0).random((_HAMBURGER_CHANNELS, _NMF_RANK)).astype(np.float32)
        bases /= np.linalg.norm(bases, axis=0)
        self.register_buffer("bases", torch.from_numpy(bases), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the factorisation keeps: (B, 512, h, w), not negative → the same shape."""
        features = self.ham_in(x).flatten(2)
        transposed = features.transpose(1, 2)
        bases = self.bases.expand(x.shape[0], -1, -1)
        coefficients = (transposed @ bases).softmax(-1)
        for _ in range(_NMF_UPDATES_TRAINING if self.training else _NMF_UPDATES):
            coefficients = _updated(coefficients, transposed, bases)
            bases = _updated(bases, features, coefficients)
        coefficients = _updated(coefficients, transposed, bases)
        return x + self.ham_out((bases @ coefficients.transpose(1, 2)).reshape(x.shape))


def _updated(factor: torch.Tensor, matrix: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Apply the multiplicative update (Lee & Seung 2001) of `factor` in matrix ≈ factor · otherᵀ, the other held."""
    return factor * (matrix @ other) / (factor @ (other.transpose(1, 2) @ other) + 1e-6)


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resConfUnit1 = _ResidualUnit()
        self.resConfUnit2 = _ResidualUnit()

    def forward(self, x: torch.Tensor, low_level: torch.Tensor) -> torch.Tensor:
        return self.resConfUnit2(x + self.resConfUnit1(low_level))


class _ResidualUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, padding=1)
        self.conv2 = nn.Conv2d(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The authors' ReLU works in place, so their shortcut is rectified, too.
        x = x.relu()
        return x + self.conv2(self.conv1(x).relu())
