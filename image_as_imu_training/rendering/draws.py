"""Random numbers for the samples of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draws:
    """Draws for all of a batch, whatever is then done with the numbers: the next draws are the same."""

    batch: int
    device: torch.device
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Draw (batch, *shape) numbers from low…high."""
        return low + (high - low) * torch.rand(self.batch, *shape, device=self.device, generator=self.generator)

    def per_image(self, low: float, high: float) -> torch.Tensor:
        """Draw one number from low…high for each image: (batch, 1, 1, 1)."""
        return self.uniform(low, high, 1, 1, 1)

    def log_uniform(self, low: float, high: float) -> torch.Tensor:
        """Draw from low…high for each image, each octave as often: (batch, 1, 1, 1)."""
        return low * (high / low) ** self.per_image(0, 1)

    def choose(self, share: float) -> torch.Tensor:
        """Choose a share of the images: (batch, 1, 1, 1)."""
        return self.per_image(0, 1) < share

    def noise_like(self, image: torch.Tensor) -> torch.Tensor:
        """Draw white noise of unit variance."""
        return torch.randn(image.shape, device=self.device, generator=self.generator)
