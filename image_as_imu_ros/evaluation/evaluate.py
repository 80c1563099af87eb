"""evaluate: a recording → errors against its truth, a table per frame, plots, and on request a bag of estimates."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from contextlib import closing
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine import ENGINES, Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, MotionModel
from image_as_imu_ros.estimation.frame import StampReference, check_exposure
from image_as_imu_ros.evaluation import comparison
from image_as_imu_ros.evaluation.baselines import MODULES, TRAJECTORY, find_baseline
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.evaluation import Evaluation
from image_as_imu_ros.evaluation.metrics import metrics, with_true_sign
from image_as_imu_ros.evaluation.plots import (
    plot_comparison,
    plot_error_against_blur,
    plot_exposure,
    plot_measurements,
    plot_reliability,
    plot_signs,
    plot_time_series,
)
from image_as_imu_ros.evaluation.report import write_report
from image_as_imu_ros.evaluation.run import (
    Run,
    Timing,
    exposures_of,
    fit_exposure,
    published,
    run_recording,
    samples_of,
    settled_exposure,
)
from image_as_imu_ros.evaluation.tables import print_summary, write_frames
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES, EXPOSURE_UNITS
from image_as_imu_ros.recordings.bag_writer import check_new, write_bag
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_FIRST_EXPOSURE = 0.02  # s, the guess that --fit-exposure starts from


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: see `docs/evaluate.md` for what a recording must hold."""
    args = parse(argv, parser())
    output = make_folder(args.output or Path("output") / Path(args.recording).resolve().stem)
    evaluation = evaluate(args)
    write_results(evaluation, output)
    if args.write_bag:
        write_bag(args.write_bag, published(evaluation.run, evaluation.samples, args.motion_model))
    print_summary(evaluation, output)
    return 0


def evaluate(args: argparse.Namespace) -> Evaluation:
    """Run the estimator over a recording and compare it with the truth. `args`: see `parse`.

    Raises:
        InputError: the recording or the model cannot be used.
    """
    baselines = [find_baseline(wanted) for wanted in args.baseline]
    oracle = args.sign_resolution == "oracle"
    estimated = args.exposure == "estimate"
    options = EstimatorConfig(
        measurement=args.measurement,
        motion_model=args.motion_model,
        sign_resolution="causal" if oracle else args.sign_resolution,
        estimate_exposure=estimated,
    )
    model = args.model or resource(DEFAULT_MODEL)
    with closing(load_engine(model, args.engine)) as engine, Recording(args.recording) as recording:
        topics = _choose_topics(recording, args)
        ground_truth = read_ground_truth(recording, topics["truth"]) if topics["truth"] else None
        if ground_truth is None and (oracle or args.fit_exposure or baselines):
            asked = "--baseline" if baselines else "--fit-exposure" if args.fit_exposure else "--sign-resolution oracle"
            raise InputError(f"{asked} needs ground truth, but the recording has no topic that could be it")
        if args.fit_exposure:
            first = Timing(_FIRST_EXPOSURE, args.stamp_reference, args.readout_time)
            open_sign = EstimatorConfig(motion_model=args.motion_model, sign_resolution="axial")
            run = run_recording(recording, topics, engine, open_sign, first, "fitting the exposure")
            exposure = fit_exposure(samples_of(run.results, ground_truth, args.motion_model), _FIRST_EXPOSURE)
        elif topics["exposure"]:
            exposure = read_exposures(recording, topics["exposure"], args.exposure or "topic", args.exposure_unit)
        else:
            exposure = None if estimated else args.exposure
        timing = Timing(exposure, args.stamp_reference, args.readout_time)
        run = run_recording(
            recording,
            topics,
            engine,
            options,
            timing,
            "estimating",
            ground_truth=ground_truth,
            every=args.every,
            known_sign=oracle,
        )
        decided = samples_of(run.results, ground_truth, args.motion_model)
        if ground_truth is not None and not decided.has_ground_truth.any():
            raise InputError(
                f"the truth, {_span(ground_truth.stamps)}, does not overlap with the frames, {_span(decided.stamps)}: "
                "are both stamped by the same clock?"
            )
        if baselines:
            frames = Frames.of(recording, topics, args.every)
            motions = {baseline.name: baseline.run(frames) for baseline in baselines}
            runs = {options.sign_resolution: run} if options.measurement == "auto" else {}
            for sign_resolution in {"causal", "centered"} - runs.keys():
                wanted = replace(options, measurement="auto", sign_resolution=sign_resolution)
                label = f"estimating, {sign_resolution}"
                runs[sign_resolution] = run_recording(
                    recording, topics, engine, wanted, timing, label, every=args.every
                )
    of_measurement = {
        name: samples_of(results, ground_truth, args.motion_model)
        for name, results in (("single", run.single), ("aligned", run.aligned))
        if results
    }
    exposure = settled_exposure(run)
    figures = metrics(decided, exposure, oracle=oracle, ground_truth_std=args.ground_truth_std)
    figures["measurements"] = {
        name: metrics(samples, exposure, oracle=oracle, ground_truth_std=args.ground_truth_std)
        for name, samples in of_measurement.items()
    }
    compared = None
    if baselines:
        known = Timing(exposure, args.stamp_reference, args.readout_time)
        compared = comparison.compare(frames, runs, motions, ground_truth, known, args.motion_model)
        figures["baselines"] = comparison.figures(compared)
    return Evaluation(
        name=Path(args.recording).resolve().stem,
        run=run,
        ground_truth=ground_truth,
        decided=decided,
        samples=with_true_sign(decided) if oracle else decided,
        by_measurement={
            name: with_true_sign(samples) if oracle else samples for name, samples in of_measurement.items()
        },
        comparison=compared,
        figures=figures,
        ground_truth_std=args.ground_truth_std,
        exposure_origin=_exposure_origin(args, topics["exposure"], run),
        settings=_settings(args, topics, engine),
    )


def write_results(evaluation: Evaluation, folder: Path) -> None:
    """Write all that docs/evaluate.md tells of, but the bag."""
    write_figures(evaluation, folder)
    _draw(evaluation, folder)
    write_report(evaluation, folder)


def write_figures(evaluation: Evaluation, folder: Path) -> None:
    """Write metrics.json, frames.csv and, with baselines, comparison.md."""
    (folder / "metrics.json").write_text(json.dumps(evaluation.figures, indent=1, allow_nan=False) + "\n")
    write_frames(folder / "frames.csv", evaluation.run, evaluation.samples)
    if evaluation.comparison:
        (folder / "comparison.md").write_text(comparison.table(evaluation.figures["baselines"]))


def _draw(evaluation: Evaluation, folder: Path) -> None:
    name, run, samples = evaluation.name, evaluation.run, evaluation.samples
    plot_time_series(samples, folder / "time_series.png", name)
    plot_measurements(evaluation.by_measurement, folder / "measurements.png", name)
    plot_exposure(*exposures_of(run), folder / "exposure.png", name)
    plot_signs(evaluation.decided, folder / "directions.png", name)
    if samples.has_ground_truth.any():
        plot_error_against_blur(samples.select(samples.signed), folder / "error_by_blur.png", name)
        plot_reliability(evaluation.by_measurement, folder / "reliability.png", name, evaluation.ground_truth_std)
    if evaluation.comparison:
        plot_comparison(evaluation.comparison, folder / "comparison.png", name)
    for picture in (*run.most_blurred.pictures, *run.worst.pictures, *run.best.pictures):
        cv2.imwrite(str(folder / f"frame_{picture.stamp}.png"), picture.overlay)


def parse(argv: list[str], parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Options of the command line, checked. `command` among them is the line itself.

    Args:
        parser: see `parser`.

    Raises:
        InputError: a value is impossible.
    """
    args = parser.parse_args(argv, argparse.Namespace(command=shlex.join(["evaluate", *argv])))
    if isinstance(args.exposure, float):
        check_exposure(args.exposure)
    if args.every < 1:
        raise InputError(f"--every is {args.every}; expected 1 or more")
    if not 0 <= args.ground_truth_std < math.inf:
        raise InputError(f"--ground-truth-std is {args.ground_truth_std} rad/s; expected 0 or more")
    if not 0 <= args.readout_time <= 1:
        raise InputError(f"readout time is {args.readout_time} s; expected 0 to 1 s (check the unit)")
    if args.write_bag:
        check_new(args.write_bag)
    return args


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
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
        "--ground-truth-topic",
        "--truth-topic",
        metavar="TOPIC",
        help="Twist, Odometry, Pose or Imu (default: the first kind there is)",
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
    parser.add_argument("--stamp-reference", choices=tuple(StampReference), default="middle", help="(default: middle)")
    parser.add_argument(
        "--readout-time",
        type=float,
        default=0.0,
        metavar="S",
        help="first to last row of a rolling shutter (default: 0)",
    )
    parser.add_argument(
        "--measurement",
        choices=tuple(Measurement),
        default="auto",
        help="from one frame's blur, from two aligned frames, or aligned where that can be trusted (default: auto)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth frame only (default: 1)")
    parser.add_argument(
        "--sign-resolution",
        "--direction",  # its name until 0.4
        choices=("causal", "centered", "oracle"),
        default="causal",
        help="from the previous frame, from the next one too, or from the truth (default: causal)",
    )
    parser.add_argument("--motion-model", choices=tuple(MotionModel), default="full", help="(default: full)")
    parser.add_argument(
        "--ground-truth-std",
        "--truth-std",  # its name until 0.4
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


def make_folder(path: str | Path) -> Path:
    """Raises InputError: there is a file of that name, or it is not allowed."""
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
        "truth": recording.ground_truth_topic(args.ground_truth_topic),
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


def _settings(args: argparse.Namespace, topics: dict[str, str | None], engine: Engine) -> dict[str, str]:
    """All that it takes to do it again, for people."""
    info = engine.info
    depth = f"measured: {topics['depth']}" if topics["depth"] else "the network's own"
    return {
        "command": args.command,
        "package": f"image_as_imu_ros {_package_version()}",
        "model": f"{info.name} {info.version} ({info.width}×{info.height} px), {args.model or DEFAULT_MODEL}",
        "engine": engine.name,
        "images": topics["image"],
        "camera_info": topics["camera_info"],
        "truth": topics["truth"] or "none",
        "depth": depth if args.motion_model == "full" else "not used",
        "frames": "all" if args.every == 1 else f"every {args.every}th",
        "measurement": args.measurement,
        "motion model": args.motion_model,
        "sign resolution": args.sign_resolution,
        "stamps mean": f"{args.stamp_reference} of the exposure",
        "readout time": f"{1e3 * args.readout_time:g} ms" if args.readout_time else "0 (global shutter)",
        "truth's own noise": f"{args.ground_truth_std:g} rad/s",
    }


def _package_version() -> str:
    try:
        return version("image_as_imu_ros")
    except PackageNotFoundError:
        return "(source tree, not installed)"


def _span(stamps: np.ndarray) -> str:
    return f"{stamps.min() * 1e-9:.3f} to {stamps.max() * 1e-9:.3f} s"
