"""evaluate: a recording → errors against its truth, a table per frame, plots, and on request a bag of estimates."""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.engine import ENGINES, Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimator import (
    FIRST_EXPOSURE,
    MEASUREMENTS,
    STAMP_REFERENCES,
    Frame,
    MotionEstimate,
    MotionEstimator,
    Options,
    check_exposure,
    mid_exposure,
)
from image_as_imu_ros.exposure_estimator import MeasuredExposure
from image_as_imu_ros.overlay import draw_overlay
from image_as_imu_ros.replay.bag_writer import check_new, write_bag
from image_as_imu_ros.replay.metrics import Samples, metrics, with_true_direction
from image_as_imu_ros.replay.plots import (
    plot_error_against_blur,
    plot_exposure,
    plot_measurements,
    plot_time_series,
)
from image_as_imu_ros.replay.recording import CameraMessages, Recording
from image_as_imu_ros.replay.truth import Truth, read_truth
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_ros.solver import MOTION_MODELS, Velocity

_STAGES = ("decode", "prepare", "network", "solve", "align", "direction")
_FIRST_EXPOSURE = 0.02  # s, the guess that --fit-exposure starts from
_FEWEST_TO_FIT = 5  # blurred frames with truth
_SETTLED_LOG_STD = 0.2  # of an estimated exposure
_PICTURES = 4
_PICTURES_APART = 1.0  # s


@dataclass(frozen=True)
class Timing:
    """What the stamps of a recording mean. See `estimator.mid_exposure`.

    Attributes:
        exposure: s; None if it is to be estimated.
    """

    exposure: float | None
    stamp_reference: str
    readout_time: float

    def middle(self, stamp: int, estimated_exposure: float | None) -> int:
        """Mid-exposure, ns, of a frame stamped `stamp`. Raises InputError: the stamp is not positive."""
        if stamp <= 0:
            raise InputError(f"image stamp is {stamp} ns; it must be positive (was the driver's clock running?)")
        exposure = self.exposure or estimated_exposure or FIRST_EXPOSURE
        return mid_exposure(stamp, exposure, self.stamp_reference, self.readout_time)


@dataclass(frozen=True)
class Result:
    """What is kept of one estimate: a recording's images and motion fields do not fit in memory.

    Attributes:
        span: s over which the velocity is a mean: the gap between two frames, or the time in which one gathered light.
        ambiguous: the node would not publish this one.
        doubt: why alignment could not be trusted; empty if it could, or was not tried.
        seconds: per stage. Others as in `MotionEstimate`.
    """

    stamp: int
    frame_id: str
    measurement: str
    velocity: Velocity
    span: float
    mean_flow: float
    residual: float
    inliers: float
    resolved: bool
    ambiguous: bool
    direction_probability: float
    doubt: str
    exposure: float
    exposure_log_std: float
    measured_exposure: MeasuredExposure | None
    seconds: dict[str, float]


@dataclass
class Run:
    """One pass over a recording.

    Attributes:
        results: what the estimator answered, in the order of recording.
        single, aligned: what it would have answered with the one and the other measurement.
        frames: how many the estimator took; with some it answers nothing.
        pictures: (mean flow, stamp, overlay) of the most blurred frames.
        refused: message → number of frames that could not be used because of it.
    """

    results: list[Result] = field(default_factory=list)
    single: list[Result] = field(default_factory=list)
    aligned: list[Result] = field(default_factory=list)
    frames: int = 0
    pictures: list[tuple[float, int, np.ndarray]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: see `docs/evaluate.md` for what a recording must hold."""
    args = _parser().parse_args(argv)
    _check(args)
    name = Path(args.recording).resolve().stem
    output = _make_folder(args.output or Path("output") / name)
    model = args.model or resource(DEFAULT_MODEL)
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
        if truth is None and (oracle or args.fit_exposure):
            asked = "--fit-exposure" if args.fit_exposure else "--direction oracle"
            raise InputError(f"{asked} needs ground truth, but the recording has no topic that could be it")
        exposure = None if estimated else args.exposure
        if args.fit_exposure:
            first = Timing(_FIRST_EXPOSURE, args.stamp_reference, args.readout_time)
            open_direction = Options(motion_model=args.motion_model, direction="axial")
            run = run_recording(recording, topics, engine, open_direction, first, "fitting the exposure")
            exposure = fit_exposure(samples_of(run.results, truth, args.motion_model), _FIRST_EXPOSURE)
        timing = Timing(exposure, args.stamp_reference, args.readout_time)
        run = run_recording(
            recording, topics, engine, options, timing, "estimating", every=args.every, known_direction=oracle
        )
    samples = samples_of(run.results, truth, args.motion_model)
    if truth is not None and not samples.has_truth.any():
        raise InputError(
            f"the truth, {_span(truth.stamps)}, does not overlap with the frames, {_span(samples.stamps)}: "
            "are both stamped by the same clock?"
        )

    if estimated:
        exposure = _settled_exposure(run)
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
    if oracle:
        samples = with_true_direction(samples)
    (output / "metrics.json").write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n")
    write_table(output / "frames.csv", run, samples)
    plot_time_series(samples, output / "time_series.png", name)
    plot_measurements(by_measurement, output / "measurements.png", name)
    plot_exposure(*_exposures(run), output / "exposure.png", name)
    if samples.has_truth.any():
        plot_error_against_blur(samples, output / "error_by_blur.png", name)
    for _, stamp, picture in run.pictures:
        cv2.imwrite(str(output / f"frame_{stamp}.png"), picture)
    if args.write_bag:
        write_bag(args.write_bag, _published(run, samples, args.motion_model))
    _report(figures, run, samples, truth, args, output)
    return 0


def run_recording(
    recording: Recording,
    topics: dict[str, str | None],
    engine: Engine,
    options: Options,
    timing: Timing,
    label: str,
    *,
    every: int = 1,
    known_direction: bool = False,
) -> Run:
    """Estimate the frames of a recording.

    Args:
        topics: "image", "camera_info" and "depth".
        label: of the progress bar.
        every: take every so many-th frame only.
        known_direction: somebody will choose the right sign, so the covariances hold no doubt about it.

    Raises:
        InputError: the recording is damaged, or none of its frames can be used.
    """
    estimator = MotionEstimator(engine, options)
    run = Run()
    messages = recording.frames(topics["image"], topics["camera_info"], topics["depth"])
    progress = tqdm(messages, label, recording.count(topics["image"]), unit="frame", mininterval=0.5, leave=False)
    chosen = islice(progress, 0, None, every)
    for frame, frame_id, decoding, estimate in _estimates(estimator, chosen, timing, run):
        _keep_picture(run.pictures, frame, estimate)
        for results, one in (
            (run.results, estimate),
            (run.single, estimate.as_single()),
            (run.aligned, estimate.as_aligned()),
        ):
            if one is not None:
                results.append(_result(one, frame_id, decoding, timing, known_direction))
    if not run.results:
        unaligned = estimator.alignment.doubt if estimator.alignment else ""
        reason = next(iter(run.refused), unaligned or "the topic has no messages")
        raise InputError(f"none of the frames on {topics['image']!r} can be used: {reason}")
    return run


def _result(estimate: MotionEstimate, frame_id: str, decoding: float, timing: Timing, known_direction: bool) -> Result:
    published = estimate.with_known_direction() if known_direction else estimate
    single = estimate.measurement == "single"
    return Result(
        stamp=estimate.stamp,
        frame_id=frame_id,
        measurement=estimate.measurement,
        velocity=published.velocity,
        span=estimate.exposure + timing.readout_time if single else estimate.gap * 1e-9,
        mean_flow=estimate.mean_flow,
        residual=estimate.residual,
        inliers=estimate.inliers,
        resolved=estimate.resolved_direction,
        ambiguous=published.ambiguous,
        direction_probability=estimate.direction_probability,
        doubt=estimate.alignment.doubt if estimate.alignment else "",
        exposure=estimate.exposure,
        exposure_log_std=estimate.exposure_log_std,
        measured_exposure=estimate.measured_exposure,
        seconds={"decode": decoding, **estimate.seconds},
    )


def _estimates(
    estimator: MotionEstimator, messages: Iterator[CameraMessages], timing: Timing, run: Run
) -> Iterator[tuple[Frame, str, float, MotionEstimate]]:
    """(frame, its frame id, seconds to decode it, its estimate); frames that cannot be used are counted instead."""
    waiting: dict[int, tuple[Frame, str, float]] = {}  # `centered` answers one frame later
    reasons: dict[str, str] = {}
    for message in messages:
        started = time.perf_counter()
        try:
            image = message.decode_image(estimator.engine.info.colour)
            depth = message.decode_depth()
            middle = timing.middle(message.stamp, estimator.exposure)
            frame = Frame(image, middle, message.camera(), timing.exposure, depth, driver_stamp=message.stamp)
            decoding = time.perf_counter() - started
            estimate = estimator.update(frame)
        except InputError as error:
            # The same complaint about other numbers is the same reason.
            run.refused[reasons.setdefault(re.sub(r"\d+", "#", str(error)), str(error))] += 1
            continue
        run.frames += 1
        waiting[frame.stamp] = frame, message.frame_id, decoding
        if estimate is not None:
            yield *waiting[estimate.frame_stamp], estimate
        waiting = {frame.stamp: waiting[frame.stamp]}
    if (estimate := estimator.flush()) is not None:
        yield *waiting[estimate.frame_stamp], estimate


def _keep_picture(pictures: list[tuple[float, int, np.ndarray]], frame: Frame, estimate: MotionEstimate) -> None:
    """Keep overlays of the most blurred frames, well apart: neighbours look alike."""
    near = [kept for kept in pictures if abs(kept[1] - estimate.stamp) < _PICTURES_APART * 1e9]
    if any(kept[0] >= estimate.mean_flow for kept in near):
        return
    others = [kept for kept in pictures if all(kept is not one for one in near)]
    if len(others) == _PICTURES and others[-1][0] >= estimate.mean_flow:
        return
    others.append((estimate.mean_flow, estimate.stamp, draw_overlay(frame.image, estimate)))
    pictures[:] = sorted(others, key=lambda kept: -kept[0])[:_PICTURES]


def samples_of(results: list[Result], truth: Truth | None, motion_model: str) -> Samples:
    """Results beside the truth, which is averaged over the time that each of them is about."""
    stamps = np.array([result.stamp for result in results], np.int64)
    unknown = np.full((len(results), 3), np.nan)
    truth_linear, truth_angular = unknown, unknown
    if truth is not None:
        truth_linear, truth_angular = truth.at(stamps, np.array([result.span for result in results]))
    linear = np.array([result.velocity.linear for result in results])
    return Samples(
        stamps=stamps,
        linear=linear if motion_model == "full" else unknown,
        angular=np.array([result.velocity.angular for result in results]),
        covariance=np.array([result.velocity.covariance for result in results]),
        truth_linear=truth_linear,
        truth_angular=truth_angular,
        mean_flow=np.array([result.mean_flow for result in results]),
        resolved=np.array([result.resolved for result in results]),
        seconds=np.array([sum(result.seconds.values()) for result in results]),
    )


def fit_exposure(samples: Samples, guess: float) -> float:
    """The exposure time, s, that makes estimates of ω as large as the truth.

    Blur gives the turn during the exposure, ω̂·guess, so the exposure is that turn over the true rate: the median over
    the blurred frames, each projected on the true axis with the sign of the truth.

    Args:
        samples: estimated with `guess` s for the exposure.

    Raises:
        InputError: fewer than five blurred frames have truth.
    """
    samples = with_true_direction(samples.select(samples.blurred & np.isfinite(samples.truth_angular).all(1)))
    rate = np.square(samples.truth_angular).sum(1)
    turning = rate > 0
    if turning.sum() < _FEWEST_TO_FIT:
        raise InputError(
            f"only {turning.sum()} clearly blurred frames have truth, too few to fit the exposure; give it: --exposure"
        )
    along = np.einsum("ni,ni->n", samples.angular, samples.truth_angular)[turning] / rate[turning]
    return float(guess * np.median(along))


def _exposures(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(N,) stamps, exposures that were used, and what blur and alignment said: exposure and std of its log, or NaN."""
    measured = [result.measured_exposure or MeasuredExposure(np.nan, np.nan) for result in run.results]
    return (
        np.array([result.stamp for result in run.results], np.int64),
        np.array([result.exposure for result in run.results]),
        np.array([one.seconds for one in measured]),
        np.array([one.log_std for one in measured]),
    )


def _settled_exposure(run: Run) -> float:
    """Median of the estimated exposure times, s, without those that still were little more than a guess."""
    used = np.array([[result.exposure, result.exposure_log_std] for result in run.results])
    settled = used[:, 1] <= max(_SETTLED_LOG_STD, used[:, 1].min())
    return float(np.median(used[settled, 0]))


def write_table(path: Path, run: Run, samples: Samples) -> None:
    """One row per frame: SI units, camera's optical frame, standard deviations as sigma_*, empty where not known."""
    sigma = np.sqrt(np.einsum("nii->ni", samples.covariance))
    vectors = {
        "angular": samples.angular,
        "linear": samples.linear,
        "sigma_angular": sigma[:, 3:],
        "sigma_linear": sigma[:, :3],
        "truth_angular": samples.truth_angular,
        "truth_linear": samples.truth_linear,
    }
    names = [f"{name}_{axis}" for name in vectors for axis in "xyz"]
    quality = ("mean_flow_px", "residual", "inliers", "direction_resolved", "direction_probability", "exposure_s")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        stages = [f"{stage}_ms" for stage in _STAGES]
        writer.writerow(["stamp_ns", "measurement", "alignment_doubt", *names, *quality, *stages])
        for result, values in zip(run.results, np.concatenate(list(vectors.values()), axis=1), strict=True):
            numbers = [
                *values,
                result.mean_flow,
                result.residual,
                result.inliers,
                int(result.resolved),
                result.direction_probability,
                result.exposure,
                *(1e3 * result.seconds[stage] for stage in _STAGES),
            ]
            texts = ("" if np.isnan(number) else f"{number:.6g}" for number in numbers)
            writer.writerow([result.stamp, result.measurement, result.doubt, *texts])


def _published(run: Run, samples: Samples, motion_model: str) -> Iterator[tuple[int, str, Velocity]]:
    """What the node would have published: nothing whose direction is open."""
    for result, linear, angular in zip(run.results, samples.linear, samples.angular, strict=True):
        if not result.ambiguous:
            linear = linear if motion_model == "full" else result.velocity.linear
            yield result.stamp, result.frame_id, Velocity(linear, angular, result.velocity.covariance)


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
        help='exposure time of all frames, s, or "estimate": measured from blur and alignment',
    )
    exposure.add_argument("--fit-exposure", action="store_true", help="fit one exposure time to the truth")
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
    parser.add_argument("--output", metavar="DIR", help="folder for the results (default: output/NAME)")
    parser.add_argument("--write-bag", metavar="DIR", help="write the estimates as Imu and Twist into a new MCAP bag")
    return parser


def _exposure(text: str) -> float | str:
    return text if text == "estimate" else float(text)


def _check(args: argparse.Namespace) -> None:
    if args.exposure is None and not args.fit_exposure:
        raise InputError(
            "the exposure time is needed: give it with --exposure SECONDS, measure it with --exposure estimate, "
            "or fit it to the truth with --fit-exposure"
        )
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
        "truth": recording.truth_topic(args.truth_topic),
    }


def _report(
    figures: dict, run: Run, samples: Samples, truth: Truth | None, args: argparse.Namespace, output: Path
) -> None:
    def row(name: str, *values: str) -> None:
        print(f"{name:<30}" + "".join(f"{value:>22}" for value in values))

    def numbers(values: list[float] | None) -> str:
        return "–" if values is None else " ".join(f"{value:.3f}" for value in values)

    def figure(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    groups = figures["all"], figures["blurred"]
    origin = " (fitted)" if args.fit_exposure else ""
    if args.exposure == "estimate":
        last = run.results[-1]
        origin = f" (estimated; at the end {1e3 * last.exposure:.2f} ms ± {last.exposure_log_std:.0%})"
    print(f"{figures['frames']} frames, exposure {1e3 * figures['exposure_s']:.2f} ms{origin}")
    kinds = Counter(result.measurement for result in run.results)
    kinds["without an answer"] = run.frames - len(run.results)
    print(", ".join(f"{count} {what}" for what, count in kinds.items() if count))
    for doubt, count in _counted(result.doubt for result in run.results if result.doubt).items():
        print(f"{count} frames not aligned: {doubt}")
    if truth is None:
        print("no ground truth in the recording: nothing to compare with")
    else:
        row("", "frames with truth", "with ≥ 4 px of blur")
        row("frames", *(str(group["frames"]) for group in groups))
        row("RMSE ω x y z [rad/s]", *(numbers(group["rmse_angular"]) for group in groups))
        row("RMSE v x y z [m/s]", *(numbers(group["rmse_linear"]) for group in groups))
        for key, name, form in (
            ("axis_error_deg", "rotation axis [°]", ".1f"),
            ("magnitude_ratio", "|ω| estimate / truth", ".2f"),
        ):
            for part in groups[0][key]:
                row(f"{name} {part}", *(figure(group[key][part], form) for group in groups))
        row("direction correct", *(figure(group["direction_correct"], ".1%") for group in groups))
        chosen = samples.has_truth, samples.has_truth & samples.blurred
        known = (samples.resolved[mask] for mask in chosen)
        row("direction known on", *(f"{mask.mean():.1%}" if len(mask) else "–" for mask in known))
        for name, of_one in (("published", figures), *figures["measurements"].items()):
            covariance = of_one["covariance"]
            print(
                f"{name}: RMSE ω {numbers(of_one['all']['rmse_angular'])} rad/s on {of_one['all']['frames']} frames; "
                f"mean normalised error squared ω {figure(covariance['nees_angular'], '.2f')}, "
                f"v {figure(covariance['nees_linear'], '.2f')} (3 is honest); "
                f"ω inside its 95 % ellipsoid {figure(covariance['coverage95_angular'], '.1%')}"
            )
        frame_ids = {result.frame_id for result in run.results}
        if truth.frame_id and frame_ids != {truth.frame_id}:
            print(
                f"note: the truth is in frame {truth.frame_id!r}, the images in {', '.join(sorted(frame_ids))!r}; "
                "it is compared as it is"
            )
    print(f"time per frame: median {figures['time_ms']['p50']:.1f} ms, 95 % {figures['time_ms']['p95']:.1f} ms")
    print(f"results in {output}")
    for reason, count in run.refused.items():
        print(f"{count} frames were not used: {reason}", file=sys.stderr)


def _counted(texts: Iterable[str]) -> Counter[str]:
    """How often each text comes; those that differ in numbers only count as the first of them."""
    counts, first = Counter(), {}
    for text in texts:
        counts[first.setdefault(re.sub(r"[\d.]+", "#", text), text)] += 1
    return counts


def _span(stamps: np.ndarray) -> str:
    return f"{stamps.min() * 1e-9:.3f} to {stamps.max() * 1e-9:.3f} s"
