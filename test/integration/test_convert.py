"""Captures and data sets become recordings: axes, stamps, intrinsics, depth and exposure are the right ones."""

from __future__ import annotations

import json
from pathlib import Path

import captures
import cv2
import numpy as np
import pytest
import replay_bags
from captures import CAMERA, EXPOSURE, FRAMES, frame_times, gyroscope_times, pictures

from image_as_imu_ros.commands import run
from image_as_imu_ros.commands.convert import main as convert
from image_as_imu_ros.datasets.capture import mean_blur
from image_as_imu_ros.demo import motion
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.messages.camera_info import camera_from_info
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording


@pytest.fixture(scope="module")
def stray(tmp_path_factory) -> Path:
    return captures.write_stray_capture(tmp_path_factory.mktemp("stray") / "capture", depth=True)


@pytest.fixture(scope="module")
def converted(stray) -> Path:
    output = stray.parent / "recording"
    assert convert(["stray", str(stray), str(output), "--exposure", str(EXPOSURE)]) == 0
    return output


def frames_of(path: Path) -> list:
    with Recording(path) as recording:
        image_topic = recording.image_topic()
        depth_topic = "/camera/aligned_depth/image_raw/compressed"
        depth_topic = depth_topic if depth_topic in recording.topics else None
        return list(recording.frames(image_topic, recording.camera_info_topic(image_topic), depth_topic))


def motion_at(path: Path, topic: str, times: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray]:
    """(linear, angular) that a recording holds at times, s into the motion."""
    with Recording(path) as recording:
        return read_ground_truth(recording, topic).at(captures.nanoseconds(start + times), 1e-3)


def direct_recording(path: Path) -> Path:
    """What a ROS camera driver and a perfect tracker would have recorded of the very same frames."""
    stamps = captures.nanoseconds(captures.BOOT + frame_times()[1:])
    info = replay_bags._T["sensor_msgs/msg/CameraInfo"]
    image = replay_bags._T["sensor_msgs/msg/CompressedImage"]
    roi = replay_bags._T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    times = gyroscope_times()
    times = times[(times >= frame_times()[1]) & (times <= frame_times()[-2])]
    velocities = np.column_stack([motion.linear_velocity(times), motion.angular_velocity(times)])
    return replay_bags.write_recording(
        path,
        {
            "/camera/image_raw/compressed": [
                image(replay_bags.header(stamp), "jpeg", cv2.imencode(".jpeg", one)[1].ravel())
                for stamp, one in zip(stamps.tolist(), pictures(), strict=True)
            ],
            "/camera/camera_info": [
                info(
                    replay_bags.header(stamp),
                    height=CAMERA.height,
                    width=CAMERA.width,
                    distortion_model="plumb_bob",
                    d=np.zeros(5),
                    k=CAMERA.matrix.ravel(),
                    r=np.eye(3).ravel(),
                    p=np.zeros(12),
                    binning_x=0,
                    binning_y=0,
                    roi=roi,
                )
                for stamp in stamps.tolist()
            ],
            "/truth": [
                replay_bags.twist(int(stamp), velocity)
                for stamp, velocity in zip(captures.nanoseconds(captures.BOOT + times), velocities, strict=True)
            ],
        },
    )


def test_a_stray_scanner_capture_gives_the_errors_of_the_direct_recording(converted, tmp_path, capsys):
    """The converted recording tells its exposure itself."""
    errors = []
    for recording, exposure in (
        (converted, []),
        (direct_recording(tmp_path / "direct"), ["--exposure", str(EXPOSURE)]),
    ):
        output = tmp_path / f"of_{recording.name}"
        arguments = [*exposure, "--output", str(output), "--measurement", "single"]
        assert run("evaluate", [str(recording), *arguments]) == 0
        errors.append(json.loads((output / "metrics.json").read_text())["all"])
    ours, direct = errors
    assert ours["frames"] == direct["frames"]
    assert ours["rmse_angular"] == pytest.approx(direct["rmse_angular"], rel=0.02)
    # v is the less certain part; the capture's video is compressed.
    assert np.linalg.norm(ours["rmse_linear"]) == pytest.approx(np.linalg.norm(direct["rmse_linear"]), rel=0.04)


def test_the_phones_gyroscope_and_arkits_poses_tell_the_same_motion_in_the_optical_frame(converted):
    inner = frame_times()[2:-2]
    _, from_gyroscope = motion_at(converted, "/imu/data_raw", inner, captures.BOOT)
    linear, from_poses = motion_at(converted, "/ground_truth/pose", inner, captures.BOOT)
    np.testing.assert_allclose(from_gyroscope, motion.angular_velocity(inner), atol=0.02)
    np.testing.assert_allclose(from_poses, motion.angular_velocity(inner), atol=0.1)
    np.testing.assert_allclose(linear, motion.linear_velocity(inner), atol=0.05)
    linear, angular = motion_at(converted, "/ground_truth/twist", inner, captures.BOOT)
    np.testing.assert_allclose(np.c_[linear, angular], np.c_[linear, from_gyroscope], atol=1e-3)


def test_frames_keep_stamps_intrinsics_and_the_depth_that_the_lidar_is_sure_of(converted):
    frames = frames_of(converted)
    assert [frame.stamp for frame in frames] == pytest.approx(
        captures.nanoseconds(captures.BOOT + frame_times()[1:]), abs=10
    )
    assert frames[0].camera() == CAMERA
    depth = frames[0].decode_depth()
    assert depth[24, 40] == pytest.approx(2.0)
    assert depth[24, 10] == 0  # confidence 0


def test_an_unknown_exposure_is_not_made_up(stray, tmp_path, capsys):
    assert convert(["stray", str(stray), str(tmp_path / "recording")]) == 0
    said = capsys.readouterr().out
    assert "does not say the exposure time" in said
    assert said.endswith(f"evaluate {tmp_path}/recording --exposure estimate --depth-topic auto\n")
    with Recording(tmp_path / "recording") as recording:
        assert "/camera/exposure" not in recording.topics


def test_an_exposure_column_is_used_and_nothing_is_assumed(tmp_path, capsys):
    capture = captures.write_stray_capture(tmp_path / "capture", exposure=True)
    assert convert(["stray", str(capture), str(tmp_path / "recording")]) == 0
    said = capsys.readouterr().out
    assert "does not say" not in said
    assert said.endswith(f"evaluate {tmp_path}/recording\n")
    with Recording(tmp_path / "recording") as recording:
        values = [message.point.x for _, message in recording.messages("/camera/exposure")]
    assert values == pytest.approx([EXPOSURE] * FRAMES)


def test_resize_and_crop_keep_rays_and_depth_in_place(stray, tmp_path):
    assert convert(["stray", str(stray), str(tmp_path / "small"), "--resize", "128x96", "--crop", "96x64"]) == 0
    frame = frames_of(tmp_path / "small")[0]
    camera = frame.camera()
    assert (camera.width, camera.height) == (96, 64)
    # The full image's pixel (127.5, 95.5), its middle, is the middle of what is left.
    assert camera.rays(np.array([[47.5, 31.5]])) == pytest.approx(CAMERA.rays(np.array([[127.5, 95.5]])))
    assert camera.fx == pytest.approx(CAMERA.fx / 2)
    depth = frame.decode_depth()
    assert depth.shape == (64, 96)
    assert set(depth[:, :48].ravel()) == {0}
    np.testing.assert_allclose(depth[:, 48:], 2.0)


def test_only_frames_with_enough_blur_are_kept(stray, tmp_path):
    blur = [mean_blur(CAMERA, w, EXPOSURE) for w in motion.angular_velocity(frame_times()[1:])]
    least = float(np.median(blur))
    arguments = ["--exposure", str(EXPOSURE), "--min-blur", str(least)]
    assert convert(["stray", str(stray), str(tmp_path / "blurred"), *arguments]) == 0
    kept = {frame.stamp for frame in frames_of(tmp_path / "blurred")}
    stamps = captures.nanoseconds(captures.BOOT + frame_times()[1:]).tolist()
    clear = [abs(b - least) > 0.1 for b in blur]
    expected = [b > least for b in blur]
    found = [any(abs(stamp - one) < 100 for one in kept) for stamp in stamps]
    assert [f for f, c in zip(found, clear, strict=True) if c] == [e for e, c in zip(expected, clear, strict=True) if c]
    with pytest.raises(InputError, match="too much"):
        convert(["stray", str(stray), str(tmp_path / "none"), "--min-blur", "1000"])
    assert not (tmp_path / "none").exists()


def test_mean_blur_is_the_focal_length_times_the_rotation_for_a_narrow_camera():
    narrow = CAMERA.crop(120, 90, 16, 12)
    assert mean_blur(narrow, np.array([0.0, 2.0, 0.0]), 0.01) == pytest.approx(320 / 16 * 192 * 0.02, rel=0.01)


def test_a_video_with_a_gyroscope_whose_time_and_axes_differ(tmp_path):
    captures.write_video_and_gyroscope(tmp_path / "clip.mp4", tmp_path / "gyro.csv", offset=42.0, unit=1e-3)
    first = frame_times()[1]
    arguments = ["--gyroscope", str(tmp_path / "gyro.csv"), "--time-unit", "ms", "--offset", "42", "--axes=-y,-x,-z"]
    assert convert(["video", str(tmp_path / "clip.mp4"), str(tmp_path / "recording"), *arguments, "--fx", "192"]) == 0
    frames = frames_of(tmp_path / "recording")
    assert [frame.stamp for frame in frames] == pytest.approx(
        captures.nanoseconds(1.0 + frame_times()[1:] - first), abs=1_000_000
    )
    assert frames[0].camera() == CAMERA
    _, angular = motion_at(tmp_path / "recording", "/imu/data_raw", frame_times()[1:-1], 1.0 - first)
    np.testing.assert_allclose(angular, motion.angular_velocity(frame_times()[1:-1]), atol=0.02)


def test_a_gyroscope_that_ran_long_before_the_video_is_cut_and_one_that_ended_before_is_refused(tmp_path):
    video, gyroscope = tmp_path / "clip.mp4", tmp_path / "gyro.csv"
    captures.write_video_and_gyroscope(video, gyroscope)
    rows = gyroscope.read_text().splitlines()
    gyroscope.write_text("\n".join([rows[0], "-3000, 9, 9, 9", *rows[1:]]))
    assert (
        convert(["video", str(video), str(tmp_path / "recording"), "--fx", "192", "--gyroscope", str(gyroscope)]) == 0
    )
    with Recording(tmp_path / "recording") as recording:
        assert recording.count("/imu/data_raw") == len(rows) - 1
    late = ["--fx", "192", "--gyroscope", str(gyroscope), "--offset", "100"]
    with pytest.raises(InputError, match="tells nothing of the frames"):
        convert(["video", str(video), str(tmp_path / "other"), *late])


def test_an_euroc_sequence_is_rotated_from_body_and_imu_into_the_cameras_frame(tmp_path):
    """The camera and the IMU sit askew in the body, and the gyroscope has a bias that the ground truth knows."""
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    assert convert(["euroc", str(sequence), str(tmp_path / "recording")]) == 0
    frames = frames_of(tmp_path / "recording")
    assert len(frames) == FRAMES
    assert frames[0].camera().distortion == (-0.28, 0.07, 0.0002, 1.7e-05)
    np.testing.assert_array_equal(frames[0].decode_image("gray"), cv2.cvtColor(pictures()[0], cv2.COLOR_BGR2GRAY))
    inner = frame_times()[1:-1]
    linear, angular = motion_at(tmp_path / "recording", "/ground_truth/twist", inner, captures.BOOT)
    np.testing.assert_allclose(angular, motion.angular_velocity(inner), atol=0.02)
    np.testing.assert_allclose(linear, motion.linear_velocity(inner), atol=0.03)


def tracked(sequence: Path, name: str, described: str) -> None:
    """Let the ground truth of an EuRoC sequence be poses of markers, and describe them."""
    markers_to_body = np.eye(4)
    markers_to_body[:3, :3], markers_to_body[:3, 3] = so3.exp(np.array([1.1, -0.4, 1.5])), (0.7, -0.3, 0.5)
    states = sequence / "mav0" / "state_groundtruth_estimate0"
    head, *rows = (states / "data.csv").read_text().splitlines()
    values = np.array([row.split(",")[1:] for row in rows], float)
    body = so3.rotation_matrices(values[:, 3:7])
    values[:, :3] += body @ markers_to_body[:3, 3]
    values[:, 3:7] = [so3.quaternion_from_matrix(rotation @ markers_to_body[:3, :3]) for rotation in body]
    lines = [f"{row.split(',')[0]},{','.join(f'{v:.12f}' for v in new)}" for row, new in zip(rows, values, strict=True)]
    (states / "data.csv").write_text("\n".join([head, *lines]) + "\n")
    (states / "sensor.yaml").write_text(described.format(data=markers_to_body.ravel().tolist()))
    if name != states.name:
        states.rename(states.with_name(name))


MARKERS = "sensor_type: pose\nT_BS:\n  cols: 4\n  rows: 4\n  data: {data}\n"


@pytest.mark.parametrize("name", ["vicon0", "mocap0", "state_groundtruth_estimate0"])
def test_ground_truth_of_markers_is_brought_to_the_camera(tmp_path, name):
    """Far from the camera and askew, they move at other velocities."""
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    tracked(sequence, name, MARKERS)
    assert convert(["euroc", str(sequence), str(tmp_path / "recording")]) == 0
    inner = frame_times()[1:-1]
    for topic in ("/ground_truth/twist", "/ground_truth/pose"):
        linear, angular = motion_at(tmp_path / "recording", topic, inner, captures.BOOT)
        np.testing.assert_allclose(angular, motion.angular_velocity(inner), atol=0.02)
        np.testing.assert_allclose(linear, motion.linear_velocity(inner), atol=0.03)


@pytest.mark.parametrize("described", ["", "sensor_type: pose\n"])
def test_ground_truth_whose_place_is_not_said_is_the_bodys(tmp_path, described):
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    (sequence / "mav0" / "state_groundtruth_estimate0" / "sensor.yaml").write_text(described)
    assert convert(["euroc", str(sequence), str(tmp_path / "recording")]) == 0
    inner = frame_times()[1:-1]
    linear, _ = motion_at(tmp_path / "recording", "/ground_truth/twist", inner, captures.BOOT)
    np.testing.assert_allclose(linear, motion.linear_velocity(inner), atol=0.03)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([0] * 16, "no rotation and translation"),
        ([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1], "no rotation and translation"),
        ([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], "no rotation and translation"),
        ([1, 0], "no 4×4 matrix"),
    ],
)
def test_a_transform_that_is_none_is_refused(tmp_path, data, complaint):
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    tracked(sequence, "vicon0", MARKERS.replace("{data}", str(data)))
    with pytest.raises(InputError, match=complaint):
        convert(["euroc", str(sequence), str(tmp_path / "recording")])


def test_a_tum_sequence_knows_its_camera_by_name_and_its_depth_in_fifths_of_a_millimetre(tmp_path):
    folder = captures.write_tum_sequence(tmp_path / "rgbd_dataset_freiburg1_small")
    assert convert(["tum", str(folder), str(tmp_path / "recording")]) == 0
    frames = frames_of(tmp_path / "recording")
    assert [frame.stamp for frame in frames] == [1305031200175304000 + i * 1_000_000_000 for i in range(3)]
    assert frames[0].camera().fx == 517.3
    assert len(frames[0].camera().distortion) == 5
    assert frames[0].decode_image("rgb")[0, 0].tolist() == [200, 20, 10]
    assert [frame.depth is not None for frame in frames] == [True, False, False]
    np.testing.assert_allclose(frames[0].decode_depth(), 2.0)
    with Recording(tmp_path / "recording") as recording:
        ground_truth = read_ground_truth(recording, recording.ground_truth_topic())
    np.testing.assert_allclose(ground_truth.angular[:, 1], 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (lambda folder: (folder / "rgb.mp4").unlink(), "rgb.mp4 is missing"),
        (lambda folder: (folder / "odometry.csv").unlink(), "odometry.csv cannot be read"),
        (lambda folder: (folder / "camera_matrix.csv").write_text("1, 2\n"), "3×3 camera matrix"),
        (lambda folder: (folder / "odometry.csv").write_text("timestamp, frame\n1, 2\n"), "no column x"),
    ],
)
def test_what_is_wrong_with_a_capture_is_said_and_leaves_nothing_behind(tmp_path, breaks, reason):
    capture = captures.write_stray_capture(tmp_path / "capture")
    breaks(capture)
    with pytest.raises(InputError, match=reason):
        convert(["stray", str(capture), str(tmp_path / "recording")])
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize(("axes", "reason"), [("x,y", "once"), ("x,x,z", "once"), ("x,y,w", "w"), ("-x,y,z", "left")])
def test_axes_that_are_no_rotation_are_refused(axes, reason):
    with pytest.raises(InputError, match=reason):
        rotation_of_axes(axes)


def test_axes_say_what_each_axis_is_in_the_sensors_frame():
    """A camera that faces forward on a robot: rotating left about the base's z is rotating about the camera's −y."""
    np.testing.assert_array_equal(rotation_of_axes("-y,-z,x") @ (0, 0, 1), (0, -1, 0))


def test_camera_info_survives_the_round_trip(converted):
    with Recording(converted) as recording:
        info = next(message for _, message in recording.messages("/camera/camera_info"))
    assert camera_from_info(info) == CAMERA
