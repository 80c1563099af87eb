"""The estimate_image command on pictures, good and bad."""

import json

import cv2
import numpy as np
import pytest
from conftest import TINY_MODEL_CAMERA as CAMERA
from conftest import TINY_MODEL_RATE

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.estimation.config import EstimatorConfig


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8))
    return path


def run(picture, model, *options) -> int:
    camera = ["--fx", str(CAMERA.fx), "--exposure", "0.01"]
    return command_line.run("estimate_image", [str(picture), *camera, "--model", str(model), *options])


def test_json_holds_velocity_and_covariance(picture, tiny_model, capsys):
    assert run(picture, tiny_model, "--json", "--motion-model", "rotation") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "angular_velocity",
        "linear_velocity",
        "covariance",
        "mean_flow_px",
        "resolved_direction",
    ]
    assert np.abs(found["angular_velocity"]) == pytest.approx([0, TINY_MODEL_RATE, 0], abs=1e-3)
    assert found["linear_velocity"] == [0, 0, 0]
    # A pan shifts the middle by f·ω·τ, the corners by more; in px at 320 px width.
    assert found["mean_flow_px"] == pytest.approx(250 * TINY_MODEL_RATE * 0.01, rel=0.2)
    assert found["resolved_direction"] is False
    covariance = np.array(found["covariance"])
    assert covariance.shape == (6, 6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    # v, which was not estimated, comes first with its prior.
    assert covariance[0, 0] == pytest.approx(EstimatorConfig().linear_velocity_std ** 2)


def test_people_are_told_that_the_sign_is_open(picture, tiny_model, capsys):
    assert run(picture, tiny_model) == 0
    said = capsys.readouterr().out
    assert "rad/s" in said
    assert "sign open" in said


def test_the_focal_length_is_in_px_of_the_picture(picture, tiny_model, capsys):
    """The same picture at half the size has half the focal length and the same motion."""
    assert run(picture, tiny_model, "--json") == 0
    small = picture.with_name("small.png")
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(picture)), None, fx=0.5, fy=0.5))
    camera = ["--fx", str(CAMERA.fx / 2), "--exposure", "0.01", "--model", str(tiny_model), "--json"]
    assert command_line.run("estimate_image", [str(small), *camera]) == 0
    large, small = map(json.loads, capsys.readouterr().out.splitlines())
    assert small["angular_velocity"] == pytest.approx(large["angular_velocity"], rel=1e-3, abs=1e-6)


def test_the_overlay_has_the_size_of_the_picture(picture, tiny_model, tmp_path):
    assert run(picture, tiny_model, "--output", str(tmp_path / "overlay.png")) == 0
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (CAMERA.height, CAMERA.width, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fx", "0"], "must be positive"),
        (["--fx", "nan"], "not finite"),
        (["--cx", "inf"], "not finite"),
        (["--exposure", "0"], "exposure time is"),
        (["--exposure", "20"], "check the unit"),
        (["--model", "missing.onnx"], "does not exist"),
        (["--output", "no/such/folder/overlay.png"], "cannot be written"),
        (["--output", "overlay.unknown"], "cannot be written"),
    ],
)
def test_bad_options_are_one_line_and_code_2(picture, tiny_model, capsys, options, message):
    assert run(picture, tiny_model, *options) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_bad_files_are_one_line_and_code_2(tmp_path, tiny_model, capfd, content):
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    assert run(path, tiny_model) == 2
    assert ("does not exist" if content is None else "cannot be read") in capfd.readouterr().err
