"""benchmark_recordings: many recordings become one table, whatever becomes of each of them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags
import yaml

from image_as_imu_ros import commands
from image_as_imu_ros.commands.evaluate import parse
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.benchmarks.recordings import read_list
from image_as_imu_ros.evaluation.benchmarks.recordings_table import Row, Sequence, average, latex, markdown
from image_as_imu_ros.evaluation.config import ExposureSource, command_line

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "benchmark_recordings.yaml"


def row(method: str, *rmse: float, answered: float = 1.0) -> Row:
    return Row(method, answered, np.array(rmse[:3]), np.array(rmse[3:] or [np.nan] * 3))


TWO = [
    Sequence("first_50%", [row("ours", 0.1, 0.2, 0.3, 1, 2, 3), row("klt", 0.2, 0.1, 0.3, answered=0.5)]),
    Sequence("second", [row("ours", 0.3, 0.4, 0.5, 3, 4, 5)]),
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_markdown_names_each_sequence_once_and_makes_the_best_bold():
    lines = markdown(TWO).splitlines()
    assert {len(cells(line)) for line in lines} == {9}
    assert cells(lines[2]) == [
        "first_50%",
        "ours",
        "**100.0 %**",
        "**0.100**",
        "0.200",
        "**0.300**",
        "1.000",
        "2.000",
        "3.000",
    ]
    assert cells(lines[3]) == ["", "klt", "50.0 %", "0.200", "**0.100**", "**0.300**", "–", "–", "–"]
    assert cells(lines[4])[3] == "0.300", "the only one is not the best"
    assert cells(lines[5])[:4] == ["Average", "ours", "100.0 %", "0.200"]
    assert cells(lines[6]) == ["", "klt", *["–"] * 7], "an average over fewer sequences would flatter"


def test_an_average_is_that_of_the_sequences_that_could_be_evaluated():
    (ours, _) = average([*TWO, Sequence("third", [], failure="broken")]).rows
    assert ours.angular == pytest.approx([0.2, 0.3, 0.4])
    assert "Average" not in markdown([TWO[0], Sequence("third", [], failure="broken")])


def test_latex_is_a_booktabs_table_whose_rows_are_all_as_wide_as_it_says():
    source = latex([*TWO, Sequence("third", [], failure="recording 'a_b' does not exist & 100 % {lost}")])
    assert source.startswith("\\begin{tabular}{llrrrrrrr}\n\\toprule\n")
    assert source.endswith("\\bottomrule\n\\end{tabular}\n")
    assert source.count("\\midrule") == 4
    rows = [line for line in source.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 1 + 3 + 1 + 2
    for line in rows:
        columns = len(re.split(r"(?<!\\)&", line))
        spanned = sum(int(count) - 1 for count in re.findall(r"multicolumn\{(\d)\}", line))
        assert columns + spanned == 9
        assert len(re.findall(r"(?<!\\)\{", line)) == len(re.findall(r"(?<!\\)\}", line))
        assert not re.search(r"(?<!\\)%", line), "the rest of the line would be a comment"
    assert r"first\_50\% & ours & \textbf{100.0 \%} & \textbf{0.100}" in source
    assert r"\emph{not evaluated: recording 'a\_b' does not exist \& 100 \% \{lost\}}" in source


@pytest.fixture
def folder(tmp_path, monkeypatch, own_cache) -> Path:
    """An empty working folder; models see exactly."""
    monkeypatch.chdir(tmp_path)
    bags.let_evaluate_see_exactly(monkeypatch)
    return tmp_path


def write_list(folder: Path, content: object) -> Path:
    (folder / "lists").mkdir(exist_ok=True)
    path = folder / "lists" / "list.yaml"
    path.write_text(yaml.safe_dump(content) if not isinstance(content, str) else content)
    return path


def test_recordings_become_a_table_and_one_that_fails_does_not_stop_the_others(folder, capsys):
    bags.moving_camera(folder / "bag")
    recordings = [
        {"path": "../missing"},
        {"name": "all of it", "path": "../bag"},
        {"name": "fitted/3", "path": "../bag", "exposure": "fit", "every": 3, "sign_resolution": "causal"},
    ]
    content = {"defaults": {"exposure": 0.01, "sign_resolution": "oracle"}, "recordings": recordings}
    assert commands.run("benchmark_recordings", [str(write_list(folder, content)), "--output", "out"]) == 1
    lines = Path("out/table.md").read_text().splitlines()
    assert cells(lines[2])[:2] == ["missing", f"*not evaluated:* recording '{folder}/lists/../missing' does not exist"]
    figures = json.loads(Path("out/all_of_it/metrics.json").read_text())
    best = f"**{figures['all']['rmse_angular'][0]:.3f}**"
    assert cells(lines[3])[:4] == ["all of it", "ours, auto", "**100.0 %**", best]
    assert cells(lines[5])[:3] == ["fitted/3", "ours, auto", "**0.0 %**"], (
        "uniform images do not tell forward from backward"
    )
    assert json.loads(Path("out/fitted_3/metrics.json").read_text())["frames"] == 4
    assert Path("out/all_of_it/report.html").exists()
    assert "not evaluated" in Path("out/table.tex").read_text()
    captured = capsys.readouterr()
    assert Path("out/table.md").read_text() in captured.out
    assert "missing: recording" in captured.err


def test_two_workers_write_the_table_of_one_in_the_order_of_the_list(tmp_path, tiny_model):
    bags.moving_camera(tmp_path / "bag")
    recordings = [{"name": "one", "path": "../bag"}, {"path": "../missing"}, {"name": "two", "path": "../bag"}]
    content = {"defaults": {"exposure": 0.01, "model": str(tiny_model)}, "recordings": recordings}
    path, tables = write_list(tmp_path, content), []
    for workers in ("1", "2"):
        output = tmp_path / workers
        assert commands.run("benchmark_recordings", [str(path), "--output", str(output), "--workers", workers]) == 1
        tables.append((output / "table.md").read_text())
    assert tables[0] == tables[1]
    assert "not evaluated" in tables[1]


def test_baselines_stand_beside_ours_and_a_trajectory_goes_by_its_files_name(folder):
    bags.moving_camera(folder / "bag")
    poses = [f"{stamp * 1e-9:.9f} 0 0 {number} 0 0 0 1" for number, stamp in enumerate(bags.frame_stamps(bags.COUNT))]
    (folder / "slam.txt").write_text("\n".join(poses))
    recording = {
        "path": "../bag",
        "exposure": 0.01,
        "sign_resolution": "oracle",
        "baselines": ["klt", "trajectory:../slam.txt"],
    }
    assert commands.run("benchmark_recordings", [str(write_list(folder, {"recordings": [recording]}))]) == 0
    lines = Path("output/list/table.md").read_text().splitlines()[2:]
    assert [cells(line)[1] for line in lines] == [
        "ours, single",
        "ours, auto",
        "klt, at the frame",
        "klt, since the frame before",
        "slam, at the frame",
        "slam, since the frame before",
    ]
    assert [cells(line)[2] for line in lines] == [
        "**100.0 %**",
        "**100.0 %**",
        "0.0 %",
        "0.0 %",
        "83.3 %",
        "**100.0 %**",
    ]


def test_the_example_shows_options_that_exist():
    first, second, third = read_list(EXAMPLE)
    assert first.config.exposure == ExposureSource.FIT
    assert first.path == EXAMPLE.parent / "recordings" / "desk_rpy_a"
    assert (second.config.every, second.config.baselines) == (6, ("klt",))
    assert (third.config.exposure, third.config.stamp_reference) == (0.02, "start")
    assert third.config.estimator.sign_resolution == "causal"


def test_a_recording_without_a_name_has_its_folders(tmp_path):
    for name in ("run_0.5ms", "run_0.8ms"):
        (tmp_path / "lists" / name).mkdir(parents=True)
    entries = [{"path": path, "exposure": 0.01} for path in ("run_0.5ms", "run_0.8ms", "walk.mcap")]
    listed = read_list(write_list(tmp_path, {"recordings": entries}))
    assert [one.name for one in listed] == ["run_0.5ms", "run_0.8ms", "walk"]


@pytest.mark.parametrize(("key", "of"), [("model", "engine"), ("mask", "estimator")])
def test_paths_of_models_and_masks_are_relative_to_the_list_too(tmp_path, key, of):
    entries = [{"path": "bag"}, {"path": "other", key: ""}]  # which is none, in place of the default
    content = {"defaults": {key: "own.file", "exposure": "topic"}, "recordings": entries}
    own, none = read_list(write_list(tmp_path, content))
    assert Path(getattr(getattr(own.config, of), key)) == tmp_path / "lists" / "own.file"
    assert getattr(getattr(none.config, of), key) == ""
    assert own.config.exposure == "topic"


def test_every_setting_of_the_estimator_and_the_engine_is_a_key(tmp_path):
    entry = {"path": "bag", "lever_arm": -1, "linear_velocity_std": 3.0, "exposure_relative_error": 0.1}
    entry |= {"precision": "fp32", "threads": 2, "dla_core": 0, "sign_resolution": "oracle"}
    (listed,) = read_list(write_list(tmp_path, {"recordings": [entry]}))
    estimator, engine = listed.config.estimator, listed.config.engine
    assert (estimator.lever_arm, estimator.linear_velocity_std, estimator.exposure_relative_error) == (-1.0, 3.0, 0.1)
    assert (engine.precision, engine.threads, engine.dla_core) == ("fp32", 2, 0)
    assert listed.config.oracle
    assert parse(shlex.split(command_line(listed.path, listed.config))[1:]).config == listed.config


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("recordings: [", "is not YAML"),
        ("[]", "has no list 'recordings'"),
        ({"recordings": []}, "has no list 'recordings'"),
        ({"recordings": ["bag"]}, "recording 1 must be keys and values, it is 'bag'"),
        ({"recordings": [{"name": "x"}]}, "recording 1 has no path"),
        (
            {"recordings": [{"path": "bag", "expsure": 0.01}]},
            "recording 1 has unknown keys: expsure; known are name, path",
        ),
        ({"recordings": [{"path": "bag"}], "default": {}}, "has unknown keys: default"),
        ({"recordings": [{"path": "bag"}], "defaults": {"path": "x"}}, "defaults has unknown keys: path"),
        ({"recordings": [{"path": "bag", "exposure": 7}]}, "recording 'bag': exposure time is 7.0 s"),
        (
            {"recordings": [{"path": "bag", "sign_resolution": "up"}]},
            "recording 'bag': sign_resolution is 'up', expected one of: causal",
        ),
        ({"recordings": [{"path": "bag", "every": 1.5}]}, "recording 'bag': every is 1.5, expected a whole number"),
        ({"recordings": [{"path": "bag", "exposure": "long"}]}, "recording 'bag': exposure is 'long'"),
        (
            {"recordings": [{"path": "bag", "exposure": True}]},
            "recording 'bag': exposure is True, expected a time in s",
        ),
        ({"recordings": [{"path": 121}]}, "recording 1: path is 121, expected a text, in quotes"),
        ({"recordings": [{"path": "bag"}], "defaults": {"model": 3}}, "recording 1: model is 3, expected a text"),
        ({"recordings": [{"path": "bag"}], "defaults": {"mask": True}}, "recording 1: mask is True, expected a text"),
        ({"recordings": [{"path": "bag", "baselines": "klt"}]}, "recording 1: baselines is 'klt', expected a list"),
        ({"recordings": [{"path": "a/bag"}, {"path": "b/bag"}]}, "recording 2 has the name of another one, 'bag'"),
    ],
)
def test_a_list_that_is_wrong_is_refused_before_anything_runs(tmp_path, capsys, content, reason):
    assert commands.run("benchmark_recordings", [str(write_list(tmp_path, content))]) == 2
    assert reason in capsys.readouterr().err


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_list(tmp_path / "no.yaml")
