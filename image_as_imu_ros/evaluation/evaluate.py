"""A recording → errors against its ground truth, and what tables, plots and the report are made of."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine import Engine
from image_as_imu_ros.errors import InputError, printable
from image_as_imu_ros.estimation.config import Measurement, MotionModel
from image_as_imu_ros.estimation.exposure_check import describe_contradiction
from image_as_imu_ros.evaluation.baselines import Baseline, comparison, find_baseline
from image_as_imu_ros.evaluation.baselines.comparison import COMPARED, Comparison
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.config import ORACLE, EvaluationConfig, ExposureSource, command_line
from image_as_imu_ros.evaluation.estimator_run import (
    Run,
    fitted_exposure,
    run_recording,
    settled_exposure,
    settled_log_std,
)
from image_as_imu_ros.evaluation.exposure import Shutters, longer_than_period, readout_longer_than_period
from image_as_imu_ros.evaluation.ground_truth_fit import fit_ground_truth, never_moves, own_output
from image_as_imu_ros.evaluation.kept_estimates import Results
from image_as_imu_ros.evaluation.metrics import metrics
from image_as_imu_ros.evaluation.open_engine import open_engine
from image_as_imu_ros.evaluation.samples import LEAST_ANGULAR, Samples, samples_of, with_true_sign
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.recordings.storage import recording_name
from image_as_imu_ros.recordings.topics import Topics
from image_as_imu_ros.resources import DEFAULT_MODEL


@dataclass(frozen=True)
class Evaluation:
    """A run over a recording, and the ground truth.

    Attributes:
        name: of the recording.
        config: how it was evaluated.
        run: the estimator's answers, frame by frame.
        ground_truth: None if the recording holds none.
        decided: the answers beside the ground truth, with the signs that the estimator decided on.
        samples: the same with published signs: those of the ground truth if `config.oracle`.
        by_measurement: like `samples`, of "single" and "aligned", whichever there are.
        comparison: with other systems; None if there are none.
        figures: content of metrics.json.
        ground_truth_complaint: why the ground truth seems to be wrong, for people; empty if it does not.
        exposure_origin: where the exposure came from, for people.
        exposure_complaint: how the exposure contradicts the images or their rate; empty if it does not.
        settings: name → value, for people: all that it takes to do it again.
    """

    name: str
    config: EvaluationConfig
    run: Run
    ground_truth: GroundTruth | None
    decided: Samples
    samples: Samples
    by_measurement: dict[str, Samples]
    comparison: Comparison | None
    figures: dict
    ground_truth_complaint: str
    exposure_origin: str
    exposure_complaint: str
    settings: dict[str, str]


def evaluate(recording: str | Path, config: EvaluationConfig, workers: int = 1) -> Evaluation:
    """Run the estimator over a recording and compare it with the ground truth.

    Args:
        recording: folder or file; docs/evaluate.md says what it must hold.
        workers: with more than one, the network sees frames ahead of the estimator. The results are the same.

    Raises:
        InputError: the recording or the model cannot be used.
    """
    baselines = [find_baseline(name) for name in config.baselines]
    ahead = workers > 1
    with closing(open_engine(config.engine)) as engine, Recording(recording) as opened:
        topics = _choose_topics(opened, config)
        ground_truth = _read_ground_truth(opened, topics, config)
        shutters = _shutters(opened, topics, engine, config, ground_truth, ahead=ahead)
        run = run_recording(
            opened,
            topics,
            engine,
            config.estimator,
            shutters,
            "estimating",
            ground_truth=ground_truth,
            every=config.every,
            known_sign=config.oracle,
            ahead=ahead,
        )
        decided = samples_of(run.results, ground_truth, config.estimator.motion_model)
        _check_overlap(ground_truth, decided)
        compared = None
        if baselines and ground_truth is not None:
            compared = _compare(opened, topics, engine, config, shutters, run, baselines, ground_truth, ahead=ahead)
    return _summed_up(
        recording, config, run, ground_truth, decided, compared, _settings(recording, config, topics, engine, run)
    )


def _choose_topics(recording: Recording, config: EvaluationConfig) -> Topics:
    image = recording.image_topic(config.image_topic or None)
    depth = recording.depth_topic(config.depth_topic) if config.depth_topic else None
    if depth == image:
        raise InputError(f"topic {image!r} cannot be both, --image-topic and --depth-topic")
    return Topics(
        image=image,
        camera_info=recording.camera_info_topic(image, config.camera_info_topic or None),
        depth=depth,
        exposure=_choose_exposure_topic(recording, config),
        ground_truth=recording.ground_truth_topic(config.ground_truth_topic or None),
    )


def _choose_exposure_topic(recording: Recording, config: EvaluationConfig) -> str | None:
    """Choose the topic of per-frame exposures; None where the exposure comes from elsewhere."""
    if config.exposure not in EXPOSURE_TYPES:
        return None
    source = str(config.exposure)
    topic = recording.exposure_topic(source, config.exposure_topic or None)
    if topic is None:
        raise InputError(
            f"the exposure time is needed, and no topic of type {EXPOSURE_TYPES[source]} in the recording has it: "
            "give it with --exposure SECONDS, measure it with --exposure estimate, or fit it to the ground truth with "
            "--fit-exposure"
        )
    return topic


def _read_ground_truth(recording: Recording, topics: Topics, config: EvaluationConfig) -> GroundTruth | None:
    """Read the ground truth, if there is a topic of it. Raises InputError: it is needed and not there."""
    if topics.ground_truth:
        return read_ground_truth(recording, topics.ground_truth)
    needed = {
        "--baseline": bool(config.baselines),
        "--fit-exposure": config.exposure == ExposureSource.FIT,
        "--sign-resolution oracle": config.oracle,
    }
    for asked, is_needed in needed.items():
        if is_needed:
            raise InputError(f"{asked} needs ground truth, but the recording has no topic that could be it")
    return None


def _shutters(
    recording: Recording,
    topics: Topics,
    engine: Engine,
    config: EvaluationConfig,
    ground_truth: GroundTruth | None,
    *,
    ahead: bool,
) -> Shutters:
    shutters = Shutters(config.shutter)
    if topics.exposure:
        exposures = read_exposures(recording, topics.exposure, str(config.exposure), config.exposure_unit)
        return replace(shutters, exposures=exposures)
    if config.exposure == ExposureSource.FIT and ground_truth is not None:
        exposure = fitted_exposure(recording, topics, engine, config.estimator, shutters, ground_truth, ahead=ahead)
        return Shutters(replace(shutters.shared, exposure=exposure))
    return shutters


def _check_overlap(ground_truth: GroundTruth | None, decided: Samples) -> None:
    if ground_truth is not None and not decided.has_ground_truth.any():
        raise InputError(
            f"the ground truth, {_span(ground_truth.stamps)}, does not overlap with the frames, "
            f"{_span(decided.stamps)}: are both stamped by the same computer?"
        )


def _compare(
    recording: Recording,
    topics: Topics,
    engine: Engine,
    config: EvaluationConfig,
    shutters: Shutters,
    run: Run,
    baselines: list[Baseline],
    ground_truth: GroundTruth,
    *,
    ahead: bool,
) -> Comparison:
    """Run the other systems, and ours as often as it takes to stand beside them."""
    frames = Frames.of(recording, topics, config.every)
    motions = {baseline.name: baseline.run(frames) for baseline in baselines}
    estimator = config.estimator
    runs = {estimator.sign_resolution: run} if estimator.measurement == Measurement.AUTO else {}
    for sign_resolution in COMPARED:
        if sign_resolution not in runs:
            wanted = replace(estimator, measurement=Measurement.AUTO, sign_resolution=sign_resolution)
            label = f"estimating, {sign_resolution}"
            runs[sign_resolution] = run_recording(
                recording, topics, engine, wanted, shutters, label, every=config.every, ahead=ahead
            )
    shutter = replace(config.shutter, exposure=settled_exposure(run))
    return comparison.compare(frames, runs, motions, ground_truth, shutter, estimator.motion_model)


def _summed_up(
    recording: str | Path,
    config: EvaluationConfig,
    run: Run,
    ground_truth: GroundTruth | None,
    decided: Samples,
    compared: Comparison | None,
    settings: dict[str, str],
) -> Evaluation:
    motion_model = config.estimator.motion_model
    by_measurement = {
        name: samples_of(results, ground_truth, motion_model)
        for name, results in (("single", run.single), ("aligned", run.aligned))
        if results
    }
    exposure = settled_exposure(run)

    def figures_of(samples: Samples, results: Results) -> dict:
        over_dt = samples_of(results, ground_truth, motion_model, mean=True)
        options = {"oracle": config.oracle, "ground_truth_std": config.ground_truth_std}
        return metrics(samples, exposure, over_dt=over_dt, **options)

    figures = figures_of(decided, run.results)
    figures["measurements"] = {
        name: figures_of(samples, getattr(run, name)) for name, samples in by_measurement.items()
    }
    fit, own = None, ""
    if ground_truth is not None:
        aligned = by_measurement.get("aligned")
        own = "" if aligned is None else own_output(aligned.stamps, ground_truth)
        if (np.linalg.norm(decided.angular, axis=1) >= LEAST_ANGULAR).any():
            own = own or never_moves(ground_truth)
        fit = fit_ground_truth(decided, ground_truth, np.array([result.span for result in run.results]))
        figures["ground_truth_fit"] = None if fit is None else fit.figures()
    if compared is not None:
        figures["baselines"] = comparison.figures(compared)
    if config.oracle:
        by_measurement = {name: with_true_sign(samples) for name, samples in by_measurement.items()}
    return Evaluation(
        name=printable(recording_name(recording)),
        config=config,
        run=run,
        ground_truth=ground_truth,
        decided=decided,
        samples=with_true_sign(decided) if config.oracle else decided,
        by_measurement=by_measurement,
        comparison=compared,
        figures=figures,
        ground_truth_complaint=own or (fit.complaint if fit else ""),
        exposure_origin=_exposure_origin(config, run, settings),
        exposure_complaint=_exposure_complaint(config, run),
        settings=settings,
    )


def _exposure_origin(config: EvaluationConfig, run: Run, settings: dict[str, str]) -> str:
    """Where the exposure came from, for people."""
    if config.exposure == ExposureSource.FIT:
        return "fitted to the ground truth"
    if config.exposure == ExposureSource.ESTIMATE:
        last = run.results[-1].estimate
        at_end = f"{1e3 * last.exposure:.2f} ms ± {last.exposure_log_std:.0%}"
        return f"estimated to ± {settled_log_std(run):.0%}; at the end {at_end}"
    return f"median of {settings['exposures']}" if "exposures" in settings else "given"


def _exposure_complaint(config: EvaluationConfig, run: Run) -> str:
    """Say how exposures contradict the images by their end, or the frames' rate; empty if they do not."""
    estimated = config.exposure in (ExposureSource.FIT, ExposureSource.ESTIMATE)
    complaint = ""
    for estimate in (result.estimate for result in run.results):
        if not estimated and estimate.measured_exposure is not None:
            complaint = describe_contradiction(estimate.exposure, estimate.measured_exposure)
    return complaint or _too_long(config, run)


def _too_long(config: EvaluationConfig, run: Run) -> str:
    stamps = np.array([result.estimate.header_stamp for result in run.results], np.int64)
    log_std = settled_log_std(run) if config.exposure == ExposureSource.ESTIMATE else 0.0
    too_long = longer_than_period(settled_exposure(run), log_std, stamps, config.every)
    return too_long or readout_longer_than_period(config.readout_time, stamps, config.every)


def _settings(
    recording: str | Path, config: EvaluationConfig, topics: Topics, engine: Engine, run: Run
) -> dict[str, str]:
    """All that it takes to do it again, for people."""
    info, estimator = engine.info, config.estimator
    depth = "the network's own"
    if topics.depth:
        depth = f"measured: {topics.depth}, in {run.with_depth} of {len(run.results)} frames"
    model = config.engine.model or DEFAULT_MODEL
    return {
        "command": command_line(recording, config),
        "package": f"image_as_imu_ros {_package_version()}",
        "model": f"{info.name} {info.version} ({info.width}×{info.height} px), {model}",
        "engine": engine.name,
        "images": topics.image,
        "camera_info": topics.camera_info,
        **({"exposures": topics.exposure} if topics.exposure else {}),
        **({"ground truth": topics.ground_truth} if topics.ground_truth else {}),
        "depth": depth if estimator.motion_model == MotionModel.FULL else "not used",
        "frames": "all" if config.every == 1 else f"every {config.every}th",
        "measurement": estimator.measurement,
        "motion model": estimator.motion_model,
        "sign resolution": ORACLE if config.oracle else estimator.sign_resolution,
        "header stamps are": f"the {config.stamp_reference} of the exposure",
        "readout time": f"{1e3 * config.readout_time:g} ms" if config.readout_time else "0 (global shutter)",
        "linear velocity std": f"{estimator.linear_velocity_std:g} m/s",
        "lever arm": f"{estimator.lever_arm:g} m",
        "exposure's relative error": f"{estimator.exposure_relative_error:g}",
        **({"ground truth's own noise": f"{config.ground_truth_std:g} rad/s"} if topics.ground_truth else {}),
    }


def _package_version() -> str:
    try:
        return version("image_as_imu_ros")
    except PackageNotFoundError:
        return "(source tree, not installed)"


def _span(stamps: np.ndarray) -> str:
    return f"{stamps.min() * 1e-9:.3f} to {stamps.max() * 1e-9:.3f} s"
