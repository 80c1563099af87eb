"""benchmark_recordings: a list of recordings → one table of errors per sequence and method, and a report of each."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.benchmark_table import Row, Sequence, latex, markdown
from image_as_imu_ros.evaluation.evaluate import evaluate, make_folder, parse, write_results
from image_as_imu_ros.evaluation.evaluate import parser as evaluate_parser
from image_as_imu_ros.evaluation.evaluation import Evaluation

# Keys of a recording, each an option of evaluate; `path`, `name` and `baselines` beside them.
_OPTIONS = (
    "exposure",
    "exposure_topic",
    "exposure_unit",
    "stamp_reference",
    "readout_time",
    "measurement",
    "every",
    "sign_resolution",
    "motion_model",
    "ground_truth_std",
    "image_topic",
    "camera_info_topic",
    "depth_topic",
    "ground_truth_topic",
    "model",
    "engine",
)
_KEYS = ("name", "path", "baselines", *_OPTIONS)
_NONE = np.full(3, np.nan)


def main(argv: list[str]) -> int:
    """Run the command; 1 if a recording could not be evaluated. Raises InputError: the list cannot be used."""
    args = _parser().parse_args(argv)
    recordings = read_list(args.list)
    output = make_folder(args.output or Path("output") / Path(args.list).stem)
    sequences = []
    for name, options in recordings.items():
        print(f"{len(sequences) + 1}/{len(recordings)} {name}: {options.command}")
        try:
            evaluation = evaluate(options)
            write_results(evaluation, make_folder(output / _folder_name(name)))
            sequences.append(Sequence(name, _rows(evaluation)))
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            sequences.append(Sequence(name, [], failure=str(error)))
        # Written again and again, so that nothing is lost when somebody stops it.
        (output / "table.md").write_text(markdown(sequences))
        (output / "table.tex").write_text(latex(sequences))
    print(f"\n{markdown(sequences)}\ntable.md, table.tex and a report of each recording in {output}")
    return int(any(sequence.failure for sequence in sequences))


def read_list(path: str | Path) -> dict[str, argparse.Namespace]:
    """A YAML list of recordings → name → options of `evaluate`. Paths in it are relative to the list.

    Raises:
        InputError: it cannot be read, or a key or value in it is not understood.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"list {str(path)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"list {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("recordings"), list) or not content["recordings"]:
        raise InputError(f"list {str(path)!r} has no list 'recordings'")
    _refuse_unknown(content, ("defaults", "recordings"), str(path))
    defaults = content.get("defaults") or {}
    _refuse_unknown(defaults, ("baselines", *_OPTIONS), "defaults")
    found: dict[str, argparse.Namespace] = {}
    for number, entry in enumerate(content["recordings"], 1):
        _refuse_unknown(entry, _KEYS, f"recording {number}")
        if "path" not in entry:
            raise InputError(f"recording {number} has no path")
        name = str(entry.get("name", Path(entry["path"]).stem))
        if _folder_name(name) in map(_folder_name, found):
            raise InputError(f"recording {number} has the name of another one, {name!r}; give each a name of its own")
        found[name] = _options(name, defaults | entry, path.parent)
    return found


def _options(name: str, entry: dict[str, Any], base: Path) -> argparse.Namespace:
    argv = [str(base / entry["path"])]
    for key in _OPTIONS:
        if key not in entry:
            continue
        value = base / entry[key] if key == "model" else entry[key]
        argv.append("--fit-exposure" if (key, value) == ("exposure", "fit") else f"--{key.replace('_', '-')}={value}")
    for baseline in entry.get("baselines", []):
        kind, colon, file = str(baseline).partition(":")
        argv.append(f"--baseline={kind}:{base / file}" if colon else f"--baseline={kind}")

    def refuse(message: str) -> NoReturn:
        raise InputError(f"recording {name!r}: {message}")

    parser = evaluate_parser()
    parser.error = refuse
    try:
        return parse(argv, parser)
    except InputError as error:
        refuse(str(error))


def _refuse_unknown(mapping: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(mapping, dict):
        raise InputError(f"{where} must be keys and values, it is {mapping!r}")
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        raise InputError(f"{where} has unknown keys: {', '.join(unknown)}; known are {', '.join(known)}")


def _folder_name(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _rows(evaluation: Evaluation) -> list[Row]:
    """Ours, by the direction that was asked for, and the baselines."""
    if evaluation.comparison is None:
        return _own_rows(evaluation)
    sign_resolution = f", {evaluation.settings['sign resolution']}"
    rows = []
    for row in evaluation.figures["baselines"]["rows"]:
        if row["method"].endswith(sign_resolution):
            method = row["method"].removesuffix(sign_resolution)
        elif row["method"].startswith("ours, "):
            continue
        else:
            method = f"{_short(row['method'])}, {row['velocity']}"
        group = row["all"]
        answered = group["answered"] / max(group["frames"], 1)
        rows.append(Row(method, answered, _rmse(group["rmse_angular"]), _rmse(group["rmse_linear"])))
    return rows


def _short(baseline: str) -> str:
    """A trajectory goes by its file's name, so that the same method has the same name on all sequences."""
    return Path(baseline).stem if ":" in baseline else baseline


def _own_rows(evaluation: Evaluation) -> list[Row]:
    run, measurements = evaluation.run, evaluation.figures["measurements"]
    frames = run.frames + sum(run.refused.values())
    named = {evaluation.settings["measurement"]: (evaluation.samples, evaluation.figures)}
    named |= {name: (samples, measurements[name]) for name, samples in evaluation.by_measurement.items()}
    return [
        Row(
            f"ours, {name}",
            samples.signed.sum() / frames,
            _rmse(figures["all"]["rmse_angular"]),
            _rmse(figures["all"]["rmse_linear"]),
        )
        for name, (samples, figures) in named.items()
    ]


def _rmse(values: list[float] | None) -> np.ndarray:
    return _NONE if values is None else np.array(values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmark_recordings",
        description="Evaluate a list of recordings: errors per axis, sequence and method as Markdown and LaTeX.",
    )
    parser.add_argument("list", metavar="LIST", help="YAML file, see docs/evaluate.md")
    parser.add_argument("--output", metavar="DIR", help="folder for the results (default: output/LIST)")
    return parser
