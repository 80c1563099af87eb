"""Parts of the scene that move by themselves: the answer of all of it held against that of its larger part.

What moves by itself is mostly nearer than the rest, and what is near tells the translation almost alone, however small
it is. So where depth is measured, the scene is divided in two by distance (`SceneDepth.larger_part`), and the larger
part answers, too: less surely, for it is only a part, but not otherwise. With v̂ the answer of all, of covariance C, and
v̂ₗ that of the larger part, of Cₗ (Hausman 1978, "Specification tests in econometrics"),

    (v̂ − v̂ₗ)ᵀ·(Cₗ − C)⁻¹·(v̂ − v̂ₗ) ~ χ²₃    if nothing moves,

and with Cₗ in place of the difference it is less. Where it is beyond chance, in one frame or on average of late, the
larger part answers alone. A part that covers more than half of the view would be taken for the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import SIGN

_EXPECTED = 3.0  # mean of χ² with 3 degrees of freedom


@dataclass(frozen=True)
class Answer:
    """A motion (6,) (v, ω)·Δt and its covariance (6, 6), without what is expected of v."""

    motion: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class MovingParts:
    """What frames of late say about parts that move by themselves.

    Attributes:
        usual: running mean of χ².
        expected: whether there are some: answers differ twice as much as they should, or did and do not yet agree.
    """

    usual: float = _EXPECTED
    expected: bool = False

    def after(self, squared: float) -> MovingParts:
        """Learn from χ² of a frame. One frame alone, however wrong, is not enough to expect more."""
        usual = self.usual + (min(squared, SIGN.contradiction) - self.usual) / SIGN.usual_frames
        return MovingParts(usual, usual > (_EXPECTED if self.expected else 2 * _EXPECTED))

    def difference(self, used: Answer, other: Answer) -> float:
        """Compute χ² of two answers, of which the larger part's is used if parts are expected to move."""
        apart = (used.motion - other.motion)[:3]
        larger = used if self.expected else other
        return float(apart @ np.linalg.solve(larger.covariance[:3, :3], apart))
