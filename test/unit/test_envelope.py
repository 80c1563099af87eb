"""The envelope's cells, figures, table and command."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from image_as_imu_ros import EstimatorConfig, MotionEstimator, commands
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import Measurement, SignResolution
from image_as_imu_ros.evaluation.envelope import sweep
from image_as_imu_ros.evaluation.envelope.cells import HAND, TRAVEL, all_cells, chosen_cells
from image_as_imu_ros.evaluation.envelope.evaluate_cell import KLT, Answers, evaluate_cell, ground_truth
from image_as_imu_ros.evaluation.envelope.plots import plot_envelope
from image_as_imu_ros.evaluation.envelope.rendering import EPOCH, RenderedCell, render_cell
from image_as_imu_ros.evaluation.envelope.sweep import SweepConfig, run_cell
from image_as_imu_ros.evaluation.envelope.table import markdown, summary, write_csv
from image_as_imu_ros.evaluation.kept_estimates import Result
from image_as_imu_ros.evaluation.open_engine import open_engine

GOOD = Answers(HAND, "auto", "measured", 1.0, nees_angular=3.0, nees_linear=2.0, rmse_angular=0.04, true_angular=2.0)
SHORT = replace(HAND, frames=4)


@pytest.fixture(scope="module")
def engine():
    return open_engine(EngineConfig(threads=1))


def test_cells_have_names_and_places_in_a_sweep_of_their_own():
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells) > 90
    assert len({(cell.sweep, cell.value) for cell in cells}) == len(cells)


def test_every_cell_differs_from_every_other():
    cells = [replace(cell, name="", sweep="", value="") for cell in all_cells()]
    assert len(set(cells)) == len(cells)


def test_cells_are_chosen_by_pattern_and_unknown_ones_are_refused():
    assert [cell.name for cell in chosen_cells(["travel", "jitter*"])] == [
        "travel", "jitter_0.001", "jitter_0.003", "jitter_0.005",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no cell is named 'fast'; there are hand, travel"):
        chosen_cells(["hand", "fast"])


def test_the_estimator_and_klt_run_over_rendered_frames(engine, tmp_path):
    config = SweepConfig(tmp_path)
    answers = run_cell(SHORT, config)
    assert [(one.method, one.depth) for one in answers] == [
        ("auto", "measured"), ("single", "measured"), ("auto", "network"), ("single", "network"), (KLT, ""),
    ]  # fmt: skip
    for one in answers:
        assert one.published == 1
        assert one.rmse_angular is not None
        assert one.true_angular is not None
        assert one.rmse_angular < 0.3 * one.true_angular
    assert answers[0].sign_right == 1
    assert answers[0].aligned == 1


def test_a_mean_is_judged_by_the_covariance_of_the_mean(engine):
    auto, *_ = evaluate_cell(render_cell(SHORT), engine, EstimatorConfig(), ("measured",))
    assert auto.mean_nees_angular is not None
    assert auto.nees_angular is not None
    assert auto.mean_rmse_angular is not None
    assert auto.mean_rmse_angular < 0.3
    assert auto.mean_nees_angular > auto.nees_angular


def test_answers_that_come_a_frame_late_belong_to_their_own_frame(engine):
    rendered = render_cell(replace(SHORT, frames=5, width=160, repeats=4))
    centered = EstimatorConfig(sign_resolution=SignResolution.CENTERED)
    auto, *_ = evaluate_cell(rendered, engine, centered, ("network",))
    assert auto.published == 1, "the last frame, for which no next one comes, is answered too"
    assert auto.repeats_published == 0


def test_the_ground_truth_is_that_of_the_stamp_and_vibration_counts_with_its_mean():
    class Aligned:
        measurement, exposure = Measurement.ALIGNED, 0.01
        stamp = EPOCH + 300_000_000

    aligned = Result(Aligned(), "", span=1 / 30, known_sign=False, exposure_given=False)  # type: ignore[arg-type]
    rendered = RenderedCell(replace(HAND, vibration=0.3, vibration_rate=90.0), [])
    steady = RenderedCell(HAND, [])
    (at_stamp,), (mean,) = ground_truth(rendered, [aligned])
    (carrier,), _ = ground_truth(steady, [aligned])
    assert carrier == pytest.approx(steady.trajectory.velocity(np.array([0.3]))[0])
    # Three whole periods of 90 Hz lie between two frames, and one of 100 Hz in an exposure, but a third of one over.
    assert at_stamp == pytest.approx(carrier, abs=0.02)
    (faster,), _ = ground_truth(RenderedCell(replace(HAND, vibration=0.3, vibration_rate=100.0), []), [aligned])
    assert faster == pytest.approx(carrier, abs=0.02)
    assert np.linalg.norm(rendered.trajectory.velocity(np.array([0.3]))[0] - carrier) > 0.5
    assert mean == pytest.approx(
        steady.trajectory.mean_velocity(*(np.array([0.3 + s / 60]) for s in (-1, 1)))[0], abs=0.02
    )


def test_an_estimator_that_breaks_down_is_a_reason_and_no_end(engine, monkeypatch):
    def broken(self, frame):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(MotionEstimator, "update", broken)
    rendered = render_cell(replace(SHORT, width=64))
    auto = evaluate_cell(rendered, engine, EstimatorConfig(), ("network",))[0]
    assert (auto.published, auto.rmse_angular) == (0, None)
    assert auto.reasons == {"LinAlgError: Singular matrix": 4}


def test_the_summary_lists_what_is_not_honest():
    cautious = replace(GOOD, cell=TRAVEL, nees_linear=0.2)
    wrong = replace(GOOD, depth="network", nees_angular=25.0)
    silent = replace(GOOD, cell=TRAVEL, depth="network", published=0.0, nees_angular=None, nees_linear=None)
    lines = summary([GOOD, cautious, wrong, silent]).splitlines()
    assert lines[0].startswith("NEES of ω and v between 0.5 and 6 in 1 of 3 cells in which anything is published (33%)")
    assert lines[0].endswith("above 20 in 1.")
    assert [line for line in lines[1:] if line] == [
        "Too sure:",
        "- hand, network depth: NEES ω 25.0, v 2.0",
        "Too cautious:",
        "- travel, measured depth: NEES ω 3.0, v 0.2",
    ]


def test_the_table_has_single_frames_and_klt_beside_what_is_published():
    answers = [
        GOOD,
        replace(GOOD, method="single", rmse_angular=0.07),
        replace(GOOD, method=KLT, depth="", rmse_angular=0.01),
    ]
    (row,) = markdown(answers).splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:9] == [
        "hand",
        "baseline: hand-held, 8 px of blur",
        "measured",
        "100%",
        "–",
        "0.040",
        "0.070",
        "0.010",
        "2.00",
    ]
    assert cells[11:13] == ["3.0", "2.0"]
    assert "**25.0**" in markdown([replace(GOOD, nees_angular=25.0)])


def test_the_csv_has_every_figure_and_plots_are_one_per_sweep(tmp_path):
    answers = [replace(GOOD, reasons={"no texture": 2}), replace(GOOD, method="single"), replace(GOOD, cell=TRAVEL)]
    write_csv(tmp_path / "envelope.csv", answers)
    rows = list(csv.DictReader((tmp_path / "envelope.csv").open()))
    assert [row["cell"] for row in rows] == ["hand", "hand", "travel"]
    assert (rows[0]["nees_angular"], rows[0]["sign_right"], rows[0]["reasons"]) == ("3", "", "2× no texture")
    plot_envelope([*answers, replace(GOOD, cell=chosen_cells(["jitter_0.001"])[0])], tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "baseline.png", "hand_held_jitter_of_the_stamps_s.png", "overview.png",
    ]  # fmt: skip


def test_the_command_lists_cells_and_refuses_what_is_not_there(capsys):
    assert commands.run("benchmark_envelope", ["--list", "corridor*"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[0] == "corridor_0.5"
    assert commands.run("benchmark_envelope", ["nowhere"]) == 2
    assert "no cell is named 'nowhere'" in capsys.readouterr().err


def test_the_command_writes_table_and_plots(tmp_path, monkeypatch, capsys):
    ran = []

    def run_cells(cells, config):
        ran.append(config)
        return ([replace(GOOD, cell=cell)] for cell in cells)

    monkeypatch.setattr("image_as_imu_ros.commands.benchmark_envelope.run_cells", run_cells)
    output = tmp_path / "out"
    words = ["hand", "travel", "--depth", "measured", "--workers", "2", "--lever-arm", "0.3", "--output", str(output)]
    assert commands.run("benchmark_envelope", words) == 0
    assert ran == [SweepConfig(output / "frames", EstimatorConfig(lever_arm=0.3), EngineConfig(), ("measured",), 2)]
    assert (output / "envelope.md").read_text() in capsys.readouterr().out
    assert (output / "envelope.csv").exists()
    assert (output / "plots" / "baseline.png").exists()


def test_cells_run_in_processes_and_come_as_they_are_done(tmp_path):
    config = SweepConfig(tmp_path, engine=EngineConfig(), depths=("network",))
    (answers,) = sweep.run_cells((replace(SHORT, frames=2),), config)
    assert [one.method for one in answers] == ["auto", "single", KLT]
