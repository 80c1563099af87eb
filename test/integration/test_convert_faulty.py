"""Captures of which a part is missing, or is not as the layout has it: the rest is read, and what is wrong is said."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import captures
import cv2
import numpy as np
import pytest
from captures import FRAMES, frame_times

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.commands.convert import main as convert
from image_as_imu_ros.commands.evaluate import parse
from image_as_imu_ros.datasets.files import with_seconds
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording

DEPTH_TOPIC = "/camera/aligned_depth/image_raw/compressed"


@pytest.fixture
def tum(tmp_path) -> Path:
    return captures.write_tum_sequence(tmp_path / "rgbd_dataset_freiburg1_small")


def counted(path: Path) -> tuple[int, int]:
    """Images and depth images of a recording."""
    with Recording(path) as recording:
        depths = recording.count(DEPTH_TOPIC) if DEPTH_TOPIC in recording.topics else 0
        return recording.count(recording.image_topic()), depths


def events(folder: Path) -> Path:
    folder.mkdir()
    captures.write_images_and_table(folder / "images")
    rows = [[f"{time:.9f}", f"images/{i}.png"] for i, time in enumerate(frame_times()[1:] - frame_times()[1])]
    captures.write_rows(folder / "images.txt", "", rows, " ")
    captures.write_rows(folder / "calib.txt", "", [[192, 192, 127.5, 95.5, 0, 0, 0, 0, 0]], " ")
    return folder


def images(folder: Path) -> Path:
    folder.mkdir()
    return captures.write_images_and_table(folder / "images")


LAYOUTS = {
    "tum": (lambda path: captures.write_tum_sequence(path / "rgbd_dataset_freiburg1_small"), "rgb/*.png", []),
    "euroc": (captures.write_euroc_sequence, "mav0/cam0/data/*.png", []),
    "images": (images, "*.png", ["--fx", "192", "--frames"]),
    "events": (events, "images/*.png", []),
}


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_that_is_listed_and_missing_is_left_out_and_counted(tmp_path, capsys, layout, damaged):
    write, pattern, options = LAYOUTS[layout]
    source = write(tmp_path / "capture")
    options = [*options, str(source.parent / "frames.csv")] if options else []
    files = sorted(source.glob(pattern))
    for i, file in enumerate(files):
        if damaged:
            file.write_bytes(b"no image")
        else:
            file.unlink()
        output = tmp_path / f"without_{i + 1}"
        if i + 1 == len(files):
            with pytest.raises(InputError, match="missing or not a readable image"):
                convert([layout, str(source), str(output), *options])
            assert not output.exists()
        elif i < 2:
            convert([layout, str(source), str(output), *options])
            lines = capsys.readouterr().out.splitlines()
            assert [line for line in lines if line.startswith(f"{i + 1} images left out, the first of them: ")]
            assert counted(output)[0] == len(files) - i - 1


def test_images_that_were_cut_off_are_left_out(tmp_path, capsys):
    source = tmp_path / "images"
    source.mkdir()
    for i, image in enumerate(captures.pictures()):
        data = cv2.imencode(".jpg", image)[1].tobytes()
        (source / f"{1_000_000_000 + 40_000_000 * i}.jpg").write_bytes(data[: len(data) // 2] if i == 2 else data)
    convert(["images", str(source), str(tmp_path / "recording"), "--fx", "192"])
    said = capsys.readouterr().out
    assert "1 images left out, the first of them: " in said
    assert "1080000000.jpg cannot be read: it is cut off" in said


def test_a_damaged_confidence_image_costs_its_frame_only_the_depth(tmp_path, capsys):
    capture = captures.write_stray_capture(tmp_path / "capture", depth=True)
    (capture / "confidence").mkdir(exist_ok=True)
    confidence = cv2.imencode(".png", np.random.default_rng(0).integers(0, 3, (192, 256), np.uint8))[1].tobytes()
    (capture / "confidence" / "000003.png").write_bytes(confidence[: len(confidence) // 2])
    convert(["stray", str(capture), str(tmp_path / "recording")])
    assert "1 frames without their depth" in capsys.readouterr().out


def test_a_depth_image_that_is_missing_costs_its_frame_only_the_depth(tum, tmp_path, capsys):
    (tum / "depth" / "0.png").unlink()
    convert(["tum", str(tum), str(tmp_path / "recording")])
    said = capsys.readouterr().out
    assert "1 frames without their depth, the first of them: " in said
    assert "--depth-topic" not in said
    assert counted(tmp_path / "recording") == (3, 0)


def test_names_of_files_need_not_be_utf_8(tmp_path, capfdbinary):
    """OpenCV crashes at them."""
    source = images(tmp_path / "capture").rename(tmp_path / os.fsdecode(b"images\xff"))
    output = tmp_path / os.fsdecode(b"recording\xff")
    table = str(tmp_path / "capture" / "frames.csv")
    assert command_line.run("convert", ["images", str(source), str(output), "--fx", "192", "--frames", table]) == 0
    assert b"recording\xff'" in capfdbinary.readouterr().out
    assert counted(output)[0] == len(list(source.glob("*.png")))
    video = tmp_path / os.fsdecode(b"video\xff.mp4")
    video.write_bytes(b"no video")
    assert command_line.run("convert", ["video", str(video), str(tmp_path / "other"), "--fx", "192"]) == 2
    assert b"video\\xff.mp4', as its name is not UTF-8: rename it" in capfdbinary.readouterr().err


def test_damaged_depth_of_the_lidar_is_left_out(tmp_path, capsys):
    capture = captures.write_stray_capture(tmp_path / "capture", depth=True)
    (capture / "depth" / "000003.png").write_bytes(b"no image")
    convert(["stray", str(capture), str(tmp_path / "recording")])
    assert "1 frames without their depth" in capsys.readouterr().out
    assert counted(tmp_path / "recording") == (FRAMES, FRAMES - 1)


def test_the_command_that_is_printed_uses_the_depth_that_was_written(tum, tmp_path, capsys):
    convert(["tum", str(tum), str(tmp_path / "recording")])
    *_, command = capsys.readouterr().out.splitlines()
    assert parse(shlex.split(command)[4:]).config.depth_topic == "auto"


@pytest.mark.parametrize(("scale", "metres"), [(None, 2.0), ("1000", 10.0), ("2500", 4.0), ("100", 0.0)])
def test_depth_of_other_units_is_scaled(tum, tmp_path, scale, metres):
    """Farther than 65.535 m mm in 16 bits say nothing: 0."""
    convert(["tum", str(tum), str(tmp_path / "recording"), *(["--depth-scale", scale] if scale else [])])
    with Recording(tmp_path / "recording") as recording:
        topic = recording.image_topic()
        frame = next(iter(recording.frames(topic, recording.camera_info_topic(topic), DEPTH_TOPIC)))
        np.testing.assert_allclose(frame.decode_depth(), metres)


@pytest.mark.parametrize("scale", ["1000", "5000", "2000", "500"])
def test_the_largest_depth_is_unknown_in_any_units(tum, tmp_path, scale):
    units = np.full((480, 640), 10_000, np.uint16)
    units[:100], units[-100:] = 65535, 0
    cv2.imwrite(str(tum / "depth" / "0.png"), units)
    convert(["tum", str(tum), str(tmp_path / "recording"), "--depth-scale", scale])
    with Recording(tmp_path / "recording") as recording:
        message = next(message for _, message in recording.messages(DEPTH_TOPIC))
        written = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert not written[:100].any()
    assert not written[-100:].any()
    assert (written[100:-100] == 10_000_000 / int(scale)).all()


@pytest.mark.parametrize(
    ("units", "options", "warned"),
    [
        (10_000, [], False),  # 2 m
        (2000, [], False),  # 0.4 m
        (1800, [], True),  # 1.8 m in mm, read as 0.36 m
        (1800, ["--depth-scale", "1000"], False),
        (10_000, ["--depth-scale", "500"], True),  # 20 m
    ],
)
def test_depths_that_no_depth_camera_measures_are_warned_of(tum, tmp_path, capsys, units, options, warned):
    cv2.imwrite(str(tum / "depth" / "0.png"), np.full((480, 640), units, np.uint16))
    convert(["tum", str(tum), str(tmp_path / "recording"), *options])
    said = capsys.readouterr().out
    assert ("WARNING: the depth images have their median at" in said and "--depth-scale" in said) == warned


@pytest.mark.parametrize("scale", ["0", "0.001", "nan", "1e9"])
def test_a_depth_scale_that_is_none_is_refused(tum, tmp_path, scale):
    with pytest.raises(InputError, match="expected units per metre"):
        convert(["tum", str(tum), str(tmp_path / "recording"), "--depth-scale", scale])


@pytest.mark.parametrize("layout", ["video", "images"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--offset nan", "--offset is nan, expected s"),
        ("--offset=-inf", "--offset is -inf, expected s"),
        ("--offset 1e10", "--offset is 1e[+]10, expected s, at most 4e[+]09"),
        ("--min-blur nan", "--min-blur is nan, expected px"),
        ("--resize 100000x100000", "--resize: image size is 100000×100000 px; expected at most 16384 px a side"),
        ("--resize 16000x16000", "--resize: image size is 16000×16000 px; .* 67 megapixels"),
    ],
)
def test_numbers_that_nothing_can_be_done_with_are_refused(tmp_path, layout, options, message):
    gyroscope = tmp_path / "gyroscope.csv"
    captures.write_rows(gyroscope, "time,x,y,z", [[0.01 * i, 0.1, 0.2, 0.3] for i in range(100)])
    arguments = [layout, str(tmp_path), str(tmp_path / "recording"), "--fx", "192", "--gyroscope", str(gyroscope)]
    with pytest.raises(InputError, match=message):
        convert([*arguments, *options.split()])


def test_intrinsics_are_of_images_of_any_size(tmp_path):
    folder = captures.write_tum_sequence(tmp_path / "drive")
    for file in (folder / "rgb").iterdir():
        cv2.imwrite(str(file), np.full((376, 1241), 90, np.uint8))
    convert(["tum", str(folder), str(tmp_path / "recording"), "--fx", "707", "--cx", "602", "--cy", "183"])
    with Recording(tmp_path / "recording") as recording:
        topic = recording.image_topic()
        camera = next(iter(recording.frames(topic, recording.camera_info_topic(topic)))).camera()
    assert (camera.width, camera.height, camera.fx, camera.cx, camera.cy) == (1241, 376, 707, 602, 183)


def rarer_poses(folder: Path, seconds: float) -> None:
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(lines[1 :: round(seconds / 0.01)]) + "\n")


def test_poses_of_10_hz_are_used(tum, tmp_path, capsys):
    """KITTI's come every 0.1037 s."""
    rarer_poses(tum, 0.11)
    convert(["tum", str(tum), str(tmp_path / "recording")])
    assert "WARNING" not in capsys.readouterr().out
    with Recording(tmp_path / "recording") as recording:
        ground_truth = read_ground_truth(recording, "/ground_truth/pose")
    stamps = ground_truth.stamps[1:-1]
    np.testing.assert_allclose(ground_truth.at(stamps, 1e-3)[1], [[0, 0.5, 0]] * len(stamps), atol=1e-4)


def test_poses_that_are_too_rare_are_said_with_the_limit_when_they_are_converted_and_evaluated(tum, tmp_path, capsys):
    rarer_poses(tum, 0.2)
    convert(["tum", str(tum), str(tmp_path / "recording")])
    reason = "its samples are 0.2 s apart (5 Hz), and across more than 0.125 s (8 Hz) no velocity is taken"
    assert f"WARNING: evaluate cannot use the poses: {reason}" in capsys.readouterr().out
    with Recording(tmp_path / "recording") as recording, pytest.raises(InputError) as refused:
        read_ground_truth(recording, "/ground_truth/pose")
    assert reason in str(refused.value)


def test_poses_of_lost_tracking_are_left_out(tum, tmp_path):
    """They are written as zeros, orientation and all."""
    listed = tum / "groundtruth.txt"
    lines = listed.read_text().splitlines()
    lines[50] = f"{lines[50].split()[0]} 0 0 0 0 0 0 0"
    listed.write_text("\n".join(lines))
    assert convert(["tum", str(tum), str(tmp_path / "recording")]) == 0
    with Recording(tmp_path / "recording") as recording:
        assert recording.count("/ground_truth/pose") == 200
        angular = read_ground_truth(recording, "/ground_truth/twist").angular
    assert angular == pytest.approx(np.tile([0, 0.5, 0], (len(angular), 1)), abs=1e-3)


def test_a_gyroscope_beside_poses_that_are_too_rare_is_compared_with(tmp_path, capsys):
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    states = sequence / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    head, *rows = states.read_text().splitlines()
    states.write_text("\n".join([head, *rows[::20]]) + "\n")
    convert(["euroc", str(sequence), str(tmp_path / "recording")])
    *_, command = capsys.readouterr().out.splitlines()
    assert parse(shlex.split(command)[4:]).config.ground_truth_topic == "/imu/data_raw"


def numbered_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((112, 160), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([f"{i:06d}.png" for i in range(5)], "are 1e-09 s apart, which no camera's frames are: are they numbers"),
        (["99999999999999999999.png"], r"a time is 1e\+11 s, beyond what stamps hold"),
    ],
)
def test_numbers_of_images_are_no_stamps(tmp_path, names, complaint):
    folder = numbered_images(tmp_path / "images", names)
    with pytest.raises(InputError, match=complaint):
        convert(["images", str(folder), str(tmp_path / "recording"), "--fx", "192"])
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize(
    ("times", "unit", "complaint"),
    [
        ([1.7e18 + 40e6 * i for i in range(5)], "s", r"a time is 1\.7e\+18 s, beyond what stamps hold.* taken for s"),
        ([1.7e9 + 0.04 * i for i in range(5)], "ns", "taken for ns, are .*e-0?9 s apart|taken for ns, are 0 s apart"),
        ([40.0 * i for i in range(5)], "s", "taken for s, are 40 s apart"),
    ],
)
def test_times_of_frames_in_another_unit_are_refused(tmp_path, times, unit, complaint):
    folder = numbered_images(tmp_path / "images", [f"{i}.png" for i in range(5)])
    table = tmp_path / "frames.csv"
    captures.write_rows(table, "time", [[f"{time:.6f}"] for time in times])
    arguments = ["images", str(folder), str(tmp_path / "recording"), "--fx", "192", "--frames", str(table)]
    with pytest.raises(InputError, match=complaint):
        convert([*arguments, "--time-unit", unit])


def test_a_source_that_the_system_refuses_is_one_line(tmp_path):
    """As it does folders of other users."""
    with pytest.raises(InputError, match=r"x' (cannot be read: File name too long|does not exist)"):
        convert(["images", 300 * "x", str(tmp_path / "recording"), "--fx", "192"])


def test_an_image_is_no_folder_of_images(tmp_path):
    folder = numbered_images(tmp_path / "images", ["1.png"])
    with pytest.raises(InputError, match="is no folder of images"):
        convert(["images", str(folder / "1.png"), str(tmp_path / "recording"), "--fx", "192"])


def test_stamps_that_no_message_holds_are_refused(tum, tmp_path):
    """Of nanoseconds where seconds belong."""
    listed = tum / "rgb.txt"
    listed.write_text(
        "".join(
            f"{i}000000000.0 {line.split()[1]}\n"
            for i, line in enumerate(listed.read_text().splitlines())
            if "png" in line
        )
    )
    with pytest.raises(InputError, match="beyond what stamps hold"):
        convert(["tum", str(tum), str(tmp_path / "recording")])


def test_images_from_before_time_0_are_refused(tum, tmp_path):
    listed = tum / "rgb.txt"
    listed.write_text(listed.read_text().replace("\n1", "\n-1"))
    with pytest.raises(InputError, match=r"an image is stamped -1.30503e\+09 s; stamps must be positive"):
        convert(["tum", str(tum), str(tmp_path / "recording")])
    assert not (tmp_path / "recording").exists()


def test_poses_from_before_time_0_are_left_out(tmp_path):
    """Of a sequence whose images begin at 0, a second after its poses or later."""
    folder = events(tmp_path / "shapes")
    times = np.arange(-3, 1, 0.01)
    captures.write_rows(folder / "groundtruth.txt", "", [[f"{time:.2f}", *"0000001"] for time in times], " ")
    assert convert(["events", str(folder), str(tmp_path / "recording")]) == 0
    with Recording(tmp_path / "recording") as recording:
        assert recording.count("/ground_truth/pose") == 200


def test_text_files_may_be_those_of_windows_or_latin_1(tmp_path):
    sequence = captures.write_euroc_sequence(tmp_path / "V1_01")
    for name in ("cam0/data.csv", "imu0/data.csv", "cam0/sensor.yaml"):
        file = sequence / "mav0" / name
        mark = b"\xef\xbb\xbf" if name.endswith("csv") else b"# M\xfcller, N\xb0 1\n"
        file.write_bytes(mark + file.read_bytes().replace(b"\n", b"\r\n"))
    assert convert(["euroc", str(sequence), str(tmp_path / "recording")]) == 0
    assert counted(tmp_path / "recording") == (FRAMES, 0)


def test_a_column_may_be_added_by_a_program_for_tables(tmp_path):
    capture = captures.write_stray_capture(tmp_path / "capture")
    poses = capture / "odometry.csv"
    poses.write_bytes(b"\xef\xbb\xbf" + poses.read_bytes())
    assert convert(["stray", str(capture), str(tmp_path / "recording")]) == 0


def test_a_folder_without_images_and_names_in_other_units_are_said(tmp_path):
    with pytest.raises(InputError, match=r"holds no images \(.png"):
        convert(["images", str(tmp_path), str(tmp_path / "recording"), "--fx", "192"])
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{1305031231000000 + 33333 * i}.png"), np.zeros((48, 64), np.uint8))
    with pytest.raises(InputError, match=r"times in another unit \(--frames CSV tells the stamps\)"):
        convert(["images", str(tmp_path), str(tmp_path / "recording"), "--fx", "192"])


def test_kittis_dates_are_times(tmp_path):
    folder = tmp_path / "image_00" / "data"
    folder.mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f"{i:010}.png"), np.zeros((48, 64), np.uint8))
    assert with_seconds("2011-09-26T13:02:25.5,2011-09-26T13:02:25.5.png") == "1317042145.5,2011-09-26T13:02:25.5.png"
    stamps = tmp_path / "timestamps.txt"
    stamps.write_text("".join(f"2011-09-26 13:02:{25 + i}.964389445\n" for i in range(3)))
    assert convert(["images", str(folder), str(tmp_path / "recording"), "--fx", "192", "--frames", str(stamps)]) == 0
    with Recording(tmp_path / "recording") as recording:
        topic = recording.image_topic()
        found = [frame.stamp for frame in recording.frames(topic, recording.camera_info_topic(topic))]
    assert found == [1_317_042_145_964_389_445 + i * 10**9 for i in range(3)]
