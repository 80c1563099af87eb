"""Numbers of the method on real frames, for comparing them with those of an earlier version.

Eight successive frames of test/data/desk_rpy_3s, of which one is covered, three that are 0.1 s apart, and one that is
0.7 s late are estimated with several configurations; "measured depth" is the network's own, in place of a sensor's.

What the shipped network says of these frames lies in test/data/golden_network.npz, rounded: releases of ONNX Runtime
and processors differ in its seventh digit, and a decision near its threshold, such as which of two starts is kept, then
falls the other way. Delete the file and update the numbers to have it written anew, for a new network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros import EstimatorConfig, Frame, MotionEstimate, MotionEstimator, Shutter
from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_EXPOSURE = 0.0184  # s
_FRAMES = [*range(40, 48), 50, 53, 56, 59]
_COVERED = 45
_LATE = 700_000_000  # ns, of the last frame
_OUTPUTS = Path(__file__).resolve().parents[1] / "data" / "golden_network.npz"
_ARRAYS = ("axial_flow", "sigma", "depth", "depth_sigma")
_CONFIGS = {
    "given exposure": EstimatorConfig(),
    "measured depth": EstimatorConfig(),
    "estimated exposure": EstimatorConfig(motion_model="rotation", estimate_exposure=True),
}


class Replay:
    """What the shipped network says of the frames, one after the other."""

    name = "replay"

    def __init__(self, info: ModelInfo, outputs: Sequence[NetworkOutput]) -> None:
        self.info = info
        self._outputs = iter(outputs)

    def infer(self, image: np.ndarray) -> NetworkOutput:
        return next(self._outputs)

    def close(self) -> None:
        pass


class Recorder:
    """An engine that notes what it says, as rounded as the file is."""

    name = "recorder"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.info = engine.info
        self.outputs: list[NetworkOutput] = []

    def infer(self, image: np.ndarray) -> NetworkOutput:
        output = self._engine.infer(image)
        self.outputs.append(replace(output, **{name: getattr(output, name).astype(np.float16) for name in _ARRAYS}))
        return self.outputs[-1]

    def close(self) -> None:
        self._engine.close()


@cache
def _frames(recording: Path) -> list[Frame]:
    with Recording(recording) as opened:
        messages = list(opened.frames("/camera/image_raw/compressed", "/camera/camera_info"))
    frames = [
        Frame(m.decode_image("gray"), m.stamp, m.camera(), Shutter(_EXPOSURE, readout_time=0.02))
        for m in (messages[number] for number in _FRAMES)
    ]
    covered = _FRAMES.index(_COVERED)
    frames[covered] = replace(frames[covered], image=np.full_like(frames[covered].image, 7))
    frames[-1] = replace(frames[-1], stamp=frames[-1].stamp + _LATE)
    return frames


@cache
def _network(recording: Path) -> tuple[ModelInfo, list[NetworkOutput]]:
    """Read what the network says of the frames; without the file, ask it and write that."""
    engine = load_engine(resource(DEFAULT_MODEL), "onnxruntime", threads=1)
    if not _OUTPUTS.exists():
        recorder = Recorder(engine)
        for _ in _numbers(MotionEstimator(recorder, EstimatorConfig()), _frames(recording), measured_depth=False):
            pass
        np.savez_compressed(_OUTPUTS, **{n: np.stack([getattr(o, n) for o in recorder.outputs]) for n in _ARRAYS})
    engine.close()
    with np.load(_OUTPUTS) as file:
        arrays = {name: file[name].astype(np.float32) for name in _ARRAYS}
    geometry = {"stride": engine.info.stride, "smoothing": engine.info.flow_smoothing}
    return engine.info, [
        NetworkOutput(**{name: arrays[name][i] for name in _ARRAYS}, **geometry) for i in range(len(_FRAMES))
    ]


def numbers(recording: Path) -> dict[str, list[list[float]]]:
    """Estimate the frames: per configuration and frame, what is said and how sure it is."""
    frames, network = _frames(recording), _network(recording)
    return {
        name: [*_numbers(MotionEstimator(Replay(*network), config), frames, measured_depth=name == "measured depth")]
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


def differences(one: dict[str, list[list[float]]], other: dict[str, list[list[float]]]) -> np.ndarray:
    """Differences between two sets of numbers, relative to 0.1 or to the number; infinite where one is missing."""
    found = []
    for name in one:
        for of_one, of_other in zip(one[name], other[name], strict=True):
            a, b = np.array(of_one), np.array(of_other)
            same = len(a) == len(b)
            found.append(np.abs(a - b) / np.maximum(0.1, np.abs(a)) if same else np.full(max(len(a), len(b)), np.inf))
    return np.concatenate(found)
