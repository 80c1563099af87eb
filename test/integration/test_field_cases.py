"""Inputs that users' machines gave, as they lie beside the repository; `test_storage` and others rebuild each small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.evaluation.single_image.exif import settle
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording

CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "field_cases"
FRAMES = 24

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not in ../shared/field_cases")


@pytest.mark.parametrize(
    ("case", "frames"),
    [
        ("unrelated_topic/clip_with_service.mcap", FRAMES),
        ("unrelated_topic/sqlite_unknown", FRAMES),
        ("damaged_containers/trunc_0.7.mcap", 16),
        ("damaged_containers/emptyid", FRAMES),
    ],
)
def test_recordings_are_read_as_far_as_they_are_whole(case, frames, caplog):
    with Recording(CASES / case) as recording:
        topic = recording.image_topic()
        found = list(recording.frames(topic, recording.camera_info_topic(topic)))
        assert len(read_ground_truth(recording, recording.ground_truth_topic()).stamps) > 50
    assert len(found) == frames
    assert found[-1].decode_image("gray").shape == (480, 640)
    assert bool(caplog.messages) == (frames < FRAMES)


def converted(tmp_path, name: str, *options: str):
    folder = CASES / "gyroscope_csv"
    arguments = ["video", str(folder / "plain.mp4"), str(tmp_path / name), "--fx", "517.3", "--crop", "64x48"]
    assert command_line.run("convert", [*arguments, "--gyroscope", str(folder / name), *options]) == 0
    with Recording(tmp_path / name) as recording:
        return read_ground_truth(recording, "/imu/data_raw")


def test_three_loggers_tell_the_same_rotation(tmp_path):
    sensor_logger = converted(tmp_path, "sensor_logger.csv", "--time-unit", "ns", "--offset", "1700000000")
    stamps = sensor_logger.stamps[10:-10]
    _, expected = sensor_logger.at(stamps, 1e-3)
    for name in ("log.gcsv", "phyphox.csv"):
        _, found = converted(tmp_path, name).at(stamps, 1e-3)
        np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.abs(expected).max() < 5  # rad/s, a hand's


def test_a_photo_says_how_it_was_taken():
    photo = CASES / "exif" / "rot6.jpg"
    settled = settle(photo, None, None)
    assert settled.exposure == pytest.approx(0.0184)
    assert settled.fx == pytest.approx(517.3, rel=0.05)
    assert "but EXIF says 18.4 ms" in settle(photo, 517.3, 0.002).notes[0]
