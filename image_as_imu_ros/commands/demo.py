"""demo: a simulated camera, the node, and a comparison with ground truth; three processes on real DDS."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.demo import LONGEST, SHORTEST, DemoConfig, play, set_ros_environment
from image_as_imu_ros.demo.child import DemoError
from image_as_imu_ros.demo.recording import EXPOSURE, RATE, frame_count
from image_as_imu_ros.demo.sample import record
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.resources import DEFAULT_MODEL, resource


@dataclass(frozen=True)
class Command:
    """What the command line asks for; `record` is None where the demo is to be played."""

    config: DemoConfig
    record: Path | None


def main(argv: list[str]) -> int:
    """Run the command. Returns 0, or 1 with a reason on stderr if a part of the demo failed."""
    command = _parse(argv)
    config = command.config
    if command.record is not None:
        frames = record(command.record, config.seconds, config.depth)
        print(f"{frames} frames → {command.record}")
        evaluate = ["evaluate", str(command.record), *(["--depth-topic", "auto"] if config.depth else [])]
        print(f"python -m image_as_imu_ros {shlex.join(evaluate)}")
        return 0
    set_ros_environment()
    # Being terminated ends the children as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    frames = frame_count(config.seconds)
    print(f"playing {frames} frames at {RATE:g} Hz, exposure {1e3 * EXPOSURE:g} ms, into blur_imu_node", flush=True)
    try:
        played = play(config)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"\n{played.table}\n")
    print(f"estimates against ground truth: {played.time_series}\nthe most blurred frame:         {played.streaks}")
    return 0


def _parse(argv: list[str]) -> Command:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Render a shaken camera with true motion blur, play it over DDS into blur_imu_node and compare its "
        "answers with the ground truth.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/demo"), help="folder for plots and logs (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=LONGEST, help=f"to play, {SHORTEST:g} to {LONGEST:g} (default: %(default)g)"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="play nothing: write the frames and their ground truth as a new recording (rosbag2), without ROS",
    )
    parser.add_argument("--depth", action="store_true", help="the camera measures depth, too, for each frame")
    parser.add_argument("--model", type=Path, help="ONNX model file instead of the shipped one")
    parser.add_argument(
        "--motion-model",
        choices=tuple(MotionModel),
        type=MotionModel,
        default=EstimatorConfig.motion_model,
        help="ω and v, or ω only (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    config = DemoConfig(args.output, args.seconds, args.model or resource(DEFAULT_MODEL), args.motion_model, args.depth)
    return Command(config, args.record)
