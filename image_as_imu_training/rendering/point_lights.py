"""Lamps and glints: points far brighter than white, which leave streaks where the camera moves."""

from __future__ import annotations

import torch

SHARE = 0.06  # of the textures
MOST = 12  # per texture


def with_point_lights(texture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Add 1–12 points of 5–100 times white, with a sigma of 0.7–2 texels, to a share of the textures.

    Args:
        texture: (B, 1, h, w) linear luminance. It is not changed.
    """
    batch, _, height, width = texture.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(batch, *shape, device=texture.device, generator=generator)

    lit = uniform(1) < SHARE
    number = (uniform(1) * MOST).ceil()
    shines = lit & (torch.arange(MOST, device=texture.device) < number)
    radiance = torch.where(shines, 5 * 20 ** uniform(MOST), 0.0)
    sigma = 0.7 + 1.3 * uniform(MOST)
    profiles = [
        torch.exp(
            -0.5 * ((torch.arange(size, device=texture.device) - size * uniform(MOST, 1)) / sigma[..., None]) ** 2
        )
        for size in (height, width)
    ]
    index = lit[:, 0].nonzero()[:, 0]
    rows, columns = (profile[index] for profile in profiles)
    lights = torch.einsum("bk,bkh,bkw->bhw", radiance[index], rows, columns)
    return texture.index_add(0, index, lights[:, None])
