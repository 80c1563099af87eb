"""Measure what each part of the method is worth: evaluate as it is, and once without each part.

    python tools/ablate.py LIST.yaml [--frames FOLDER] [--parts NAME …] [--workers N]

LIST.yaml: recordings with ground truth, as `benchmark_recordings` takes them. Beside them, some cells of
`benchmark_envelope` are used, each with measured and with the network's depth; FOLDER keeps their frames. A row of the
table that is printed has, for one part,

    ω, v         geometric mean over recordings (rendered cells) of RMSE without the part, over that with it
    NEES > 6     of how many of all of these, of ω and of v; the first row has those of the method as it is
    most         where RMSE (or NEES) grows most

of published velocities (`auto`), and of single frames of the cells. A part that is worth nothing here may be worth
something elsewhere: it is a reason to look, not to delete.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.estimation import frame_times, observation
from image_as_imu_ros.estimation.alignment import History, measured_depth, network_depth, refinement, two_view_steps
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.slides import Slide
from image_as_imu_ros.estimation.blur_spectrum import Windows
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.constants import STRUCTURE
from image_as_imu_ros.estimation.fixed_parts import FixedParts
from image_as_imu_ros.estimation.innovation import Forecast
from image_as_imu_ros.estimation.map_shape import MapShape
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.travel import RotationPosterior, Travel
from image_as_imu_ros.evaluation.benchmarks.recordings import ListedRecording, read_list
from image_as_imu_ros.evaluation.benchmarks.workers import worker_processes
from image_as_imu_ros.evaluation.envelope.cells import chosen_cells
from image_as_imu_ros.evaluation.envelope.evaluate_cell import HONEST, evaluate_cell
from image_as_imu_ros.evaluation.envelope.rendering import render_cell
from image_as_imu_ros.evaluation.evaluate import evaluate
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

CELLS = [
    "hand",
    "travel",
    "sideways_1.5",
    "sideways_5.0",
    "street_5.0",
    "winding_1.5",
    "walking_street",
    "walking_10hz",
    "floor_1.0",
    "fence_1.0",
    "rest",
    "blur_2.0",
    "blur_16.0",
    "rate_10.0",
    "travel_rate_10.0",
    "exposure_0.002",
    "readout_0.03",
    "jitter_0.003",
    "vibration_0.2",
    "fixed_0.2",
    "fixed_0.4",
    "moving_0.1",
    "moving_0.2",
    "material_checkers",
]
_AS_IT_IS = "nothing"
_NOTABLE = math.log(1.25)  # growth that is named

Figures = dict[str, float]


def _zeros(*_: Any) -> np.ndarray:
    return np.zeros((6, 6))


def _one_start(velocity: Any, slide: Slide, _: float, seconds: float) -> tuple[Poses, np.ndarray]:
    motion = slide.motion if velocity is None else velocity.vector * seconds
    return Poses.of(motion[None]), np.ones(1)


def _unchanged(covariance: np.ndarray, *_: Any) -> np.ndarray:
    return covariance


# What is put in place of what: (owner, name, substitute).
PARTS: dict[str, list[tuple[Any, str, Any]]] = {
    _AS_IT_IS: [],
    "tracked corners": [(observation.Observation, "sharp", False)],
    "longer baseline": [(History, "far", lambda *_: None)],
    "slide as a start": [(module, "starting_poses", _one_start) for module in (network_depth, measured_depth)],
    "slide in the covariance": [(Slide, "allowed_for", lambda _, velocity, *others: velocity)],
    "foreign map": [(MapShape, "scale_std", STRUCTURE.scale_std)],
    "prior on v": [(Travel, "rotation_posterior", lambda _, motion, c, *others: RotationPosterior(motion, c, motion))],
    "jackknife": [(module, "widened_by_parts", _unchanged) for module in (two_view_steps, refinement)],
    "larger part": [(SceneDepth, "larger_part", None)],
    "fixed parts": [(FixedParts, "after", lambda parts, *_: parts)],
    "innovation": [(Forecast, "inflation", _zeros)],
    "contradiction of blur and alignment": [(observation, "contradiction", _zeros)],
    "usual disagreement": [(observation.Observation, "usual_disagreement", lambda *_: 3.0)],
    "spectra": [(Windows, "spectra", lambda *_: None)],
    "regular period": [(frame_times.FrameTimes, "take", lambda _, stamp: frame_times.FrameTime(stamp))],
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, metavar="LIST.yaml")
    parser.add_argument("--frames", type=Path, default=Path("output/envelope/frames"), help="(default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS)[1:], default=list(PARTS)[1:], metavar="NAME")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # progress bars of several processes would lie across the table
    recordings = read_list(arguments.list)
    print(
        "| without | recordings ω, v | rendered ω, v | single ω, v | NEES > 6: ω, v | most |\n|---|---|---|---|---|---|"
    )
    with worker_processes(arguments.workers) as processes:
        tasks = [
            processes.submit(figures_without, part, recordings, arguments.frames)
            for part in (_AS_IT_IS, *arguments.parts)
        ]
        for part, task in zip((_AS_IT_IS, *arguments.parts), tasks, strict=True):
            print(_row(part, task.result(), tasks[0].result()), flush=True)


def figures_without(part: str, recordings: list[ListedRecording], frames: Path) -> dict[str, Figures]:
    """Evaluate everything without a part: figures by "recording: NAME", "rendered: CELL, DEPTH" and "single: …"."""
    with _without(part):
        found = {f"recording: {listed.name}": _of_recording(listed) for listed in recordings}
        engine = load_engine(resource(DEFAULT_MODEL), "onnxruntime", 1)
        for cell in chosen_cells(CELLS):
            for answers in evaluate_cell(render_cell(cell, frames), engine, EstimatorConfig(), ("measured", "network")):
                if answers.depth:
                    kind = "rendered" if answers.method == "auto" else answers.method
                    found[f"{kind}: {cell.name}, {answers.depth}"] = _known(
                        ω=answers.rmse_angular,
                        v=answers.rmse_linear,
                        nees_ω=answers.nees_angular,
                        nees_v=answers.nees_linear,
                    )
        engine.close()
    return found


@contextmanager
def _without(part: str) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, substitute in PARTS[part]:
            stack.enter_context(patch.object(owner, name, substitute))
        yield


def _of_recording(listed: ListedRecording) -> Figures:
    figures = evaluate(listed.path, listed.config).figures
    rmse, covariance = figures["all"], figures["covariance"] or {}
    return _known(
        ω=rmse["rmse_angular"] and float(np.linalg.norm(rmse["rmse_angular"])),
        v=rmse["rmse_linear"] and float(np.linalg.norm(rmse["rmse_linear"])),
        nees_ω=covariance.get("nees_angular"),
        nees_v=covariance.get("nees_linear"),
    )


def _known(**figures: float | None) -> Figures:
    return {name: value for name, value in figures.items() if value}


def _row(part: str, without: dict[str, Figures], with_it: dict[str, Figures]) -> str:
    def growth(kind: str, name: str) -> str:
        logs = [log for key, one, log in grown if key.startswith(kind) and one == name]
        return f"{math.exp(np.mean(logs)):.2f}" if logs else "–"

    grown = [
        (key, name, math.log(without[key][name] / value))
        for key, of_key in with_it.items()
        for name, value in of_key.items()
        if name in without.get(key, {})
    ]
    cells = [", ".join(growth(kind, name) for name in ("ω", "v")) for kind in ("recording", "rendered", "single")]
    published = [figures for key, figures in without.items() if not key.startswith("single")]
    over = ", ".join(str(sum(one.get(f"nees_{name}", 0) > HONEST[1] for one in published)) for name in "ωv")
    most = sorted((one for one in grown if one[2] > _NOTABLE), key=lambda one: -one[2])[:3]
    named = "; ".join(f"{name} ×{math.exp(log):.2g}, {key}".replace("nees_", "NEES of ") for key, name, log in most)
    return f"| {part} | {' | '.join(cells)} | {over} | {named or '–'} |"


if __name__ == "__main__":
    main()
