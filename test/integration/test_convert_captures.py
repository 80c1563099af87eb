"""Captures of phones' loggers, action cameras, TUM-VI, event cameras and folders of images become right recordings."""

from __future__ import annotations

import shlex
from pathlib import Path

import captures
import cv2
import numpy as np
import pytest
from captures import (
    CAMERA,
    EXPOSURE,
    FRAMES,
    booted,
    frame_times,
    gyroscope_times,
    phone_rates,
    pictures,
    write_rows,
)
from gpmf import add_gpmf

from image_as_imu_ros.commands.convert import main as convert
from image_as_imu_ros.commands.evaluate import parse
from image_as_imu_ros.demo import motion
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.config import EvaluationConfig, ExposureSource
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording

READOUT = 0.0217  # s
BOOT = captures.BOOT
TIMES = frame_times()[1:]


class Converted:
    """A recording, and the evaluation that `convert` printed for it."""

    def __init__(self, tmp_path: Path, capsys, *arguments: str) -> None:
        self.path = tmp_path / "recording"
        assert convert([arguments[0], arguments[1], str(self.path), *arguments[2:]]) == 0
        *_, command = capsys.readouterr().out.splitlines()
        words = shlex.split(command)
        assert words[:4] == ["python", "-m", "image_as_imu_ros", "evaluate"]
        self.config: EvaluationConfig = parse(words[4:]).config
        with Recording(self.path) as recording:
            topic = recording.image_topic()
            self.frames = list(recording.frames(topic, recording.camera_info_topic(topic)))
            self.exposures = None
            if recording.exposure_topic("topic"):
                self.exposures = read_exposures(recording, "/camera/exposure", "topic", "s").seconds
            self.ground_truth = read_ground_truth(recording, recording.ground_truth_topic())

    def angular(self, stamps) -> np.ndarray:
        return self.ground_truth.at(np.asarray(stamps), 1e-3)[1]


def test_mars_logger_tells_exposure_focal_length_and_readout_of_each_frame(tmp_path, capsys):
    found = Converted(tmp_path, capsys, "mars", str(captures.write_mars_capture(tmp_path / "capture")))
    assert [frame.stamp for frame in found.frames] == booted(TIMES).tolist()
    assert found.exposures == pytest.approx([0.016 + 1e-6 * (i + 2) for i in range(FRAMES)], rel=1e-6)
    assert [frame.camera().fx for frame in found.frames] == pytest.approx([192 + 0.1 * (i + 2) for i in range(FRAMES)])
    assert (found.config.stamp_reference, found.config.readout_time) == ("start", pytest.approx(READOUT))
    assert found.config.exposure == ExposureSource.TOPIC
    inner = TIMES[:-2]
    np.testing.assert_allclose(found.angular(booted(inner)), motion.angular_velocity(inner), atol=0.02)


@pytest.mark.parametrize("folder", [".", "20260101_120000"])
def test_opencamera_sensors_stamps_its_frames_in_a_file_beside_the_video(tmp_path, capsys, folder):
    video = tmp_path / "VID_1.mp4"
    captures.write_video(video, pictures())
    write_rows(tmp_path / folder / "VID_1_timestamps.csv", "", [[stamp] for stamp in booted(TIMES).tolist()])
    times = gyroscope_times()
    rows = [[*rates, s] for s, rates in zip(booted(times).tolist(), phone_rates(times).tolist(), strict=True)]
    write_rows(tmp_path / folder / "VID_1_gyro.csv", "", rows)
    found = Converted(tmp_path, capsys, "opencamera", str(video), "--fx", "192")
    assert [frame.stamp for frame in found.frames] == booted(TIMES).tolist()
    assert found.exposures is None
    assert (found.config.exposure, found.config.stamp_reference) == (ExposureSource.ESTIMATE, "start")
    inner = TIMES[:-2]
    np.testing.assert_allclose(found.angular(booted(inner)), motion.angular_velocity(inner), atol=0.02)


def test_a_gopro_tells_gyroscope_and_exposures_in_the_video_itself(tmp_path, capsys):
    pytest.importorskip("telemetry_parser", reason="telemetry-parser reads GoPro's videos")
    video = tmp_path / "GX010001.MP4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), captures.RATE, (256, 192))
    for image in pictures():
        writer.write(image)
    writer.release()
    seconds = FRAMES / captures.RATE
    times = TIMES[0] + np.arange(54) / 54 * seconds
    rates = motion.angular_velocity(times)
    add_gpmf(video, rates, np.linspace(0.004, 0.008, FRAMES), seconds)
    found = Converted(tmp_path, capsys, "gopro", str(video), "--fx", "192")
    assert found.exposures == pytest.approx(np.linspace(0.004, 0.008, FRAMES), rel=0.02)
    stamps = np.array([frame.stamp for frame in found.frames])
    assert np.diff(stamps) == pytest.approx(1e9 / captures.RATE, rel=0.01)
    inner = slice(0, -1)
    expected = motion.angular_velocity(TIMES[inner])
    assert np.abs(found.angular(stamps[inner]) - expected).max() < 0.02 * np.abs(expected).max()


def test_without_telemetry_parser_a_gopro_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "telemetry_parser", None)
    (tmp_path / "GX010001.MP4").write_bytes(b"")
    with pytest.raises(InputError, match="pip install telemetry-parser"):
        convert(["gopro", str(tmp_path / "GX010001.MP4"), str(tmp_path / "recording"), "--fx", "192"])


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(pictures()):
        cv2.imwrite(str(folder / f"picture_{i}.png"), image)
    return folder


def test_a_folder_of_images_is_stamped_by_a_table_in_any_order(images, tmp_path, capsys):
    table = tmp_path / "frames.csv"
    rows = [[f"{BOOT + TIMES[i]:.9f}", f"picture_{i}.png", 16] for i in (1, 0, *range(2, FRAMES))]
    write_rows(table, "time;file;exposure_ms", rows, ";")
    times = gyroscope_times()
    write_rows(
        tmp_path / "gyro.csv", "time,x,y,z", np.column_stack([BOOT + times, motion.angular_velocity(times)]).tolist()
    )
    arguments = ["--frames", str(table), "--gyroscope", str(tmp_path / "gyro.csv"), "--fx", "192"]
    found = Converted(tmp_path, capsys, "images", str(images), *arguments)
    assert [frame.stamp for frame in found.frames] == pytest.approx(booted(TIMES), abs=1)
    for frame, picture in zip(found.frames, pictures(), strict=True):
        np.testing.assert_array_equal(frame.decode_image("rgb"), picture[:, :, ::-1])
    assert found.exposures == pytest.approx([EXPOSURE] * FRAMES)


def test_images_whose_names_are_no_stamps_need_a_table(images, tmp_path):
    with pytest.raises(InputError, match="no stamps in ns: give a table of frames, --frames"):
        convert(["images", str(images), str(tmp_path / "recording"), "--fx", "192"])


def test_a_videos_frames_can_be_stamped_by_a_table(tmp_path, capsys):
    captures.write_video(tmp_path / "clip.mp4", pictures())
    write_rows(tmp_path / "frames.csv", "timestamp_ns,exposure_us", [[s, 16_000] for s in booted(TIMES).tolist()])
    times = gyroscope_times()
    write_rows(
        tmp_path / "gyro.csv", "time,x,y,z", np.column_stack([BOOT + times, motion.angular_velocity(times)]).tolist()
    )
    arguments = ["--frames", str(tmp_path / "frames.csv"), "--gyroscope", str(tmp_path / "gyro.csv"), "--fx", "192"]
    found = Converted(tmp_path, capsys, "video", str(tmp_path / "clip.mp4"), *arguments)
    assert [frame.stamp for frame in found.frames] == booted(TIMES).tolist()
    assert found.exposures == pytest.approx([EXPOSURE] * FRAMES)
    write_rows(tmp_path / "frames.csv", "timestamp_ns", [[s] for s in booted(TIMES)[1:].tolist()])
    with pytest.raises(InputError, match=f"{FRAMES} frames, but their table {FRAMES - 1} rows"):
        convert(["video", str(tmp_path / "clip.mp4"), str(tmp_path / "other"), *arguments])


class TestTumVi:
    """TUM-VI: 16-bit images, Kalibr's camchain or a sensor.yaml of OpenCV's dialect, motion capture of the IMU."""

    CAMERA_TO_BODY = so3.exp(np.array([[0.3, -1.2, 0.4]]))[0]

    def write(self, folder: Path, model: str = "equidistant", sensor: bool = False) -> Path:
        images = folder / "mav0" / "cam0" / "data"
        images.mkdir(parents=True)
        stamps = booted(TIMES).tolist()
        for stamp, picture in zip(stamps, pictures(), strict=True):
            gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257
            cv2.imwrite(str(images / f"{stamp}.png"), gray)
        write_rows(folder / "mav0/cam0/data.csv", "#timestamp [ns],filename", [[s, f"{s}.png"] for s in stamps])
        rows = [[s, f"{1e-9 * s:.9f}", 16.0] for s in stamps]
        write_rows(folder / "dso/cam0/times.txt", "# filename timestamp[s] exposure_time[ms]", rows, " ")
        times = gyroscope_times()
        rates = motion.angular_velocity(times) @ self.CAMERA_TO_BODY.T
        rows = [[s, *w, 0, 0, 9.8] for s, w in zip(booted(times).tolist(), rates.tolist(), strict=True)]
        write_rows(folder / "mav0/imu0/data.csv", "#timestamp [ns],w_RS_S_x,…", rows)
        poses = [captures.trajectory().pose(time) for time in times]
        rows = [
            [s, *pose.position, *so3.quaternion_from_matrix(pose.rotation @ self.CAMERA_TO_BODY.T)]
            for s, pose in zip(booted(times).tolist(), poses, strict=True)
        ]
        write_rows(folder / "mav0/mocap0/data.csv", "#timestamp [ns], p_RS_R_x [m], …", rows)
        transform = np.eye(4)
        transform[:3, :3] = self.CAMERA_TO_BODY if sensor else self.CAMERA_TO_BODY.T
        numbers = [f"{value:.12g}" for value in transform.ravel()]
        coefficients = "[0.003, 0.0007, -0.002, 0.0002]" if model != "none" else "[]"
        if sensor:
            (folder / "mav0/cam0/sensor.yaml").write_text(
                "%YAML:1.0\n---\nsensor_type: camera\nT_BS: !!opencv-matrix\n\trows: 4\n\tcols: 4\n\tdt: d\n"
                f"\tdata: [{', '.join(numbers)}]\nresolution: [256, 192]\nintrinsics: [192.0, 192.0, 127.5, 95.5]\n"
                f"distortion_model: {model}\ndistortion_coefficients: {coefficients}\n"
            )
        else:
            matrix = "".join(f"  - [{', '.join(numbers[4 * i : 4 * i + 4])}]\n" for i in range(4))
            (folder / "dso/camchain.yaml").write_text(
                f"cam0:\n  T_cam_imu:\n{matrix}  camera_model: pinhole\n  distortion_coeffs: {coefficients}\n"
                f"  distortion_model: {model}\n  intrinsics: [192.0, 192.0, 127.5, 95.5]\n  resolution: [256, 192]\n"
            )
        return folder

    @pytest.mark.parametrize("sensor", [False, True])
    @pytest.mark.parametrize(("model", "ours"), [("equidistant", "equidistant"), ("radtan", "plumb_bob"), ("none", "")])
    def test_it_is_read(self, tmp_path, capsys, model, ours, sensor):
        found = Converted(tmp_path, capsys, "euroc", str(self.write(tmp_path / "room", model, sensor)))
        camera = found.frames[0].camera()
        assert camera.distortion_model in (ours, "plumb_bob" if model == "none" else ours)
        assert any(camera.distortion) == (model != "none")
        gray = cv2.cvtColor(pictures()[0], cv2.COLOR_BGR2GRAY)
        assert np.corrcoef(found.frames[0].decode_image("gray").ravel(), gray.ravel())[0, 1] > 0.99
        assert found.exposures == pytest.approx([EXPOSURE] * FRAMES)
        inner = TIMES[1:-2]
        np.testing.assert_allclose(found.angular(booted(inner)), motion.angular_velocity(inner), atol=0.03)


def test_frames_of_an_event_camera_are_read_from_its_text_files(images, tmp_path, capsys):
    folder, times = images.parent, gyroscope_times()
    rows = [[f"{time:.9f}", f"images/picture_{i}.png"] for i, time in enumerate(TIMES - TIMES[0])]
    write_rows(folder / "images.txt", "", rows, " ")
    write_rows(folder / "calib.txt", "", [[192, 192, 127.5, 95.5, -0.1, 0.01, 0, 0, 0]], " ")
    rows = np.column_stack([times - TIMES[0], np.zeros((len(times), 3)), motion.angular_velocity(times)])
    write_rows(folder / "imu.txt", "", rows.tolist(), " ")
    found = Converted(tmp_path, capsys, "events", str(folder))
    stamps = [frame.stamp for frame in found.frames]
    assert stamps[0] > 0
    assert found.frames[0].camera().distortion[:2] == (-0.1, 0.01)
    np.testing.assert_allclose(found.angular(stamps[1:-2]), motion.angular_velocity(TIMES[1:-2]), atol=0.02)
    assert CAMERA.width == found.frames[0].camera().width
