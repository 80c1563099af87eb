"""A list of recordings → one table of errors per sequence and method, and a report of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.baselines import TRAJECTORY
from image_as_imu_ros.evaluation.baselines.comparison import COMPARED
from image_as_imu_ros.evaluation.benchmarks.recordings_table import Row, Sequence, latex, markdown
from image_as_imu_ros.evaluation.benchmarks.workers import worker_processes
from image_as_imu_ros.evaluation.config import ORACLE, EvaluationConfig, config_from_settings, setting_names
from image_as_imu_ros.evaluation.evaluate import Evaluation, evaluate
from image_as_imu_ros.evaluation.report.files import fresh_folder, write_results, writing_into
from image_as_imu_ros.recordings.storage import recording_name

_NONE = np.full(3, np.nan)


@dataclass(frozen=True)
class ListedRecording:
    """An entry of a list: its name in the table, its path, and how it is evaluated."""

    name: str
    path: Path
    config: EvaluationConfig


def benchmark_recordings(
    listed: list[ListedRecording], output: Path, workers: int = 1
) -> Iterator[tuple[ListedRecording, Sequence | None]]:
    """Evaluate recordings, and write table.md, table.tex and a folder of results for each.

    Yields each recording twice: with None before it is evaluated, and then with its figures.

    Args:
        workers: processes, each of which evaluates one recording at a time.
    """
    sequences: dict[int, Sequence] = {}
    for number, sequence in _evaluated(listed, output, workers):
        if sequence is not None:
            sequences[number] = sequence
            # Written again and again, so that nothing is lost when somebody stops it.
            ordered = [sequences[n] for n in sorted(sequences)]
            with writing_into(output):
                (output / "table.md").write_text(markdown(ordered), encoding="utf-8")
                (output / "table.tex").write_text(latex(ordered), encoding="utf-8")
        yield listed[number], sequence


def _evaluated(listed: list[ListedRecording], output: Path, workers: int) -> Iterator[tuple[int, Sequence | None]]:
    """Yield the number of each recording with None before it is evaluated, and with its figures when that is done."""
    if workers == 1:
        for number, recording in enumerate(listed):
            yield number, None
            yield number, _sequence(recording, output)
        return
    with worker_processes(workers) as processes:
        tasks = {processes.submit(_sequence, recording, output): number for number, recording in enumerate(listed)}
        yield from ((number, None) for number in tasks.values())
        yield from ((tasks[task], task.result()) for task in as_completed(tasks))


def _sequence(recording: ListedRecording, output: Path) -> Sequence:
    try:
        folder = fresh_folder(output / _folder_name(recording.name))
        evaluation = evaluate(recording.path, _with_threads(recording.config))
        write_results(evaluation, folder)
        return Sequence(recording.name, _rows(evaluation))
    except InputError as error:
        return Sequence(recording.name, [], failure=str(error))


def _with_threads(config: EvaluationConfig) -> EvaluationConfig:
    """Give the network one thread where no number is asked for.

    Recordings are evaluated beside each other. The number is the same for one worker, as a network's sums, and with
    them the last digits of a table, depend on it.
    """
    return replace(config, engine=replace(config.engine, threads=config.engine.threads or 1))


def read_list(path: str | Path) -> list[ListedRecording]:
    """Read a YAML list of recordings. Paths in it are relative to the list; its keys are settings of `evaluate`.

    Raises:
        InputError: it cannot be read, or a key or value in it is not understood.
    """
    path = Path(path)
    content = _read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("recordings"), list) or not content["recordings"]:
        raise InputError(f"list {str(path)!r} has no list 'recordings'")
    _refuse_unknown(content, ("defaults", "recordings"), str(path))
    defaults = content.get("defaults") or {}
    _refuse_unknown(defaults, setting_names(), "defaults")
    found: list[ListedRecording] = []
    for number, entry in enumerate(content["recordings"], 1):
        _refuse_unknown(entry, ("name", "path", *setting_names()), f"recording {number}")
        if "path" not in entry:
            raise InputError(f"recording {number} has no path: give it the key path")
        _refuse_others(defaults | entry, f"recording {number}")
        name = str(entry.get("name", recording_name(path.parent / entry["path"])))
        if _folder_name(name) in (_folder_name(other.name) for other in found):
            raise InputError(f"recording {number} has the name of another one, {name!r}; give each a name of its own")
        try:
            config = config_from_settings(_with_paths(defaults | entry, path.parent))
        except InputError as error:
            raise InputError(f"recording {name!r}: {error}") from None
        found.append(ListedRecording(name, path.parent / entry["path"], config))
    return found


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"list {str(path)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"list {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None


def _with_paths(entry: dict[str, Any], base: Path) -> dict[str, Any]:
    """Write the files that an entry names relative to the working folder instead of to the list."""
    baselines = [
        f"{TRAJECTORY}{base / name.removeprefix(TRAJECTORY)}" if name.startswith(TRAJECTORY) else name
        for name in map(str, entry.get("baselines", ()))
    ]
    files = {name: base / entry[name] for name in ("model", "mask") if entry.get(name)}
    return entry | files | {"baselines": baselines}


def _refuse_unknown(mapping: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(mapping, dict):
        raise InputError(f"{where} must be keys and values, it is {mapping!r}")
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        raise InputError(f"{where} has unknown keys: {', '.join(unknown)}; known are {', '.join(known)}")


def _refuse_others(entry: dict[str, Any], where: str) -> None:
    """Refuse paths that are not texts, which folders called 2024 are not without quotes, and one text for a list."""
    for key, kind, name in (
        ("path", str, "a text, in quotes"),
        ("model", str, "a text"),
        ("mask", str, "a text"),
        ("baselines", list, "a list"),
    ):
        if key in entry and not isinstance(entry[key], kind):
            raise InputError(f"{where}: {key} is {entry[key]!r}, expected {name}")


def _folder_name(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _rows(evaluation: Evaluation) -> list[Row]:
    """Ours, by the sign resolution that was asked for, and the baselines."""
    if evaluation.comparison is None:
        return _own_rows(evaluation)
    ours = str(evaluation.config.estimator.sign_resolution)
    sign_resolution = f", {ORACLE if evaluation.config.oracle else ours if ours in COMPARED else COMPARED[0]}"
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
    """Call a trajectory by its file's name, so that the same method has the same name on all sequences."""
    return Path(baseline).stem if ":" in baseline else baseline


def _own_rows(evaluation: Evaluation) -> list[Row]:
    run, measurements = evaluation.run, evaluation.figures["measurements"]
    frames = run.frames + sum(run.refused.values())
    named = {str(evaluation.config.estimator.measurement): (evaluation.samples, evaluation.figures)}
    named |= {name: (samples, measurements[name]) for name, samples in evaluation.by_measurement.items()}
    return [
        Row(
            f"ours, {name}",
            samples.published.sum() / frames,
            _rmse(figures["all"]["rmse_angular"]),
            _rmse(figures["all"]["rmse_linear"]),
        )
        for name, (samples, figures) in named.items()
    ]


def _rmse(values: list[float] | None) -> np.ndarray:
    return _NONE if values is None else np.array(values)
