"""What evaluate says in figures: a table of frames in a file, and a summary on the screen."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from image_as_imu_ros.evaluation import comparison
from image_as_imu_ros.evaluation.evaluation import Evaluation
from image_as_imu_ros.evaluation.metrics import Samples
from image_as_imu_ros.evaluation.run import Run

_STAGES = ("decode", "prepare", "network", "solve", "align", "sign")


def write_frames(path: Path, run: Run, samples: Samples) -> None:
    """One row per frame: SI units, camera's optical frame, standard deviations as sigma_*, empty where not known."""
    sigma = np.sqrt(np.einsum("nii->ni", samples.covariance))
    vectors = {
        "angular": samples.angular,
        "linear": samples.linear,
        "sigma_angular": sigma[:, 3:],
        "sigma_linear": sigma[:, :3],
        "truth_angular": samples.true_angular,
        "truth_linear": samples.true_linear,
    }
    names = [f"{name}_{axis}" for name in vectors for axis in "xyz"]
    quality = ("mean_flow_px", "residual", "inliers", "log_likelihood_ratio")
    quality += ("direction_resolved", "direction_probability", "exposure_s")
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
                result.log_likelihood_ratio,
                int(result.resolved),
                result.sign_probability,
                result.exposure,
                *(1e3 * result.seconds[stage] for stage in _STAGES),
            ]
            texts = ("" if np.isnan(number) else f"{number:.6g}" for number in numbers)
            writer.writerow([result.stamp, result.measurement, result.rejection, *texts])


def print_summary(evaluation: Evaluation, output: Path) -> None:
    """Print what metrics.json holds, and what became of all frames, whose results are in `output`."""
    figures, run, ground_truth = evaluation.figures, evaluation.run, evaluation.ground_truth
    print(f"{figures['frames']} frames, exposure {1e3 * figures['exposure_s']:.2f} ms ({evaluation.exposure_origin})")
    print(", ".join(f"{count} {what}" for what, count in answers(run).items()))
    for doubt, count in rejections(run).items():
        print(f"{count} frames not aligned: {doubt}")
    if ground_truth is None:
        print("no ground truth in the recording: nothing to compare with")
    else:
        for name, *values in summary(evaluation):
            print(f"{name:<30}" + "".join(f"{value:>22}" for value in values))
        for name, of_one in (("published", figures), *figures["measurements"].items()):
            covariance = of_one["covariance"]
            print(
                f"{name}: RMSE ω {vector(of_one['all']['rmse_angular'])} rad/s on {of_one['all']['frames']} frames; "
                f"mean normalised error squared ω {number(covariance['nees_angular'], '.2f')}, "
                f"v {number(covariance['nees_linear'], '.2f')} (3 is honest); "
                f"ω inside its 95 % ellipsoid {number(covariance['coverage95_angular'], '.1%')}"
            )
        frame_ids = {result.frame_id for result in run.results}
        if ground_truth.frame_id and frame_ids != {ground_truth.frame_id}:
            print(
                f"note: the truth is in frame {ground_truth.frame_id!r}, the images in "
                f"{', '.join(sorted(frame_ids))!r}; it is compared as it is"
            )
    if "baselines" in figures:
        print(comparison.table(figures["baselines"]))
    print(f"time per frame: median {figures['time_ms']['p50']:.1f} ms, 95 % {figures['time_ms']['p95']:.1f} ms")
    print(f"results in {output}, to be looked at: {output / 'report.html'}")
    for reason, count in run.refused.items():
        print(f"{count} frames were not used: {reason}", file=sys.stderr)


def summary(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Rows of (figure, over all frames with truth, over the blurred ones), the first one being the head."""
    figures, samples = evaluation.figures, evaluation.decided
    groups = figures["all"], figures["blurred"]
    chosen = samples.has_ground_truth, samples.has_ground_truth & samples.blurred
    rows = [
        ("", "frames with truth", "with ≥ 4 px of blur"),
        ("frames", *(str(group["frames"]) for group in groups)),
        ("RMSE ω x y z [rad/s]", *(vector(group["rmse_angular"]) for group in groups)),
        ("RMSE v x y z [m/s]", *(vector(group["rmse_linear"]) for group in groups)),
    ]
    for key, name, form in (
        ("axis_error_deg", "rotation axis [°]", ".1f"),
        ("magnitude_ratio", "|ω| estimate / truth", ".2f"),
    ):
        rows += [(f"{name} {part}", *(number(group[key][part], form) for group in groups)) for part in groups[0][key]]
    known = (samples.resolved[mask] for mask in chosen)
    return [
        *rows,
        ("direction correct", *(number(group["direction_correct"], ".1%") for group in groups)),
        ("direction known on", *(number(mask.mean() if len(mask) else None, ".1%") for mask in known)),
    ]


def answers(run: Run) -> Counter[str]:
    """How many frames were answered by which measurement, and how many were not."""
    kinds = Counter(result.measurement for result in run.results)
    kinds["without an answer"] = run.frames - len(run.results)
    return +kinds


def rejections(run: Run) -> Counter[str]:
    """How many frames could not be aligned, by reason; reasons that differ in numbers only count as the first."""
    counts, first = Counter(), {}
    for rejection in (result.rejection for result in run.results if result.rejection):
        counts[first.setdefault(re.sub(r"[\d.]+", "#", rejection), rejection)] += 1
    return counts


def number(value: float | None, form: str) -> str:
    """A figure in a format, or a dash."""
    return "–" if value is None else format(value, form)


def vector(values: list[float] | None) -> str:
    return "–" if values is None else " ".join(f"{value:.3f}" for value in values)
