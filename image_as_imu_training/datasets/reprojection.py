"""Sub-frames between two RGB-D frames, by moving their pixels to where the camera was in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from image_as_imu_training.datasets.rgbd import RgbdFrame, interpolate_pose, linear_luminance

_AT_ONCE = 2  # sub-frames: what a processor's cache holds
_SAME_SURFACE = 0.05  # relative difference of depth


def subframes(first: RgbdFrame, second: RgbdFrame, times: np.ndarray, device: torch.device) -> torch.Tensor:
    """Show what a camera sees while it moves from one frame's pose to the other's.

    Args:
        first, second: of one ideal camera, depth at the size of the colour image and without holes.
        times: (N,) 0 at the first frame, 1 at the second.

    Returns:
        (N, h, w) linear luminance.
    """
    poses = np.stack([interpolate_pose(first.pose, second.pose, time) for time in times])
    return reproject((first, second), poses, np.stack([1 - times, times], axis=1), device)


def reproject(frames: Sequence[RgbdFrame], poses: np.ndarray, shares: np.ndarray, device: torch.device) -> torch.Tensor:
    """Show what the frames' camera sees from other poses.

    The frames' depth is brought to each pose by a z-buffer; then every pixel samples its colour in all frames, at the
    place that its depth says, and these are blended. A frame that shows something farther away there (the surface is
    hidden from it) has no say.

    Args:
        frames: S frames as in `subframes`.
        poses: (N, 4, 4) camera-to-world. shares: (N, S) of the frames in the blend.

    Returns:
        (N, h, w) linear luminance.
    """
    light = torch.from_numpy(np.stack([linear_luminance(frame.colour) for frame in frames]))[:, None].to(device)
    inverse_depth = torch.from_numpy(np.stack([1 / frame.depth for frame in frames]))[:, None].to(device)
    to_source = np.stack([np.linalg.inv(frame.pose) @ poses for frame in frames], axis=1)
    to_source, share = (torch.from_numpy(part.astype(np.float32)).to(device) for part in (to_source, shares))
    camera = torch.tensor([frames[0].camera.fx, frames[0].camera.cx, frames[0].camera.cy], device=device)
    parts = zip(to_source.split(_AT_ONCE), share.split(_AT_ONCE), strict=True)
    return torch.cat([_blend(light, inverse_depth, camera, *part) for part in parts])


def _blend(
    light: torch.Tensor, inverse_depth: torch.Tensor, camera: torch.Tensor, to_source: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Blend sources (S, 1, h, w), with transforms to them (N, S, 4, 4) and shares (N, S): (N, h, w)."""
    height, width = light.shape[2:]
    focal, cx, cy = camera
    y = torch.arange(height, device=light.device)[:, None].expand(height, width)
    x = torch.arange(width, device=light.device).expand(height, width)
    rays = torch.stack([(x - cx) / focal, (y - cy) / focal, torch.ones_like(x)]).flatten(1)
    rotation, position = to_source[..., :3, :3], to_source[..., :3, 3:]

    def interpolate(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Interpolate bilinearly: maps (S, 1, h, w) at (N, S, 2, P) px → (N, S, P)."""
        half = points.new_tensor([(width - 1) / 2, (height - 1) / 2])
        grid = (points.mT / half - 1).transpose(0, 1)
        return F.grid_sample(maps, grid, "bilinear", "border", align_corners=True)[:, 0].transpose(0, 1)

    def pixels(points: torch.Tensor) -> torch.Tensor:
        return focal * points[..., :2, :] / points[..., 2:, :].clamp(min=1e-3) + camera[1:, None]

    # Depth of what each source shows, in the target.
    shown = rotation.mT @ (rays / inverse_depth.flatten(2) - position)
    depth = _z_buffer(pixels(shown), shown[..., 2, :], height, width)
    found = depth.isfinite()
    depth = torch.where(found, depth, _background(depth, height, width))
    # The z-buffer's depth is that of a pixel nearby. Follow each ray to where it meets the source's surface.
    place = pixels(rotation @ (rays * depth[:, :, None]) + position)
    source_rays = torch.cat([(place - camera[1:, None]) / focal, torch.ones_like(place[:, :, :1])], 2)
    surface = source_rays / interpolate(inverse_depth, place)[:, :, None]
    refined = (rotation.mT[..., 2:, :] @ (surface - position))[:, :, 0]
    clean = found & ((refined / depth - 1).abs() < _SAME_SURFACE)
    depth = torch.where(clean, refined, depth)

    place = pixels(rotation @ (rays * depth[:, :, None]) + position)
    limit = place.new_tensor([width - 0.5, height - 0.5])[:, None]
    inside = ((place > -0.5) & (place < limit)).all(2)
    front = torch.where(found & inside, depth, torch.inf).amin(1, keepdim=True)
    visible = found & inside & (depth < (1 + _SAME_SURFACE) * front)
    # At the edge of a nearer surface interpolation mixes in its colour: better to ask another frame. What only a frame
    # of no share sees is taken from it; what none sees is background of all.
    weight = (share[:, :, None] + 1e-4) * torch.where(clean, 1.0, 1e-2)
    weight = torch.where(visible | ~visible.any(1, keepdim=True), weight, 0.0)
    colour = (weight * interpolate(light, place)).sum(1) / weight.sum(1)
    return colour.unflatten(1, (height, width))


def _z_buffer(points: torch.Tensor, depth: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Find the least depth (…, P) of the points (…, 2, P) px next to each pixel: (…, height·width); ∞ where none is."""
    corner = points.floor().long()
    buffer = torch.full((*depth.shape[:-1], height * width), torch.inf, device=depth.device)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[..., 0, :] + right, corner[..., 1, :] + down
        usable = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0)
        index = torch.where(usable, y * width + x, 0)
        buffer.scatter_reduce_(-1, index, torch.where(usable, depth, torch.inf), "amin")
    return buffer


def _background(depth: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Find the farthest depth nearby, for pixels that were hidden or out of sight: (…, height·width)."""
    known = torch.where(depth.isfinite(), depth, 0.0)
    tiles = F.max_pool2d(known.unflatten(-1, (height, width)), 8, ceil_mode=True)
    nearby = F.interpolate(F.max_pool2d(tiles, 3, 1, 1), size=(height, width)).flatten(-2)
    return torch.where(nearby > 0, nearby, known.amax(-1, keepdim=True))
