"""Ours and other systems, frame by frame against the same truth: one table and one plot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, with_scale
from image_as_imu_ros.evaluation.metrics import Samples, with_true_sign
from image_as_imu_ros.evaluation.run import Run, Timing, samples_of
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

AT_THE_FRAME = "at the frame"
SINCE_LAST = "since the frame before"
PUBLISHED = "as published"

_MOST_BLURRED = 0.2  # of the frames


@dataclass(frozen=True)
class Answers:
    """What one method said about each of N frames, and what was true at the same time. NaN where not known.

    Attributes:
        velocity: which one it is: AT_THE_FRAME: over the exposure. SINCE_LAST: mean from one mid-exposure to the next.
            PUBLISHED: the one or the other, as the method chose.
        stamps: (N,) int64 ns, what time the velocity is about.
        linear, angular, truth_linear, truth_angular: (N, 3) m/s and rad/s, camera's optical frame.
        seconds: spent per frame.
        failures: reason → number of frames without an answer because of it.
        scales: of the pieces of a trajectory, as they were fitted to the truth.
    """

    method: str
    velocity: str
    stamps: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    true_linear: np.ndarray
    true_angular: np.ndarray
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
    runs: dict[str, Run],
    motions: dict[str, Motion],
    ground_truth: GroundTruth,
    timing: Timing,
    motion_model: str,
) -> Comparison:
    """Hold all methods against the truth.

    Ours stands there with the direction by the previous frame (causal), by the next one too (centered), and by the
    truth (oracle); a frame whose direction is open has no answer. What other systems say about the motion between
    frames is compared as such, and, at a frame, as the mean of the motions before and after it, weighted by time.

    Args:
        runs: "causal" and "centered", with `measurement` auto.
        motions: per baseline.
        timing: with a known exposure.

    Raises:
        InputError: the truth is known at no frame.
    """
    mids = np.array([timing.mid_exposure(int(stamp)) for stamp in frames.stamps], np.int64)
    at_frame = ground_truth.at(mids, timing.exposure + timing.readout_time)
    true_blur = _blur(frames.camera, at_frame[1], timing.exposure)
    if not np.isfinite(true_blur).any():
        raise InputError("no frame has truth at its mid-exposure, so there is nothing to compare with")
    answers = list(_ours(frames, runs, ground_truth, mids, at_frame, motion_model))
    gaps = np.diff(mids, prepend=mids[0])
    halfway = mids - gaps // 2
    since_last = np.full((2, len(mids), 3), np.nan)
    if len(mids) > 1:
        since_last[:, 1:] = ground_truth.at(halfway[1:], gaps[1:] * 1e-9)
    for name, motion in motions.items():
        scaled, scales = with_scale(motion, since_last[0])
        linear, angular = (_at_frames(mean, gaps) for mean in (scaled.linear, scaled.angular))
        about = motion.seconds, motion.failures, scales
        answers.append(Answers(name, AT_THE_FRAME, mids, linear, angular, *at_frame, *about))
        answers.append(Answers(name, SINCE_LAST, halfway, scaled.linear, scaled.angular, *since_last, *about))
    return Comparison(mids, true_blur, answers)


def figures(comparison: Comparison) -> dict:
    """The content of "baselines" in metrics.json. Figures that cannot be computed are None."""
    groups = {"all": np.ones(len(comparison.stamps), bool), "blurred": comparison.true_blur >= comparison.least_blur}
    rows = []
    for answers in comparison.answers:
        row = {"method": answers.method, "velocity": answers.velocity}
        row |= {name: _group(answers, chosen) for name, chosen in groups.items()}
        row["ms_per_frame"] = 1e3 * answers.seconds if np.isfinite(answers.seconds) else None
        rows.append(row | {"failures": answers.failures, "scales": answers.scales})
    return {"frames": len(comparison.stamps), "blurred_from_px": comparison.least_blur, "rows": rows}


def table(of: dict) -> str:
    """The `figures` as a Markdown table, and below it why answers are missing."""
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
    runs: dict[str, Run],
    ground_truth: GroundTruth,
    mids: np.ndarray,
    at_frame: tuple[np.ndarray, np.ndarray],
    motion_model: str,
) -> Iterator[Answers]:
    for name, velocity in (("single", AT_THE_FRAME), ("auto", PUBLISHED)):
        for sign_resolution in ("causal", "centered", "oracle"):
            run = runs["causal" if sign_resolution == "oracle" else sign_resolution]
            by_stamp = {result.image_stamp: result for result in (run.single if name == "single" else run.results)}
            results = [by_stamp[stamp] for stamp in frames.stamps.tolist() if stamp in by_stamp]
            samples = samples_of(results, ground_truth, motion_model)
            if sign_resolution == "oracle":
                samples = with_true_sign(samples)
                signed = np.ones(len(samples), bool)
            else:
                signed = samples.signed
            failures = {"direction open": int((~signed).sum())} if not signed.all() else {}
            if missing := len(frames) - len(samples):
                failures["no estimate"] = missing
            rows = np.flatnonzero(np.isin(frames.stamps, list(by_stamp)))
            yield Answers(
                f"ours, {name}, {sign_resolution}",
                velocity,
                *_placed(samples, rows, signed, mids, at_frame),
                seconds=float(samples.seconds.mean()) if len(samples) else np.nan,
                failures=failures,
            )


def _placed(
    samples: Samples,
    rows: np.ndarray,
    signed: np.ndarray,
    mids: np.ndarray,
    at_frame: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, ...]:
    """Samples in the rows of their frames: stamps (N,), then linear, angular, truth_linear, truth_angular (N, 3)."""
    stamps = mids.copy()
    linear, angular = np.full_like(at_frame[0], np.nan), np.full_like(at_frame[1], np.nan)
    true_linear, true_angular = at_frame[0].copy(), at_frame[1].copy()
    linear[rows[signed]], angular[rows[signed]] = samples.linear[signed], samples.angular[signed]
    stamps[rows] = samples.stamps
    true_linear[rows], true_angular[rows] = samples.true_linear, samples.true_angular
    return stamps, linear, angular, true_linear, true_angular


def _at_frames(mean: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Mean velocities since the frame before (N, 3) → at the frames (N, 3), interpolated between halfway points."""
    at_frames = np.full_like(mean, np.nan)
    before, after = gaps[1:-1, None], gaps[2:, None]
    at_frames[1:-1] = (mean[1:-1] * after + mean[2:] * before) / (before + after)
    return at_frames


def _blur(camera: Camera, angular: np.ndarray, exposure: float) -> np.ndarray:
    """(N,) mean length of the blur, px at 320 px image width, that rotations (N, 3), rad/s, make during an exposure."""
    small = camera.resize(320, max(8, round(320 * camera.height / camera.width)))
    matrix = MotionFieldMatrix.at(small, cell_centres(small.height // 8, small.width // 8, 8)).angular
    flow = np.einsum("cij,nj->nci", matrix[np.isfinite(matrix).all((1, 2))], angular)
    return exposure * np.linalg.norm(flow, axis=2).mean(1)


def _group(answers: Answers, chosen: np.ndarray) -> dict:
    has_ground_truth = chosen & np.isfinite(answers.true_angular).all(1)
    answered = has_ground_truth & np.isfinite(answers.angular).all(1)
    return {
        "frames": int(has_ground_truth.sum()),
        "answered": int(answered.sum()),
        "rmse_angular": _rmse((answers.angular - answers.true_angular)[answered]),
        "rmse_linear": _rmse((answers.linear - answers.true_linear)[answered]),
    }


def _rmse(error: np.ndarray) -> list[float] | None:
    error = error[np.isfinite(error).all(1)]
    return np.sqrt(np.square(error).mean(0)).tolist() if len(error) else None


def _share(group: dict) -> str:
    return f"{group['answered']}/{group['frames']} ({group['answered'] / max(group['frames'], 1):.0%})"


def _numbers(values: list[float] | None) -> str:
    return "–" if values is None else ", ".join(f"{value:.3f}" for value in values)
