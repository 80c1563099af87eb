"""evaluate: a recording → errors against its truth, a table per frame, plots, and on request a bag of estimates."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine import ENGINES, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimator import MEASUREMENTS, STAMP_REFERENCES, Options, check_exposure
from image_as_imu_ros.exposure_messages import EXPOSURE_TYPES, EXPOSURE_UNITS
from image_as_imu_ros.replay import comparison
from image_as_imu_ros.replay.bag_writer import check_new, write_bag
from image_as_imu_ros.replay.baselines import MODULES, TRAJECTORY, find_baseline
from image_as_imu_ros.replay.baselines.frames import Frames
from image_as_imu_ros.replay.exposures import read_exposures
from image_as_imu_ros.replay.metrics import metrics, with_true_direction
from image_as_imu_ros.replay.plots import (
    plot_comparison,
    plot_error_against_blur,
    plot_exposure,
    plot_measurements,
    plot_time_series,
)
from image_as_imu_ros.replay.recording import Recording
from image_as_imu_ros.replay.run import (
    Run,
    Timing,
    exposures_of,
    fit_exposure,
    published,
    run_recording,
    samples_of,
    settled_exposure,
)
from image_as_imu_ros.replay.tables import print_summary, write_frames
from image_as_imu_ros.replay.truth import read_truth
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_ros.solver import MOTION_MODELS

_FIRST_EXPOSURE = 0.02  # s, the guess that --fit-exposure starts from


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: see `docs/evaluate.md` for what a recording must hold."""
    args = _parser().parse_args(argv)
    _check(args)
    name = Path(args.recording).resolve().stem
    output = _make_folder(args.output or Path("output") / name)
    model = args.model or resource(DEFAULT_MODEL)
    baselines = [find_baseline(wanted) for wanted in args.baseline]
    oracle = args.direction == "oracle"
    estimated = args.exposure == "estimate"
    options = Options(
        measurement=args.measurement,
        motion_model=args.motion_model,
        direction="causal" if oracle else args.direction,
        estimate_exposure=estimated,
    )
    with closing(load_engine(model, args.engine)) as engine, Recording(args.recording) as recording:
        topics = _choose_topics(recording, args)
        truth = read_truth(recording, topics["truth"]) if topics["truth"] else None
        if truth is None and (oracle or args.fit_exposure or baselines):
            asked = "--baseline" if baselines else "--fit-exposure" if args.fit_exposure else "--direction oracle"
            raise InputError(f"{asked} needs ground truth, but the recording has no topic that could be it")
        if args.fit_exposure:
            first = Timing(_FIRST_EXPOSURE, args.stamp_reference, args.readout_time)
            open_direction = Options(motion_model=args.motion_model, direction="axial")
            run = run_recording(recording, topics, engine, open_direction, first, "fitting the exposure")
            exposure = fit_exposure(samples_of(run.results, truth, args.motion_model), _FIRST_EXPOSURE)
        elif topics["exposure"]:
            exposure = read_exposures(recording, topics["exposure"], args.exposure or "topic", args.exposure_unit)
        else:
            exposure = None if estimated else args.exposure
        timing = Timing(exposure, args.stamp_reference, args.readout_time)
        run = run_recording(
            recording, topics, engine, options, timing, "estimating", every=args.every, known_direction=oracle
        )
        if baselines:
            frames = Frames.of(recording, topics, args.every)
            motions = {baseline.name: baseline.run(frames) for baseline in baselines}
            runs = {
                direction: run_recording(
                    recording,
                    topics,
                    engine,
                    replace(options, measurement="auto", direction=direction),
                    timing,
                    f"estimating, {direction}",
                    every=args.every,
                )
                for direction in ("causal", "centered")
            }
    samples = samples_of(run.results, truth, args.motion_model)
    if truth is not None and not samples.has_truth.any():
        raise InputError(
            f"the truth, {_span(truth.stamps)}, does not overlap with the frames, {_span(samples.stamps)}: "
            "are both stamped by the same clock?"
        )

    exposure = settled_exposure(run)
    figures = metrics(samples, exposure, oracle=oracle, truth_std=args.truth_std)
    by_measurement = {
        name: samples_of(results, truth, args.motion_model)
        for name, results in (("single", run.single), ("aligned", run.aligned))
        if results
    }
    figures["measurements"] = {
        name: metrics(of_one, exposure, oracle=oracle, truth_std=args.truth_std)
        for name, of_one in by_measurement.items()
    }
    if baselines:
        known = Timing(exposure, args.stamp_reference, args.readout_time)
        compared = comparison.compare(frames, runs, motions, truth, known, args.motion_model)
        figures["baselines"] = comparison.figures(compared)
        (output / "comparison.md").write_text(comparison.table(figures["baselines"]))
        plot_comparison(compared, output / "comparison.png", name)
    if oracle:
        samples = with_true_direction(samples)
    (output / "metrics.json").write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n")
    write_frames(output / "frames.csv", run, samples)
    plot_time_series(samples, output / "time_series.png", name)
    plot_measurements(by_measurement, output / "measurements.png", name)
    plot_exposure(*exposures_of(run), output / "exposure.png", name)
    if samples.has_truth.any():
        plot_error_against_blur(samples, output / "error_by_blur.png", name)
    for _, stamp, picture in run.pictures:
        cv2.imwrite(str(output / f"frame_{stamp}.png"), picture)
    if args.write_bag:
        write_bag(args.write_bag, published(run, samples, args.motion_model))
    print_summary(figures, run, samples, truth, _exposure_origin(args, topics["exposure"], run), output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate", description="Run the estimator over a rosbag2 recording and compare it with its ground truth."
    )
    parser.add_argument("recording", help="folder or file of a rosbag2, sqlite3 or MCAP")
    parser.add_argument("--model", help="ONNX file (default: the shipped one)")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--image-topic", metavar="TOPIC", help="Image or CompressedImage (default: the only one)")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="(default: the one beside the images)")
    parser.add_argument(
        "--depth-topic", metavar="TOPIC", help='measured depth, or "auto" to find it (default: the network\'s depth)'
    )
    parser.add_argument(
        "--truth-topic", metavar="TOPIC", help="Twist, Odometry, Pose or Imu (default: the first kind there is)"
    )
    exposure = parser.add_mutually_exclusive_group()
    exposure.add_argument(
        "--exposure",
        type=_exposure,
        metavar="S",
        help='exposure time of all frames, s; "topic", "realsense" or "camera_ros": that of each frame, as recorded; '
        '"estimate": measured from blur and alignment (default: topic, where there is one)',
    )
    exposure.add_argument("--fit-exposure", action="store_true", help="fit one exposure time to the truth")
    parser.add_argument("--exposure-topic", metavar="TOPIC", help="of each frame's exposure (default: the only one)")
    parser.add_argument("--exposure-unit", choices=tuple(EXPOSURE_UNITS), default="s", help="on it (default: s)")
    parser.add_argument("--stamp-reference", choices=STAMP_REFERENCES, default="middle", help="(default: middle)")
    parser.add_argument(
        "--readout-time",
        type=float,
        default=0.0,
        metavar="S",
        help="first to last row of a rolling shutter (default: 0)",
    )
    parser.add_argument(
        "--measurement",
        choices=MEASUREMENTS,
        default="auto",
        help="from one frame's blur, from two aligned frames, or aligned where that can be trusted (default: auto)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth frame only (default: 1)")
    parser.add_argument(
        "--direction",
        choices=("causal", "centered", "oracle"),
        default="causal",
        help="from the previous frame, from the next one too, or from the truth (default: causal)",
    )
    parser.add_argument("--motion-model", choices=MOTION_MODELS, default="full", help="(default: full)")
    parser.add_argument(
        "--truth-std",
        type=float,
        default=0.0,
        metavar="RAD_S",
        help="the true ω's own noise, added to the covariances that errors are held against (default: 0)",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME",
        help=f"another system to compare with, can be repeated: {', '.join(MODULES)}, {TRAJECTORY}FILE",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for the results (default: output/NAME)")
    parser.add_argument("--write-bag", metavar="DIR", help="write the estimates as Imu and Twist into a new MCAP bag")
    return parser


def _exposure(text: str) -> float | str:
    return text if text in ("estimate", *EXPOSURE_TYPES) else float(text)


def _check(args: argparse.Namespace) -> None:
    if isinstance(args.exposure, float):
        check_exposure(args.exposure)
    if args.every < 1:
        raise InputError(f"--every is {args.every}; expected 1 or more")
    if not 0 <= args.truth_std < math.inf:
        raise InputError(f"--truth-std is {args.truth_std} rad/s; expected 0 or more")
    if not 0 <= args.readout_time <= 1:
        raise InputError(f"readout time is {args.readout_time} s; expected 0 to 1 s (check the unit)")
    if args.write_bag:
        check_new(args.write_bag)


def _make_folder(path: str | Path) -> Path:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output folder {str(path)!r} cannot be made: {error.strerror}") from None
    return Path(path)


def _choose_topics(recording: Recording, args: argparse.Namespace) -> dict[str, str | None]:
    image = recording.image_topic(args.image_topic)
    return {
        "image": image,
        "camera_info": recording.camera_info_topic(image, args.camera_info_topic),
        "depth": recording.depth_topic(args.depth_topic) if args.depth_topic else None,
        "exposure": _choose_exposure_topic(recording, args),
        "truth": recording.truth_topic(args.truth_topic),
    }


def _choose_exposure_topic(recording: Recording, args: argparse.Namespace) -> str | None:
    """The topic of per-frame exposures; None where the exposure comes from elsewhere."""
    source = args.exposure or "topic"
    if args.fit_exposure or source not in EXPOSURE_TYPES:
        if args.exposure_topic:
            raise InputError("--exposure-topic is of no use with --exposure SECONDS or estimate, or --fit-exposure")
        return None
    topic = recording.exposure_topic(source, args.exposure_topic)
    if topic is None:
        raise InputError(
            f"the exposure time is needed, and no topic of type {EXPOSURE_TYPES[source]} in the recording tells it: "
            "give it with --exposure SECONDS, measure it with --exposure estimate, or fit it to the truth with "
            "--fit-exposure"
        )
    return topic


def _exposure_origin(args: argparse.Namespace, topic: str | None, run: Run) -> str:
    """Where the exposure came from, for people."""
    if args.fit_exposure:
        return "fitted to the truth"
    if args.exposure == "estimate":
        last = run.results[-1]
        return f"estimated; at the end {1e3 * last.exposure:.2f} ms ± {last.exposure_log_std:.0%}"
    return f"median of {topic}" if topic else "given"


def _span(stamps: np.ndarray) -> str:
    return f"{stamps.min() * 1e-9:.3f} to {stamps.max() * 1e-9:.3f} s"
