"""Ours and other systems, frame by frame against the same ground truth: one table and one plot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import MotionModel, SignResolution
from image_as_imu_ros.estimation.frame import Shutter
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, with_scale
from image_as_imu_ros.evaluation.config import ORACLE
from image_as_imu_ros.evaluation.estimator_run import Run
from image_as_imu_ros.evaluation.kept_estimates import Results
from image_as_imu_ros.evaluation.metrics import rmse
from image_as_imu_ros.evaluation.samples import Samples, VelocityPairs, samples_of, with_true_sign
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

AT_THE_FRAME = "at the frame"
SINCE_LAST = "since the frame before"
PUBLISHED = "as published"

COMPARED = (SignResolution.CAUSAL, SignResolution.CENTERED)
"""How our runs that are compared find the sign."""

_MOST_BLURRED = 0.2  # of the frames


@dataclass(frozen=True)
class Answers:
    """What one method said about each of N frames.

    Attributes:
        velocity: which one it is: AT_THE_FRAME: over the exposure. SINCE_LAST: mean from one mid-exposure to the next.
            PUBLISHED: the one or the other, as the method chose.
        pairs: N estimates and the ground truth; NaN where there is no answer.
        seconds: spent per frame.
        failures: reason → number of frames without an answer because of it.
        scales: of the pieces of a trajectory, as they were fitted to the ground truth.
    """

    method: str
    velocity: str
    pairs: VelocityPairs
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)
    scales: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """All methods on the same frames.

    Attributes:
        stamps: (N,) int64 ns, mid-exposure.
        true_blur: (N,) mean length of the blur that the true rotation makes, px at 320 px image width; NaN where not
            known. No method's own opinion, so that it treats all alike.
    """

    stamps: np.ndarray
    true_blur: np.ndarray
    answers: list[Answers]

    @property
    def least_blur(self) -> float:
        """True blur, px, from which a frame is one of the most blurred fifth."""
        return float(np.nanquantile(self.true_blur, 1 - _MOST_BLURRED))


def compare(
    frames: Frames,
    runs: dict[SignResolution, Run],
    motions: dict[str, Motion],
    ground_truth: GroundTruth,
    shutter: Shutter,
    motion_model: MotionModel,
) -> Comparison:
    """Hold all methods against the ground truth.

    Ours is there with the sign by the previous frame (causal), by the next one too (centered), and by the ground truth
    (oracle); a frame whose sign is open has no answer. What other systems say about the motion between frames is
    compared as such, and, at a frame, as the mean of the motions before and after it, weighted by time.

    Args:
        runs: those of `COMPARED`, with `measurement` auto.
        motions: per baseline.
        shutter: of all frames.

    Raises:
        InputError: the exposure or the ground truth is known at no frame.
    """
    if shutter.exposure is None:
        raise InputError("the exposure time is not known, so there is nothing to compare with")
    mids = np.array([shutter.mid_exposure(int(stamp), shutter.exposure) for stamp in frames.times], np.int64)
    at_frame = ground_truth.at(mids, shutter.exposure + shutter.readout_time)
    true_blur = _blur(frames.camera, at_frame[1], shutter.exposure)
    if not np.isfinite(true_blur).any():
        raise InputError("no frame has ground truth at its mid-exposure, so there is nothing to compare with")
    nothing = _unknown(len(mids))
    unanswered = VelocityPairs(mids, nothing[0], nothing[1], *at_frame)
    answers = list(_ours(frames, runs, ground_truth, unanswered, motion_model))
    dt = np.diff(mids, prepend=mids[0])
    halfway = mids - dt // 2
    since_last = _unknown(len(mids))
    if len(mids) > 1:
        since_last[:, 1:] = ground_truth.at(halfway[1:], dt[1:] * 1e-9)
    for name, motion in motions.items():
        scaled, scales = with_scale(motion, since_last[0])
        linear, angular = (_at_frames(mean, dt) for mean in (scaled.linear, scaled.angular))
        pairs = {
            AT_THE_FRAME: VelocityPairs(mids, linear, angular, *at_frame),
            SINCE_LAST: VelocityPairs(halfway, scaled.linear, scaled.angular, *since_last),
        }
        answers += [Answers(name, what, one, motion.seconds, motion.failures, scales) for what, one in pairs.items()]
    return Comparison(mids, true_blur, answers)


def figures(comparison: Comparison) -> dict:
    """Compute the content of "baselines" in metrics.json. Figures that cannot be computed are None."""
    groups = {"all": np.ones(len(comparison.stamps), bool), "blurred": comparison.true_blur >= comparison.least_blur}
    rows = []
    for answers in comparison.answers:
        row: dict[str, Any] = {"method": answers.method, "velocity": answers.velocity}
        row |= {name: _group(answers.pairs, chosen) for name, chosen in groups.items()}
        row["ms_per_frame"] = 1e3 * answers.seconds if np.isfinite(answers.seconds) else None
        rows.append(row | {"failures": answers.failures, "scales": answers.scales})
    return {"frames": len(comparison.stamps), "blurred_from_px": comparison.least_blur, "rows": rows}


def table(of: dict) -> str:
    """Write the `figures` as a Markdown table, and below it why answers are missing."""
    blurred = f"≥ {of['blurred_from_px']:.1f} px"
    columns = ["answered", "RMSE ω x, y, z [rad/s]", "RMSE v x, y, z [m/s]"]
    columns = ["method", "velocity", *columns, *(f"{blurred}: {column}" for column in columns), "ms/frame"]
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines = []
    for row in of["rows"]:
        groups = (row["all"], row["blurred"])
        cells = [
            text
            for group in groups
            for text in (_share(group), _numbers(group["rmse_angular"]), _numbers(group["rmse_linear"]))
        ]
        time = "–" if row["ms_per_frame"] is None else f"{row['ms_per_frame']:.0f}"
        lines.append("| " + " | ".join([row["method"], row["velocity"], *cells, time]) + " |")
    missing = {
        f"- {row['method']}: {count} frames without an answer: {reason}"
        for row in of["rows"]
        for reason, count in row["failures"].items()
    }
    return "\n".join([*head, *lines, *([""] if missing else []), *sorted(missing)]) + "\n"


def _ours(
    frames: Frames,
    runs: dict[SignResolution, Run],
    ground_truth: GroundTruth,
    at_frame: VelocityPairs,
    motion_model: MotionModel,
) -> Iterator[Answers]:
    for name, velocity in (("single", AT_THE_FRAME), ("auto", PUBLISHED)):
        for sign_resolution in (*COMPARED, ORACLE):
            run = runs[SignResolution.CAUSAL if sign_resolution == ORACLE else SignResolution(sign_resolution)]
            answered, rows = _answered(frames, run.single if name == "single" else run.results)
            samples = samples_of(answered, ground_truth, motion_model, mean=True)
            if sign_resolution == ORACLE:
                samples = with_true_sign(samples)
            counts = {
                "direction open": int((~samples.published & ~samples.held_back).sum()),
                "held back for its exposure": int(samples.held_back.sum()),
                "no estimate": len(frames) - len(samples),
            }
            yield Answers(
                f"ours, {name}, {sign_resolution}",
                velocity,
                _placed(samples, rows, at_frame),
                seconds=float(samples.seconds.mean()) if len(samples) else np.nan,
                failures={reason: count for reason, count in counts.items() if count},
            )


def _answered(frames: Frames, results: Results) -> tuple[Results, np.ndarray]:
    """Find the results of frames, and the numbers of these frames."""
    by_stamp = {result.estimate.header_stamp: index for index, result in enumerate(results)}
    rows = [row for row, stamp in enumerate(frames.stamps.tolist()) if stamp in by_stamp]
    return results.select(by_stamp[int(frames.stamps[row])] for row in rows), np.array(rows, int)


def _placed(samples: Samples, rows: np.ndarray, at_frame: VelocityPairs) -> VelocityPairs:
    """Put what is published in the rows of its frames. Rows without a sample stay as `at_frame`."""
    stamps, true_linear, true_angular = (
        values.copy() for values in (at_frame.stamps, at_frame.true_linear, at_frame.true_angular)
    )
    linear, angular = _unknown(len(at_frame))
    chosen = samples.published
    linear[rows[chosen]], angular[rows[chosen]] = samples.linear[chosen], samples.angular[chosen]
    stamps[rows], true_linear[rows], true_angular[rows] = samples.stamps, samples.true_linear, samples.true_angular
    return VelocityPairs(stamps, linear, angular, true_linear, true_angular)


def _unknown(count: int) -> np.ndarray:
    """(2, N, 3) NaN: linear and angular."""
    return np.full((2, count, 3), np.nan)


def _at_frames(mean: np.ndarray, dt: np.ndarray) -> np.ndarray:
    """Mean velocities since the frame before (N, 3) → at the frames (N, 3), interpolated between halfway points."""
    at_frames = np.full_like(mean, np.nan)
    before, after = dt[1:-1, None], dt[2:, None]
    at_frames[1:-1] = (mean[1:-1] * after + mean[2:] * before) / (before + after)
    return at_frames


def _blur(camera: Camera, angular: np.ndarray, exposure: float) -> np.ndarray:
    """(N,) mean length of the blur, px at 320 px image width, that rotations (N, 3), rad/s, make during an exposure."""
    small = camera.resize(320, max(8, round(320 * camera.height / camera.width)))
    matrix = MotionFieldMatrix.at(small, cell_centres(small.height // 8, small.width // 8, 8)).angular
    flow = np.einsum("cij,nj->nci", matrix[np.isfinite(matrix).all((1, 2))], angular)
    return exposure * np.linalg.norm(flow, axis=2).mean(1)


def _group(pairs: VelocityPairs, chosen: np.ndarray) -> dict:
    has_ground_truth = chosen & np.isfinite(pairs.true_angular).all(1)
    answered = has_ground_truth & np.isfinite(pairs.angular).all(1)
    return {
        "frames": int(has_ground_truth.sum()),
        "answered": int(answered.sum()),
        "rmse_angular": rmse(pairs.angular_error[answered]),
        "rmse_linear": rmse(pairs.linear_error[answered]),
    }


def _share(group: dict) -> str:
    return f"{group['answered']}/{group['frames']} ({group['answered'] / max(group['frames'], 1):.0%})"


def _numbers(values: list[float] | None) -> str:
    return "–" if values is None else ", ".join(f"{value:.3f}" for value in values)
