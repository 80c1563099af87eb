"""The benchmark command, and that its frames are what they claim to be."""

import numpy as np
import pytest

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.evaluation.benchmarks.engines import disagreement, shaken_frames
from image_as_imu_ros.geometry.camera import Camera

STAGES = ("decode raw", "decode JPEG", "prepare", "network", "solve", "align", "sign", "solve to sign")


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


def test_engines_are_compared_line_by_line(tiny_model, capsys):
    options = ["--model", str(tiny_model), "--frames", "5", "--threads", "1"]
    assert command_line.run("benchmark", [*options, "--engine", "onnxruntime", "--engine", "auto"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if "  onnxruntime (CPU, " in line]) == 2
    assert said.count("axial flow differs from ONNX Runtime on the CPU by 0.0000 px, at most 0.000 px") == 2


def test_disagreement_is_a_distance_in_pixels(tiny_model):
    class Displaced:
        """The engine, with its axial flow 3 px to the right and 4 px down in one cell."""

        def __init__(self, engine):
            self.engine, self.info = engine, engine.info

        def infer(self, image):
            output = self.engine.infer(image)
            output.axial_flow[:, 0, 0] += 3, 4
            return output

    engine = load_engine(tiny_model, "onnxruntime")
    assert disagreement(engine, engine) == (0, 0)
    mean, largest = disagreement(Displaced(engine), engine)
    assert largest == pytest.approx(5)
    assert mean == pytest.approx(5 / engine.infer(np.zeros((224, 320), np.uint8)).depth.size)


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
