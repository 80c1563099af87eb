"""Numbers of the method on real frames, for comparing them with those of an earlier version.

Eight successive frames of test/data/desk_rpy_3s, of which one is covered, three that are 0.1 s apart, and one that is
0.7 s late are estimated with several configurations; "measured depth" is the network's own, in place of a sensor's. The
network runs once per frame; everything after it runs as often as asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros import EstimatorConfig, Frame, MotionEstimate, MotionEstimator, Shutter
from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_EXPOSURE = 0.0184  # s
_FRAMES = [*range(40, 48), 50, 53, 56, 59]
_COVERED = 45
_LATE = 700_000_000  # ns, of the last frame
_CONFIGS = {
    "given exposure": EstimatorConfig(),
    "measured depth": EstimatorConfig(),
    "estimated exposure": EstimatorConfig(motion_model="rotation", estimate_exposure=True),
}


class RememberingEngine:
    """An engine that sees each image once."""

    name = "remembering"

    def __init__(self) -> None:
        self._engine = load_engine(resource(DEFAULT_MODEL), "onnxruntime", threads=1)
        self.info = self._engine.info
        self._seen: dict[bytes, NetworkOutput] = {}

    def infer(self, image: np.ndarray) -> NetworkOutput:
        key = image.tobytes()
        if key not in self._seen:
            self._seen[key] = self._engine.infer(image)
        return self._seen[key]

    def close(self) -> None:
        self._engine.close()


@cache
def _frames(recording: Path) -> tuple[RememberingEngine, list[Frame]]:
    engine = RememberingEngine()
    with Recording(recording) as opened:
        messages = list(opened.frames("/camera/image_raw/compressed", "/camera/camera_info"))
    frames = [
        Frame(m.decode_image("gray"), m.stamp, m.camera(), Shutter(_EXPOSURE, readout_time=0.02))
        for m in (messages[number] for number in _FRAMES)
    ]
    covered = _FRAMES.index(_COVERED)
    frames[covered] = replace(frames[covered], image=np.full_like(frames[covered].image, 7))
    frames[-1] = replace(frames[-1], stamp=frames[-1].stamp + _LATE)
    return engine, frames


def numbers(recording: Path) -> dict[str, list[list[float]]]:
    """Estimate the frames: per configuration and frame, what is said and how sure it is."""
    engine, frames = _frames(recording)
    return {
        name: [*_numbers(MotionEstimator(engine, config), frames, measured_depth=name == "measured depth")]
        for name, config in _CONFIGS.items()
    }


def _numbers(estimator: MotionEstimator, frames: list[Frame], measured_depth: bool) -> Iterator[list[float]]:
    depth, rate = None, np.array([0.5, -0.2, 0.3])
    for frame in frames:
        estimate = estimator.update(replace(frame, depth=depth, rate_hint=rate))
        yield _of(estimate)
        if measured_depth and estimate is not None:
            # The network sees all of this camera's height and, of its width, all but a few columns.
            depth, rate = cv2.resize(estimate.network_output.depth, (640, 480)), None


def _of(estimate: MotionEstimate | None) -> list[float]:
    if estimate is None:
        return []
    alignment, measured, aligned = estimate.alignment, estimate.measured_exposure, estimate.aligned
    return [
        float(value)
        for value in (
            *estimate.single.vector,
            *np.sqrt(np.diag(estimate.single.covariance)),
            *(np.zeros(6) if aligned is None else aligned.vector),
            *(np.zeros(6) if aligned is None else np.sqrt(np.diag(aligned.covariance))),
            estimate.sign_probability,
            estimate.sign_resolved,
            estimate.ambiguous,
            estimate.log_likelihood_ratio,
            estimate.residual,
            estimate.inliers,
            alignment.similarity if alignment else 0,
            alignment.overlap if alignment else 0,
            estimate.exposure,
            estimate.exposure_log_std,
            measured.seconds if measured else 0,
            measured.log_std if measured else 0,
        )
    ]


def difference(one: dict[str, list[list[float]]], other: dict[str, list[list[float]]]) -> float:
    """Largest difference between two sets of numbers, relative to 0.1 or to the number itself."""
    worst = 0.0
    for name in one:
        for of_one, of_other in zip(one[name], other[name], strict=True):
            if len(of_one) != len(of_other):
                return np.inf
            a, b = np.array(of_one), np.array(of_other)
            worst = max(worst, float((np.abs(a - b) / np.maximum(0.1, np.abs(a))).max(initial=0)))
    return worst
