"""Measure what JPEGs do that were damaged on the way, but decode: the table of docs/reliability.md.

    python tools/measure_damage.py RECORDING --exposure 0.0184

The first frames of a recording with ground truth are encoded anew; in every third, bytes behind the header are changed,
or lost. Printed per kind of damage, one number per seed: velocities (`auto`), how many of their errors of ω are beyond
the 99.9 % quantile of their covariance, mean NEES (3 if it is honest) and the largest error. Those that the node would
hold back, for their sign is open, do not count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros import Frame, MotionEstimator, Shutter
from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_QUALITY = 90  # of JPEG
_EVERY = 3
_SEEDS = 3
_BEYOND = 16.27  # 99.9 % quantile of χ² with 3 degrees of freedom
_INSTANT = 1e-3  # s, over which ground truth is averaged


def changed(count: int) -> Callable[[bytes, np.random.Generator], bytes]:
    """Damage: so many random bytes are others."""

    def change(data: bytes, random: np.random.Generator) -> bytes:
        found = np.frombuffer(data, np.uint8).copy()
        found[random.integers(_first(data), len(data) - 2, count)] = random.integers(0, 256, count)
        return found.tobytes()

    return change


def lost(count: int) -> Callable[[bytes, np.random.Generator], bytes]:
    """Damage: so many bytes in a row are missing."""

    def lose(data: bytes, random: np.random.Generator) -> bytes:
        start = int(random.integers(_first(data), len(data) - 2 - count))
        return data[:start] + data[start + count :]

    return lose


DAMAGES = {"3 random bytes": changed(3), "30 random bytes": changed(30), "512 bytes lost": lost(512)}


def _first(data: bytes) -> int:
    """Find the first byte of the picture, behind the header of the scan."""
    return data.index(b"\xff\xda") + 12


def measure(
    frames: list[Frame],
    ground_truth: GroundTruth,
    engine: Engine,
    damage: Callable[[bytes, np.random.Generator], bytes] | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate frames, damaged or not: the lengths of the errors of ω (N,), rad/s, and their NEES (N,)."""
    estimator, random = MotionEstimator(engine), np.random.default_rng(seed)
    sizes, nees = [], []
    for number, frame in enumerate(frames):
        data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        if damage is not None and number % _EVERY == 0:
            data = damage(data, random)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            continue
        try:
            estimate = estimator.update(replace(frame, image=image))
        except InputError:
            continue
        if estimate is None or not estimate.sign_resolved:
            continue
        _, true = ground_truth.at(np.array([estimate.stamp]), _INSTANT)
        error = estimate.velocity.angular - true[0]
        if np.isfinite(error).all():
            sizes.append(np.linalg.norm(error))
            nees.append(error @ np.linalg.solve(estimate.velocity.covariance[3:, 3:], error))
    return np.array(sizes), np.array(nees)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--exposure", type=float, required=True, help="s")
    parser.add_argument("--frames", type=int, default=180)
    arguments = parser.parse_args()
    with Recording(arguments.recording) as recording:
        topic = recording.image_topic()
        ground_truth = read_ground_truth(recording, recording.ground_truth_topic())
        frames = []
        for message in recording.frames(topic, recording.camera_info_topic(topic)):
            shutter = Shutter(arguments.exposure)
            frames.append(Frame(message.decode_image("gray"), message.stamp, message.camera(), shutter))
            if len(frames) == arguments.frames:
                break
    with closing(load_engine(resource(DEFAULT_MODEL), "onnxruntime")) as engine:
        print("| damage | velocities | beyond 99.9 % | mean NEES | largest error [rad/s] |\n|---|---|---|---|---|")
        for name, damage in {"none": None, **DAMAGES}.items():
            seeds = range(_SEEDS if damage else 1)
            found = [measure(frames, ground_truth, engine, damage, seed) for seed in seeds]
            counts = ", ".join(str(len(sizes)) for sizes, _ in found)
            beyond = ", ".join(str((nees > _BEYOND).sum()) for _, nees in found)
            means = ", ".join(f"{nees.mean():.1f}" for _, nees in found)
            largest = ", ".join(f"{sizes.max():.1f}" for sizes, _ in found)
            print(f"| {name} | {counts} | {beyond} | {means} | {largest} |")


if __name__ == "__main__":
    main()
