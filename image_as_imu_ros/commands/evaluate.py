"""evaluate: a recording → errors against its ground truth, plots, and on request a bag of estimates."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.commands.arguments import add_settings, positive
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.estimation.config import EstimatorConfig, SignResolution
from image_as_imu_ros.evaluation.baselines import MODULES, TRAJECTORY
from image_as_imu_ros.evaluation.config import (
    UNUSED,
    EvaluationConfig,
    ExposureSource,
    config_from_settings,
    exposure_from_text,
    sign_resolutions,
)
from image_as_imu_ros.evaluation.estimator_run import published
from image_as_imu_ros.evaluation.evaluate import evaluate
from image_as_imu_ros.evaluation.report.files import fresh_folder, write_results
from image_as_imu_ros.evaluation.report.tables import print_summary
from image_as_imu_ros.recordings.bag_writer import check_new, write_bag
from image_as_imu_ros.recordings.storage import recording_name


@dataclass(frozen=True)
class Command:
    """What the command line asks for; `bag` is None where no bag of estimates is wanted."""

    recording: Path
    config: EvaluationConfig
    output: Path
    bag: Path | None
    workers: int


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: see `docs/evaluate.md` for what a recording must hold."""
    command = parse(argv)
    if command.bag:
        check_new(command.bag)
    fresh_folder(command.output)
    evaluation = evaluate(command.recording, command.config, command.workers)
    write_results(evaluation, command.output)
    if command.bag:
        write_bag(command.bag, published(evaluation.run, evaluation.samples))
    print_summary(evaluation, command.output)
    return 0


def parse(argv: list[str]) -> Command:
    """Read the command line.

    Raises:
        InputError: a value is impossible.
    """
    args = _parser().parse_args(argv)
    return Command(
        recording=args.recording,
        config=config_from_settings(vars(args)),
        output=args.output or Path("output") / recording_name(args.recording),
        bag=args.write_bag,
        workers=args.workers,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate", description="Run the estimator over a recording and compare it with its ground truth."
    )
    parser.add_argument("recording", type=Path, help="folder or file of a rosbag2 (sqlite3, MCAP), or ROS 1 bag")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the results (default: output/NAME)")
    parser.add_argument(
        "--write-bag", type=Path, metavar="DIR", help="write the estimates as Imu and Twist into a new MCAP bag"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="2: decode frames and run the network on them ahead of the estimator (default: 1)",
    )
    parser.add_argument(
        "--baseline",
        dest="baselines",
        action="append",
        default=[],
        metavar="NAME",
        help=f"another system to compare with, can be repeated: {', '.join(MODULES)}, {TRAJECTORY}FILE",
    )
    exposure = parser.add_mutually_exclusive_group()
    exposure.add_argument(
        "--exposure",
        type=exposure_from_text,
        default=ExposureSource.TOPIC,
        metavar="S",
        help='exposure time of all frames, s; "topic", "realsense", "camera_ros", "flir", "depthai": that of each '
        'frame, as recorded; "estimate": measured from blur and alignment; "fit": as --fit-exposure (default: topic)',
    )
    exposure.add_argument(
        "--fit-exposure",
        dest="exposure",
        action="store_const",
        const=ExposureSource.FIT,
        help="fit one exposure time to the ground truth",
    )
    parser.add_argument(
        "--sign-resolution",
        "--direction",  # its name until 0.4
        choices=sign_resolutions(),
        default=str(SignResolution.CAUSAL),
        help="the sign from the previous frame, from the next one too, from none, or from the ground truth "
        "(default: causal)",
    )
    names = {"ground_truth_std": "--truth-std", "ground_truth_topic": "--truth-topic"}  # until 0.4
    add_settings(parser, EvaluationConfig, aliases=names)
    add_settings(parser, EstimatorConfig, leave_out={"sign_resolution", *UNUSED})
    add_settings(parser, EngineConfig)
    return parser
