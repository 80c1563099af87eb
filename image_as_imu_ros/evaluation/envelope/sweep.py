"""Cells, rendered and evaluated in several processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from image_as_imu_ros.engine import Engine
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.evaluation.benchmarks.workers import worker_processes
from image_as_imu_ros.evaluation.envelope.cell import Cell
from image_as_imu_ros.evaluation.envelope.evaluate_cell import Answers, evaluate_cell
from image_as_imu_ros.evaluation.envelope.rendering import render_cell
from image_as_imu_ros.evaluation.open_engine import open_engine

DEPTHS = ("measured", "network")


@dataclass(frozen=True)
class SweepConfig:
    """How cells are run.

    Attributes:
        estimator, engine: settings of these. depths: of DEPTHS.
        frames: folder in which rendered frames are kept.
        workers: processes.
    """

    frames: Path
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    depths: tuple[str, ...] = DEPTHS
    workers: int = 1


def run_cells(cells: tuple[Cell, ...], config: SweepConfig) -> Iterator[list[Answers]]:
    """Render and evaluate cells; yields the answers of each as soon as they are there."""
    with worker_processes(config.workers) as processes:
        for done in as_completed([processes.submit(run_cell, cell, config) for cell in cells]):
            yield done.result()


def run_cell(cell: Cell, config: SweepConfig) -> list[Answers]:
    """Render and evaluate one cell."""
    rendered = render_cell(cell, config.frames)
    return evaluate_cell(rendered, _engine(config.engine), config.estimator, config.depths)


@cache
def _engine(config: EngineConfig) -> Engine:
    # Cells run beside each other: threads of the networks would only wait for each other.
    return open_engine(replace(config, threads=config.threads or 1))
