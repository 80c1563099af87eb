"""Exact and photometric variations of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Symmetry:
    """One of the eight symmetries of the square, exact for images and motion fields.

    Attributes:
        mirror: left–right. flip: top–bottom. transpose: about the diagonal. Applied in this order.
    """

    mirror: bool
    flip: bool
    transpose: bool

    @classmethod
    def random(cls, generator: torch.Generator) -> Symmetry:
        """Draw one of the eight."""
        return cls(*torch.randint(2, (3,), generator=generator).bool().tolist())

    def image(self, image: torch.Tensor) -> torch.Tensor:
        """Apply it to images, depths and other scalar fields (…, H, W)."""
        axes = [axis for axis, wanted in ((-1, self.mirror), (-2, self.flip)) if wanted]
        image = image.flip(axes) if axes else image
        return image.transpose(-1, -2) if self.transpose else image

    def axial(self, flow: torch.Tensor) -> torch.Tensor:
        """Apply it to axial flow (B, 2, h, w).

        Mirroring or flipping makes the flow's angle θ into π − θ or −θ, so the second component of
        q = ‖f‖(cos 2θ, sin 2θ) changes its sign; transposing makes θ into π/2 − θ: the first one does.
        """
        signs = (-1.0 if self.transpose else 1.0, -1.0 if self.mirror != self.flip else 1.0)
        return self.image(flow) * _numbers(signs, flow)[:, None, None]

    def matrix(self, matrix: torch.Tensor) -> torch.Tensor:
        """Apply it to a motion field matrix (B, 2, P, h, w): the same motion now causes the transformed field."""
        signs = (-1.0 if self.mirror else 1.0, -1.0 if self.flip else 1.0)
        transformed = self.image(matrix) * _numbers(signs, matrix)[:, None, None, None]
        return transformed.flip(1) if self.transpose else transformed


@dataclass(frozen=True)
class Zoom:
    """A part of the frame as a longer lens would show it, at the frame's size.

    Exact but for noise, which it softens, and for flow within a cell of a point that does not move or of an edge.

    Attributes:
        scale: 1 or more. left, top: where the part lies in what there is room for, 0…1.
    """

    scale: float
    left: float
    top: float

    @classmethod
    def random(cls, generator: torch.Generator) -> Zoom:
        """Draw one: half of the time none, otherwise up to a factor of 1.4."""
        wanted, scale, left, top = torch.rand(4, generator=generator).tolist()
        return cls(1 + 0.4 * scale if wanted < 0.5 else 1.0, left, top)

    def image(self, image: torch.Tensor) -> torch.Tensor:
        """Apply it to images (B, C, H, W)."""
        return self._part(image, "bilinear")

    def depth(self, depth: torch.Tensor) -> torch.Tensor:
        """Apply it to depths (B, 1, h, w): never a mean of near and far."""
        return self._part(depth, "nearest")

    def mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Apply it to masks (B, h, w) bool."""
        return self.depth(mask[:, None].float())[:, 0] > 0

    def flow(self, flow: torch.Tensor) -> torch.Tensor:
        """Apply it to axial flows (B, 2, h, w)."""
        return self.scale * self.image(flow)

    def matrix(self, matrix: torch.Tensor) -> torch.Tensor:
        """Apply it to a motion field matrix (B, 2, P, h, w)."""
        return self.flow(matrix.flatten(1, 2)).view_as(matrix)

    def _part(self, field: torch.Tensor, mode: str) -> torch.Tensor:
        if self.scale == 1:
            return field
        room = 1 - 1 / self.scale
        middle = [(2 * place - 1) * room for place in (self.left, self.top)]
        affine = _numbers([[1 / self.scale, 0, middle[0]], [0, 1 / self.scale, middle[1]]], field)
        where = F.affine_grid(affine.expand(len(field), 2, 3), list(field.shape), align_corners=False)
        return F.grid_sample(field, where, mode, "border", align_corners=False)


def _numbers(values: Sequence, like: torch.Tensor) -> torch.Tensor:
    """Send numbers to where a tensor is, as its type, without waiting for a GPU to finish what it does."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def photometric(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary gain, gamma, offset and noise per sample: (B, 1, H, W) 0…1 → the same."""

    def uniform(low: float, high: float) -> torch.Tensor:
        shape = (len(image), 1, 1, 1)
        return low + (high - low) * torch.rand(shape, device=image.device, generator=generator)

    image = image.clamp(min=1e-3) ** uniform(0.75, 1.33) * uniform(0.6, 1.3) + uniform(-0.05, 0.05)
    noise = torch.randn(image.shape, device=image.device, generator=generator)
    sigma = uniform(-0.01, 0.004).clamp(min=0)
    return (image + sigma * noise).clamp(0, 1)
