"""Parts of the view that move with the camera (arm, bumper, gimbal), found by themselves: static while it rotates.

A point seen at x was at R·x in the previous frame I', with R the measured rotation by ω·Δt: I'(x) = I(R⁻¹·x), if the
camera did nothing else. So, over the points of a cell and its neighbours, intensities should have changed by

    E = mean |I(x) − I(R⁻¹·x)|,    and did change by    D = mean |I(x) − I'(x)|.

A cell with much of E and little of D belongs to such a part, or lies where a translation happens to undo the rotation,
which does not last. So cells vote, votes add up over frames, and only what goes on voting "static" is hidden:

    log-odds += static·log(P(static | fixed)/P(static | scene)) + moved·log(P(moved | fixed)/P(moved | scene))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.levels import Level
from image_as_imu_ros.estimation.alignment.points import sample
from image_as_imu_ros.estimation.constants import FIXED_PARTS
from image_as_imu_ros.estimation.scene_mask import apart_from_others
from image_as_imu_ros.geometry import so3


@dataclass(frozen=True)
class FixedParts:
    """What is known about parts that move with the camera.

    Attributes:
        log_odds: (h, w) of each cell of the network's grid, that it shows one.
    """

    log_odds: np.ndarray

    @classmethod
    def unknown(cls, height: int, width: int) -> FixedParts:
        """Before any frame, on a grid of height × width cells."""
        prior = math.log(FIXED_PARTS.probability / (1 - FIXED_PARTS.probability))
        return cls(np.full((height, width), prior))

    @cached_property
    def elsewhere(self) -> np.ndarray:
        """(h, w) bool, cells that more probably show the scene, as do their neighbours."""
        return apart_from_others(self.log_odds < 0)

    def after(self, level: Level, now: np.ndarray, before: np.ndarray, rotation: np.ndarray) -> FixedParts:
        """Learn from two frames.

        Args:
            level: of both images, the finest. now, before: its luminance. rotation: (3,) ω·Δt, rad, as measured.
        """
        rays = (level.camera.matrix @ so3.exp(-rotation)).astype(np.float32) @ level.rays
        rotated, seen = sample(now, (rays[:2] / np.maximum(rays[2], 0.01))[None])
        intensity, usable = now.ravel()[level.index], seen[0] > 0
        expected = self._mean(np.abs(rotated[0] - intensity), level.cells, usable)
        found = self._mean(np.abs(before.ravel()[level.index] - intensity), level.cells, usable)
        judged = expected > FIXED_PARTS.least_change
        static = judged & (found < FIXED_PARTS.static * expected)
        moved = judged & (found > FIXED_PARTS.moved * expected)
        if static.sum() > moved.sum():  # then it is the rotation that is wrong
            return self
        fixed, scene = FIXED_PARTS.static_if_fixed, FIXED_PARTS.static_if_scene
        votes = static * math.log(fixed / scene) + moved * math.log((1 - fixed) / (1 - scene))
        return FixedParts(np.clip(self.log_odds + votes, -FIXED_PARTS.limit, FIXED_PARTS.limit))

    def _mean(self, values: np.ndarray, cells: np.ndarray, usable: np.ndarray) -> np.ndarray:
        """Mean (h, w) over the points of a cell and its neighbours; 0 where there are none."""
        total, count = (
            cv2.blur(sums.reshape(self.log_odds.shape), (3, 3), borderType=cv2.BORDER_CONSTANT)
            for sums in (
                np.bincount(cells[usable], values[usable], self.log_odds.size),
                np.bincount(cells[usable], minlength=self.log_odds.size).astype(np.float64),
            )
        )
        return total / np.maximum(count, 1 / 9)
