"""Measure how far the network's depth is from a recording's measured depth, where corners can be tracked.

    python tools/measure_depth_recording.py RECORDING [--every N]

Printed are the ratios predicted / measured: their median and 10 % and 90 % quantiles over all corners, and the same of
the frames' medians; and the mean of (log of a frame's median / its predicted standard deviation)², 1 where that is
honest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.estimation.constants import TRACKING
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_FEWEST = 20  # corners with measured depth, of a frame that counts


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--every", type=int, default=5, metavar="N", help="take one frame in N (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=resource(DEFAULT_MODEL), help="(default: the shipped one)")
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, "onnxruntime")
    found = list(ratios(engine, arguments.recording, arguments.every))
    medians = np.array([np.median(ratio) for ratio, _ in found])
    sigma = np.array([std for _, std in found])
    for name, values in (("corners", np.concatenate([ratio for ratio, _ in found])), ("frames", medians)):
        print(f"{len(values)} {name}: median, 10 %, 90 %", np.quantile(values, [0.5, 0.1, 0.9]).round(2))
    print(f"NEES of the scale {np.square(np.log(medians) / sigma).mean():.2f}, mean sigma {sigma.mean():.2f}")


def ratios(engine: Engine, path: Path, every: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield predicted / measured depth at the corners of each frame, and the predicted sigma of its logarithm."""
    info = engine.info
    with Recording(path) as recording:
        topic = recording.image_topic()
        frames = recording.frames(topic, recording.camera_info_topic(topic), recording.depth_topic("auto"))
        for message in islice(frames, 0, None, every):
            depth = message.decode_depth()
            if depth is None:
                continue
            view = View.of(message.camera(), info.width, info.height)
            image = view.prepare(message.decode_image("gray"), "gray")
            measured = view.sample_depth(depth, info.stride)
            output = engine.infer(image)
            corners = cv2.goodFeaturesToTrack(image, TRACKING.corners, TRACKING.quality, TRACKING.distance)
            if corners is None or output.depth is None:
                continue
            j, i = (corners[:, 0] / info.stride).astype(int).T
            ratio = output.depth[i, j] / measured[i, j]
            ratio = ratio[np.isfinite(ratio)]
            if len(ratio) >= _FEWEST:
                yield ratio, output.depth_log_std


if __name__ == "__main__":
    main()
