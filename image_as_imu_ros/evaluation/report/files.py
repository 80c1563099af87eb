"""The files of an evaluation: figures, tables, plots, overlays and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.baselines import comparison
from image_as_imu_ros.evaluation.estimator_run import exposures_of
from image_as_imu_ros.evaluation.evaluate import Evaluation
from image_as_imu_ros.evaluation.report.page import write_report
from image_as_imu_ros.evaluation.report.plots import (
    plot_comparison,
    plot_error_against_blur,
    plot_exposure,
    plot_measurements,
    plot_reliability,
    plot_signs,
    plot_time_series,
)
from image_as_imu_ros.evaluation.report.tables import write_frames
from image_as_imu_ros.messages.image_files import write_image_file

_RESULTS = 2_000_000  # bytes that a report and its images take

_FIRST_WRITTEN = "metrics.json"
# All that is written here; what tells an earlier evaluation's folder is removed last.
_WRITTEN = (
    *("frames.csv", "comparison.md", "report.html"),
    *("time_series.png", "measurements.png", "exposure.png", "signs.png"),
    *("error_by_blur.png", "reliability.png", "comparison.png", "frame_[0-9]*.png"),
    _FIRST_WRITTEN,
)


def write_results(evaluation: Evaluation, folder: Path) -> None:
    """Write all that docs/evaluate.md names, but the bag.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    with writing_into(folder):
        write_figures(evaluation, folder)
        _draw(evaluation, folder)
        write_report(evaluation, folder)


def write_figures(evaluation: Evaluation, folder: Path) -> None:
    """Write metrics.json, frames.csv and, with baselines, comparison.md."""
    figures = json.dumps(evaluation.figures, indent=1, allow_nan=False)
    (folder / _FIRST_WRITTEN).write_text(f"{figures}\n", encoding="utf-8")
    write_frames(folder / "frames.csv", evaluation.run, evaluation.samples)
    if evaluation.comparison:
        (folder / "comparison.md").write_text(
            comparison.table(evaluation.figures["baselines"]), encoding="utf-8", errors="backslashreplace"
        )


@contextmanager
def writing_into(folder: str | Path) -> Iterator[None]:
    """Say of what fails to be written that it is the output folder's fault.

    Raises:
        InputError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"output folder {str(folder)!r} cannot be written to: {error.strerror or error}") from None


def make_folder(path: str | Path) -> Path:
    """Make a folder for results, and try to write as much into it as results take, before any work is done.

    Raises:
        InputError: there is a file of that name, it is not allowed, or the disk is full.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output folder {str(path)!r} cannot be made: {error.strerror}") from None
    with writing_into(path), TemporaryFile(dir=path) as file:
        file.write(bytes(_RESULTS))
    return Path(path)


def fresh_folder(path: str | Path) -> Path:
    """Make a folder for the results of one evaluation, and remove those of an earlier one, and nothing else, from it.

    Raises:
        InputError: as `make_folder`, or there are files of these names, but not of an earlier evaluation.
    """
    folder = make_folder(path)
    with writing_into(folder):
        found = [file for pattern in _WRITTEN for file in folder.glob(pattern)]
        if found and not (folder / _FIRST_WRITTEN).exists():
            raise InputError(
                f"output folder {str(folder)!r} holds {found[0].name}, which no evaluation wrote, as there is no "
                f"{_FIRST_WRITTEN}: choose another folder, or remove it"
            )
        for file in found:
            file.unlink()
    return folder


def _draw(evaluation: Evaluation, folder: Path) -> None:
    name, run, samples = evaluation.name, evaluation.run, evaluation.samples
    plot_time_series(samples, folder / "time_series.png", name)
    plot_measurements(evaluation.by_measurement, folder / "measurements.png", name)
    plot_exposure(*exposures_of(run), folder / "exposure.png", name)
    plot_signs(evaluation.decided, folder / "signs.png", name)
    if samples.has_ground_truth.any():
        ground_truth_std = evaluation.config.ground_truth_std
        plot_error_against_blur(samples.select(samples.published), folder / "error_by_blur.png", name)
        judged = {kind: one.select(~one.held_back) for kind, one in evaluation.by_measurement.items()}
        plot_reliability(judged, folder / "reliability.png", name, ground_truth_std)
    if evaluation.comparison:
        plot_comparison(evaluation.comparison, folder / "comparison.png", name)
    for exhibit in (*run.most_blurred.exhibits, *run.worst.exhibits, *run.best.exhibits):
        write_image_file(folder / f"frame_{exhibit.stamp}.png", exhibit.overlay)
