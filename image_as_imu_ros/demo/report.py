"""Answers against truth: the live line, the table and the two pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.demo.listener import Answer
from image_as_imu_ros.demo.recording import CAMERA, EXPOSURE, RATE, Recording
from image_as_imu_ros.estimator import Frame, MotionEstimator, Options
from image_as_imu_ros.overlay import draw_overlay
from image_as_imu_ros.replay.metrics import Samples, metrics
from image_as_imu_ros.replay.plots import plot_time_series


@dataclass(frozen=True)
class Comparison:
    """The frames that the node answered.

    Attributes:
        frames: (N,) their numbers in the recording, rising.
        samples: estimates and truth.
        latency: (N,) s, from the end of the exposure, when the camera sends a frame, to the Imu's arrival in the demo.
        sent: how many frames the camera sent.
    """

    frames: np.ndarray
    samples: Samples
    latency: np.ndarray
    sent: int

    @classmethod
    def of(cls, answers: dict[int, Answer], start: int, recording: Recording, motion_model: str) -> Comparison:
        """Match complete answers with frames by their stamps.

        Args:
            answers: by stamp of mid-exposure, ns.
            start: stamp of the recording's time 0, ns.
        """
        complete = {stamp: answer for stamp, answer in sorted(answers.items()) if answer.imu and answer.twist}
        stamps = np.array(list(complete), dtype=np.int64)
        frames = np.round(((stamps - start) * 1e-9 - EXPOSURE / 2) * RATE).astype(int)
        twists = [answer.twist.twist for answer in complete.values()]
        linear = np.array([_vector(twist.twist.linear) for twist in twists]).reshape(-1, 3)
        if motion_model == "rotation":
            linear[:] = np.nan
        arrivals = np.array([answer.imu_arrival for answer in complete.values()], dtype=np.int64)
        unknown = np.full(len(stamps), np.nan)
        samples = Samples(
            stamps=stamps,
            linear=linear,
            angular=np.array([_vector(twist.twist.angular) for twist in twists]).reshape(-1, 3),
            covariance=np.array([twist.covariance for twist in twists]).reshape(-1, 6, 6),
            truth_linear=recording.linear[frames],
            truth_angular=recording.angular[frames],
            mean_flow=unknown,
            resolved=np.ones(len(stamps), bool),
            seconds=unknown,
        )
        return cls(frames, samples, (arrivals - stamps) * 1e-9 - EXPOSURE / 2, len(recording))

    def select(self, chosen: np.ndarray) -> Comparison:
        """The frames at a mask."""
        return Comparison(self.frames[chosen], self.samples.select(chosen), self.latency[chosen], self.sent)


def live_line(comparison: Comparison, second: int) -> str:
    """One second of the recording in one line; ω is that of its last answered frame."""
    recent = comparison.select(comparison.frames // int(RATE) == second)
    if not len(recent.frames):
        return f"{second + 1:3d} s    no answers"
    estimate, truth = recent.samples.angular[-1], recent.samples.truth_angular[-1]
    return (
        f"{second + 1:3d} s   {len(recent.frames):3d} Hz   latency {1e3 * np.median(recent.latency):5.1f} ms   "
        f"ω estimated {_signed(estimate)}   true {_signed(truth)} rad/s"
    )


def table(comparison: Comparison, diagnostics: dict[str, str]) -> str:
    """The figures of the whole run; the node's diagnostics say what became of unanswered frames."""
    figures = metrics(comparison.samples, EXPOSURE)["all"]
    p50, p95 = 1e3 * np.percentile(comparison.latency, [50, 95])
    true_angular, true_linear = (
        np.sqrt(np.square(truth).mean(0))
        for truth in (comparison.samples.truth_angular, comparison.samples.truth_linear)
    )
    answered = len(comparison.frames)
    withheld, overwritten = (int(diagnostics.get(name, 0)) for name in ("ambiguous", "overwritten"))
    rows = [
        ("", "       x       y       z"),
        ("ω  RMS error (rad/s)", _row(figures["rmse_angular"])),
        ("ω  RMS of the truth", _row(true_angular)),
        ("v  RMS error (m/s)", _row(figures["rmse_linear"])),
        ("v  RMS of the truth", _row(true_linear)),
        ("direction correct", _percent(figures["direction_correct"])),
        ("latency p50, p95", f"{p50:.1f} ms, {p95:.1f} ms  (end of exposure → Imu received)"),
        ("frames answered", f"{answered} of {comparison.sent}"),
        ("frames withheld", f"{withheld}  (direction not known)"),
        ("frames lost", f"{comparison.sent - answered - withheld}  ({overwritten} in the node, for a newer one)"),
    ]
    return "\n".join(f"{name:22}{value}" for name, value in rows)


def draw_time_series(comparison: Comparison, path: Path) -> None:
    """Write estimates with 2σ bands against the truth."""
    plot_time_series(comparison.samples, path, title="Velocity from motion blur, through ROS 2")


def draw_streaks(recording: Recording, model: Path | str, options: Options, path: Path) -> None:
    """Write the most blurred frame with its streaks, estimated again here, after the frames before it."""
    blurriest = int(np.argmax(np.linalg.norm(recording.angular, axis=1)))
    estimator = MotionEstimator.from_model(model, options)
    for index in range(max(0, blurriest - 3), blurriest + 1):
        image = cv2.cvtColor(recording.frames[index], cv2.COLOR_BGR2RGB)
        estimate = estimator.update(Frame(image, round(1e9 * recording.times[index]), CAMERA, EXPOSURE))
    cv2.imwrite(str(path), draw_overlay(image, estimate))


def _vector(message) -> tuple[float, float, float]:
    return message.x, message.y, message.z


def _signed(vector: np.ndarray) -> str:
    return "(" + " ".join(f"{value:+5.2f}" for value in vector) + ")"


def _row(values) -> str:
    return "not estimated" if values is None else "".join(f"{value:8.3f}" for value in values)


def _percent(fraction: float | None) -> str:
    return "not known" if fraction is None else f"{100 * fraction:.1f} % of the frames that turn"
