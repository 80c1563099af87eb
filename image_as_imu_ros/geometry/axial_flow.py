"""Axial flow q = ‖f‖(cos 2θ, sin 2θ): optical flow with its sign removed.

For f = (u, v) = ‖f‖(c, s) with c = cos θ, s = sin θ it is q = (u² − v², 2uv)/‖f‖. If f changes by g, q changes by

    c·g₁ + s·g₂  along q    and    2·(c·g₂ − s·g₁)  across q,

for q grows as f does, and its angle rotates twice as far. At f = 0 it is a cone's tip, without derivative.
"""

from __future__ import annotations

import numpy as np


def axial_from_signed(flow: np.ndarray) -> np.ndarray:
    """Convert flow vectors to axial flow q: (2, …) px → (2, …) px. The same for f and −f; zero stays zero."""
    u, v = flow[0], flow[1]
    length = np.hypot(u, v)
    safe = np.where(length > 0, length, 1.0)
    return np.stack([(u * u - v * v) / safe, 2 * u * v / safe])


def signed_from_axial(axial_flow: np.ndarray) -> np.ndarray:
    """Convert axial flow q to that of its two flow vectors that points to positive x: (2, …) px → (2, …) px."""
    length = np.hypot(axial_flow[0], axial_flow[1])
    half_angle = 0.5 * np.arctan2(axial_flow[1], axial_flow[0])
    return length * np.stack([np.cos(half_angle), np.sin(half_angle)])
