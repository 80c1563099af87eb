"""Engines on this machine: time per stage, memory and agreement, over a shaken camera before a wall."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from resource import RUSAGE_SELF, getrusage
from types import SimpleNamespace

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.engine import Engine, cuda
from image_as_imu_ros.engine.config import EngineConfig, EngineName
from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.open_engine import open_engine
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.images import decode_compressed, decode_image
from image_as_imu_ros.settings import check_settings, setting

_WARM_UP = 10  # frames: first calls allocate, tune and cache
_FRAME_INTERVAL = 1 / 30  # s
_EXPOSURE = 0.01  # s
_SUB_FRAMES = 16
_COMPARED = 16  # frames
_TEXTURE = 2048  # px


Publishing = Callable[[], AbstractContextManager[Callable[[MotionEstimate], None]]]
"""What gives a function that publishes an estimate."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured.

    Raises:
        InputError: a value is out of range.
    """

    engine: EngineConfig = field(default_factory=EngineConfig)
    frames: int = setting(200, "frames to measure", limits=(2, 10_000))
    width: int = setting(640, "width of the images, px", limits=(32, 8192))
    height: int = setting(480, "height of the images, px", limits=(32, 8192))

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Result:
    """What was measured of one engine.

    Attributes:
        engine, model, loops: what ran, for people.
        frames: how many, and of which size, for people.
        seconds: per stage, one per frame; see `measure`.
        difference: mean and largest distance to the axial flow of ONNX Runtime on the CPU, px of the network's input.
        memory: most memory that the process ever had, bytes.
        gpu_memory: what loading and running took of the GPU's, without the CUDA context, bytes; None if not known.
    """

    engine: str
    model: str
    loops: str
    frames: str
    seconds: dict[str, list[float]]
    difference: tuple[float, float]
    memory: int
    gpu_memory: int | None


def benchmark(config: BenchmarkConfig, publishing: Publishing | None = None) -> Result:
    """Measure one engine.

    Args:
        publishing: see `measure`.

    Raises:
        InputError: the model cannot be used.
    """
    free_before = _free_gpu_memory()
    engine = open_engine(config.engine, int8_where_fast=True)
    with nullcontext() if publishing is None else publishing() as publish:
        seconds = measure(MotionEstimator(engine), config.width, config.height, config.frames, publish)
    free_after = _free_gpu_memory()
    memory = _peak_memory()
    reference = EngineConfig(model=config.engine.model, engine=EngineName.ONNXRUNTIME, threads=config.engine.threads)
    result = Result(
        engine=engine.name,
        model=f"{engine.info.name} {engine.info.version}",
        loops=compiled.load(),
        frames=f"{config.frames} colour images of {config.width}×{config.height} px, after {_WARM_UP} to warm up",
        seconds=seconds,
        difference=disagreement(engine, open_engine(reference)),
        memory=memory,
        gpu_memory=None if free_before is None or free_after is None else free_before - free_after,
    )
    engine.close()
    return result


def disagreement(engine: Engine, reference: Engine) -> tuple[float, float]:
    """Compute the mean and largest distance between the axial flows of two engines with one model, px of its input."""
    info = engine.info
    camera = Camera(info.width, info.height, info.width, info.width, info.width / 2, info.height / 2)
    code = cv2.COLOR_BGR2GRAY if info.colour == "gray" else cv2.COLOR_BGR2RGB
    images = [cv2.cvtColor(frame, code) for frame in shaken_frames(camera, _COMPARED)]
    distances = [np.hypot(*(engine.infer(i).axial_flow - reference.infer(i).axial_flow)) for i in images]
    return float(np.mean(distances)), float(np.max(distances))


def measure(
    estimator: MotionEstimator,
    width: int,
    height: int,
    count: int,
    publish: Callable[[MotionEstimate], None] | None = None,
) -> dict[str, list[float]]:
    """Measure the seconds per stage of `count` frames.

    Stages: "decode JPEG" and "decode raw" (either comes first in a node), then "prepare", "network", "solve", "align",
    "sign", and "publish". "solve to sign" and "JPEG to velocity" are sums.

    Args:
        publish: builds and publishes the messages of an estimate; None to leave that out.
    """
    camera = Camera(width, height, 0.8 * width, 0.8 * width, (width - 1) / 2, (height - 1) / 2)
    seconds = defaultdict(list)
    frames = shaken_frames(camera, count + _WARM_UP)
    for number, bgr in enumerate(
        tqdm(frames, "measuring", count + _WARM_UP, unit="frame", mininterval=0.5, leave=False)
    ):
        stamp = 1 + round(1e9 * number * _FRAME_INTERVAL)
        spent = _spent(estimator, bgr, stamp, camera, publish)
        if number >= _WARM_UP:
            for stage, duration in spent.items():
                seconds[stage].append(duration)
    return dict(seconds)


def _spent(
    estimator: MotionEstimator,
    bgr: np.ndarray,
    stamp: int,
    camera: Camera,
    publish: Callable[[MotionEstimate], None] | None,
) -> dict[str, float]:
    """Seconds per stage of one frame, from its messages to those of the estimate."""
    jpeg = SimpleNamespace(format="jpeg", data=cv2.imencode(".jpg", bgr)[1].ravel())
    raw = SimpleNamespace(
        width=camera.width,
        height=camera.height,
        encoding="bgr8",
        step=3 * camera.width,
        is_bigendian=0,
        data=bgr.ravel(),
    )
    colour = estimator.engine.info.colour
    marks = [time.perf_counter()]
    decode_image(raw, colour)
    marks.append(time.perf_counter())
    image = decode_compressed(jpeg, colour)
    marks.append(time.perf_counter())
    estimate = estimator.update(Frame(image, stamp, camera, Shutter(_EXPOSURE)))
    if estimate is None:
        raise RuntimeError("the estimator's defaults answer every frame")
    spent = {"decode raw": marks[1] - marks[0], "decode JPEG": marks[2] - marks[1], **estimate.seconds}
    spent["solve to sign"] = spent["solve"] + spent["align"] + spent["sign"]
    spent["JPEG to velocity"] = spent["decode JPEG"] + sum(estimate.seconds.values())
    if publish is not None:
        started = time.perf_counter()
        publish(estimate)
        spent["publish"] = time.perf_counter() - started
    return spent


def shaken_frames(camera: Camera, count: int) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 BGR images of a far, textured wall, blurred by the camera's rotation while exposed."""
    wall = _wall()
    inverse = np.linalg.inv(camera.matrix)
    # Facing the middle of the wall, an image covers half of its width.
    scale = _TEXTURE / 2 / camera.width
    to_wall = np.array([[scale * camera.fx, 0, _TEXTURE / 2], [0, scale * camera.fy, _TEXTURE / 2], [0, 0, 1]])
    for number in range(count):
        mean = np.zeros((camera.height, camera.width, 3), np.float32)
        for fraction in (np.arange(_SUB_FRAMES) + 0.5) / _SUB_FRAMES - 0.5:
            t = number * _FRAME_INTERVAL + fraction * _EXPOSURE
            rotation = 0.3 * np.array([np.sin(5 * t), np.cos(6 * t), np.sin(7 * t)])
            homography = to_wall @ so3.exp(rotation) @ inverse
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            size = camera.width, camera.height
            cv2.accumulate(cv2.warpPerspective(wall, homography, size, flags=flags, borderMode=cv2.BORDER_WRAP), mean)
        yield cv2.convertScaleAbs(mean, alpha=1 / _SUB_FRAMES)


def table(seconds: dict[str, list[float]]) -> str:
    """Write quantiles per stage, ms."""
    lines = [f"{'stage [ms]':<20}{'p50':>9}{'p95':>9}{'p99':>9}"]
    for stage, durations in seconds.items():
        quantiles = 1e3 * np.quantile(durations, [0.5, 0.95, 0.99])
        lines.append(f"{stage:<20}" + "".join(f"{value:9.2f}" for value in quantiles))
    return "\n".join(lines)


def report(result: Result) -> str:
    """Write all that is known of one engine."""
    mean, largest = result.difference
    gpu = "not known" if result.gpu_memory is None else f"{result.gpu_memory / 2**20:.0f} MiB and the CUDA context"
    lines = [
        f"{result.engine}, model {result.model}, {os.cpu_count()} CPU cores",
        result.loops,
        result.frames,
        table(result.seconds),
        *(["publish: not measured, rclpy cannot be imported here"] if "publish" not in result.seconds else []),
        f"throughput: {_rate(result, 'JPEG to velocity'):.0f} images/s, network alone {_rate(result, 'network'):.0f}",
        f"peak memory of this process: {result.memory / 2**20:.0f} MiB; of the GPU: {gpu}",
        f"axial flow differs from ONNX Runtime on the CPU by {mean:.4f} px, at most {largest:.3f} px",
    ]
    return "\n".join(lines)


def comparison(results: list[Result]) -> str:
    """Write one line per engine."""
    columns = ("network p50", "p95", "p99", "to velocity p50", "images/s", "memory", "GPU", "differs")
    lines = ["".join(f"{title:>16}" for title in columns)]
    for result in results:
        values = [
            *(1e3 * np.quantile(result.seconds["network"], [0.5, 0.95, 0.99])),
            1e3 * np.median(result.seconds["JPEG to velocity"]),
            _rate(result, "JPEG to velocity"),
            result.memory / 2**20,
            np.nan if result.gpu_memory is None else result.gpu_memory / 2**20,
            result.difference[1],
        ]
        lines.append("".join(f"{value:16.2f}" for value in values) + f"  {result.engine}")
    return "\n".join([*lines, "times in ms, memory in MiB, differs: the largest difference of the axial flow, px"])


def _rate(result: Result, stage: str) -> float:
    return 1 / float(np.mean(result.seconds[stage]))


def _wall() -> np.ndarray:
    """Repeatable noise with detail at every scale, (_TEXTURE, _TEXTURE, 3) uint8."""
    rng = np.random.default_rng(0)
    wall = np.zeros((_TEXTURE, _TEXTURE), np.float32)
    for octave in range(3, 11):
        noise = rng.normal(size=(2**octave, 2**octave)).astype(np.float32)
        wall += cv2.resize(noise, (_TEXTURE, _TEXTURE), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(np.clip(128 + 25 * wall, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def _free_gpu_memory() -> int | None:
    """Bytes; None if there is no GPU, or no PyCUDA to ask it."""
    if cuda.why_no_gpu():
        return None
    try:
        with cuda.current_context():
            return cuda.free_memory()
    except ImportError:
        return None


def _peak_memory() -> int:
    """Bytes."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
