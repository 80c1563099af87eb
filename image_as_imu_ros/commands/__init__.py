"""The commands, the same under `ros2 run image_as_imu_ros NAME` and `python -m image_as_imu_ros NAME`."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper

from image_as_imu_ros.errors import InputError, first_line, is_interruption

# The solver's matrices are small: threads of NumPy's BLAS would only wait for each other. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_ON_PYPI = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}  # those that are called otherwise there
_OF_ROS = ("rclpy", "ament_index_python", "launch", "launch_ros")

# name → (module with a function main(argv) that returns an exit code, one line of help)
COMMANDS = {
    "blur_imu_node": ("image_as_imu_ros.nodes.main", "the ROS 2 node: images in, Imu and Twist out"),
    **{
        name: (f"image_as_imu_ros.commands.{name}", summary)
        for name, summary in {
            "demo": "a camera, the node and a comparison with ground truth, without a robot",
            "build_engine": "the TensorRT plan of a model, for a GPU or Jetson",
            "evaluate": "a recording → errors against ground truth, plots, a bag of estimates",
            "benchmark_recordings": "many recordings → one table per sequence and method",
            "convert": "phone captures, videos and data sets → a recording",
            "calibrate": "camera and gyroscope, recorded together → axes, clock offset, readout time, focal length",
            "estimate_image": "one image → velocity and an image of its streaks",
            "benchmark": "time and memory per stage on this machine",
            "benchmark_envelope": "rendered motions, one property at a time → where estimates hold",
        }.items()
    },
}


def run(name: str, argv: list[str] | None = None) -> int:
    """Run a command and return its exit code; an unusable input becomes one line on stderr and code 2."""
    print_any_text()
    try:
        return import_module(COMMANDS[name][0]).main(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "image_as_imu_ros"):  # a mistake in here
            raise
        said = _missing(package) if isinstance(error, ModuleNotFoundError) else _broken(package, error)
        print(f"{name}: {said}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interruption(error):
            raise
        if name != "blur_imu_node":
            return 130
        # Interrupted as it is loaded, which is no failure. A terminal and ros2 launch both send the signal, and the
        # second would kill a Python that is ending.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 0


def print_any_text() -> None:
    """Have stdout take any text: names of files that are no UTF-8 as they are, letters that it lacks escaped."""
    if isinstance(sys.stdout, TextIOWrapper):
        utf_8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf_8 else "backslashreplace")


def _missing(package: str) -> str:
    """Say how a package that is not there is installed."""
    if package in _OF_ROS or package.endswith(("_msgs", "_interfaces")):
        return (
            f"ROS 2 is missing (no Python package {package}): source an installation, "
            "for example /opt/ros/jazzy/setup.bash, or pip install '.[ros]'"
        )
    return f"the Python package {package} is missing: pip install {_ON_PYPI.get(package, package)}"


def _broken(package: str, error: ImportError) -> str:
    """Say what a package that is there lacks, as OpenCV a library of the display in a container."""
    cure = ""
    if package == "cv2" and "libGL" in str(error):
        cure = ". Install libgl1, or opencv-python-headless in place of opencv-python"
    return f"the Python package {package} cannot be loaded: {first_line(error)}{cure}"
