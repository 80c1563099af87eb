"""Furnished rooms: walls, boxes and boards hung with photographs, ray-cast with exact depth, parallax and occlusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from image_as_imu_training.rendering import so3
from image_as_imu_training.rendering.views import Views

TEXTURES = 4  # photographs per room
BOXES = 4
BOARDS = 3
_WIDER = 1.4  # how much wider than the crop the view is in which faces are searched: the camera moves


@dataclass(frozen=True)
class RoomScene:
    """Textured parallelograms around the camera, F per scene, which together fill the view. Unseen ones come last.

    A ray d from a camera at p meets the plane of a face where n·(corner − p)/(n·d), and lies on the face where both
    of its coordinates along `right` and `down` are in 0…1.

    Attributes:
        atlas: (B, 1, 2S, 2S) linear luminance 0…1, four square textures.
        corner, right, down: (B, F, 3) m, in the mid-exposure frame.
        tile: (B, F) which texture, 0…3. gain: (B, F) of its luminance.
        scale, offset: (B, F, 2) texture coordinate (mirrored tiles, one unit each) = scale · face coordinate + offset.
        seen: (B, F) whether the face is in or near the view.
    """

    atlas: torch.Tensor
    corner: torch.Tensor
    right: torch.Tensor
    down: torch.Tensor
    tile: torch.Tensor
    gain: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    seen: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> RoomScene:
        faces = int(self.seen[index].sum(1).max())
        fields = (self.corner, self.right, self.down, self.tile, self.gain, self.scale, self.offset, self.seen)
        return RoomScene(self.atlas[index], *(field[index, :faces] for field in fields))

    def inverse_depth(self, rays: torch.Tensor) -> torch.Tensor:
        """Find (B, N) 1/Z such that the scene lies at Z·ray along (B, 3, N) rays."""
        return _first_hit(_projections(self.right, self.down, self.corner)[:, None], rays)[0][:, 0]

    def measured(self, rays: torch.Tensor) -> torch.Tensor:
        """Say that the depth along all (B, 3, N) rays is the scene's own: (B, N) bool."""
        return torch.ones_like(rays[:, 0], dtype=torch.bool)

    def light(self, rays: torch.Tensor, rotation: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return (B, N, P) linear luminance along (B, 3, P) rays of the camera at N poses."""
        seen = self.corner[:, None] - position[:, :, None]
        projections = _projections(self.right[:, None], self.down[:, None], seen) @ rotation[:, :, None]
        inverse, face = _first_hit(projections, rays)
        flat = face.flatten(1)

        def of_face(values: torch.Tensor) -> torch.Tensor:
            return values.gather(1, flat).view_as(face)

        number = face[:, :, None].expand(-1, -1, 3, -1)
        coordinates = []
        for axis in range(2):
            coordinate = (projections[:, :, :, axis].mT.gather(3, number) * rays[:, None]).sum(2) / inverse
            along = of_face(self.scale[..., axis]) * coordinate + of_face(self.offset[..., axis])
            mirrored = 1 - (along.remainder(2) - 1).abs()
            half_texel = 1 / self.atlas.shape[-1]
            inside = half_texel + (1 - 2 * half_texel) * mirrored
            tile = of_face(self.tile)
            coordinates.append(inside + (tile % 2 if axis == 0 else tile // 2) - 1)
        grid = torch.stack(coordinates, -1).flatten(1, 2)[:, :, None]
        light = F.grid_sample(self.atlas, grid, "bilinear", "border", align_corners=False)[:, 0, :, 0]
        return light.view_as(face) * of_face(self.gain)


def _projections(right: torch.Tensor, down: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    """Invert each face's axes, (…, F, 3) as seen from the camera: (…, F, 3, 3).

    Its rows times a ray are a/Z, b/Z and 1/Z, where a and b are the coordinates on the face.
    """
    normal = torch.linalg.cross(right, down)
    rows = [torch.linalg.cross(down, corner), torch.linalg.cross(corner, right), normal.expand_as(corner)]
    return torch.stack(rows, -2) / (normal * corner).sum(-1)[..., None, None]


def _first_hit(projections: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the nearest face along each ray.

    Args:
        projections: (B, N, F, 3, 3) as `_projections`. rays: (B, 3, P).

    Returns:
        1/Z and the face's number, (B, N, P) each.
    """
    # From −1 to 1 on the face, both coordinates are looked at together.
    first, second, inverse = projections.unbind(3)
    projections = torch.stack([2 * first - inverse, 2 * second - inverse, inverse], 3)
    nearest = torch.full((*projections.shape[:2], rays.shape[2]), 1e-3, device=rays.device)
    face = torch.zeros_like(nearest, dtype=torch.int64)
    for index in range(projections.shape[2]):
        # Poses as rows of one matrix, so that no ray is copied for each of them.
        a, b, inverse = (projections[:, :, index].flatten(1, 2) @ rays).unflatten(1, (-1, 3)).unbind(2)
        hit = torch.maximum(a.abs_(), b.abs_()) <= inverse
        closer = hit.logical_and_(inverse > nearest)
        nearest = torch.where(closer, inverse, nearest)
        face.masked_fill_(closer, index)
    return nearest, face


def random_rooms(textures: torch.Tensor, views: Views, generator: torch.Generator) -> RoomScene:
    """Furnish rooms of 2.5–8 m with a camera somewhere in them, boxes on the floor and boards in the air.

    Args:
        textures: (B, 4, S, S) linear luminance 0…1.
    """
    batch, device = len(textures), textures.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, *shape, device=device, generator=generator)

    corner, right, down = _furnished(uniform, device)

    # Only faces that can be seen from about here are kept: what the camera uncovers as it moves is among them.
    rays = views.rays(views.cells())
    rays = torch.cat([rays, rays * torch.tensor([_WIDER, _WIDER, 1.0], device=device)[:, None]], 2)
    inverse, face = (x[:, 0] for x in _first_hit(_projections(right, down, corner)[:, None], rays))
    hits = F.one_hot(face, corner.shape[1])
    count = hits.sum(1)
    chosen = count.argsort(dim=1, descending=True)[:, : int((count > 0).sum(1).max())]
    mean_inverse = ((inverse[..., None] * hits).sum(1) / count.clamp(min=1)).clamp(min=0.1)
    corner, right, down = (x.gather(1, chosen[..., None].expand(-1, -1, 3)) for x in (corner, right, down))

    texels_per_metre = uniform(1.0, 1.8, 1) * views.focal[:, None] * mean_inverse.gather(1, chosen)
    edges = torch.stack([right.norm(dim=2), down.norm(dim=2)], 2)
    scale = edges * texels_per_metre[..., None] / textures.shape[-1]
    rows = [torch.cat([textures[:, i], textures[:, i + 1]], 2) for i in (0, 2)]
    faces_seen = scale.shape[1]
    tile = torch.randint(TEXTURES, (batch, faces_seen), device=device, generator=generator)
    gain, offset = uniform(0.5, 1.0, faces_seen), uniform(0, 2, faces_seen, 2)
    return RoomScene(
        torch.cat(rows, 1)[:, None], corner, right, down, tile, gain, scale, offset, count.gather(1, chosen) > 0
    )


def _furnished(
    uniform: Callable[..., torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw rooms: corner, right and down of all their faces, (B, F, 3) m each, in the camera's frame.

    Args:
        uniform: (low, high, *shape) → (B, *shape) random numbers.
    """

    def rotation_about(axis: int, angle: torch.Tensor) -> torch.Tensor:
        return so3.exp(angle[:, None] * torch.eye(3, device=device)[axis])

    # The room's frame: x right, y down, z ahead, origin in the middle.
    size = torch.cat([uniform(2.5, 8, 1), uniform(2.2, 3.6, 1), uniform(2.5, 8, 1)], 1)
    position = (uniform(0, 1, 3) - 0.5) * (size - 1.0)
    heading = uniform(-torch.pi, torch.pi)
    roll = torch.where(uniform(0, 1) < 0.2, uniform(-torch.pi, torch.pi), uniform(-0.2, 0.2))
    to_room = rotation_about(1, heading) @ rotation_about(0, uniform(-0.5, 0.5)) @ rotation_about(2, roll)

    def ahead(near: float, far: float) -> torch.Tensor:
        """Draw places (B, 3) within 60° of where the camera heads, at its height."""
        bearing, distance = heading + uniform(-1, 1), uniform(near, far)
        return position + distance[:, None] * torch.stack([bearing.sin(), torch.zeros_like(bearing), bearing.cos()], 1)

    faces = [_box(size)]
    for _ in range(BOXES):
        box = torch.cat([uniform(0.25, 1.2, 1), uniform(0.3, 1.9, 1), uniform(0.25, 1.2, 1)], 1)
        place = ahead(1.3, 4)
        place[:, 1] = 0.5 * (size - box)[:, 1]
        faces.append(_placed(_box(box), rotation_about(1, uniform(-torch.pi, torch.pi)), place))
    for _ in range(BOARDS):
        board = torch.cat([uniform(0.2, 1.0, 1), uniform(0.2, 1.0, 1), torch.zeros_like(size[:, :1])], 1)
        place = ahead(0.7, 3)
        place[:, 1] += uniform(-0.6, 0.6)
        rotation = rotation_about(1, heading + uniform(-1, 1)) @ rotation_about(0, uniform(-0.7, 0.7))
        faces.append(_placed([edge[:, 4:5] for edge in _box(board)], rotation, place))
    corner, right, down = (torch.cat(parts, 1) for parts in zip(*faces, strict=True))
    return (corner - position[:, None]) @ to_room, right @ to_room, down @ to_room


def _box(size: torch.Tensor) -> list[torch.Tensor]:
    """Make the faces of boxes of (B, 3) size about the origin: corner, right and down, each (B, 6, 3)."""
    corner, right, down = [], [], []
    for axis in range(3):
        for side in (-0.5, 0.5):
            first, second = (torch.eye(3, device=size.device)[(axis + i) % 3] for i in (1, 2))
            start = -0.5 * torch.ones(3, device=size.device)
            start[axis] = side
            corner.append(size * start)
            right.append(size * first)
            down.append(size * second)
    return [torch.stack(parts, 1) for parts in (corner, right, down)]


def _placed(faces: list[torch.Tensor], rotation: torch.Tensor, place: torch.Tensor) -> list[torch.Tensor]:
    """Rotate faces by (B, 3, 3) and move them to (B, 3)."""
    corner, right, down = (edge @ rotation.mT for edge in faces)
    return [corner + place[:, None], right, down]
