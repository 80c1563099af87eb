"""The demo: a simulated camera, the node, and a comparison with ground truth; three processes on real DDS."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.demo.motion import LEVER_ARM, LONGEST
from image_as_imu_ros.demo.recording import frame_count, open_recording, rendered
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.resources import resource

SHORTEST = 1.0  # s


@dataclass(frozen=True)
class DemoConfig:
    """What to play and how.

    Attributes:
        output: folder for plots and logs.
        seconds: to play.
        depth: whether the camera measures depth.

    Raises:
        InputError: a value is outside its range, or the model is no file.
    """

    output: Path
    seconds: float
    model: Path
    motion_model: MotionModel
    depth: bool

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise InputError(f"--seconds is {self.seconds:g}, expected {SHORTEST:g} to {LONGEST:g}")
        if not self.model.is_file():
            raise InputError(f"--model {self.model} is not a file")


@dataclass(frozen=True)
class Played:
    """The results: a table for people, and files of plots."""

    table: str
    time_series: Path
    streaks: Path


def play(config: DemoConfig) -> Played:
    """Render, play and compare. The environment must be that of `set_ros_environment`.

    Raises:
        DemoError: a part of the demo failed.
        InputError: ROS is missing, or nothing can be written to the output.
    """
    try:
        # Only now: rclpy reads its environment when it is loaded.
        from image_as_imu_ros.demo import report, session
    except ImportError as error:
        raise InputError(f"ROS 2 is missing ({error}): source an installation or pip install '.[ros]'") from error
    output = config.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to --output {output}: {error.strerror}") from error
    frames = frame_count(config.seconds)
    path = rendered(config.seconds)
    run = session.Run(path, frames, config.depth, config.model, config.motion_model, logs=output)
    comparison, diagnostics = session.play(run)
    full = config.motion_model == MotionModel.FULL
    remarks = report.remarks(comparison, diagnostics, depth=config.depth, full=full)
    text = "\n".join([report.table(comparison, diagnostics), *(f"note: {remark}" for remark in remarks)])
    played = Played(text, output / "time_series.png", output / "streaks.png")
    report.draw_time_series(comparison, played.time_series)
    estimator = EstimatorConfig(motion_model=config.motion_model, lever_arm=LEVER_ARM)
    report.draw_streaks(open_recording(path, frames), config.model, estimator, played.streaks)
    return played


def set_ros_environment() -> None:
    """Set the environment of this process and its children, where the user has not decided otherwise."""
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
