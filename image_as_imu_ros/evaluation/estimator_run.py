"""One run of the estimator over a recording: what it answered for each frame."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine import Engine
from image_as_imu_ros.errors import InputError, is_interruption
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, MotionModel, SignResolution
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.inferred_frame import InferredFrame
from image_as_imu_ros.estimation.stopwatch import Stopwatch
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.evaluation.ahead import computed
from image_as_imu_ros.evaluation.exposure import Shutters, fit_exposure, unusable_exposure
from image_as_imu_ros.evaluation.gallery import Gallery
from image_as_imu_ros.evaluation.kept_estimates import KeptEstimates, Results
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.evaluation.samples import BLURRED_PX, INSTANT, Samples, samples_of
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.stamps import DEPTH_TOLERANCE
from image_as_imu_ros.recordings.recording import CameraMessages, Recording
from image_as_imu_ros.recordings.topics import Topics

_FIT_FROM = 0.02  # s, the guess that a fit starts from
_SETTLED_LOG_STD = 0.2  # of an estimated exposure

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """One pass over a recording.

    Attributes:
        results: what the estimator answered, in the order of recording.
        single, aligned: what it would have answered with the one and the other measurement.
        frames: how many the estimator took; with some it answers nothing.
        camera: of the last frame; None before any.
        most_blurred, worst, best: overlays of frames with the longest mean blur; with the largest error of ω; and with
            the smallest, among blurred frames.
        refused: message → number of frames that could not be used because of it.
        notes: sentence → number of frames that it is about.
    """

    results: Results
    single: Results
    aligned: Results
    frames: int = 0
    camera: Camera | None = None
    most_blurred: Gallery = field(default_factory=Gallery)
    worst: Gallery = field(default_factory=Gallery)
    best: Gallery = field(default_factory=Gallery)
    refused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def with_depth(self) -> int:
        """Count the answers that a depth image took part in."""
        estimates = (result.estimate for result in self.results)
        return sum(one.measured_depth_share is not None and not one.depth_too_sparse for one in estimates)


def run_recording(
    recording: Recording,
    topics: Topics,
    engine: Engine,
    config: EstimatorConfig,
    shutters: Shutters,
    label: str,
    *,
    ground_truth: GroundTruth | None = None,
    every: int = 1,
    known_sign: bool = False,
    ahead: bool = False,
) -> Run:
    """Estimate the frames of a recording.

    Args:
        label: of the progress bar.
        ground_truth: tells which frames are the worst and the best.
        every: take only every `every`-th frame.
        known_sign: signs will be taken from the ground truth, so the covariances hold no error of theirs.
        ahead: decode frames and run the network in another thread, see `ahead`. The results are the same.

    Raises:
        InputError: the recording is damaged, or none of its frames can be used.
    """
    kept = KeptEstimates(shutters.shared.readout_time, known_sign, exposure_given=not config.estimate_exposure)
    run = Run(Results(kept), Results(kept, MotionEstimate.as_single), Results(kept, MotionEstimate.as_aligned))
    messages = recording.frames(topics.image, topics.camera_info, topics.depth)
    progress = tqdm(messages, label, recording.count(topics.image), unit="frame", mininterval=0.5, leave=False)
    chosen = islice(progress, 0, None, every)
    estimator = MotionEstimator(engine, config)
    infer = partial(_inferred, engine=engine, shutters=shutters)
    with computed(chosen, infer, ahead=ahead) as frames:
        for frame, frame_id, estimate in _estimates(estimator, frames, topics.image, run):
            kept.append(estimate, frame_id)
            for results in (run.results, run.single, run.aligned):
                results.offer(len(kept) - 1, estimate)
            _offer_overlays(run, frame, estimate, ground_truth)
    if not run.results:
        reasons = "; ".join(_reasons(run, config, estimator))
        raise InputError(f"none of the frames on {topics.image!r} can be used: {reasons}")
    if topics.depth and config.motion_model == MotionModel.FULL and not run.with_depth:
        raise InputError(
            f"no image has a depth image on {topics.depth!r} that is stamped within {1e-6 * DEPTH_TOLERANCE:.0f} ms of "
            "it and knows enough of its depths, 1 cm or more (16UC1 counts mm, 32FC1 m); without --depth-topic the "
            "network's are used"
        )
    return run


def _reasons(run: Run, config: EstimatorConfig, estimator: MotionEstimator) -> list[str]:
    """Say why no frame has an answer."""
    reasons = list(run.refused)[:1]
    if not run.frames:
        return reasons or ["the topic has no messages that can be read"]
    if config.measurement != Measurement.SINGLE or config.estimate_exposure:
        rejection = estimator.alignment.rejection if estimator.alignment else None
        reasons.append(rejection.message if rejection else "no two of them could be aligned")
    if config.measurement != Measurement.ALIGNED:
        reasons.append(unusable_exposure(config))
    if config.measurement == Measurement.SINGLE and not config.estimate_exposure:
        reasons[-1] += ", or measure it with --exposure estimate; --measurement aligned needs none"
    return reasons


def fitted_exposure(
    recording: Recording,
    topics: Topics,
    engine: Engine,
    config: EstimatorConfig,
    shutters: Shutters,
    ground_truth: GroundTruth,
    *,
    ahead: bool = False,
) -> float:
    """Find the exposure time, s, of all frames that fits the ground truth best, from their blur alone.

    Raises:
        InputError: too little of the recording is blurred or has ground truth.
    """
    config = replace(config, measurement=Measurement.SINGLE, sign_resolution=SignResolution.AXIAL)
    guess = Shutters(replace(shutters.shared, exposure=_FIT_FROM))
    run = run_recording(recording, topics, engine, config, guess, "fitting the exposure", ahead=ahead)
    return fit_exposure(samples_of(run.results, ground_truth, config.motion_model, mean=True), _FIT_FROM)


def _inferred(message: CameraMessages, *, engine: Engine, shutters: Shutters) -> InferredFrame:
    """Make a frame of its messages, and run the network on it. Raises InputError: it cannot be used."""
    steps = Stopwatch()
    with steps.time("decode"):
        image, depth = message.decode_image(engine.info.colour), message.decode_depth()
    shutter = shutters.of(message.stamp, message.frame_id)
    inferred = InferredFrame.of(Frame(image, message.stamp, message.camera(), shutter, depth), engine)
    return replace(inferred, seconds=steps.seconds | inferred.seconds)


def _estimates(
    estimator: MotionEstimator,
    frames: Iterator[tuple[CameraMessages, Callable[[], InferredFrame]]],
    topic: str,
    run: Run,
) -> Iterator[tuple[Frame, str, MotionEstimate]]:
    """Yield (frame, its frame_id, its estimate) of a topic; frames that cannot be used are counted instead."""
    before: tuple[Frame, str] | None = None
    reasons: dict[str, str] = {}
    for message, infer in frames:
        try:
            inferred = infer()
            estimate = estimator.update(inferred)
        except InputError as error:
            # The same complaint about other numbers is the same reason.
            run.refused[reasons.setdefault(re.sub(r"\d+", "#", str(error)), str(error))] += 1
            continue
        except Exception as error:  # whatever one frame does, the next one gets its chance, as in the node
            if is_interruption(error):
                raise KeyboardInterrupt from None
            _log.debug("frame stamped %d ns", message.stamp, exc_info=True)
            reason = f"internal error, {type(error).__name__}: {error}"
            run.refused[reasons.setdefault(re.sub(r"\d+", "#", reason), reason)] += 1
            estimator.reset()  # may have been left half-way
            before = None
            continue
        run.frames += 1
        run.camera = inferred.frame.camera
        run.notes.update(message.problems(topic))
        now = inferred.frame, message.frame_id
        for one in (before, now):  # with a centered sign, the frame before is answered
            if one is not None and estimate is not None and one[0].stamp == estimate.header_stamp:
                yield *one, estimate
        before = now
    if before is not None and (estimate := estimator.flush()) is not None:
        yield *before, estimate


def _offer_overlays(run: Run, frame: Frame, estimate: MotionEstimate, ground_truth: GroundTruth | None) -> None:
    """Offer the overlay of the last result to the galleries."""
    draw = partial(draw_overlay, frame.image, estimate)
    last = run.results[-1]
    run.most_blurred.offer(estimate.mean_flow, estimate.stamp, draw)
    if ground_truth is None or not last.published:
        return
    (true_angular,) = ground_truth.at(np.array([estimate.stamp]), INSTANT)[1]
    signs = (1, -1) if last.known_sign else (1,)
    error = min(float(np.linalg.norm(sign * last.velocity.angular - true_angular)) for sign in signs)
    run.worst.offer(error, estimate.stamp, draw)
    if estimate.mean_flow >= BLURRED_PX:
        run.best.offer(-error, estimate.stamp, draw)


def exposures_of(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """List stamps, exposures used, exposures by blur and alignment, and std of their log, each (N,); NaN where none."""
    stamps, (used, measured, log_std) = np.empty(len(run.results), np.int64), np.full((3, len(run.results)), np.nan)
    for number, estimate in enumerate(result.estimate for result in run.results):
        stamps[number], used[number] = estimate.stamp, estimate.exposure
        if (one := estimate.measured_exposure) is not None:
            measured[number], log_std[number] = one.seconds, one.log_std
    return stamps, used, measured, log_std


def settled_exposure(run: Run) -> float:
    """Compute the median of the frames' exposure times, s, without estimates that were little more than a guess."""
    return float(np.median(_settled(run)[:, 0]))


def settled_log_std(run: Run) -> float:
    """Compute the median standard deviation of the log of the exposures that `settled_exposure` is of."""
    return float(np.median(_settled(run)[:, 1]))


def _settled(run: Run) -> np.ndarray:
    """Exposures, s, and standard deviations of their logs, (M, 2)."""
    estimates = (result.estimate for result in run.results)
    used = np.array([(estimate.exposure, estimate.exposure_log_std) for estimate in estimates])
    return used[used[:, 1] <= max(_SETTLED_LOG_STD, used[:, 1].min())]


def published(run: Run, samples: Samples) -> Iterator[tuple[int, str, Velocity]]:
    """Yield what the node would have published: nothing whose sign is open or whose exposure is impossible."""
    for result, linear, angular in zip(run.results, samples.linear, samples.angular, strict=True):
        if result.published:
            linear = linear if np.isfinite(linear).all() else result.velocity.linear
            yield result.estimate.stamp, result.frame_id, replace(result.velocity, linear=linear, angular=angular)
