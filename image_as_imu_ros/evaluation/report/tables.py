"""What an evaluation says in figures: a table of frames in a file, and a summary on the screen."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.evaluation.baselines import comparison
from image_as_imu_ros.evaluation.estimator_run import Run
from image_as_imu_ros.evaluation.evaluate import Evaluation
from image_as_imu_ros.evaluation.kept_estimates import STAGES, Result
from image_as_imu_ros.evaluation.samples import Samples
from image_as_imu_ros.messages.camera_info import tf_frame

_QUALITY = (
    *("mean_flow_px", "residual", "inliers", "log_likelihood_ratio"),
    *("direction_resolved", "direction_probability", "exposure_s", "held_back"),
)


_PER_AXIS = (
    ("RMSE ω", "rad/s", "rmse_angular"),
    ("RMSE v", "m/s", "rmse_linear"),
    ("bias ω", "rad/s", "bias_angular"),
    ("bias v", "m/s", "bias_linear"),
)
_DISTRIBUTIONS = (
    ("error of ω [rad/s]", "error_angular", ".3f"),
    ("error of v [m/s]", "error_linear", ".3f"),
    ("rotation axis [°]", "axis_error_deg", ".1f"),
    ("|ω| estimate / ground truth", "magnitude_ratio", ".2f"),
    ("direction of v [°]", "linear_direction_error_deg", ".1f"),
    ("|v| estimate / ground truth", "linear_magnitude_ratio", ".2f"),
)


def write_frames(path: Path, run: Run, samples: Samples) -> None:
    """Write a row per frame: SI units, optical frame, standard deviations as sigma_*, empty where not known.

    The columns truth_* are there where any frame has ground truth.
    """
    sigma = np.sqrt(np.einsum("nii->ni", samples.covariance))
    vectors = {
        "angular": samples.angular,
        "linear": samples.linear,
        "sigma_angular": sigma[:, 3:],
        "sigma_linear": sigma[:, :3],
    }
    if samples.has_ground_truth.any():
        vectors |= {"truth_angular": samples.true_angular, "truth_linear": samples.true_linear}
    names = [f"{name}_{axis}" for name in vectors for axis in "xyz"]
    stages = [f"{stage}_ms" for stage in STAGES]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stamp_ns", "measurement", "alignment_doubt", *names, *_QUALITY, *stages])
        for result, values in zip(run.results, np.concatenate(list(vectors.values()), axis=1), strict=True):
            texts = ("" if np.isnan(value) else f"{value:.6g}" for value in (*values, *_quality(result)))
            writer.writerow([result.estimate.stamp, result.estimate.measurement, result.rejection, *texts])


def _quality(result: Result) -> list[float]:
    """Values of `_QUALITY` and of the stages."""
    estimate = result.estimate
    return [
        estimate.mean_flow,
        estimate.residual,
        estimate.inliers,
        estimate.log_likelihood_ratio,
        int(estimate.sign_resolved),
        estimate.sign_probability,
        estimate.exposure,
        int(result.held_back),
        *(1e3 * estimate.seconds[stage] for stage in STAGES),
    ]


def print_summary(evaluation: Evaluation, output: Path) -> None:
    """Print what metrics.json holds, and what became of all frames, whose results are in `output`."""
    figures, run = evaluation.figures, evaluation.run
    print(f"{figures['frames']} frames, exposure {1e3 * figures['exposure_s']:.2f} ms ({evaluation.exposure_origin})")
    if evaluation.exposure_complaint:
        print(f"WARNING: {evaluation.exposure_complaint}")
    print(", ".join(f"{count} {what}" for what, count in answers(run).items()))
    if evaluation.config.depth_topic and evaluation.config.estimator.motion_model == MotionModel.FULL:
        print(f"{run.with_depth} of {len(run.results)} frames with measured depth (else the network's)")
    for note, count in run.notes.items():
        print(f"note on {count} frames: {note}")
    if count := figures["held_back"]:
        print(f"{count} velocities held back, as by the node: the images contradict their exposure by more than 3")
    for rejection, count in rejections(run).items():
        print(f"{count} frames not aligned: {rejection}")
    if evaluation.ground_truth is None:
        print("the recording holds nothing to compare with")
    else:
        _print_errors(evaluation, evaluation.ground_truth.frame_id)
    if "baselines" in figures:
        print(comparison.table(figures["baselines"]))
    print(f"time per frame: median {figures['time_ms']['p50']:.1f} ms, 95 % {figures['time_ms']['p95']:.1f} ms")
    print(f"results in {output}, to be seen in {output / 'report.html'}")
    for reason, count in run.refused.items():
        print(f"{count} frames were not used: {reason}", file=sys.stderr)


def _print_errors(evaluation: Evaluation, ground_truth_frame: str) -> None:
    figures = evaluation.figures
    print(f"compared with {evaluation.settings['ground truth']}")
    if evaluation.ground_truth_complaint:
        print(f"WARNING: the ground truth does not fit: {evaluation.ground_truth_complaint}")
    if figures["constant_error"] and figures["constant_error"]["complaint"]:
        print(f"WARNING: {figures['constant_error']['complaint']}")
    for name, *values in summary(evaluation):
        print(f"{name:<34}" + "".join(f"{value:>26}" for value in values))
    for name, of_one in (("published", figures), *figures["measurements"].items()):
        covariance = of_one["covariance"]
        print(
            f"{name}: {_rmse_with_count(of_one['all'])}; "
            f"mean normalised error squared {nees(covariance)} (3 is honest, of the median 2.4); "
            f"inside their 95 % ellipsoid: ω {number(covariance['coverage95_angular'], '.1%')}, "
            f"v {number(covariance['coverage95_linear'], '.1%')}"
        )
        mean = of_one["mean_over_dt"]
        print(
            f"{name}, against the mean over dt: RMSE ω {vector(mean['rmse_angular'])} rad/s; mean normalised error "
            f"squared {nees(mean)}"
        )
    frame_ids = {tf_frame(result.frame_id) for result in evaluation.run.results}
    if ground_truth_frame and frame_ids != {tf_frame(ground_truth_frame)}:
        print(
            f"note: the ground truth is in frame {ground_truth_frame!r}, the images in "
            f"{', '.join(sorted(frame_ids))!r}; it is compared as it is"
        )


def _rmse_with_count(group: dict) -> str:
    """Write the RMSE of ω, and on how many frames it is: fewer than have ground truth, where signs are open."""
    if not group["frames_angular"]:
        return "no RMSE ω, as no frame has a known sign and a true ω"
    return f"RMSE ω {vector(group['rmse_angular'])} rad/s on {group['frames_angular']} frames"


def summary(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """List rows of (figure, over all frames with ground truth, over the blurred ones), the first one being the head."""
    figures, decided = evaluation.figures, evaluation.decided
    samples = decided.select(~decided.held_back)
    groups = figures["all"], figures["blurred"]

    def row(name: str, key: str, write: Callable[[Any], str], part: str = "") -> tuple[str, str, str]:
        all_frames, blurred = (write(group[key][part] if part else group[key]) for group in groups)
        return f"{name} {part}".rstrip(), all_frames, blurred

    rows = [("", "frames with ground truth", "with ≥ 4 px of blur"), row("frames", "frames", str)]
    rows += [row(f"{name} x y z [{unit}]", key, vector) for name, unit, key in _PER_AXIS]
    for name, key, form in _DISTRIBUTIONS:
        rows += [row(name, key, partial(number, form=form), part) for part in groups[0][key]]
    rows.append(row("sign correct", "direction_correct", partial(number, form=".1%")))
    known = [samples.resolved[mask] for mask in (samples.has_ground_truth, samples.has_ground_truth & samples.blurred)]
    all_frames, blurred = (number(mask.mean() if len(mask) else None, ".1%") for mask in known)
    rows.append(("sign known on", all_frames, blurred))
    return [*rows, ("rotation off after 10 s [°]", number(figures["rotation_drift_deg_10s"], ".1f"), "")]


def answers(run: Run) -> Counter[str]:
    """Count the frames that were answered by each measurement, and those that were not."""
    kinds = Counter(str(result.estimate.measurement) for result in run.results)
    kinds["without an answer"] = run.frames - len(run.results)
    return +kinds


def rejections(run: Run) -> Counter[str]:
    """Count the frames that could not be aligned by reason; reasons that differ in numbers only are the first's."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for rejection in (result.rejection for result in run.results if result.rejection):
        counts[first.setdefault(re.sub(r"[\d.]+", "#", rejection), rejection)] += 1
    return counts


def nees(covariance: dict) -> str:
    """Write the mean and median normalised errors squared of ω and v."""
    return ", ".join(
        f"{symbol} {number(covariance[f'nees_{name}'], '.2f')} "
        f"(median {number(covariance[f'nees_median_{name}'], '.2f')})"
        for symbol, name in (("ω", "angular"), ("v", "linear"))
    )


def number(value: float | None, form: str) -> str:
    """Write a figure in a format, or a dash."""
    return "–" if value is None else format(value, form)


def vector(values: list[float] | None) -> str:
    """Write three figures, or a dash."""
    return "–" if values is None else " ".join(f"{value:.3f}" for value in values)
