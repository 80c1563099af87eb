"""Random numbers for the samples of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draws:
    """Draws one number per sample, (B, 1, 1, 1): whatever is then done with them, the next draws are the same."""

    batch: int
    device: torch.device
    generator: torch.Generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        """Draw from low…high."""
        return low + (high - low) * torch.rand(self.batch, 1, 1, 1, device=self.device, generator=self.generator)

    def log_uniform(self, low: float, high: float) -> torch.Tensor:
        """Draw from low…high, each octave as often."""
        return low * (high / low) ** self.uniform(0, 1)

    def choose(self, share: float) -> torch.Tensor:
        """Choose a share of the samples."""
        return self.uniform(0, 1) < share

    def noise_like(self, image: torch.Tensor) -> torch.Tensor:
        """Draw white noise of unit variance."""
        return torch.randn(image.shape, device=self.device, generator=self.generator)
