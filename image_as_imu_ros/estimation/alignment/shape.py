"""Shapes of depth maps: what is known about their errors, and what two views find."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Shape:
    """What is known about the shape of a depth map, as relative errors of its inverse depth.

    Attributes:
        smooth: standard deviation of each of the five polynomials' factors. rough: that of each point's own error, one
            for all or (N,). shared: number of tracks that share an error of the map.
        mixed: (5, 5) B: the smooth part is φ·B·a, so that its factors have the covariance smooth²·B·Bᵀ.
    """

    smooth: float
    rough: float | np.ndarray
    shared: float
    mixed: np.ndarray = field(default_factory=lambda: np.eye(5))


@dataclass(frozen=True)
class FoundShape:
    """The shape of a scene, as a correction of its map.

    Attributes:
        nearness: (N,) 1 + δ, by what the map's inverse depth is to be multiplied. factors: (5,) of the polynomials.
        smooth: (5, 5) covariance of polynomials' factors, relative to the corrected map. rough: (N,) variance of each.
    """

    nearness: np.ndarray
    factors: np.ndarray
    smooth: np.ndarray
    rough: np.ndarray

    def without_tracks(self) -> FoundShape:
        """Keep the smooth part alone."""
        return replace(self, nearness=self.nearness[:0], rough=self.rough[:0])
