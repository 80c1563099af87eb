"""Rotations of many cameras at once, differentiable and on any device: `image_as_imu_ros.geometry.so3` for torch."""

from __future__ import annotations

import math

import torch


def exp(vector: torch.Tensor) -> torch.Tensor:
    """Convert rotation vectors (…, 3) rad to matrices (…, 3, 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = vector.norm(dim=-1)[..., None, None]
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    # Rodrigues' formula; torch.sinc is sin(πx)/(πx).
    first, second = torch.sinc(angle / math.pi), 0.5 * torch.sinc(angle / (2 * math.pi)) ** 2
    return identity + first * cross + second * cross @ cross


def rotate(vector: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Rotate points (B, 3, N), each by its rotation vector (B, 3, N), rad, without a matrix for each.

    With unit axis a and angle θ: p ↦ (a·p)a + cos θ·(p − (a·p)a) + sin θ·a × p.
    """
    angle = vector.norm(dim=1, keepdim=True).clamp(min=1e-9)
    axis = (vector / angle).expand_as(points)
    along = (axis * points).sum(1, keepdim=True) * axis
    cross = torch.linalg.cross(axis, points, dim=1)
    return along + angle.cos() * (points - along) + angle.sin() * cross
