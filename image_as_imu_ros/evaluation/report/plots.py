"""Plots of a run: velocities, signs and exposures over time, errors over blur, reliability of covariances."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from image_as_imu_ros.evaluation.baselines.comparison import AT_THE_FRAME, PUBLISHED, SINCE_LAST, Answers, Comparison
from image_as_imu_ros.evaluation.metrics import axis_error_deg, ellipsoid_levels
from image_as_imu_ros.evaluation.samples import BLURRED_PX, Samples, sign_agrees

_ESTIMATE = "#d1495b"
_GROUND_TRUTH = "#222222"
_RIGHT, _WRONG, _OPEN, _NOT_JUDGED = "#30638e", "#d1495b", "#edae49", "#b8b8b8"
# One colour per method, in every plot.
_BY_METHOD = {"single": "#30638e", "aligned": "#edae49", "auto": _ESTIMATE}
_AXES = "xyz"
_MARKERS = {AT_THE_FRAME: ".", SINCE_LAST: "+", PUBLISHED: "x"}
_LONGEST_STEP = 4.0  # median frame intervals after which a line is interrupted


def plot_time_series(samples: Samples, path: str | Path, title: str) -> None:
    """Write ω and, if it was estimated, v over time with 2σ bands against the ground truth.

    Filled points: sign known. Hollow points: sign open. The suffix picks the format.
    """
    groups = [("ω", "rad/s", samples.angular, samples.true_angular, slice(3, 6))]
    if np.isfinite(samples.linear).any():
        groups.append(("v", "m/s", samples.linear, samples.true_linear, slice(0, 3)))
    seconds = _seconds(samples)
    deviation = np.sqrt(np.einsum("nii->ni", samples.covariance))
    figure = Figure(figsize=(7 * len(groups), 6.5), layout="constrained")
    grid = figure.subplots(3, len(groups), sharex=True, squeeze=False)
    for column, (symbol, unit, estimate, ground_truth, block) in enumerate(groups):
        for axis in range(3):
            panel = grid[axis, column]
            value = estimate[:, axis]
            _plot_band(panel, seconds, value, 2 * deviation[:, block][:, axis])
            _plot_line(panel, seconds, ground_truth[:, axis])
            _plot_points(panel, seconds, value, samples.resolved)
            # A frame without information has a huge band; it must not flatten everything else.
            extent = np.concatenate([value, ground_truth[:, axis]])
            extent = 1.25 * np.abs(extent[np.isfinite(extent)]).max(initial=0.1)
            panel.set_ylim(-extent, extent)
            panel.set_ylabel(f"{symbol}{_AXES[axis]} [{unit}]")
            panel.grid(alpha=0.25)
        grid[-1, column].set_xlabel("time [s]")
    grid[0, 0].legend(loc="upper right", ncol=4, fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _plot_band(panel: Axes, seconds: np.ndarray, value: np.ndarray, band: np.ndarray) -> None:
    breaks = _breaks(seconds)
    low, high = (np.insert(edge, breaks, np.nan) for edge in (value - band, value + band))
    panel.fill_between(
        np.insert(seconds, breaks, np.nan), low, high, color=_ESTIMATE, alpha=0.2, linewidth=0, label="2σ"
    )


def _plot_line(panel: Axes, seconds: np.ndarray, ground_truth: np.ndarray) -> None:
    """Plot the ground truth, if there is one, interrupted where nothing was seen for long."""
    if not np.isfinite(ground_truth).any():
        return
    breaks = _breaks(seconds)
    panel.plot(
        np.insert(seconds, breaks, np.nan),
        np.insert(ground_truth, breaks, np.nan),
        color=_GROUND_TRUTH,
        linewidth=1.2,
        label="ground truth",
    )


def _plot_points(panel: Axes, seconds: np.ndarray, value: np.ndarray, resolved: np.ndarray) -> None:
    size = np.clip(2000 / max(len(seconds), 1), 2, 14)
    for chosen, face, name in ((resolved, _ESTIMATE, "estimate"), (~resolved, "none", "estimate, sign open")):
        if chosen.any():
            panel.scatter(
                seconds[chosen],
                value[chosen],
                s=size,
                facecolors=face,
                edgecolors=_ESTIMATE,
                linewidths=0.6,
                label=name,
                zorder=3,
            )


def plot_error_against_blur(samples: Samples, path: str | Path, title: str) -> None:
    """Write the error of ω and of its axis over the mean blur of a frame. Frames without true ω are left out."""
    samples = samples.select(np.isfinite(samples.true_angular).all(1))
    panels = (
        ("error of ω [rad/s]", np.linalg.norm(samples.angular - samples.true_angular, axis=1)),
        ("error of the rotation axis [°]", axis_error_deg(samples)),
    )
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for panel, (label, error) in zip(figure.subplots(1, 2), panels, strict=True):
        panel.scatter(samples.mean_flow, error, s=10, color=_ESTIMATE, alpha=0.5, linewidths=0)
        panel.plot(*_running_median(samples.mean_flow, error), color=_GROUND_TRUTH, linewidth=1.8, label="median")
        panel.axvline(BLURRED_PX, color="gray", linestyle=":", label=f"{BLURRED_PX:g} px")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("mean blur [px at 320 px width]")
        panel.set_ylabel(label)
        panel.grid(alpha=0.25)
        panel.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def plot_measurements(by_measurement: dict[str, Samples], path: str | Path, title: str) -> None:
    """Write ω over time for each measurement, side by side, against the ground truth."""
    figure = Figure(figsize=(7 * len(by_measurement), 6.5), layout="constrained")
    grid = figure.subplots(3, len(by_measurement), sharex=True, sharey="row", squeeze=False)
    start = min(samples.stamps[0] for samples in by_measurement.values())
    for column, (name, samples) in enumerate(by_measurement.items()):
        seconds = (samples.stamps - start) * 1e-9
        for axis in range(3):
            panel = grid[axis, column]
            _plot_line(panel, seconds, samples.true_angular[:, axis])
            panel.scatter(
                seconds, samples.angular[:, axis], s=5, color=_BY_METHOD[name], linewidths=0, label=name, zorder=3
            )
            panel.set_ylabel(f"ω{_AXES[axis]} [rad/s]")
            panel.grid(alpha=0.25)
        grid[0, column].set_title(name)
        grid[-1, column].set_xlabel("time [s]")
    grid[0, 0].legend(loc="upper right", fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def plot_reliability(
    by_measurement: dict[str, Samples], path: str | Path, title: str, ground_truth_std: float = 0.0
) -> None:
    """Write how many confidence ellipsoids hold the ground truth over how many claim to.

    On the diagonal covariances are honest. Samples with their published signs. `ground_truth_std`: see `metrics`.
    """
    levels = {name: ellipsoid_levels(samples, ground_truth_std) for name, samples in by_measurement.items()}
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for number, (panel, symbol) in enumerate(zip(figure.subplots(1, 2), "ωv", strict=True)):
        panel.fill_between([0, 1], [0, 1], [1, 1], color="#f2f6f2", linewidth=0)
        panel.plot([0, 1], [0, 1], color="gray", linestyle=":")
        panel.text(0.03, 0.95, "too cautious", color="gray", fontsize="small")
        panel.text(0.97, 0.04, "too sure", color="gray", fontsize="small", ha="right")
        for name, of_one in levels.items():
            claimed = np.sort(of_one[number][np.isfinite(of_one[number])])
            if len(claimed):
                held = np.arange(1, len(claimed) + 1) / len(claimed)
                label = f"{name}, {len(claimed)} frames"
                panel.step(np.r_[0, claimed, 1], np.r_[0, held, 1], where="post", color=_BY_METHOD[name], label=label)
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=symbol)
        panel.set_xlabel("ellipsoids that should hold the ground truth (χ²)")
        panel.set_ylabel("ellipsoids that hold it")
        panel.grid(alpha=0.25)
        if len(panel.lines) > 1:
            panel.legend(fontsize="small", loc="center right")
        else:
            panel.text(0.5, 0.5, "nothing to compare", ha="center", color="gray")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def plot_signs(samples: Samples, path: str | Path, title: str) -> None:
    """Write for each frame over time how blurred it is and whether its sign was known and right.

    Samples with their published signs, before any oracle.
    """
    seconds = _seconds(samples)
    agrees = sign_agrees(samples)
    figure = Figure(figsize=(9, 4), layout="constrained")
    panel = figure.subplots()
    compared = bool(samples.has_ground_truth.any())
    not_judged = "known, ground truth does not tell" if compared else "known"
    for chosen, colour, name in (
        (samples.resolved & np.isnan(agrees), _NOT_JUDGED, not_judged),
        (samples.resolved & (agrees == 1), _RIGHT, "known, right"),
        (~samples.resolved, _OPEN, "open"),
        (samples.resolved & (agrees == 0), _WRONG, "known, wrong"),
    ):
        if not (compared or colour in (_NOT_JUDGED, _OPEN)):
            continue
        panel.scatter(seconds[chosen], samples.mean_flow[chosen], s=14, color=colour, label=f"{name}: {chosen.sum()}")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("time [s]")
    panel.set_ylabel("mean blur [px at 320 px width]")
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def plot_exposure(
    stamps: np.ndarray,
    used: np.ndarray,
    measured: np.ndarray,
    log_std: np.ndarray,
    path: str | Path,
    title: str,
) -> None:
    """Write exposure times over time.

    Args:
        stamps: (N,) ns.
        used: (N,) s, what velocities were computed with.
        measured, log_std: (N,) s and standard deviation of the log: what blur and alignment say; NaN where nothing.
    """
    seconds = (stamps - stamps[0]) * 1e-9
    figure = Figure(figsize=(9, 4), layout="constrained")
    panel = figure.subplots()
    panel.fill_between(
        seconds,
        1e3 * measured * np.exp(-2 * log_std),
        1e3 * measured * np.exp(2 * log_std),
        color=_ESTIMATE,
        alpha=0.2,
        linewidth=0,
        label="2σ",
    )
    panel.plot(seconds, 1e3 * measured, color=_ESTIMATE, linewidth=1.5, label="by blur and alignment")
    panel.plot(seconds, 1e3 * used, color=_GROUND_TRUTH, linestyle="--", linewidth=1.0, label="used")
    known = np.concatenate([used, measured[np.isfinite(measured)]])
    panel.set_ylim(0, 2e3 * np.median(known))
    panel.set_xlabel("time [s]")
    panel.set_ylabel("exposure time [ms]")
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def plot_comparison(comparison: Comparison, path: str | Path, title: str) -> None:
    """Write ω by ours, causal, and by every baseline: over time against the ground truth; its error over true blur."""
    chosen = [answers for answers in comparison.answers if not answers.method.endswith(("centered", "oracle"))]
    colours = _colours(one.method for one in chosen)
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    grid = figure.add_gridspec(4, 2, width_ratios=(1.6, 1), height_ratios=(1, 1, 1, 0.3))
    panels = [figure.add_subplot(grid[axis, 0]) for axis in range(3)]
    for axis, panel in enumerate(panels):
        _plot_answers(panel, comparison, chosen, axis, colours)
    panels[-1].set_xlabel("time [s]")
    below = figure.add_subplot(grid[3, :])  # Matplotlib before 3.7 has no legends outside
    below.axis("off")
    below.legend(*panels[-1].get_legend_handles_labels(), loc="center", ncol=4, fontsize="small")
    _plot_errors(figure.add_subplot(grid[:3, 1]), comparison, chosen, colours)
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _colours(methods: Iterable[str]) -> dict[str, str]:
    """Give ours their own colours, and each other method one of Matplotlib's that looks like none of ours."""
    others = cycle(("C2", "C4", "C5", "C8", "C9", "C6"))
    ours = {f"ours, {name}": colour for name, colour in _BY_METHOD.items()}
    return {
        method: next((colour for start, colour in ours.items() if method.startswith(start)), None) or next(others)
        for method in dict.fromkeys(methods)
    }


def _plot_answers(
    panel: Axes, comparison: Comparison, chosen: list[Answers], axis: int, colours: dict[str, str]
) -> None:
    at_frame = next(answers.pairs for answers in chosen if answers.velocity == AT_THE_FRAME)
    ground_truth = at_frame.true_angular[:, axis]
    _plot_line(panel, (comparison.stamps - comparison.stamps[0]) * 1e-9, ground_truth)
    for answers in chosen:
        panel.scatter(
            (answers.pairs.stamps - comparison.stamps[0]) * 1e-9,
            answers.pairs.angular[:, axis],
            s=9,
            marker=_MARKERS[answers.velocity],
            color=colours[answers.method],
            linewidths=0.8,
            label=f"{answers.method}, {answers.velocity}",
            zorder=3,
        )
    # A baseline that got lost must not flatten everything else.
    extent = 1.5 * np.abs(ground_truth[np.isfinite(ground_truth)]).max(initial=0.1)
    panel.set_ylim(-extent, extent)
    panel.set_ylabel(f"ω{_AXES[axis]} [rad/s]")
    panel.grid(alpha=0.25)


def _plot_errors(panel: Axes, comparison: Comparison, chosen: list[Answers], colours: dict[str, str]) -> None:
    errors = [np.linalg.norm(answers.pairs.angular_error, axis=1) for answers in chosen]
    blur_known = np.isfinite(comparison.true_blur)
    for answers, error in zip(chosen, errors, strict=True):
        marker, colour = _MARKERS[answers.velocity], colours[answers.method]
        panel.scatter(comparison.true_blur, error, s=9, marker=marker, color=colour, alpha=0.3, linewidths=0.8)
        median = _running_median(comparison.true_blur[blur_known], error[blur_known])
        panel.plot(*median, color=colour, linewidth=1.8, linestyle="-" if marker == "." else "--")
    panel.axvline(comparison.least_blur, color="gray", linestyle=":", label="most blurred fifth")
    known = np.concatenate([error[np.isfinite(error)] for error in errors])
    panel.set_ylim(0, 1.2 * np.quantile(known, 0.98) if len(known) else 1)
    panel.set_title("error of ω [rad/s]; lines: medians, dashed where not at the frame", fontsize="small")
    panel.set_xlabel("mean blur by the true rotation [px at 320 px width]")
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small")


def _seconds(samples: Samples) -> np.ndarray:
    """(N,) s since the first."""
    return (samples.stamps - samples.stamps[:1]) * 1e-9


def _breaks(seconds: np.ndarray) -> np.ndarray:
    """Find the indices before which a line is to be interrupted."""
    steps = np.diff(seconds)
    return np.flatnonzero(steps > _LONGEST_STEP * np.median(steps)) + 1 if len(steps) else np.array([], int)


def _running_median(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of x and y in up to ten groups of equal size along x."""
    known = np.isfinite(y)
    order = np.argsort(x[known])
    groups = [group for group in np.array_split(order, 10) if len(group)]
    return (
        np.array([np.median(x[known][group]) for group in groups]),
        np.array([np.median(y[known][group]) for group in groups]),
    )
