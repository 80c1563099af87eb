"""Which part of a virtual camera's frame is rendered: rays of pixels and cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FRAME_WIDTH, FRAME_HEIGHT = 320, 224
STRIDE = 4


@dataclass(frozen=True)
class Views:
    """A batch of equally sized crops of 320×224 frames.

    Attributes:
        focal: (B,) px.
        principal_point: (B, 2) px, in the crop's coordinates; (0, 0) is the centre of its top-left pixel.
        height, width: of the crops, px; multiples of STRIDE.
    """

    focal: torch.Tensor
    principal_point: torch.Tensor
    height: int
    width: int

    def __getitem__(self, index: torch.Tensor) -> Views:
        return Views(self.focal[index], self.principal_point[index], self.height, self.width)

    def pixel_rays(self, margin: int = 0) -> torch.Tensor:
        """Rays (x, y, 1) of all pixels, with `margin` px more on each side: (B, 3, (height+2m)·(width+2m))."""
        device = self.focal.device
        rows = torch.arange(-margin, self.height + margin, device=device)
        columns = torch.arange(-margin, self.width + margin, device=device)
        return self._rays(rows.float(), columns.float())

    def cell_rays(self) -> torch.Tensor:
        """Rays (x, y, 1) of the centres of the network's output cells: (B, 3, height/4·width/4)."""
        device = self.focal.device
        rows = (torch.arange(self.height // STRIDE, device=device) + 0.5) * STRIDE - 0.5
        columns = (torch.arange(self.width // STRIDE, device=device) + 0.5) * STRIDE - 0.5
        return self._rays(rows, columns)

    def _rays(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        v, u = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([u.flatten(), v.flatten()])
        rays = (pixels - self.principal_point[:, :, None]) / self.focal[:, None, None]
        return torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1)


def random_views(focal: torch.Tensor, height: int, width: int, generator: torch.Generator | None = None) -> Views:
    """Crops at random places of 320×224 frames whose principal point lies at the centre, for (B,) focal lengths."""
    free = torch.tensor([FRAME_WIDTH - width, FRAME_HEIGHT - height], device=focal.device)
    corner = torch.floor(torch.rand(len(focal), 2, device=focal.device, generator=generator) * (free + 1))
    centre = torch.tensor([(FRAME_WIDTH - 1) / 2, (FRAME_HEIGHT - 1) / 2], device=focal.device)
    return Views(focal, centre - corner, height, width)
