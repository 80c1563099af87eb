"""The commands, the same under `ros2 run image_as_imu_ros NAME` and `python -m image_as_imu_ros NAME`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from image_as_imu_ros.errors import InputError

# The solver's matrices are small: threads of NumPy's BLAS would only wait for each other. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# name → (module with a function main(argv) that returns an exit code, one line of help)
COMMANDS = {
    "blur_imu_node": ("image_as_imu_ros.nodes.blur_imu_node", "the ROS 2 node: images in, Imu and Twist out"),
    "demo": ("image_as_imu_ros.demo", "a camera, the node and a comparison with truth, without a robot"),
    "build_engine": ("image_as_imu_ros.engine.model_files.build", "the TensorRT plan of a model, for a GPU or Jetson"),
    "evaluate": (
        "image_as_imu_ros.evaluation.evaluate",
        "a recording → errors against truth, plots, a bag of estimates",
    ),
    "benchmark_recordings": (
        "image_as_imu_ros.evaluation.benchmark_recordings",
        "many recordings → one table per sequence and method",
    ),
    "convert": ("image_as_imu_ros.commands.convert", "phone captures, videos and data sets → a recording"),
    "estimate_image": (
        "image_as_imu_ros.commands.estimate_image",
        "one picture → velocity and a picture of its streaks",
    ),
    "benchmark": ("image_as_imu_ros.evaluation.benchmark", "time and memory per stage on this machine"),
}


def run(name: str, argv: list[str] | None = None) -> int:
    """Run a command and return its exit code; an unusable input becomes one line on stderr and code 2."""
    try:
        return import_module(COMMANDS[name][0]).main(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
