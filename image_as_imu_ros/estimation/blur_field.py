"""The cells of a network's field that a blur is solved with, and how the unknowns move them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_cells import Cells, thinned_grid
from image_as_imu_ros.estimation.constants import BLUR_SOLVER, STRUCTURE
from image_as_imu_ros.estimation.scene_depth import polynomials
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix


@dataclass(frozen=True)
class Depth:
    """Depth of the cells, m, NaN where unknown: (h, w) as `seen`, and as `smooth` as the flow is."""

    seen: np.ndarray
    smooth: np.ndarray

    @classmethod
    def of(cls, field: NetworkOutput, measured: np.ndarray | None) -> Depth | None:
        """Take measured depth where it is given, else the network's, which is smooth anyway; None if there is none."""
        if measured is not None:
            return cls(measured, field.as_smooth(measured))
        return None if field.depth is None else cls(field.depth, field.depth)


@dataclass(frozen=True)
class UsableCells:
    """Cells that can be used, and where they lie in the grid.

    Attributes:
        thinning: n where every n-th row and column was taken.
        index: (N,) in the grid, row by row. row, column: (N,). shape: (h, w) of the grid.
    """

    cells: Cells
    thinning: int
    index: np.ndarray
    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, field: NetworkOutput, matrix: MotionFieldMatrix, depth: Depth | None, camera: np.ndarray
    ) -> UsableCells:
        """Choose cells with finite flow, sigma, matrix and, if there is a translation, depth.

        Args:
            depth: None leaves the translation out.
            camera: (6, 6) from the unknowns to the motion of the camera.

        Raises:
            InputError: fewer than 12 are left.
        """
        rows, columns = field.axial_flow.shape[1:]
        thinning, index, row, column = thinned_grid(rows, columns)
        q = field.axial_flow.reshape(2, -1)[:, index].astype(np.float64)
        sigma = field.sigma.reshape(2, -1)[:, index].astype(np.float64)
        rays = matrix.select(index)
        flow_per_motion = rays.angular
        usable = np.asarray(np.isfinite(q).all(0) & ((sigma > 0) & (sigma < math.inf)).all(0))
        if depth is not None:
            flow_per_motion = rays.velocity_to_flow(depth.smooth.ravel()[index]) @ camera
            usable &= np.isfinite(depth.seen.ravel()[index])
        usable &= np.isfinite(flow_per_motion).all((1, 2))
        if usable.sum() < BLUR_SOLVER.least_cells:
            raise InputError(f"only {usable.sum()} of {len(usable)} cells are usable: no measurement from this frame")
        cells = Cells(q, sigma, np.ones_like(sigma), flow_per_motion.transpose(1, 2, 0)).select(usable)
        return cls(cells, thinning, index[usable], row[usable], column[usable], (rows, columns))

    def regions(self) -> tuple[np.ndarray, np.ndarray]:
        """Thin the cells once more for hypotheses: mask (N,), and weights (5, M) of all of these and each half."""
        coarse = (self.row // self.thinning + self.column // self.thinning) % 2 == 0
        coarse = coarse if coarse.sum() >= BLUR_SOLVER.least_cells else np.ones_like(coarse)
        left, top = (self.column < self.shape[1] / 2)[coarse], (self.row < self.shape[0] / 2)[coarse]
        return coarse, np.stack([np.ones_like(left), left, ~left, top, ~top]).astype(np.float64)

    def neglected(
        self, matrix: MotionFieldMatrix, readout_change: np.ndarray, travel: np.ndarray
    ) -> dict[Term, np.ndarray]:
        """Flow (2, K, N) px/s by what is not solved for, each of K at one standard deviation; none where there is none.

        Args:
            readout_change: see `blur_solver.Uncertainty`. travel: (3,) m/s, v for which a wrong shape of depth counts.
        """
        rows, columns = self.shape
        place = np.stack([(2 * self.column + 1) / columns - 1, (2 * self.row + 1) / rows - 1], 1)
        of = {}
        if readout_change.any():
            by_change = matrix.select(self.index).angular * readout_change
            of[Term.READOUT] = (place[:, 1, None, None] / 2 * by_change).transpose(1, 2, 0)
        if travel.any():
            by_travel = (self.cells.matrix[:, :3] * travel[:, None]).sum(1)
            of[Term.DEPTH_SHAPE] = STRUCTURE.smooth_std * by_travel[:, None] * polynomials(place).T
        return of

    def linear(self, matrix: MotionFieldMatrix, depth: Depth) -> np.ndarray:
        """Matrix (2, 3, N) of a translation, for cells that are used without one."""
        return matrix.select(self.index).velocity_to_flow(depth.smooth.ravel()[self.index])[..., :3].transpose(1, 2, 0)
