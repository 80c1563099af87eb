"""The evaluate command where something is wrong: one frame, an earlier run's files, ground truth that does not fit."""

from __future__ import annotations

import json
import os
import resource
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.commands import evaluate
from image_as_imu_ros.estimation.estimator import MotionEstimator

pytestmark = pytest.mark.usefixtures("exact_engine")


@pytest.fixture
def exact_engine(monkeypatch):
    bags.let_evaluate_see_exactly(monkeypatch)


def run(recording: Path, output: Path, *options: str) -> dict:
    arguments = [str(recording), "--output", str(output), "--exposure", "0.01", *options]
    assert command_line.run("evaluate", arguments) == 0
    return json.loads((output / "metrics.json").read_text())


def test_a_frame_on_which_something_unforeseen_happens_is_counted_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    recording = bags.moving_camera(tmp_path / "bag")
    update, broken = MotionEstimator.update, bags.frame_stamps(bags.COUNT)[5]

    def fails_once(self, frame):
        if frame.frame.stamp == broken:
            raise ZeroDivisionError("by nothing")
        return update(self, frame)

    monkeypatch.setattr(MotionEstimator, "update", fails_once)
    figures = run(recording, tmp_path / "out", "--sign-resolution", "oracle")
    assert figures["frames"] == bags.COUNT - 1
    assert "1 frames were not used: internal error, ZeroDivisionError: by nothing" in capsys.readouterr().err


@pytest.mark.parametrize("where", [(MotionEstimator, "update"), (evaluate, "write_results")])
def test_an_interruption_that_compiled_code_made_another_error_of_ends_the_run(tmp_path, monkeypatch, where):
    """Numba's dispatcher answers Ctrl-C with a SystemError."""

    def is_interrupted(*_):
        raise SystemError("CPUDispatcher returned a result with an exception set") from KeyboardInterrupt()

    arguments = [str(bags.moving_camera(tmp_path / "bag")), "--output", str(tmp_path / "out"), "--exposure", "0.01"]
    monkeypatch.setattr(*where, is_interrupted)
    assert command_line.run("evaluate", arguments) == 130


def test_names_of_recordings_need_not_be_utf_8(tmp_path):
    recording = bags.moving_camera(tmp_path / os.fsdecode(b"bag\xff"))
    poses = tmp_path / os.fsdecode(b"poses\xfe.txt")
    stamps = [1e-9 * stamp for stamp in bags.frame_stamps(bags.COUNT)]
    poses.write_text("".join(f"{stamp:.3f} 0 0 {0.1 * i} 0 0 0 1\n" for i, stamp in enumerate(stamps)))
    output = tmp_path / os.fsdecode(b"out\xff")
    figures = run(recording, output, "--baseline", f"trajectory:{poses}", "--write-bag", f"{output}_bag")
    assert figures["frames"] == bags.COUNT
    assert "bag\\xff: evaluation" in (output / "report.html").read_text()
    assert len(list(output.glob("frame_*.png"))) > 0


@contextmanager
def files_of_at_most(size: int):
    """Let the system refuse to write more into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_found_before_the_work_starts(tmp_path, monkeypatch, capsys):
    arguments = [str(bags.moving_camera(tmp_path / "bag")), "--output", str(tmp_path / "out"), "--exposure", "0.01"]
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: pytest.fail("evaluated"))
    with files_of_at_most(100_000):
        assert command_line.run("evaluate", arguments) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"output folder '{tmp_path / 'out'}' cannot be written to: File too large" in said
    (tmp_path / "file").touch()
    assert command_line.run("evaluate", [*arguments, "--write-bag", str(tmp_path / "file" / "inside")]) == 2
    assert "inside' cannot be written: Not a directory" in capsys.readouterr().err
    assert command_line.run("evaluate", [*arguments, "--output", str(tmp_path / "file")]) == 2
    assert "cannot be made: File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "size"),
    [("write_results", 1000), ("write_results", 20_000), ("write_results", 80_000), ("write_bag", 1000)],
)
def test_a_disk_that_becomes_full_is_one_line_and_leaves_no_half_bag(tmp_path, monkeypatch, capfd, step, size):
    recording, bag = bags.moving_camera(tmp_path / "bag"), tmp_path / "estimates"
    options = ["--output", str(tmp_path / "out"), "--exposure", "0.01", "--write-bag", str(bag)]
    write = getattr(evaluate, step)
    with monkeypatch.context() as patched, ExitStack() as full:

        def written(*arguments):
            full.enter_context(files_of_at_most(size))
            write(*arguments)

        patched.setattr(evaluate, step, written)
        assert command_line.run("evaluate", [str(recording), *options]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert "cannot be written" in said
    assert "File too large" in said
    assert not bag.exists()
    run(recording, tmp_path / "out", "--write-bag", str(bag))


def test_an_output_folder_used_again_holds_nothing_of_the_earlier_run(tmp_path):
    recording, output = bags.moving_camera(tmp_path / "bag"), tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    for name in ("metrics.json", "frame_17.png", "comparison.md", "error_by_blur.png"):
        (output / name).write_text("of an earlier run")
    run(recording, output)
    assert (output / "notes.txt").read_text() == "mine"
    assert not (output / "frame_17.png").exists()
    assert not (output / "comparison.md").exists()
    assert command_line.run("evaluate", [str(recording), "--output", str(output), "--image-topic", "/nothing"]) == 2
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["frame_000017.png", "frames.csv"])
def test_an_output_folder_that_holds_something_else_of_these_names_keeps_it(tmp_path, capsys, name):
    """Frames of a video are often called so, and so is what `convert --frames` reads."""
    recording, output = bags.moving_camera(tmp_path / "bag"), tmp_path / "out"
    output.mkdir()
    (output / name).write_text("mine")
    assert command_line.run("evaluate", [str(recording), "--output", str(output), "--exposure", "0.01"]) == 2
    assert f"holds {name}, which no evaluation wrote" in capsys.readouterr().err
    assert (output / name).read_text() == "mine"


class TestMeasuredDepth:
    def evaluated(self, tmp_path, stamps: list[int], *options: str, topic: str = "/depth", frame_id: str = "") -> int:
        depth = [bags.depth_message(stamp, 2.5) for stamp in stamps]
        for message in depth:
            message.header.frame_id = frame_id or message.header.frame_id
        recording = bags.moving_camera(tmp_path / "bag", **{"/depth": depth})
        arguments = [str(recording), "--output", str(tmp_path / "out"), "--exposure", "0.01", "--depth-topic", topic]
        return command_line.run("evaluate", [*arguments, *options])

    def test_it_is_said_how_many_frames_have_it(self, tmp_path, capsys):
        assert self.evaluated(tmp_path, bags.frame_stamps(bags.COUNT)[:8]) == 0
        said = capsys.readouterr().out
        assert f"8 of {bags.COUNT} frames with measured depth" in said
        assert "are in the frame" not in said
        assert f"measured: /depth, in 8 of {bags.COUNT} frames" in (tmp_path / "out" / "report.html").read_text()

    @pytest.mark.parametrize("options", [(), ("--workers", "2")])
    def test_depth_that_belongs_to_no_image_is_refused(self, tmp_path, capsys, options):
        """The clock of another computer."""
        assert self.evaluated(tmp_path, [stamp + 10**10 for stamp in bags.frame_stamps(bags.COUNT)], *options) == 2
        assert "no image has a depth image on '/depth'" in capsys.readouterr().err

    def test_rotation_alone_needs_none(self, tmp_path):
        stamps = [stamp + 10**10 for stamp in bags.frame_stamps(bags.COUNT)]
        assert self.evaluated(tmp_path, stamps, "--motion-model", "rotation") == 0

    def test_the_images_are_no_depth(self, tmp_path, capsys):
        stamps, topic = bags.frame_stamps(bags.COUNT), "/camera/image_raw/compressed"
        assert self.evaluated(tmp_path, stamps, topic=topic) == 2
        assert "cannot be both, --image-topic and --depth-topic" in capsys.readouterr().err

    def test_depth_of_another_frame_is_noted(self, tmp_path, capsys):
        """Drivers publish it unregistered, too, in the depth camera's own frame."""
        assert self.evaluated(tmp_path, bags.frame_stamps(bags.COUNT), frame_id="depth_optical") == 0
        said = capsys.readouterr().out
        assert f"note on {bags.COUNT} frames: the depth images are in the frame 'depth_optical', the images in" in said


def test_a_camera_info_of_another_camera_is_noted(tmp_path, capsys):
    """The only one there is, is taken."""
    infos = [bags.camera_info(stamp) for stamp in bags.frame_stamps(bags.COUNT)]
    for message in infos:
        message.header.frame_id = "left_optical"
    images = [bags.image_message(stamp, i) for i, stamp in enumerate(bags.frame_stamps(bags.COUNT))]
    recording = bags.write_recording(tmp_path / "bag", {"/right/image/compressed": images, "/left/camera_info": infos})
    run(recording, tmp_path / "out")
    assert "camera_info is of the frame 'left_optical', the images of 'camera_optical'" in capsys.readouterr().out


def test_a_lens_of_images_that_are_rectified_already_is_noted(tmp_path, capsys):
    infos = [bags.camera_info(stamp) for stamp in bags.frame_stamps(bags.COUNT)]
    for message in infos:
        message.d = np.array([-0.1, 0.01, 0.0, 0.0, 0.0])
    images = [bags.image_message(stamp, i) for i, stamp in enumerate(bags.frame_stamps(bags.COUNT))]
    topics = {"/left/image_rect/compressed": images, "/left/camera_info": infos}
    run(bags.write_recording(tmp_path / "bag", topics), tmp_path / "out")
    said = capsys.readouterr().out
    assert f"note on {bags.COUNT} frames: images on /left/image_rect/compressed are rectified" in said


@pytest.mark.parametrize("moves", [True, False])
def test_an_odometry_whose_twist_nobody_fills_in_is_warned_of(tmp_path, monkeypatch, capsys, moves):
    stamps = bags.frame_stamps(bags.COUNT)
    times = range(stamps[0] - 20_000_000, stamps[-1] + 20_000_000, 5_000_000)
    truth = [bags.odometry(time, bags.motion(time) if time == times[0] and moves else np.zeros(6)) for time in times]
    recording = bags.moving_camera(tmp_path / "bag", ground_truth="none", **{"/odom": truth})
    run(recording, tmp_path / "out")
    assert ("all of it is zero: is its twist filled in?" in capsys.readouterr().out) == (not moves)
