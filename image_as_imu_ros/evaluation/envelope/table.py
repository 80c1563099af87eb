"""The envelope as a table: CSV with every figure, Markdown with those that decide, and what fails."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from image_as_imu_ros.evaluation.envelope.evaluate_cell import HONEST, KLT, OVERCONFIDENT, Answers
from image_as_imu_ros.evaluation.report.tables import number

_HEAD = (
    "cell",
    "what",
    "depth",
    "published",
    "sign right",
    "ω RMSE [rad/s]",
    "single",
    "KLT",
    "true ω",
    "v RMSE [m/s]",
    "true v",
    "NEES ω",
    "NEES v",
    "single ω",
    "single v",
)


def write_csv(path: Path, answers: Iterable[Answers]) -> None:
    """Write every figure of every method."""
    figures = [one.name for one in fields(Answers) if one.name not in ("cell", "reasons")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cell", "sweep", "value", *figures, "reasons"])
        for one in answers:
            values = [getattr(one, name) for name in figures]
            written = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
            reasons = "; ".join(f"{count}× {reason}" for reason, count in one.reasons.items())
            writer.writerow([one.cell.name, one.cell.sweep, one.cell.value, *written, reasons])


def markdown(answers: Sequence[Answers]) -> str:
    """Write a table of what the node publishes, single frames and KLT beside it; what is not honest is bold."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * 3 + "--:|" * (len(_HEAD) - 3)]
    for one in answers:
        if one.method == "auto":
            lines.append(_row(one, *(_find(answers, one, method) for method in ("single", KLT))))
    return "\n".join(lines) + "\n"


def summary(answers: Sequence[Answers]) -> str:
    """Write in how many cells the covariances of what is published are honest, and list the others."""
    published = [one for one in answers if one.method == "auto" and one.published]
    failing = [one for one in published if not all(map(_is_honest, _nees(one)))]
    honest = len(published) - len(failing)
    far = sum(max(_nees(one)) > OVERCONFIDENT for one in failing)
    low, high = HONEST
    lines = [
        f"NEES of ω and v between {low:g} and {high:g} in {honest} of {len(published)} cells in which anything is "
        f"published ({honest / max(len(published), 1):.0%}), above {OVERCONFIDENT:g} in {far}."
    ]
    too_sure = [one for one in failing if max(_nees(one)) > high]
    for title, group in (("Too sure:", too_sure), ("Too cautious:", [one for one in failing if one not in too_sure])):
        if group:
            lines += ["", title, ""]
        lines += [
            f"- {one.cell.name}, {one.depth} depth: NEES ω {number(one.nees_angular, '.1f')}, "
            f"v {number(one.nees_linear, '.1f')}"
            for one in group
        ]
    return "\n".join(lines) + "\n"


def _nees(answers: Answers) -> list[float]:
    return [nees for nees in (answers.nees_angular, answers.nees_linear) if nees is not None]


def _find(answers: Sequence[Answers], like: Answers, method: str) -> Answers | None:
    found = (one for one in answers if one.cell == like.cell and one.method == method)
    return next((one for one in found if one.depth in ("", like.depth)), None)


def _row(auto: Answers, single: Answers | None, klt: Answers | None) -> str:
    cells = [
        auto.cell.name,
        f"{auto.cell.sweep}: {auto.cell.value}",
        auto.depth,
        f"{auto.published:.0%}" + (f" (+{auto.repeats_published} repeated)" if auto.repeats_published else ""),
        number(auto.sign_right, ".0%"),
        number(auto.rmse_angular, ".3f"),
        number(single.rmse_angular if single else None, ".3f"),
        number(klt.rmse_angular if klt else None, ".3f"),
        number(auto.true_angular, ".2f"),
        number(auto.rmse_linear, ".3f"),
        number(auto.true_linear, ".2f"),
        _marked(auto.nees_angular),
        _marked(auto.nees_linear),
        number(single.nees_angular if single else None, ".1f"),
        number(single.nees_linear if single else None, ".1f"),
    ]
    return "| " + " | ".join(cells) + " |"


def _marked(nees: float | None) -> str:
    text = number(nees, ".1f")
    return text if nees is None or _is_honest(nees) else f"**{text}**"


def _is_honest(nees: float) -> bool:
    return HONEST[0] <= nees <= HONEST[1]
