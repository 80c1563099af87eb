"""Depth of the scene on the grid: as measured where enough of it is, else the network's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.constants import SCENE_DEPTH


@dataclass(frozen=True)
class SceneDepth:
    """Which depth a frame is computed with.

    Attributes:
        depth: (h, w) m, NaN where unknown; None if nothing is known.
        measured: whether it was measured.
        log_std: standard deviation of the log of the errors of a network's depth; 0 if it was measured.
        share: of the cells whose depth was measured; None without a depth image.
    """

    depth: np.ndarray | None
    measured: bool
    log_std: float
    share: float | None

    @classmethod
    def of(cls, output: NetworkOutput, measured: np.ndarray | None) -> SceneDepth:
        """Choose between the network's depth and a measured one (h, w), m, NaN where unknown.

        Where too little was measured, what there is gives the network's depth its scale. Cells that are left out of the
        network's output have no depth either.
        """
        scene = cls._chosen(output, measured)
        left_out = ~np.isfinite(output.axial_flow).all(0)
        if scene.depth is None or not left_out.any():
            return scene
        return replace(scene, depth=np.where(left_out, np.nan, scene.depth))

    @cached_property
    def larger_part(self) -> np.ndarray | None:
        """(h, w) m of the larger of two parts of the scene, the near one or the far one, NaN elsewhere.

        The limit between them is the one that leaves least variance of log depth in the parts (Otsu 1979). None where
        the depth is not measured, or tells no two parts.
        """
        if not self.measured or self.depth is None:
            return None
        ascending = np.log(np.sort(self.depth[np.isfinite(self.depth)]))
        near, total = np.arange(1, len(ascending)), len(ascending)
        if total < 2:
            return None
        sums = np.cumsum(ascending)
        of_near, of_far = sums[:-1] / near, (sums[-1] - sums[:-1]) / (total - near)
        last_near = int(np.argmax(near * of_near**2 + (total - near) * of_far**2))
        if of_far[last_near] - of_near[last_near] < SCENE_DEPTH.parts_apart:
            return None
        nearer = np.log(self.depth) <= ascending[last_near]
        larger = nearer if 2 * near[last_near] > total else ~nearer
        return np.where(larger, self.depth, np.nan)

    @classmethod
    def _chosen(cls, output: NetworkOutput, measured: np.ndarray | None) -> SceneDepth:
        if measured is None:
            return cls(output.depth, False, output.depth_log_std, None)
        known = np.isfinite(measured)
        share = float(known.mean())
        if share >= SCENE_DEPTH.least_share or output.depth is None:
            return cls(measured, True, 0.0, share)
        scale = 1.0
        if known.sum() >= SCENE_DEPTH.least_cells:
            scale = float(np.nanmedian(measured[known] / output.depth[known]))
        return cls(scale * output.depth, False, output.depth_log_std, share)


def polynomials(place: np.ndarray) -> np.ndarray:
    """Evaluate the five φ of a map's smooth errors, (N, 5), at places (N, 2) from −1 to 1 across and down the image."""
    x, y = place.T
    # Legendre's of second degree: as large as those of first degree, and of zero mean.
    return np.stack([x, y, 1.5 * x * x - 0.5, 1.5 * x * y, 1.5 * y * y - 0.5], 1)
