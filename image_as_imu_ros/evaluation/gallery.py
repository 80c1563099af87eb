"""Overlays of a run's most telling frames: a recording's images do not fit in memory, these do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_MOST = 4
_APART = 1_000_000_000  # ns; neighbours are alike


@dataclass(frozen=True)
class Exhibit:
    """An overlay, (H, W, 3) uint8 BGR, of the estimate stamped `stamp` ns."""

    score: float
    stamp: int
    overlay: np.ndarray


@dataclass
class Gallery:
    """The overlays with the highest scores, at least 1 s apart, the highest first."""

    exhibits: list[Exhibit] = field(default_factory=list)

    def offer(self, score: float, stamp: int, draw: Callable[[], np.ndarray]) -> None:
        """Keep an estimate's overlay, which `draw` makes, if its score is among the highest; NaN is none."""
        near = [kept for kept in self.exhibits if abs(kept.stamp - stamp) < _APART]
        others = [kept for kept in self.exhibits if abs(kept.stamp - stamp) >= _APART]
        to_beat = near if near or len(others) < _MOST else others[-1:]
        if np.isnan(score) or any(kept.score >= score for kept in to_beat):
            return
        others.append(Exhibit(score, stamp, draw()))
        self.exhibits = sorted(others, key=lambda kept: -kept.score)[:_MOST]
