"""The benchmark command, and that its frames are what they claim to be."""

import numpy as np
import pytest

from image_as_imu_ros import command_line
from image_as_imu_ros.benchmark import shaken_frames
from image_as_imu_ros.camera import Camera

STAGES = ("decode raw", "decode JPEG", "prepare", "network", "solve", "direction", "solve + direction")


def test_a_line_per_stage_and_peak_memory(tiny_model, capsys):
    options = ["--model", str(tiny_model), "--frames", "5", "--width", "320", "--height", "240", "--threads", "1"]
    assert command_line.run("benchmark", options) == 0
    said = capsys.readouterr().out
    for stage in STAGES:
        line = next(line for line in said.splitlines() if line.startswith(f"{stage} "))
        p50, p95, p99 = map(float, line.removeprefix(stage).split())
        assert 0 <= p50 <= p95 <= p99
    assert "publish" in said
    assert "peak memory" in said


def test_frames_are_textured_and_move():
    camera = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
    first, second = shaken_frames(camera, 2)
    assert first.shape == (120, 160, 3)
    assert first.std() > 10
    assert np.abs(first.astype(int) - second).mean() > 5


@pytest.mark.parametrize(
    "options", [["--frames", "0"], ["--width", "0"], ["--height", "100000"], ["--model", "no.onnx"]]
)
def test_bad_options_are_code_2(tiny_model, capsys, options):
    assert command_line.run("benchmark", ["--model", str(tiny_model), *options]) == 2
    assert capsys.readouterr().err.startswith("benchmark: ")
