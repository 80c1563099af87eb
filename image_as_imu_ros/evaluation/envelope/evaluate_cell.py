"""The estimator and KLT over rendered cells, in the figures of the table."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from image_as_imu_ros.engine import Engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, MotionModel
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.evaluation.baselines import klt
from image_as_imu_ros.evaluation.envelope.cell import Cell
from image_as_imu_ros.evaluation.envelope.rendering import EPOCH, RenderedCell, RenderedFrame
from image_as_imu_ros.evaluation.kept_estimates import Result, span_of
from image_as_imu_ros.evaluation.metrics import metrics, rmse
from image_as_imu_ros.evaluation.samples import Samples, samples_of
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

KLT = "KLT"
HONEST = (0.5, 6.0)  # mean normalised errors squared between which a covariance is honest; 3 is perfect
OVERCONFIDENT = 20.0  # mean normalised error squared above which a filter would be led astray

_VISIBLE_BLUR = 0.25  # px at 320 px width during the exposure, from which the sign of a motion is judged
_SUB_FRAMES = 16  # of an exposure, over which a vibration is averaged: eight a period, up to 200 Hz and 10 ms
_EXPOSURE_SETTLES = 5  # frames after a change of the exposure, from which its estimate is judged


@dataclass(frozen=True)
class Answers:
    """The figures of one method on one cell, over all frames but the first.

    Attributes:
        cell: see there. method: "auto", "single" or KLT. depth: "measured" or "network"; "" for KLT.
        published: share of the frames whose image is new.
        sign_right: share of the published ones that visibly moved.
        rmse_angular, rmse_linear: root mean square length of the error, rad/s and m/s, at the stamps.
        true_angular, true_linear: that of the ground truth.
        mean_rmse_angular, mean_nees_angular: against the mean over the time that an answer is about, whose covariance
            has no term for the acceleration.
        nees_angular, nees_linear: mean of eᵀC⁻¹e, 3 is honest.
        angular_ratio, linear_ratio: median |ω̂|/|ω| and |v̂|/|v|.
        bias: |mean error of ω|, °/s: how fast the integrated rotation drifts.
        aligned: share of the published ones that were aligned. repeats_published: how many repeated images were.
        exposure_error: median relative error of the estimated exposure; None where it was given.
        reasons: why frames could not be used, or not be aligned, and how often.
    """

    cell: Cell
    method: str
    depth: str
    published: float
    sign_right: float | None = None
    rmse_angular: float | None = None
    rmse_linear: float | None = None
    true_angular: float | None = None
    true_linear: float | None = None
    mean_rmse_angular: float | None = None
    nees_angular: float | None = None
    nees_linear: float | None = None
    mean_nees_angular: float | None = None
    angular_ratio: float | None = None
    linear_ratio: float | None = None
    bias: float | None = None
    aligned: float | None = None
    repeats_published: int = 0
    exposure_error: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)


def evaluate_cell(
    rendered: RenderedCell, engine: Engine, config: EstimatorConfig, depths: tuple[str, ...]
) -> list[Answers]:
    """Run the estimator with each kind of depth, "measured" or "network", and KLT."""
    answers = []
    config = replace(config, estimate_exposure=not rendered.cell.exposure_known)
    engine = _Remembering(engine)
    for depth in depths:
        run = _run(rendered, MotionEstimator(engine, config), depth == "measured")
        single = [one for estimate in run.estimates if (one := estimate.as_single()) is not None]
        for method, estimates in (("auto", run.estimates), ("single", single)):
            answers.append(_answers(rendered, method, depth, run, estimates, config.motion_model))
    return [*answers, _klt(rendered)]


class _Remembering:
    """An engine that runs its network once for each image, however often it is asked."""

    def __init__(self, engine: Engine) -> None:
        self.info, self.name = engine.info, engine.name
        self._engine = engine
        self._outputs: dict[bytes, NetworkOutput] = {}

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Run the network, or return what it answered before."""
        key = image.tobytes()
        if key not in self._outputs:
            self._outputs[key] = self._engine.infer(image)
        return self._outputs[key]

    def close(self) -> None:
        """Do nothing: the engine belongs to somebody else."""


@dataclass
class _Run:
    """Estimates, and what went wrong."""

    estimates: list[MotionEstimate] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


def _run(rendered: RenderedCell, estimator: MotionEstimator, measured_depth: bool) -> _Run:
    run = _Run()
    for given in rendered.inputs(measured_depth=measured_depth):
        try:
            estimate = estimator.update(given)
        except (InputError, ArithmeticError, np.linalg.LinAlgError) as error:
            run.reasons[f"{type(error).__name__}: {error}"] += 1
            continue
        if estimate is None:
            run.reasons["no answer"] += 1
            continue
        run.estimates.append(estimate)
    if (last := estimator.flush()) is not None:
        run.estimates.append(last)
    rejections = (estimate.alignment.rejection for estimate in run.estimates if estimate.alignment is not None)
    run.reasons.update(rejection.message for rejection in rejections if rejection is not None)
    return run


def _answers(
    rendered: RenderedCell,
    method: str,
    depth: str,
    run: _Run,
    estimates: list[MotionEstimate],
    motion_model: MotionModel,
) -> Answers:
    frame_of = {frame.stamp: frame for frame in rendered.frames}
    # A stream has one first frame, not one in thirty.
    first = rendered.frames[0].stamp
    kept = [one for one in estimates if one.header_stamp != first and not one.ambiguous]
    frames = [frame_of[one.header_stamp] for one in kept]
    new = sum(not frame.repeated for frame in rendered.frames) - 1
    result = Answers(
        rendered.cell,
        method,
        depth,
        published=sum(not frame.repeated for frame in frames) / max(new, 1),
        repeats_published=sum(frame.repeated for frame in frames),
        exposure_error=_exposure_error(rendered, run.estimates),
        reasons=dict(run.reasons.most_common()),
    )
    if not kept:
        return result
    results = [_result(one, rendered.cell.readout) for one in kept]
    samples, over_dt = (
        replace(samples_of(results, None, motion_model, mean=mean), true_linear=true[:, :3], true_angular=true[:, 3:])
        for mean, true in zip((False, True), ground_truth(rendered, results), strict=True)
    )
    return replace(
        result,
        sign_right=_sign_right(frames, samples),
        aligned=float(np.mean([one.measurement == Measurement.ALIGNED for one in kept])),
        **_figures(samples, over_dt),
    )


def _result(estimate: MotionEstimate, readout: float) -> Result:
    span = span_of(estimate, readout)
    # Exposures that are given are true ones: nothing is held back for them.
    return Result(estimate, frame_id="", span=span, known_sign=False, exposure_given=False)


def ground_truth(rendered: RenderedCell, results: list[Result]) -> tuple[np.ndarray, np.ndarray]:
    """Compute what was true of each result, (N, 6) each: at its stamp, and on average over the time it is about.

    A vibration counts with its mean over that time in both, as far as images show it, each averaged over its exposure:
    nobody can know its phase.
    """
    stamps = np.array([(result.estimate.stamp - EPOCH) * 1e-9 for result in results])
    spans, estimates = np.array([result.span for result in results]), [result.estimate for result in results]
    trajectory = rendered.trajectory
    carrier = replace(trajectory, vibration=None)
    blurs = np.array([one.exposure if one.measurement == Measurement.ALIGNED else 0.0 for one in estimates])
    centres = stamps + blurs * (np.arange(_SUB_FRAMES)[:, None] + 0.5 - _SUB_FRAMES / 2) / _SUB_FRAMES
    mean, of_carrier = (
        np.mean([one.mean_velocity(at - spans / 2, at + spans / 2) for at in centres], axis=0)
        for one in (trajectory, carrier)
    )
    return carrier.velocity(stamps) + mean - of_carrier, mean


def _figures(samples: Samples, over_dt: Samples) -> dict[str, float | None]:
    figures = metrics(samples, None, over_dt=over_dt)
    group, covariance, mean = figures["all"], figures["covariance"], figures["mean_over_dt"]
    bias = _length(group["bias_angular"])
    return {
        "rmse_angular": _length(group["rmse_angular"]),
        "rmse_linear": _length(group["rmse_linear"]),
        "true_angular": _length(rmse(samples.true_angular)),
        "true_linear": _length(rmse(samples.true_linear)),
        "mean_rmse_angular": _length(mean["rmse_angular"]),
        "nees_angular": covariance["nees_angular"],
        "nees_linear": covariance["nees_linear"],
        "mean_nees_angular": mean["nees_angular"],
        "angular_ratio": group["magnitude_ratio"]["median"],
        "linear_ratio": group["linear_magnitude_ratio"]["median"],
        "bias": None if bias is None else math.degrees(bias),
    }


def _sign_right(frames: list[RenderedFrame], samples: Samples) -> float | None:
    """Tell in what share of the frames the flow that was answered is less than 90° from the true one.

    Both with the true depth; over the frames that visibly moved.
    """
    judged = []
    for i, frame in enumerate(frames):
        height, width = frame.depth.shape
        pixels = cell_centres(height // 8, width // 8, 8)
        depth = frame.depth[4::8, 4::8][: height // 8, : width // 8].ravel().astype(np.float64)
        matrix = MotionFieldMatrix.at(frame.camera.resize(width, height), pixels)
        # Where only a rotation is asked for, v is not known.
        answered = matrix.flow(np.r_[np.nan_to_num(samples.linear[i]), samples.angular[i]], depth)
        true = matrix.flow(np.r_[samples.true_linear[i], samples.true_angular[i]], depth)
        blur = np.linalg.norm(true, axis=1).mean() * frame.exposure * 320 / width
        if blur >= _VISIBLE_BLUR:
            judged.append((answered * true).sum() > 0)
    return float(np.mean(judged)) if judged else None


def _exposure_error(rendered: RenderedCell, estimates: list[MotionEstimate]) -> float | None:
    if rendered.cell.exposure_known:
        return None
    true = np.array([frame.exposure for frame in rendered.frames])
    changed = np.flatnonzero(np.diff(true, prepend=0))
    settled = {
        frame.stamp: frame.exposure
        for i, frame in enumerate(rendered.frames)
        if i - changed[changed <= i][-1] >= _EXPOSURE_SETTLES
    }
    errors = [abs(one.exposure / settled[one.header_stamp] - 1) for one in estimates if one.header_stamp in settled]
    return float(np.median(errors)) if errors else None


def _klt(rendered: RenderedCell) -> Answers:
    """Track corners from each frame to the next, and hold the rotation against the truth in the middle of the two."""
    frames, settings = rendered.frames, klt.settings()
    errors, true, kept = [], [], 0
    for before, now in pairwise(frames):
        tracks = klt.track(before.image, now.image, settings)
        enough = len(tracks[0]) >= settings.fewest
        rotation = klt.fit_rotation(now.camera, *tracks, settings) if enough else None
        if rotation is None:
            continue
        kept += not now.repeated
        # Points rotate against the camera.
        angular = so3.log(rotation.T) / ((now.stamp - before.stamp) * 1e-9)
        middle = ((now.stamp + before.stamp) / 2 - EPOCH) * 1e-9
        true.append(replace(rendered.trajectory, vibration=None).velocity(np.array([middle]))[0, 3:])
        errors.append(angular - true[-1])
    new = sum(not frame.repeated for frame in frames[1:])
    result = Answers(rendered.cell, KLT, "", published=kept / max(new, 1))
    if not errors:
        return result
    return replace(
        result,
        rmse_angular=_length(rmse(np.array(errors))),
        true_angular=_length(rmse(np.array(true))),
        bias=math.degrees(float(np.linalg.norm(np.mean(errors, 0)))),
    )


def _length(vector: list[float] | None) -> float | None:
    """Length; of the root mean squares of three components, the root mean square of the length."""
    return None if vector is None else float(np.linalg.norm(vector))
