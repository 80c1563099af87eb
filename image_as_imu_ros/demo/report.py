"""Answers against ground truth: the live line, the table and the two plots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from geometry_msgs.msg import Vector3

from image_as_imu_ros.demo import motion
from image_as_imu_ros.demo.listener import Answer
from image_as_imu_ros.demo.recording import CAMERA, EXPOSURE, RATE, Recording
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.metrics import metrics
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.evaluation.report.plots import plot_time_series
from image_as_imu_ros.evaluation.samples import Samples
from image_as_imu_ros.messages.image_files import write_image_file

_STAMP_TOLERANCE = 1_000_000  # ns
_MOST_OVERWRITTEN = 0.1  # of the frames, on a machine that keeps up


@dataclass(frozen=True)
class Comparison:
    """All frames of the recording, answered or not.

    Attributes:
        samples: (N,) estimates, NaN where the node did not answer, and ground truth.
        aligned: (N,) bool, whether an answer is about the time since the frame before, not of a frame alone.
        latency: (N,) s, from the end of the exposure, when the camera sends a frame, to the Imu's arrival in the demo;
            NaN where the node did not answer.
    """

    samples: Samples
    aligned: np.ndarray
    latency: np.ndarray

    @classmethod
    def of(cls, answers: dict[int, Answer], start: int, recording: Recording, motion_model: MotionModel) -> Comparison:
        """Match complete answers with frames by their stamps.

        Args:
            answers: by stamp, ns: mid-exposure of a frame, or halfway from the one before.
            start: stamp of the recording's time 0, ns.
            recording: what was played.
            motion_model: the node's.
        """
        count = len(recording)
        middles = start + np.round(1e9 * recording.times).astype(np.int64)
        stamps = middles.copy()
        linear, angular, covariance, latency = (
            np.full(shape, np.nan) for shape in ((count, 3), (count, 3), (count, 6, 6), (count,))
        )
        for stamp, answer in answers.items():
            frame = int(np.searchsorted(middles, stamp - _STAMP_TOLERANCE))
            if answer.twist and answer.imu and answer.imu_arrival and 0 <= frame < count:
                twist = answer.twist.twist
                stamps[frame] = stamp
                angular[frame] = _vector(twist.twist.angular)
                if motion_model == MotionModel.FULL:
                    linear[frame] = _vector(twist.twist.linear)
                covariance[frame] = np.reshape(twist.covariance, (6, 6))
                latency[frame] = (answer.imu_arrival - middles[frame]) * 1e-9 - EXPOSURE / 2
        times = (stamps - start) * 1e-9
        samples = Samples(
            stamps=stamps,
            linear=linear,
            angular=angular,
            covariance=covariance,
            true_linear=motion.linear_velocity(times),
            true_angular=motion.angular_velocity(times),
            mean_flow=np.full(count, np.nan),
            resolved=np.ones(count, bool),
            held_back=np.zeros(count, bool),
            seconds=np.full(count, np.nan),
        )
        return cls(samples, stamps < middles - _STAMP_TOLERANCE, latency)

    @property
    def answered(self) -> np.ndarray:
        """(N,) bool."""
        return np.isfinite(self.latency)


def live_line(comparison: Comparison, second: int) -> str:
    """Sum up one second of the recording in one line; ω is that of its last answered frame."""
    numbers = np.arange(len(comparison.latency))
    recent = np.flatnonzero(comparison.answered & (numbers // int(RATE) == second))
    if not len(recent):
        return f"{second + 1:3d} s    no answers"
    samples = comparison.samples.select(recent[-1])
    return (
        f"{second + 1:3d} s   {len(recent):3d} Hz   latency {1e3 * np.median(comparison.latency[recent]):5.1f} ms   "
        f"ω estimated {_signed(samples.angular)}   true {_signed(samples.true_angular)} rad/s"
    )


def table(comparison: Comparison, diagnostics: dict[str, str]) -> str:
    """Tabulate the figures of the whole run; the node's diagnostics say what became of unanswered frames."""
    samples = comparison.samples.select(comparison.answered)
    of_all = metrics(samples, EXPOSURE)
    figures, covariance = of_all["all"], of_all["covariance"]
    p50, p95 = 1e3 * np.percentile(comparison.latency[comparison.answered], [50, 95])
    sent, answered, aligned = len(comparison.latency), len(samples), int(comparison.aligned.sum())
    withheld, overwritten = (int(diagnostics.get(name, 0)) for name in ("ambiguous", "overwritten"))
    rows = [
        ("", "       x       y       z"),
        ("ω  RMS error (rad/s)", _row(figures["rmse_angular"])),
        ("ω  RMS ground truth", _row(_rms(samples.true_angular))),
        ("v  RMS error (m/s)", _row(figures["rmse_linear"])),
        ("v  RMS ground truth", _row(_rms(samples.true_linear))),
        (
            "NEES of ω, of v",
            f"{_number(covariance['nees_angular'])}, {_number(covariance['nees_linear'])}  (3 is ideal)",
        ),
        ("sign correct", _percent(figures["direction_correct"])),
        ("latency p50, p95", f"{p50:.1f} ms, {p95:.1f} ms  (end of exposure → Imu received)"),
        ("frames answered", f"{answered} of {sent}: {aligned} aligned, {answered - aligned} single"),
        ("frames withheld", f"{withheld}  (sign not known)"),
        ("frames lost", f"{sent - answered - withheld}  ({overwritten} in the node, for a newer one)"),
    ]
    return "\n".join(f"{name:22}{value}" for name, value in rows)


def remarks(comparison: Comparison, diagnostics: dict[str, str], *, depth: bool, full: bool) -> list[str]:
    """Say what a newcomer may take for the method's own limits.

    Args:
        depth: whether the camera measured it. full: whether v was solved for.
    """
    overwritten, sent = int(diagnostics.get("overwritten", 0)), len(comparison.latency)
    said = []
    if overwritten > _MOST_OVERWRITTEN * sent:
        said.append(
            f"this machine was too slow for {RATE:.0f} frames/s: {overwritten} of {sent} were overwritten by newer "
            "ones, and those that follow them are compared over a longer time, or not at all"
        )
    if full and not depth:
        said.append("v rests on the network's depth, whose scale is a guess; with --depth the camera measures it")
    return said


def blurriest_frame(recording: Recording) -> int:
    """Find the frame in which the camera rotated fastest."""
    return int(np.argmax(np.linalg.norm(recording.angular, axis=1)))


def draw_time_series(comparison: Comparison, path: Path) -> None:
    """Write estimates with 2σ bands against ground truth."""
    plot_time_series(comparison.samples, path, title="Velocity from motion blur, through ROS 2")


def draw_streaks(recording: Recording, model: Path | str, options: EstimatorConfig, path: Path) -> None:
    """Write the most blurred frame with its streaks, estimated again here, after the frames before it."""
    blurriest = blurriest_frame(recording)
    estimator = MotionEstimator.from_model(model, options)
    for index in range(max(0, blurriest - 3), blurriest + 1):
        image = cv2.cvtColor(recording.frames[index], cv2.COLOR_BGR2RGB)
        estimate = estimator.update(Frame(image, round(1e9 * recording.times[index]), CAMERA, Shutter(EXPOSURE)))
        if index == blurriest and estimate is not None:
            write_image_file(path, draw_overlay(image, estimate))


def _vector(message: Vector3) -> tuple[float, float, float]:
    return message.x, message.y, message.z


def _signed(vector: np.ndarray) -> str:
    return "(" + " ".join(f"{value:+5.2f}" for value in vector) + ")"


def _rms(vectors: np.ndarray) -> np.ndarray:
    """Compute the root mean square (3,) of (N, 3)."""
    return np.sqrt(np.square(vectors).mean(0))


def _row(values: Iterable[float] | None) -> str:
    return "not estimated" if values is None else "".join(f"{value:8.3f}" for value in values)


def _number(value: float | None) -> str:
    return "not estimated" if value is None else f"{value:.1f}"


def _percent(fraction: float | None) -> str:
    return "not known" if fraction is None else f"{100 * fraction:.1f} % of the frames that rotate"
