"""Parts of the scene that move by themselves: the answer of all of it held against that of its larger part.

What moves by itself is mostly nearer than the rest, and what is near tells the translation almost alone, however small
it is. So where depth is measured, the scene is divided in two by distance (`SceneDepth.larger_part`), and the larger
part answers, too: less surely, for it is only a part, but not otherwise. With v̂ the answer of all, of covariance C, and
v̂ₗ that of the larger part, of Cₗ (Hausman 1978, "Specification tests in econometrics"),

    (v̂ − v̂ₗ)ᵀ·(Cₗ − C)⁻¹·(v̂ − v̂ₗ) ~ χ²₃    if nothing moves,

and with Cₗ in place of the difference it is less. Where it is beyond chance, in one frame or on average of late, the
larger part answers alone. What moves within the larger part, because it covers more than half of the view or is no
farther away than most of it, is taken for the scene, as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import SCENE_DEPTH, SIGN

_EXPECTED = 3.0  # mean of χ² with 3 degrees of freedom


@dataclass(frozen=True)
class Answer:
    """A motion (6,) (v, ω)·Δt, m and rad, and its covariance (6, 6), without what is expected of v."""

    motion: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class MovingParts:
    """What frames of late say about parts that move by themselves.

    Attributes:
        usual: running mean of χ², of the larger one where intensities and corners each have one. expected: whether
            there are some.
    """

    usual: float = _EXPECTED
    expected: bool = False

    def after(self, squared: float | None) -> MovingParts:
        """Learn from χ² of a frame. Without one, as where only one part answers or none, it is slowly forgotten.

        Parts are expected from a mean on that one frame alone cannot reach, until χ² is as expected again.
        """
        frames = SCENE_DEPTH.forgotten if squared is None else SIGN.usual_frames
        usual = self.usual + (min(squared or 0.0, SIGN.contradiction) - self.usual) / frames
        return MovingParts(usual, usual > (1.0 if self.expected else SCENE_DEPTH.moving_from) * _EXPECTED)


@dataclass(frozen=True)
class Choice:
    """Which of two answers is used.

    Attributes:
        difference: χ² of the two; None if there is only one.
        parts_move: whether the larger part answers alone.
    """

    answer: Answer
    difference: float | None
    parts_move: bool


def choose(whole: Answer | None, larger: Answer | None, parts_move: bool) -> Choice | None:
    """Choose between the answers of all of the scene and of its larger part.

    Args:
        parts_move: whether it is known already that parts do; then only the larger part may answer.
    """
    difference = None if whole is None or larger is None else _difference(whole, larger)
    parts_move = parts_move or (difference or 0.0) > SIGN.contradiction
    answer = larger if parts_move else whole
    return None if answer is None else Choice(answer, difference, parts_move)


def _difference(whole: Answer, larger: Answer) -> float | None:
    apart = (whole.motion - larger.motion)[:3]
    squared = float(apart @ np.linalg.solve(larger.covariance[:3, :3], apart))
    return squared if math.isfinite(squared) else None
