"""Which part of a virtual camera's frame is rendered: rays of pixels and cells, lens distortion included."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FRAME_WIDTH, FRAME_HEIGHT = 320, 224
STRIDE = 8


@dataclass(frozen=True)
class Views:
    """A batch of equally sized crops of 320×224 frames.

    A pixel at p = (x − c)/focal sees the ray (1 + distortion·‖p‖²)·p: positive for barrel distortion.

    Attributes:
        focal: (B,) px.
        principal_point: (B, 2) px, in the crop's coordinates; (0, 0) is the centre of its top-left pixel.
        distortion: (B,) radial.
        height, width: of the crops, px; multiples of STRIDE.
    """

    focal: torch.Tensor
    principal_point: torch.Tensor
    distortion: torch.Tensor
    height: int
    width: int

    def __getitem__(self, index: torch.Tensor) -> Views:
        parts = (self.focal[index], self.principal_point[index], self.distortion[index])
        return Views(*parts, self.height, self.width)

    def pixels(self, margin: int = 0) -> torch.Tensor:
        """Return the coordinates of all pixels, with `margin` px more on each side: (2, (height+2m)·(width+2m))."""
        rows = torch.arange(-margin, self.height + margin, device=self.focal.device)
        columns = torch.arange(-margin, self.width + margin, device=self.focal.device)
        return _grid(rows.float(), columns.float())

    def cells(self) -> torch.Tensor:
        """Return the coordinates of the centres of the network's output cells: (2, height/STRIDE·width/STRIDE) px."""
        rows = (torch.arange(self.height // STRIDE, device=self.focal.device) + 0.5) * STRIDE - 0.5
        columns = (torch.arange(self.width // STRIDE, device=self.focal.device) + 0.5) * STRIDE - 0.5
        return _grid(rows, columns)

    def rays(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the rays (x, y, 1) of (2, N) pixels: (B, 3, N)."""
        p = (pixels - self.principal_point[:, :, None]) / self.focal[:, None, None]
        bent = p * (1 + self.distortion[:, None, None] * p.square().sum(1, keepdim=True))
        return torch.cat([bent, torch.ones_like(bent[:, :1])], dim=1)

    def rows(self, pixels: torch.Tensor) -> torch.Tensor:
        """Say where (2, N) pixels lie between the frame's top (−½) and bottom (½): (B, N)."""
        return (pixels[1] - self.principal_point[:, 1:]) / FRAME_HEIGHT

    def pixel_motion(self, pixels: torch.Tensor, ray_motion: torch.Tensor) -> torch.Tensor:
        """Move points in the image, (B, 2, N) px, whose rays (x, y, 1) change by (B, 2, N)."""
        p = (pixels - self.principal_point[:, :, None]) / self.focal[:, None, None]
        k = self.distortion[:, None]
        x, y = p.unbind(1)
        # The rays' Jacobian (1 + k‖p‖²)·I + 2k·p·pᵀ, inverted (Sherman–Morrison).
        scale = 1 + k * (x * x + y * y)
        along = (x * ray_motion[:, 0] + y * ray_motion[:, 1]) * 2 * k / (scale * (3 * scale - 2))
        return self.focal[:, None, None] * (ray_motion / scale[:, None] - along[:, None] * p)


def _grid(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([u.flatten(), v.flatten()])


def random_views(
    focal: torch.Tensor, distortion: torch.Tensor, height: int, width: int, generator: torch.Generator | None = None
) -> Views:
    """Cut crops at random places of 320×224 frames whose principal point lies at the centre.

    Args:
        focal: (B,) px. distortion: (B,). height, width: of the crops, px.
    """
    free = torch.tensor([FRAME_WIDTH - width, FRAME_HEIGHT - height], device=focal.device)
    corner = torch.floor(torch.rand(len(focal), 2, device=focal.device, generator=generator) * (free + 1))
    centre = torch.tensor([(FRAME_WIDTH - 1) / 2, (FRAME_HEIGHT - 1) / 2], device=focal.device)
    return Views(focal, centre - corner, distortion, height, width)
