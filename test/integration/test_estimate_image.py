"""The estimate_image command on images, good and bad."""

import json
import os

import cv2
import numpy as np
import pytest
from conftest import TINY_MODEL_CAMERA as CAMERA
from conftest import TINY_MODEL_RATE
from PIL import Image

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.evaluation.single_image.estimate import read_image


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8))
    return path


def run(photo, model, *options) -> int:
    camera = ["--fx", str(CAMERA.fx), "--exposure", "0.01"]
    return command_line.run("estimate_image", [str(photo), *camera, "--model", str(model), *options])


def test_json_holds_velocity_and_covariance(photo, tiny_model, capsys):
    assert run(photo, tiny_model, "--json", "--motion-model", "rotation") == 0
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
    # A pan displaces the middle by f·ω·τ, the corners by more; in px at 320 px width.
    assert found["mean_flow_px"] == pytest.approx(250 * TINY_MODEL_RATE * 0.01, rel=0.2)
    assert found["resolved_direction"] is False
    covariance = np.array(found["covariance"])
    assert covariance.shape == (6, 6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    # v, which was not estimated, comes first with its prior.
    assert covariance[0, 0] == pytest.approx(EstimatorConfig().linear_velocity_std ** 2)


def test_people_read_that_the_sign_is_open(photo, tiny_model, capsys):
    assert run(photo, tiny_model) == 0
    said = capsys.readouterr().out
    assert "rad/s" in said
    assert "sign open" in said


def test_the_focal_length_is_in_px_of_the_image(photo, tiny_model, capsys):
    """The same photo at half the size has half the focal length and the same motion."""
    assert run(photo, tiny_model, "--json") == 0
    small = photo.with_name("small.png")
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(photo)), None, fx=0.5, fy=0.5))
    camera = ["--fx", str(CAMERA.fx / 2), "--exposure", "0.01", "--model", str(tiny_model), "--json"]
    assert command_line.run("estimate_image", [str(small), *camera]) == 0
    large, small = map(json.loads, capsys.readouterr().out.splitlines())
    assert small["angular_velocity"] == pytest.approx(large["angular_velocity"], rel=1e-3, abs=1e-6)


def test_names_of_files_need_not_be_utf_8(photo, tiny_model, tmp_path):
    """OpenCV crashes at them."""
    named, overlay = (tmp_path / os.fsdecode(name) for name in (b"photo\xff.png", b"overlay\xfe.png"))
    photo.rename(named)
    assert run(named, tiny_model, "--output", str(overlay)) == 0
    assert cv2.imdecode(np.fromfile(overlay, np.uint8), cv2.IMREAD_COLOR).shape == (CAMERA.height, CAMERA.width, 3)
    assert run(photo.with_name("no" + named.name), tiny_model) == 2
    assert run(named, tiny_model, "--output", os.fsdecode(b"overlay.\xff")) == 2


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_photos_are_read_upright_as_opencv_reads_them(photo, tmp_path, colour, orientation):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(photo).save(path, exif=exif)
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if colour == "gray" else cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path, colour), expected if colour == "gray" else expected[..., ::-1])


def test_the_overlay_has_the_size_of_the_image(photo, tiny_model, tmp_path):
    assert run(photo, tiny_model, "--output", str(tmp_path / "overlay.png")) == 0
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (CAMERA.height, CAMERA.width, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fx", "0"], "must be positive"),
        (["--fx", "nan"], "not finite"),
        (["--cx", "inf"], "not finite"),
        (["--exposure", "0"], "exposure time is"),
        (["--exposure", "20"], "check the unit"),
        (["--exposure-relative-error", "0.5"], "--exposure-relative-error is 0.5: give 0.4 or less"),
        (["--exposure", "0.00001"], "the blur means more than 60 rad/s"),
        (["--model", "missing.onnx"], "does not exist"),
        (["--output", "no/such/folder/overlay.png"], "cannot be written"),
        (["--output", "overlay.unknown"], "cannot be written"),
    ],
)
def test_bad_options_are_one_line_and_code_2(photo, tiny_model, capsys, options, message):
    assert run(photo, tiny_model, *options) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"", b"no photo", b"\xff\xd8\xff\xe0 cut"])
def test_bad_files_are_one_line_and_code_2(tmp_path, tiny_model, capfd, content):
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    assert run(path, tiny_model) == 2
    assert ("does not exist" if content is None else "cannot be read") in capfd.readouterr().err


def test_a_folder_is_no_image(tmp_path, tiny_model, capsys):
    assert run(tmp_path, tiny_model) == 2
    assert f"'{tmp_path}' is a folder, expected one image file" in capsys.readouterr().err


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_file_that_was_cut_off_is_refused_by_name(photo, tiny_model, capsys, extension):
    """OpenCV fills up the missing rows, which are sharp."""
    whole = cv2.imencode(extension, cv2.imread(str(photo)))[1].tobytes()
    path = photo.with_name(f"cut{extension}")
    path.write_bytes(whole[: len(whole) // 2])
    assert run(path, tiny_model) == 2
    assert f"cut{extension} cannot be read: it is cut off" in capsys.readouterr().err
    path.write_bytes(whole + b"\r\n")
    assert run(path, tiny_model) == 0


class TestExif:
    @pytest.fixture
    def phone_photo(self, photo, tmp_path):
        """A photo that says what it was taken with: 18.4 ms, and 27 mm as of a 35 mm camera, 499 px here."""
        path = tmp_path / "phone.jpg"
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x829A: 0.0184, 0xA405: 27})
        Image.open(photo).save(path, exif=exif)
        return path

    def run(self, photo, model, capsys, *options) -> tuple[dict, str]:
        assert command_line.run("estimate_image", [str(photo), "--model", str(model), "--json", *options]) == 0
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    def test_what_is_not_given_comes_from_the_photo(self, phone_photo, tiny_model, capsys):
        found, said = self.run(phone_photo, tiny_model, capsys)
        assert np.abs(found["angular_velocity"][1]) == pytest.approx(TINY_MODEL_RATE * 0.01 / 0.0184, rel=0.01)
        assert "focal length 499 px from EXIF" in said
        assert "exposure 18.4 ms from EXIF" in said

    def test_what_contradicts_the_photo_is_warned_of(self, phone_photo, tiny_model, capsys):
        _, said = self.run(phone_photo, tiny_model, capsys, "--fx", "900", "--exposure", "0.002")
        assert "--fx is 900 px, but EXIF's 35 mm equivalent means 499 px" in said
        assert "--exposure is 2 ms, but EXIF says 18.4 ms" in said
        _, said = self.run(phone_photo, tiny_model, capsys, "--fx", "510", "--exposure", "0.018")
        assert not said

    def test_a_photo_that_says_nothing_is_asked_about(self, photo, tiny_model, capsys):
        assert command_line.run("estimate_image", [str(photo), "--fx", "500", "--model", str(tiny_model)]) == 2
        assert "EXIF does not say it: give --exposure" in capsys.readouterr().err
