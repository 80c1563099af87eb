"""Measure how alike the residuals of neighbouring tracks are: how many tracks share an error, in docs/method.md.

    python tools/measure_correlation.py LIST.yaml

LIST.yaml: recordings, as `benchmark_recordings` takes them; depth is the network's. Of each pair of frames that is
solved by tracked corners, residuals are divided by their standard deviations, across the epipolar lines and along them.
Printed per recording: the mean product of two residuals in the same ninth of the image whose patches do not overlap,
divided by the mean square. It is 0 where tracks err by themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from image_as_imu_ros.estimation.alignment import two_view
from image_as_imu_ros.estimation.alignment.two_view_problem import Problem, State
from image_as_imu_ros.estimation.constants import TRACKING
from image_as_imu_ros.evaluation.benchmarks.recordings import read_list
from image_as_imu_ros.evaluation.config import EvaluationConfig
from image_as_imu_ros.evaluation.evaluate import evaluate

_LARGEST = 3.0  # σ; residuals beyond it are outliers


def products(problem: Problem, residuals: np.ndarray) -> np.ndarray:
    """Sum over neighbours the products of their residuals (2, N), and over tracks the squares: (4, 2), with counts."""
    px = problem.rays[:2] * problem.focal
    within = (px - px.min(1, keepdims=True)) / np.ptp(px, axis=1)[:, None]
    ninth = np.minimum((3 * within).astype(int), 2)
    fit = (np.abs(residuals) < _LARGEST).all(0)
    pairs = np.all(ninth[:, :, None] == ninth[:, None], axis=0) & fit[:, None] & fit
    pairs &= np.linalg.norm(px[:, :, None] - px[:, None], axis=0) > TRACKING.window
    each = [one @ pairs @ one for one in residuals]
    return np.array([each, [pairs.sum()] * 2, np.square(residuals[:, fit]).sum(1), [fit.sum()] * 2], float)


def correlations(path: Path, config: EvaluationConfig) -> np.ndarray:
    """Correlate residuals across the lines and along them (2,), in one recording."""
    sums = np.zeros((4, 2))
    at_the_end = two_view.at_the_end

    def watched(problem: Problem, covariances: np.ndarray, state: State, std: np.ndarray, *rest: Any) -> Any:
        at = problem.equations(state, std, *rest)
        likeliest = int(np.argmin(std))
        left = problem.left(at.errors, state.smooth) / np.sqrt(at.variances)
        sums[:] += products(problem, left[likeliest])
        return at_the_end(problem, covariances, state, std, *rest)

    with patch.object(two_view, "at_the_end", watched):
        evaluate(path, config)
    product, pairs, square, tracks = sums
    return (product / pairs) / (square / tracks)


def main() -> None:
    """Print a line per recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("list", type=Path)
    print(f"{'recording':30} {'across':>7} {'along':>7}")
    for recording in read_list(parser.parse_args().list):
        across, along = correlations(recording.path, recording.config)
        print(f"{recording.name:30} {across:7.3f} {along:7.3f}")


if __name__ == "__main__":
    main()
