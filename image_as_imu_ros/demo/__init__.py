"""The demo: a rendered camera, the node, and a comparison with the truth; three processes on real DDS."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from image_as_imu_ros.demo.child import DemoError
from image_as_imu_ros.demo.motion import LEVER_ARM, LONGEST
from image_as_imu_ros.demo.recording import EXPOSURE, RATE, frame_count, open_recording, rendered
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_SHORTEST = 1.0  # s


def main(argv: list[str]) -> int:
    """Render, play, compare. Returns 0, or 1 with a reason on stderr if a part of the demo failed."""
    arguments = _parse(argv)
    _set_ros_environment()
    try:
        # Only now: rclpy reads its environment when it is loaded.
        from image_as_imu_ros.demo import report, session
    except ImportError as error:
        raise InputError(f"ROS 2 is missing ({error}): source an installation or pip install '.[ros]'") from error
    # Being terminated ends the children as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    output = arguments.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to --output {output}: {error.strerror}") from error
    frames = frame_count(arguments.seconds)
    path = rendered(arguments.seconds)
    print(f"playing {frames} frames at {RATE:g} Hz, exposure {1e3 * EXPOSURE:g} ms, into blur_imu_node", flush=True)
    run = session.Run(path, frames, arguments.model, arguments.motion_model, logs=output)
    try:
        comparison, diagnostics = session.play(run)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.table(comparison, diagnostics)}\n")
    time_series, streaks = output / "time_series.png", output / "streaks.png"
    report.draw_time_series(comparison, time_series)
    options = EstimatorConfig(motion_model=arguments.motion_model, lever_arm=LEVER_ARM)
    report.draw_streaks(open_recording(path, frames), arguments.model, options, streaks)
    print(f"estimates against truth: {time_series}\nthe most blurred frame:  {streaks}")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Renders a shaken camera with true motion blur, plays it over DDS into blur_imu_node and compares "
        "its answers with the truth.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/demo"), help="folder for pictures and logs (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=LONGEST, help=f"to play, {_SHORTEST:g} to {LONGEST:g} (default: %(default)g)"
    )
    parser.add_argument("--model", type=Path, help="ONNX model file instead of the shipped one")
    parser.add_argument(
        "--motion-model",
        choices=tuple(MotionModel),
        default=EstimatorConfig.motion_model,
        help="ω and v, or ω only (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if not _SHORTEST <= arguments.seconds <= LONGEST:
        raise InputError(f"--seconds is {arguments.seconds:g}, expected {_SHORTEST:g} to {LONGEST:g}")
    arguments.model = arguments.model or resource(DEFAULT_MODEL)
    if not arguments.model.is_file():
        raise InputError(f"--model {arguments.model} is not a file")
    return arguments


def _set_ros_environment() -> None:
    """For this process and its children, where the user has not decided otherwise."""
    profile = str(resource("config/fastdds_large_images.xml"))
    for name, value in {
        # Kilted's and Jazzy's names for the same thing.
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        # The demo talks to nobody but itself, and two demos do not talk to each other.
        "ROS_DOMAIN_ID": str(1 + time.time_ns() // 1_000_000 % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        # Where the PyPI builds of ROS 2 find their packages.
        "AMENT_PREFIX_PATH": sys.prefix,
    }.items():
        os.environ.setdefault(name, value)
