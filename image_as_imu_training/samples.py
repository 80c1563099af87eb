"""Rendered samples: images and what the network should say about them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Samples:
    """N images with labels; h and w are multiples of the labels' stride of 8 px.

    Attributes:
        image: (N, h, w) uint8 luminance.
        flow: (N, 2, h/8, w/8) float16 axial flow q over the exposure, px.
        depth: (N, h/8, w/8) float16 m, NaN where unknown.
        moving: (N, h/8, w/8) bool, where something hides the scene that moves by itself. Flow is that of the scene.
        camera: (N, 3) float32 focal length and principal point x, y, px; pixel centres are integers.
        motion: (N, 6) float32 velocity (v, ω) per exposure at mid-exposure, m and rad, in the optical frame. NaN where
            `camera` and `motion` do not explain the flow: distorted lenses and rolling shutters.
        depth_known: (N,) bool; False where the depth is the geometry's but the image says nothing about it: a
            photograph on a plane looks the same near and far.
    """

    image: np.ndarray
    flow: np.ndarray
    depth: np.ndarray
    moving: np.ndarray
    camera: np.ndarray
    motion: np.ndarray
    depth_known: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: np.ndarray | slice) -> Samples:
        return Samples(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def concatenate(cls, parts: list[Samples]) -> Samples:
        """Put the samples of all parts together."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))
