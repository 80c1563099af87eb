"""The estimator over a recording: what it answered for each frame, and the truth beside it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine import Engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.frame import Frame, Shutter, StampReference
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.evaluation.gallery import Gallery
from image_as_imu_ros.evaluation.metrics import BLURRED_PX, Samples, with_true_sign
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.exposures import Exposures
from image_as_imu_ros.recordings.recording import CameraMessages, Recording

_FEWEST_TO_FIT = 5  # blurred frames with truth
_SETTLED_LOG_STD = 0.2  # of an estimated exposure


@dataclass(frozen=True)
class Timing:
    """What the stamps of a recording mean. See `Shutter`.

    Attributes:
        exposure: s, of all frames or of each; None if it is to be estimated.
    """

    exposure: float | Exposures | None
    stamp_reference: str
    readout_time: float

    def exposure_of(self, stamp: int) -> float | None:
        """Exposure time, s, of a frame stamped `stamp`. Raises InputError: it is told for other frames only."""
        return self.exposure.of(stamp) if isinstance(self.exposure, Exposures) else self.exposure

    def mid_exposure(self, stamp: int) -> int:
        """Mid-exposure, ns, of a frame stamped `stamp`, whose exposure time must be known."""
        shutter = self.shutter(stamp)
        assert shutter.exposure is not None
        return shutter.mid_exposure(stamp, shutter.exposure)

    def shutter(self, stamp: int) -> Shutter:
        """How a frame stamped `stamp` was exposed. Raises InputError: its exposure is not told, or cannot be used."""
        return Shutter(self.exposure_of(stamp), StampReference(self.stamp_reference), self.readout_time)


@dataclass(frozen=True)
class Result:
    """What is kept of one estimate: a recording's images and motion fields do not fit in memory.

    Attributes:
        image_stamp: of the image's header, ns.
        span: s over which the velocity is a mean: the gap between two frames, or the time in which one gathered light.
        ambiguous: the node would not publish this one.
        rejection: why alignment could not be trusted; empty if it could, or was not tried.
        seconds: per stage. Others as in `MotionEstimate`.
    """

    stamp: int
    image_stamp: int
    frame_id: str
    measurement: str
    velocity: Velocity
    span: float
    mean_flow: float
    residual: float
    inliers: float
    log_likelihood_ratio: float
    resolved: bool
    ambiguous: bool
    sign_probability: float
    rejection: str
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
        camera: of the last frame; None before any.
        most_blurred, worst, best: overlays of frames with the longest mean blur; with the largest error of ω; and with
            the smallest, among blurred frames.
        refused: message → number of frames that could not be used because of it.
    """

    results: list[Result] = field(default_factory=list)
    single: list[Result] = field(default_factory=list)
    aligned: list[Result] = field(default_factory=list)
    frames: int = 0
    camera: Camera | None = None
    most_blurred: Gallery = field(default_factory=Gallery)
    worst: Gallery = field(default_factory=Gallery)
    best: Gallery = field(default_factory=Gallery)
    refused: Counter[str] = field(default_factory=Counter)


def run_recording(
    recording: Recording,
    topics: dict[str, str | None],
    engine: Engine,
    options: EstimatorConfig,
    timing: Timing,
    label: str,
    *,
    ground_truth: GroundTruth | None = None,
    every: int = 1,
    known_sign: bool = False,
) -> Run:
    """Estimate the frames of a recording.

    Args:
        topics: "image", "camera_info" and "depth".
        label: of the progress bar.
        truth: tells which frames are the worst and the best.
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
    for frame, message, decoding, estimate in _estimates(estimator, chosen, timing, run):
        for results, one in (
            (run.results, estimate),
            (run.single, estimate.as_single()),
            (run.aligned, estimate.as_aligned()),
        ):
            if one is not None:
                results.append(_result(one, message, decoding, timing, known_sign))
        _keep_pictures(run, frame, estimate, ground_truth, known_sign)
    if not run.results:
        rejection = estimator.alignment.rejection if estimator.alignment else None
        unaligned = rejection.message if rejection else ""
        reason = next(iter(run.refused), unaligned or "the topic has no messages")
        raise InputError(f"none of the frames on {topics['image']!r} can be used: {reason}")
    return run


def _result(
    estimate: MotionEstimate, message: CameraMessages, decoding: float, timing: Timing, known_sign: bool
) -> Result:
    published = estimate.with_known_sign() if known_sign else estimate
    single = estimate.measurement == "single"
    return Result(
        stamp=estimate.stamp,
        image_stamp=message.stamp,
        frame_id=message.frame_id,
        measurement=estimate.measurement,
        velocity=published.velocity,
        span=estimate.exposure + timing.readout_time if single else estimate.dt,
        mean_flow=estimate.mean_flow,
        residual=estimate.residual,
        inliers=estimate.inliers,
        log_likelihood_ratio=estimate.log_likelihood_ratio,
        resolved=estimate.sign_resolved,
        ambiguous=published.ambiguous,
        sign_probability=estimate.sign_probability,
        rejection=estimate.alignment.rejection.message if estimate.alignment and estimate.alignment.rejection else "",
        exposure=estimate.exposure,
        exposure_log_std=estimate.exposure_log_std,
        measured_exposure=estimate.measured_exposure,
        seconds={"decode": decoding, **estimate.seconds},
    )


def _estimates(
    estimator: MotionEstimator, messages: Iterator[CameraMessages], timing: Timing, run: Run
) -> Iterator[tuple[Frame, CameraMessages, float, MotionEstimate]]:
    """(frame, its messages, seconds to decode it, its estimate); frames that cannot be used are counted instead."""
    waiting: dict[int, tuple[Frame, CameraMessages, float]] = {}  # `centered` answers one frame later
    reasons: dict[str, str] = {}
    for message in messages:
        started = time.perf_counter()
        try:
            image = message.decode_image(estimator.engine.info.colour)
            depth = message.decode_depth()
            frame = Frame(image, message.stamp, message.camera(), timing.shutter(message.stamp), depth)
            decoding = time.perf_counter() - started
            estimate = estimator.update(frame)
        except InputError as error:
            # The same complaint about other numbers is the same reason.
            run.refused[reasons.setdefault(re.sub(r"\d+", "#", str(error)), str(error))] += 1
            continue
        run.frames += 1
        run.camera = frame.camera
        waiting[frame.stamp] = frame, message, decoding
        if estimate is not None:
            yield *waiting[estimate.header_stamp], estimate
        waiting = {frame.stamp: waiting[frame.stamp]}
    if (estimate := estimator.flush()) is not None:
        yield *waiting[estimate.header_stamp], estimate


def _keep_pictures(
    run: Run, frame: Frame, estimate: MotionEstimate, ground_truth: GroundTruth | None, known_sign: bool
) -> None:
    """Offer the overlay of the last result to the galleries."""
    draw = partial(draw_overlay, frame.image, estimate)
    last = run.results[-1]
    run.most_blurred.offer(last.mean_flow, last.stamp, draw)
    if ground_truth is None or last.ambiguous:
        return
    (turning,) = ground_truth.at(np.array([last.stamp]), last.span)[1]
    errors = [np.linalg.norm(sign * last.velocity.angular - turning) for sign in ((1, -1) if known_sign else (1,))]
    run.worst.offer(min(errors), last.stamp, draw)
    if last.mean_flow >= BLURRED_PX:
        run.best.offer(-min(errors), last.stamp, draw)


def samples_of(results: list[Result], ground_truth: GroundTruth | None, motion_model: str) -> Samples:
    """Results beside the truth, which is averaged over the time that each of them is about."""
    stamps = np.array([result.stamp for result in results], np.int64)
    unknown = np.full((len(results), 3), np.nan)
    true_linear, true_angular = unknown, unknown
    if ground_truth is not None:
        true_linear, true_angular = ground_truth.at(stamps, np.array([result.span for result in results]))
    linear = np.array([result.velocity.linear for result in results])
    return Samples(
        stamps=stamps,
        linear=linear if motion_model == "full" else unknown,
        angular=np.array([result.velocity.angular for result in results]),
        covariance=np.array([result.velocity.covariance for result in results]),
        true_linear=true_linear,
        true_angular=true_angular,
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
    samples = with_true_sign(samples.select(samples.blurred & np.isfinite(samples.true_angular).all(1)))
    rate = np.square(samples.true_angular).sum(1)
    turning = rate > 0
    if turning.sum() < _FEWEST_TO_FIT:
        raise InputError(
            f"only {turning.sum()} clearly blurred frames have truth, too few to fit the exposure; give it: --exposure"
        )
    along = np.einsum("ni,ni->n", samples.angular, samples.true_angular)[turning] / rate[turning]
    return float(guess * np.median(along))


def exposures_of(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(N,) stamps, exposures that were used, and what blur and alignment said: exposure and std of its log, or NaN."""
    measured = [result.measured_exposure or MeasuredExposure(np.nan, np.nan) for result in run.results]
    return (
        np.array([result.stamp for result in run.results], np.int64),
        np.array([result.exposure for result in run.results]),
        np.array([one.seconds for one in measured]),
        np.array([one.log_std for one in measured]),
    )


def settled_exposure(run: Run) -> float:
    """Median of the frames' exposure times, s, without estimates that still were little more than a guess."""
    used = np.array([[result.exposure, result.exposure_log_std] for result in run.results])
    settled = used[:, 1] <= max(_SETTLED_LOG_STD, used[:, 1].min())
    return float(np.median(used[settled, 0]))


def published(run: Run, samples: Samples, motion_model: str) -> Iterator[tuple[int, str, Velocity]]:
    """What the node would have published: nothing whose direction is open."""
    for result, linear, angular in zip(run.results, samples.linear, samples.angular, strict=True):
        if not result.ambiguous:
            linear = linear if motion_model == "full" else result.velocity.linear
            yield result.stamp, result.frame_id, Velocity(linear, angular, result.velocity.terms)
