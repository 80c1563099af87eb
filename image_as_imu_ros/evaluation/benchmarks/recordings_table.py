"""The table of papers: RMSE per axis for every sequence and method, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_AXES = "xyz"
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "ω": r"$\omega$",
    "≥": r"$\geq$",
}


@dataclass(frozen=True)
class Row:
    """The figures of one method on one sequence.

    Attributes:
        answered: share of the frames that it answered, 0 to 1.
        angular, linear: (3,) RMSE over these, rad/s and m/s; NaN where there is none.
    """

    method: str
    answered: float
    angular: np.ndarray
    linear: np.ndarray


@dataclass(frozen=True)
class Sequence:
    """All methods on one sequence, or why it could not be evaluated (`failure`)."""

    name: str
    rows: list[Row]
    failure: str = ""


def average(sequences: list[Sequence]) -> Sequence:
    """Average over all sequences that could be evaluated; NaN where a method lacks a figure on one of them."""
    evaluated = [sequence for sequence in sequences if not sequence.failure]
    by_method: dict[str, list[Row]] = {}
    for sequence in evaluated:
        for row in sequence.rows:
            by_method.setdefault(row.method, []).append(row)
    rows = []
    for method, of_method in by_method.items():
        answered, angular, linear = (
            np.mean([getattr(row, name) for row in of_method], axis=0) for name in ("answered", "angular", "linear")
        )
        if len(of_method) < len(evaluated):
            answered, angular, linear = np.nan, np.full(3, np.nan), np.full(3, np.nan)
        rows.append(Row(method, answered, angular, linear))
    return Sequence("Average", rows)


def markdown(sequences: list[Sequence]) -> str:
    """Write a Markdown table of the sequences and their average; the best figure of a sequence is bold."""
    units = [*(f"ω{axis} [rad/s]" for axis in _AXES), *(f"v{axis} [m/s]" for axis in _AXES)]
    head = ["sequence", "method", "answered", *units]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 2 + "--:|" * 7]
    for sequence in _with_average(sequences):
        name = _in_markdown(sequence.name)
        if sequence.failure:
            lines.append(f"| {name} | *not evaluated:* {_in_markdown(sequence.failure)} |" + " |" * 7)
        for method, figures in zip(sequence.rows, _figures(sequence, "–", "**{}**".format), strict=True):
            lines.append("| " + " | ".join([name, _in_markdown(method.method), *figures]) + " |")
            name = ""
    return "\n".join(lines) + "\n"


def latex(sequences: list[Sequence]) -> str:
    """Write a tabular of the sequences and their average for booktabs; the best figure of a sequence is bold."""
    units = [rf"$\omega_{axis}$ [rad/s]" for axis in _AXES] + [f"$v_{axis}$ [m/s]" for axis in _AXES]
    lines = [
        r"\begin{tabular}{llrrrrrrr}",
        r"\toprule",
        " & ".join(["Sequence", "Method", "Answered", *units]) + r" \\",
    ]
    for sequence in _with_average(sequences):
        name = _in_latex(sequence.name)
        lines.append(r"\midrule")
        if sequence.failure:
            lines.append(
                rf"{name} & \multicolumn{{8}}{{l}}{{\emph{{not evaluated: {_in_latex(sequence.failure)}}}}} \\"
            )
        for method, figures in zip(sequence.rows, _figures(sequence, "--", r"\textbf{{{}}}".format), strict=True):
            figures = [figure.replace("%", r"\%") for figure in figures]
            lines.append(" & ".join([name, _in_latex(method.method), *figures]) + r" \\")
            name = ""
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _with_average(sequences: list[Sequence]) -> list[Sequence]:
    several = sum(not sequence.failure for sequence in sequences) > 1
    return [*sequences, average(sequences)] if several else sequences


def _figures(sequence: Sequence, unknown: str, bold: Callable[[str], str]) -> list[list[str]]:
    """Write the columns of figures of each method; the best of several is bold."""
    rows = []
    for row in sequence.rows:
        errors = [*row.angular, *row.linear]
        rows.append([f"{100 * row.answered:.1f} %", *(f"{error:.3f}" for error in errors)])
    values = np.array([[-row.answered, *row.angular, *row.linear] for row in sequence.rows]).reshape(-1, 7)
    texts = np.array(rows, dtype=object).reshape(-1, 7)
    for column in range(7):
        known = np.isfinite(values[:, column])
        texts[~known, column] = unknown
        if known.sum() > 1:
            best = texts[np.nanargmin(values[:, column]), column]
            texts[known, column] = [bold(text) if text == best else text for text in texts[known, column]]
    return texts.tolist()


def _in_markdown(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _in_latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(character, character) for character in " ".join(text.split()))
