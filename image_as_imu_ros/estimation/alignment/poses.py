"""Motions between two frames, many at once.

Where was each point p of this frame in the previous one? A motion (v, ω)·Δt, with v in the axes of the frame halfway,
is the pose p ↦ R·p + t with R = exp([ω·Δt]×) and t = exp([ω·Δt/2]×)·v·Δt. A small motion (δt, δω) of this frame's
camera back makes it R·exp(−[δω]×), t − R·δt: errors are found in the axes of this frame, and `halfway` rotates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from image_as_imu_ros.geometry.so3 import exp, log


@dataclass(frozen=True)
class Poses:
    """Motions of the camera: a point p of this frame was at rotation·p + translation in the previous one.

    Attributes:
        rotation: (S, 3, 3). translation: (S, 3) m.
        shear: (S, 3) rad, by how much further the bottom row has rotated than the top row.
    """

    rotation: np.ndarray
    translation: np.ndarray
    shear: np.ndarray

    @classmethod
    def of(cls, motions: np.ndarray) -> Poses:
        """Poses of (S, 6) motions (v, ω)·Δt, v in the axes of the frame halfway; without shear."""
        half = exp(motions[:, 3:] / 2)
        return cls(half @ half, np.einsum("sij,sj->si", half, motions[:, :3]), np.zeros((len(motions), 3)))

    @classmethod
    def concatenated(cls, poses: list[Poses]) -> Poses:
        """All of several."""
        parts = zip(*((one.rotation, one.translation, one.shear) for one in poses), strict=True)
        return cls(*(np.concatenate(part) for part in parts))

    def __len__(self) -> int:
        return len(self.rotation)

    def select(self, chosen: np.ndarray | list[int]) -> Poses:
        """Keep some of the poses, given by index or mask."""
        return Poses(self.rotation[chosen], self.translation[chosen], self.shear[chosen])

    def moved(self, motions: np.ndarray, shear: np.ndarray | float = 0.0) -> Poses:
        """Move this frame's camera back by small (S, 6) motions (t, ω), or (S, 3) without t, and by shears (S, 3)."""
        translation = self.translation
        if motions.shape[1] == 6:
            translation = translation - (self.rotation @ motions[:, :3, None])[..., 0]
        return Poses(self.rotation @ exp(-motions[:, -3:]), translation, self.shear - shear)

    def after(self, first: Poses) -> Poses:
        """Chain two motions, without their shears: these, from the frame before to an earlier one, and `first`."""
        translation = (self.rotation @ first.translation[..., None])[..., 0] + self.translation
        return Poses(self.rotation @ first.rotation, translation, np.zeros_like(translation))

    def motions(self) -> np.ndarray:
        """Return them as (S, 6) (v, ω)·Δt."""
        return np.concatenate([np.einsum("sji,sj->si", self._half, self.translation), self._rotations], axis=1)

    def halfway(self, covariances: np.ndarray) -> np.ndarray:
        """Rotate covariances (S, P, P) of small motions of this frame's camera, (t, ω) or ω, as `motions` errs by them.

        With J the right Jacobian, log(R·exp(−[δω]×)) is ω·Δt − J⁻¹(ω·Δt)·δω, and J⁻¹(φ) is exp([φ/2]×) up to |φ|²/24.
        So is what δt does to v. What δω does to v is left out: it is less by v·Δt over twice the depth.
        """
        vectors = covariances.shape[-1] // 3
        blocks = covariances.reshape(-1, vectors, 3, vectors, 3)
        return np.einsum("sij,sajbk,slk->saibl", self._half, blocks, self._half).reshape(covariances.shape)

    @cached_property
    def _rotations(self) -> np.ndarray:
        """(S, 3) ω·Δt."""
        return log(self.rotation)

    @cached_property
    def _half(self) -> np.ndarray:
        """(S, 3, 3) from the axes of this frame to those halfway."""
        return exp(self._rotations / 2)
