"""The commands in README and docs: run as printed where they are quick, else parsed by the program that they call.

Each runs in a folder in which only the files that it names lie. A tiny model stands in for the shipped one. Not run are
commands that take minutes, want a GPU, talk to ROS, or train; their arguments are checked by their own parser. What
needs a ROS installation is checked against what the launch files declare.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import captures
import cv2
import numpy as np
import pytest
import replay_bags
import yaml

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.evaluation import open_engine
from image_as_imu_ros.nodes.parameters import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = ("evaluate", "benchmark_recordings", "convert", "estimate_image")
LAUNCH_ARGUMENTS = {"namespace", "params_file", "use_sim_time", "ekf", "ekf_params_file", "bag", "rate"}
TOPICS = {"image", "camera_info", "depth", "exposure", "rate_hint"}


def commands(*starts: str) -> list:
    """Different command lines in the pages' code blocks that start so, as pytest parameters named after a page."""
    found = {}
    for page in PAGES:
        for block in re.findall(r"^```(?:sh|bash|)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith(starts):
                    words = shlex.split(line, comments=True)
                    found.setdefault(" ".join(words), pytest.param(words, id=f"{page.name}: {' '.join(words)}"))
    return list(found.values())


def is_synopsis(words: list[str]) -> bool:
    """Whether "[--option]" or "…" stand for something, so that the line is not meant to be typed."""
    return any("…" in word or "[" in word for word in words)


@pytest.fixture
def folder(tmp_path, monkeypatch, own_cache, tiny_model) -> Path:
    """An empty working folder with everything that the commands name; nothing of it is overwritten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(open_engine, "resource", lambda name: tiny_model)
    return tmp_path


def write_list_of_recordings(path: Path) -> None:
    """The example, with recordings where it looks for them."""
    shutil.copy(ROOT / "config" / "benchmark_recordings.yaml", path)
    for recording in {entry["path"] for entry in yaml.safe_load(path.read_text())["recordings"]}:
        (path.parent / recording).parent.mkdir(exist_ok=True)
        replay_bags.moving_camera(path.parent / recording)


def lay_out(folder: Path, words: list[str]) -> None:
    makers = {
        "recordings.yaml": write_list_of_recordings,
        "BAG": replay_bags.moving_camera,
        "trajectory:slam.txt": lambda path: path.with_name("slam.txt").write_text(_static_poses()),
        "photo.jpg": lambda path: cv2.imwrite(str(path), np.full((480, 640), 90, np.uint8)),
        "CAPTURE": captures.write_stray_capture,
        "clip.mp4": lambda path: captures.write_video_and_gyroscope(path, path.parent / "gyro.csv"),
        "IMAGES": captures.write_images_and_table,
        "MARS": captures.write_mars_capture,
        "V1_03_difficult": captures.write_euroc_sequence,
        "rgbd_dataset_freiburg1_rpy": captures.write_tum_sequence,
    }
    if "convert" not in words:  # there it is the output
        makers["RECORDING"] = replay_bags.moving_camera
    for word in words:
        if word in makers:
            makers[word](folder / word)


def _static_poses() -> str:
    return "\n".join(f"{stamp * 1e-9:.6f} 0 0 0 0 0 0 1" for stamp in replay_bags.frame_stamps(12))


def is_quick(words: list[str]) -> bool:
    return words[3] in QUICK and "colmap" not in words


@pytest.mark.parametrize(
    "words",
    [command for command in commands("python -m image_as_imu_ros ") if is_quick(command.values[0])],
)
def test_quick_commands_run_as_printed(folder, words, capsys):
    lay_out(folder, words)
    _, _, _, name, *arguments = words
    assert command_line.run(name, arguments) == 0, capsys.readouterr().err


class Parsed(Exception):
    """The arguments were accepted."""


@pytest.fixture
def parse_only(monkeypatch):
    """Programs stop after reading their arguments."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)


@pytest.mark.parametrize(
    "words",
    [
        command
        for command in commands("python -m image_as_imu_ros ", "ros2 run image_as_imu_ros ")
        if command.values[0][3] != "blur_imu_node"
        and not is_quick(command.values[0])
        and not is_synopsis(command.values[0])
    ],
)
def test_long_commands_are_accepted_by_their_parsers(parse_only, words):
    _, _, _, name, *arguments = words
    with pytest.raises(Parsed):
        command_line.run(name, arguments)


@pytest.mark.parametrize("words", commands("python -m image_as_imu_training "))
def test_training_commands_are_accepted_by_their_parser(parse_only, words):
    training = pytest.importorskip("image_as_imu_training.__main__", reason="training needs its own packages")
    with pytest.raises(Parsed):
        training.main(words[3:])


@pytest.mark.parametrize("words", commands("ros2 launch image_as_imu_ros ", "python -m image_as_imu_ros blur_imu_node"))
def test_launch_arguments_parameters_and_remappings_exist_and_have_values_that_are_taken(words):
    given = dict(re.fullmatch(r"(\w+):=(.*)", word).groups() for word in words if ":=" in word)
    parameters = {name: value for name, value in given.items() if name in Settings.__dataclass_fields__}
    assert given.keys() - parameters.keys() <= LAUNCH_ARGUMENTS | TOPICS
    Settings(**{name: _typed(value, getattr(Settings(), name)) for name, value in parameters.items()})
    if words[0] == "ros2":
        assert (ROOT / "launch" / words[3]).exists()


def _typed(value: str, example: object) -> object:
    return value == "true" if isinstance(example, bool) else type(example)(value)


def test_the_python_example_runs_as_printed(folder, tiny_model):
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (folder / "models").mkdir()
    shutil.copy(tiny_model, folder / "models" / "blur_imu_small.onnx")
    cv2.imwrite(str(folder / "frame.png"), np.full((480, 640), 90, np.uint8))
    names: dict[str, Any] = {}
    exec(block, names)
    assert not names["estimate"].sign_resolved


@pytest.mark.parametrize("words", commands("make "))
def test_make_targets_exist(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words[1:]) <= set(targets)


def test_commands_are_found_at_all():
    """The tests above would pass without a single command."""
    assert len(commands(*(f"python -m image_as_imu_ros {name}" for name in QUICK))) >= 9
    assert len(commands("ros2 launch ")) >= 3
    assert len(commands("make ")) >= 2
