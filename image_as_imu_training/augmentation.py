"""Exact and photometric variations of rendered samples."""

from __future__ import annotations

import torch


def dihedral(
    image: torch.Tensor, flow: torch.Tensor, depth: torch.Tensor, mirror: bool, flip: bool, transpose: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One of the eight symmetries of the square, exact for image, axial flow and depth.

    Mirroring left–right or flipping top–bottom turns the flow's angle θ into π − θ or −θ, so the second component
    of q = ‖f‖(cos 2θ, sin 2θ) changes its sign; transposing turns θ into π/2 − θ: the first one does.

    Args:
        image: (B, 1, H, W). flow: (B, 2, h, w) axial. depth: (B, 1, h, w).
        mirror, flip, transpose: applied in this order.
    """
    signs = flow.new_tensor([-1.0 if transpose else 1.0, -1.0 if mirror != flip else 1.0])
    axes = [axis for axis, wanted in ((-1, mirror), (-2, flip)) if wanted]

    def turn(x: torch.Tensor) -> torch.Tensor:
        x = x.flip(axes) if axes else x
        return x.transpose(-1, -2) if transpose else x

    return turn(image), turn(flow) * signs[:, None, None], turn(depth)


def photometric(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gain, gamma, offset and a little more noise per sample: (B, 1, H, W) 0…1 → the same."""

    def uniform(low: float, high: float) -> torch.Tensor:
        shape = (len(image), 1, 1, 1)
        return low + (high - low) * torch.rand(shape, device=image.device, generator=generator)

    image = image.clamp(min=1e-3) ** uniform(0.75, 1.33) * uniform(0.6, 1.3) + uniform(-0.05, 0.05)
    noise = torch.randn(image.shape, device=image.device, generator=generator)
    sigma = uniform(-0.01, 0.004).clamp(min=0)
    return (image + sigma * noise).clamp(0, 1)
