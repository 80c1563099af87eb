"""One figure per sweep: errors, normalised errors squared and the share published, over the property that varies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from image_as_imu_ros.evaluation.envelope.evaluate_cell import HONEST, KLT, OVERCONFIDENT, Answers

# (method, depth) → how it is drawn.
_LINES = {
    ("auto", "measured"): {"color": "#30638e", "marker": "o"},
    ("auto", "network"): {"color": "#d1495b", "marker": "o"},
    ("single", "measured"): {"color": "#30638e", "marker": "x", "linestyle": ":"},
    ("single", "network"): {"color": "#d1495b", "marker": "x", "linestyle": ":"},
    (KLT, ""): {"color": "#222222", "marker": "+", "linestyle": "--"},
}
_PANELS = (
    ("rmse_angular", "RMSE of ω [rad/s]"),
    ("nees_angular", "NEES of ω"),
    ("published", "published"),
    ("rmse_linear", "RMSE of v [m/s]"),
    ("nees_linear", "NEES of v"),
    ("sign_right", "sign right"),
)
_OVERVIEW = (("nees_angular", "NEES of ω"), ("nees_linear", "NEES of v"))
_SHARES = ("published", "sign_right")


def plot_envelope(answers: Sequence[Answers], folder: Path) -> None:
    """Write a PNG for each sweep, and overview.png."""
    folder.mkdir(parents=True, exist_ok=True)
    _plot_overview(answers, folder / "overview.png")
    for sweep in dict.fromkeys(one.cell.sweep for one in answers):
        _plot(sweep, [one for one in answers if one.cell.sweep == sweep], folder / f"{_file_name(sweep)}.png")


def _plot_overview(answers: Sequence[Answers], path: Path) -> None:
    """Normalised errors squared of what is published in all cells, one below the other."""
    published = [one for one in answers if one.method == "auto"]
    names = list(dict.fromkeys(one.cell.name for one in published))
    figure = Figure(figsize=(11, 1.2 + 0.16 * len(names)), layout="constrained")
    for panel, (name, label) in zip(figure.subplots(1, 2, sharey=True), _OVERVIEW, strict=True):
        panel.axvspan(*HONEST, color="#2e8b57", alpha=0.12)
        panel.axvline(OVERCONFIDENT, color="#d1495b", linewidth=0.8)
        for depth in dict.fromkeys(one.depth for one in published):
            of_depth = [one for one in published if one.depth == depth and getattr(one, name)]
            nees, rows = [getattr(one, name) for one in of_depth], [names.index(one.cell.name) for one in of_depth]
            style = _LINES["auto", depth]
            panel.scatter(nees, rows, s=16, color=style["color"], marker=style["marker"], label=f"{depth} depth")
        panel.set_xscale("log")
        panel.set_yticks(range(len(names)), names, fontsize=7)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(label, fontsize="medium")
        panel.grid(alpha=0.25)
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=90)


def _plot(sweep: str, answers: Sequence[Answers], path: Path) -> None:
    values = list(dict.fromkeys(one.cell.value for one in answers))
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    for panel, (name, label) in zip(figure.subplots(2, 3).ravel(), _PANELS, strict=True):
        for (method, depth), style in _LINES.items():
            found = {
                one.cell.value: getattr(one, name) for one in answers if (one.method, one.depth) == (method, depth)
            }
            heights = [np.nan if found.get(value) is None else found[value] for value in values]
            if np.isfinite(heights).any():
                panel.plot(heights, label=f"{method}, {depth} depth" if depth else method, **style)
        _finish(panel, name, label, values)
    figure.axes[0].legend(fontsize="x-small")
    figure.suptitle(sweep)
    figure.savefig(path, dpi=110)


def _finish(panel: Axes, name: str, label: str, values: list[str]) -> None:
    if name.startswith("nees"):
        panel.axhspan(*HONEST, color="#2e8b57", alpha=0.12)
        panel.axhline(OVERCONFIDENT, color="#d1495b", linewidth=0.8)
    if name in _SHARES:
        panel.set_ylim(-0.05, 1.05)
    else:
        panel.set_yscale("log")
    panel.set_xticks(range(len(values)), values, rotation=20 if max(map(len, values)) > 6 else 0, fontsize="small")
    panel.set_xlim(-0.5, len(values) - 0.5)
    panel.set_title(label, fontsize="medium")
    panel.grid(alpha=0.25)


def _file_name(sweep: str) -> str:
    return re.sub(r"\W+", "_", sweep).strip("_")
