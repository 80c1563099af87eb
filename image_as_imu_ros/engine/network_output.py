"""What a network predicts for one frame: axial flow and depth on a grid, each with its sigma."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

_STATIC_PX = 2.0  # added to the length of every streak: a static frame has none, and is not uncertain for that


@dataclass(frozen=True)
class NetworkOutput:
    """How each grid cell of one frame was smeared during the exposure.

    Attributes:
        axial_flow: (2, h, w) float, q = (‖f‖cos 2θ, ‖f‖sin 2θ) in px of the network's input image, where f is the
            flow over the exposure and θ its angle. q and the blur have no arrow: f and −f give the same q. NaN in
            cells that are left out.
        sigma: (2, h, w) float, standard deviation of q along itself and across, px, positive. A streak's angle that is
            off by δ moves q by 2‖f‖δ across.
        depth: (h, w) float, metric depth along z, m; NaN where unknown. None if the model predicts no depth.
        depth_sigma: (h, w) float, standard deviation of the log of the depth, as far as all cells err alike; None if
            the model predicts no depth.
        stride: px of the input image per cell; the centre of cell (i, j) is ((j + ½)·stride − ½, (i + ½)·stride − ½).
        smoothing: px; the flow changes over the edge of a near thing as gradually as if the inverse depth were smoothed
            by a Gaussian of this standard deviation.
    """

    axial_flow: np.ndarray
    sigma: np.ndarray
    depth: np.ndarray | None
    depth_sigma: np.ndarray | None
    stride: int
    smoothing: float = 0.0

    @cached_property
    def mean_flow(self) -> float:
        """Mean length of the streaks, px of the network's input."""
        return float(np.nanmean(np.hypot(self.axial_flow[0], self.axial_flow[1])))

    def within(self, scene: np.ndarray) -> NetworkOutput:
        """Leave out the cells that do not see the scene, (h, w) bool: their flow is NaN."""
        return self if scene.all() else replace(self, axial_flow=np.where(scene, self.axial_flow, np.nan))

    @property
    def relative_sigma(self) -> float:
        """Median over cells of the sigma along q, relative to the streak's length.

        Where the image shows little, a network answers for many cells at once, so they err together: as the sigma
        grows, so do the errors that cells share.
        """
        length = np.hypot(self.axial_flow[0], self.axial_flow[1])
        return float(np.nanmedian(self.sigma[0] / (length + _STATIC_PX)))

    @property
    def depth_log_std(self) -> float:
        """Standard deviation of the log of a scale error of the depth: root mean square over cells, 0 without depth."""
        if self.depth is None or self.depth_sigma is None:
            return 0.0
        known = self.depth_sigma[np.isfinite(self.depth)]
        return math.sqrt(np.square(known).mean()) if known.size else 0.0

    def as_smooth(self, depth: np.ndarray) -> np.ndarray:
        """Smooth measured depth (h, w) m, NaN where unknown, as the flow is smoothed. Unknown cells stay so."""
        if not self.smoothing:
            return depth
        known = np.isfinite(depth)
        inverse = np.where(known, 1 / np.where(known, depth, 1.0), 0.0)
        total, count = (
            cv2.GaussianBlur(values, (0, 0), self.smoothing / self.stride, borderType=cv2.BORDER_REPLICATE)
            for values in (inverse, known.astype(np.float64))
        )
        return np.where(known, count / np.where(known, total, 1.0), np.nan)
