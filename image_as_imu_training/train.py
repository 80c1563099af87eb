"""Train the blur network on rendered samples."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from image_as_imu_training.augmentation import dihedral, photometric
from image_as_imu_training.checkpoint import load_checkpoint, save_checkpoint
from image_as_imu_training.dataset import load
from image_as_imu_training.metrics import figures, predict
from image_as_imu_training.networks.blur_network import BlurNetwork, compress
from image_as_imu_training.samples import Samples

_SPREAD_WEIGHT = 0.05
_DEPTH_WEIGHT = 0.1
_AVERAGE_DECAY = 0.999
_WARM_UP = 0.03  # of the schedule
_COMMON_BLUR_PX = 6.0
_SAVE_SECONDS = 60
_VALIDATE_SECONDS = 600


def loss(
    flow: torch.Tensor,
    spread: torch.Tensor,
    depth: torch.Tensor,
    true_flow: torch.Tensor,
    true_depth: torch.Tensor,
) -> torch.Tensor:
    """Flow error, plus small terms for spread and depth.

    The flow term is the distance between compressed flows: absolute for short blurs, relative for long ones. (An
    error divided by 1 + 0.15 ‖q‖ is much the same near the truth, but far from it pulls every guess to zero.)

    The spread is the standard deviation σ of a Laplace distribution, whose likelihood log σ + √2 |r| / σ is taken per
    component on detached residuals r: it does not excuse the flow from being right, and forgives outliers. The depth
    term is |log Ẑ − log Z|, where the depth is known (not NaN).

    Args:
        flow, true_flow: (B, 2, h, w) px. spread: (B, 1, h, w) px. depth, true_depth: (B, 1, h, w) m.
    """
    flow_term = (compress(flow) - compress(true_flow)).norm(dim=1).mean()
    residual = (flow - true_flow).detach().abs()
    spread_term = (spread.log() + math.sqrt(2) * residual / spread).mean()
    known = true_depth.isfinite()
    log_ratio = depth.log() - torch.where(known, true_depth, 1.0).log()
    depth_term = (log_ratio.abs() * known).sum() / known.sum().clamp(min=1)
    return flow_term + _SPREAD_WEIGHT * spread_term + _DEPTH_WEIGHT * depth_term


def learning_rate(progress: float, peak: float) -> float:
    """One cycle: linear warm-up, then a cosine to zero. `progress` of the schedule is 0…1."""
    if progress < _WARM_UP:
        return peak * (0.05 + 0.95 * progress / _WARM_UP)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP))))


def train(
    data: Path, checkpoint: Path, minutes: float, batch: int, learning_rate_peak: float, seed: int, device: str
) -> None:
    """Train for `minutes` and write `checkpoint` every minute; continue from it if it is there.

    The schedule follows the clock, so that it fits the time there is on any machine.
    """
    samples, held_out = load(data / "train"), load(data / "validation")
    weights = _sampling_weights(samples)
    torch.manual_seed(seed)
    network = BlurNetwork().to(device)
    average = BlurNetwork().to(device)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate_peak, weight_decay=1e-3)
    step, seconds = 0, 0.0
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
    draws = torch.Generator().manual_seed(seed + step)
    pixels = torch.Generator(device).manual_seed(seed + step)

    def save() -> None:
        save_checkpoint(
            checkpoint,
            network=network.state_dict(),
            average=average.state_dict(),
            optimizer=optimizer.state_dict(),
            step=step,
            seconds=seconds,
        )

    recent: deque[torch.Tensor] = deque(maxlen=200)
    started = time.monotonic() - seconds
    saved = validated = seconds
    with tqdm(total=round(60 * minutes), initial=round(seconds), unit="s", desc="train") as bar:
        while seconds < 60 * minutes:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(seconds / (60 * minutes), learning_rate_peak)
            network.train()
            image, flow, depth = (part.to(device) for part in _random_batch(samples, weights, batch, draws))
            symmetry = torch.randint(2, (3,), generator=draws).bool().tolist()
            image, flow, depth = dihedral(photometric(image, pixels), flow, depth, *symmetry)
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                outputs = network(image)
            value = loss(*outputs, flow, depth)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            _update_average(average, network, step)

            elapsed = time.monotonic() - started
            bar.update(round(elapsed) - round(seconds))
            seconds = elapsed
            recent.append(value.detach())
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{torch.stack(list(recent)).mean():.3f}", refresh=False)
            if seconds - saved > _SAVE_SECONDS:
                saved = seconds
                save()
            if seconds - validated > _VALIDATE_SECONDS:
                validated = seconds
                tqdm.write(f"step {step}: {_validation_line(average, held_out)}")
    save()
    print(f"step {step}: {_validation_line(average, held_out)}")


def _sampling_weights(samples: Samples) -> torch.Tensor:
    """(N,) how often to draw each sample: short blurs, the common case of cameras, more often than long ones."""
    lengths = [np.hypot(*flow.astype(np.float32)).mean() for flow in samples.flow]
    return 1 / (_COMMON_BLUR_PX + torch.tensor(lengths))


def _random_batch(
    samples: Samples, weights: torch.Tensor, batch: int, draws: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random samples: image (B, 1, H, W) 0…1, flow (B, 2, h, w), depth (B, 1, h, w), NaN where it says nothing."""
    chosen = samples[torch.multinomial(weights, batch, replacement=True, generator=draws).numpy()]
    depth = np.where(chosen.depth_known[:, None, None], chosen.depth, np.nan)
    return (
        torch.from_numpy(chosen.image[:, None]).float() / 255,
        torch.from_numpy(chosen.flow).float(),
        torch.from_numpy(depth[:, None]).float(),
    )


@torch.no_grad()
def _update_average(average: torch.nn.Module, network: torch.nn.Module, step: int) -> None:
    """Exponential moving average of weights and batch statistics, faster at first."""
    decay = min(_AVERAGE_DECAY, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)


def _validation_line(network: torch.nn.Module, held_out: Samples) -> str:
    values = asdict(figures(held_out, predict(network, held_out)))
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())
