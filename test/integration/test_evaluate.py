"""The evaluate command: exact figures from an engine that sees exactly, and one clear line for what cannot be used."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.commands.evaluate import parse
from image_as_imu_ros.evaluation.evaluate import evaluate
from image_as_imu_ros.evaluation.report.files import write_figures
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL

COUNT = bags.COUNT
TIMES = re.compile(r"_ms$|^ms_")
RECORDINGS = Path(__file__).resolve().parents[2] / ".." / "shared" / "recordings"


@pytest.fixture
def exact_engine(monkeypatch):
    bags.let_evaluate_see_exactly(monkeypatch)


def run(recording: Path, output: Path, *options: str) -> tuple[dict, list[dict]]:
    """The whole command → metrics.json and frames.csv."""
    assert command_line.run("evaluate", [str(recording), "--output", str(output), *options]) == 0
    return read(output)


def run_without_plots(recording: Path, output: Path, *options: str) -> tuple[dict, list[dict]]:
    """The same figures without the time that plots take."""
    output.mkdir(exist_ok=True)
    command = parse([str(recording), *options])
    write_figures(evaluate(command.recording, command.config, command.workers), output)
    return read(output)


def read(output: Path) -> tuple[dict, list[dict]]:
    figures = json.loads((output / "metrics.json").read_text())
    with (output / "frames.csv").open() as file:
        return figures, list(csv.DictReader(file))


def untimed(written: object) -> object:
    """The same without how long it took."""
    if isinstance(written, dict):
        return {name: untimed(value) for name, value in written.items() if not TIMES.search(name)}
    return [untimed(value) for value in written] if isinstance(written, (list, tuple)) else written


@pytest.mark.usefixtures("exact_engine")
class TestWithAnExactEngine:
    def test_the_motion_is_found(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        figures, table = run(recording, tmp_path / "out", "--exposure", "0.01", "--sign-resolution", "oracle")
        assert figures["frames"] == figures["all"]["frames"] == figures["blurred"]["frames"] == COUNT
        assert figures["exposure_s"] == 0.01
        assert max(figures["all"]["rmse_angular"]) < 0.01
        assert max(figures["all"]["rmse_linear"]) < 0.03
        assert figures["all"]["axis_error_deg"]["p90"] < 0.3
        assert figures["all"]["magnitude_ratio"]["median"] == pytest.approx(1, abs=0.01)
        assert figures["covariance"]["coverage95_angular"] == 1.0
        assert figures["time_ms"]["p95"] >= figures["time_ms"]["p50"] > 0
        assert [int(row["stamp_ns"]) for row in table] == bags.frame_stamps(COUNT)
        assert float(table[3]["angular_y"]) == pytest.approx(-4, abs=0.01)
        assert float(table[3]["truth_linear_y"]) == pytest.approx(-0.2)
        for name in ("time_series.png", "error_by_blur.png"):
            assert (tmp_path / "out" / name).stat().st_size > 10_000
        assert list((tmp_path / "out").glob("frame_*.png"))
        assert f"rad/s on {COUNT} frames" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "options",
        [
            ("--exposure", "0.01", "--baseline", "klt"),
            ("--fit-exposure", "--sign-resolution", "centered"),
            ("--exposure-topic", "/camera/exposure", "--every", "2"),
        ],
    )
    def test_two_workers_find_what_one_does(self, tmp_path, own_cache, options):
        exposures = [bags.exposure(stamp, 0.01 if i % 5 else 0.0) for i, stamp in enumerate(bags.frame_stamps(COUNT))]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/exposure": exposures})
        one, two = (
            run_without_plots(recording, tmp_path / workers, *options, "--workers", workers) for workers in ("1", "2")
        )
        assert untimed(one) == untimed(two)

    def test_the_exposure_is_found(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT, ground_truth="imu")
        figures, _ = run_without_plots(recording, tmp_path / "out", "--fit-exposure", "--sign-resolution", "oracle")
        assert figures["exposure_s"] == pytest.approx(bags.EXPOSURE, rel=0.01)
        assert figures["all"]["magnitude_ratio"]["median"] == pytest.approx(1, abs=0.01)
        assert figures["all"]["rmse_linear"] is None

    def test_each_frames_exposure_is_taken_from_the_recording(self, tmp_path, capsys):
        """The engine sees the blur of 10 ms: a frame that says 20 ms rotated half as fast."""
        exposures = [bags.exposure(stamp, 0.01 + 0.01 * (i % 2)) for i, stamp in enumerate(bags.frame_stamps(COUNT))]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/exposure": exposures})
        figures, table = run(recording, tmp_path / "out", "--sign-resolution", "oracle")
        for row, factor in zip(table, [1, 2] * (COUNT // 2), strict=True):
            assert float(row["exposure_s"]) == 0.01 * factor
            assert float(row["angular_y"]) == pytest.approx(-4 / factor, abs=0.02)
        assert figures["exposure_s"] == 0.015
        assert "15.00 ms (median of /camera/exposure)" in capsys.readouterr().out
        given, _ = run_without_plots(recording, tmp_path / "given", "--exposure", "0.01", "--sign-resolution", "oracle")
        assert max(given["all"]["rmse_angular"]) < 0.01, "what is given wins"

    def test_a_frames_exposure_moves_its_stamp_to_mid_exposure(self, tmp_path):
        """A frame that says its exposure in µs and is stamped when it begins."""
        exposures = [bags.exposure(stamp - 5_000_000, 1e4) for stamp in bags.frame_stamps(COUNT)]
        images = [bags.image_message(stamp - 5_000_000, i) for i, stamp in enumerate(bags.frame_stamps(COUNT))]
        topics = {"/camera/image_raw/compressed": images, "/a": exposures, "/exposure_of_others": exposures[:1]}
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **topics)
        options = (
            "--exposure",
            "topic",
            "--exposure-topic",
            "/a",
            "--exposure-unit",
            "us",
            "--stamp-reference",
            "start",
        )
        _, table = run_without_plots(recording, tmp_path / "out", *options)
        assert [int(row["stamp_ns"]) for row in table] == bags.frame_stamps(COUNT)

    def test_exposures_of_camera_ros_stand_in_its_diagnostics(self, tmp_path):
        drivers = [bags.diagnostics(stamp, ExposureTime="10000") for stamp in bags.frame_stamps(COUNT)]
        others = [bags.diagnostics(stamp + 1, temperature="40") for stamp in bags.frame_stamps(COUNT)]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/diagnostics": drivers + others})
        figures, _ = run_without_plots(recording, tmp_path / "out", "--exposure", "camera_ros")
        assert figures["exposure_s"] == pytest.approx(0.01)

    def test_one_message_without_an_exposure_costs_its_frame_alone(self, tmp_path, caplog):
        messages = [bags.diagnostics(stamp, ExposureTime="10000") for stamp in bags.frame_stamps(COUNT)]
        messages[3].status[0].values[0].value = "n/a"
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/diagnostics": messages})
        figures, _ = run_without_plots(recording, tmp_path / "out", "--exposure", "camera_ros")
        assert figures["frames"] == COUNT - 1
        assert "1 messages on '/diagnostics' hold no exposure time, the first: camera_ros reports" in caplog.text

    def test_frames_whose_exposure_is_missing_or_impossible_are_left_out(self, tmp_path, capsys):
        values = [0.01, 0.01, 0.0, float("nan"), 10.0, *[0.01] * 6]
        exposures = [bags.exposure(*one) for one in zip(bags.frame_stamps(COUNT - 1), values, strict=True)]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/exposure": exposures})
        figures, _ = run(recording, tmp_path / "out")
        assert figures["frames"] == COUNT - 4
        said = capsys.readouterr().err
        for reason in (
            "1 frames were not used: the recording holds no exposure with this image's stamp",
            "2 frames were not used: exposure time is 0.0 s",
            "1 frames were not used: exposure time is nan s",
        ):
            assert reason in said

    @pytest.mark.parametrize(("reference", "offset"), [("start", -15_000_000), ("end", 15_000_000)])
    def test_stamps_and_readout_move_to_mid_exposure(self, tmp_path, reference, offset):
        images = [bags.image_message(stamp + offset, i) for i, stamp in enumerate(bags.frame_stamps(COUNT))]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/image_raw/compressed": images})
        options = ("--exposure", "0.01", "--stamp-reference", reference, "--readout-time", "0.02")
        figures, table = run_without_plots(recording, tmp_path / "out", *options, "--sign-resolution", "oracle")
        assert [int(row["stamp_ns"]) for row in table] == bags.frame_stamps(COUNT)
        # The streaks of this engine are those of a global shutter: put right by 20 ms of readout, they err by 0.3.
        assert max(figures["all"]["rmse_angular"]) < 0.4

    def test_rotation_only_says_nothing_about_linear_velocity(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        options = ("--exposure", "0.01", "--motion-model", "rotation")
        figures, table = run_without_plots(recording, tmp_path / "out", *options)
        assert figures["all"]["rmse_linear"] is None
        assert figures["covariance"]["nees_linear"] is None
        assert table[0]["linear_x"] == ""

    def test_images_without_texture_leave_the_sign_open(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        figures, table = run_without_plots(
            recording, tmp_path / "out", "--exposure", "0.01", "--sign-resolution", "centered"
        )
        assert figures["frames"] == COUNT
        assert figures["all"]["direction_correct"] is None
        assert {row["direction_resolved"] for row in table} == {"0"}

    def test_recordings_whose_names_differ_behind_a_dot_have_folders_of_their_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("run_0.5ms", "run_0.8ms"):
            recording = bags.moving_camera(tmp_path / name, 3)
            assert command_line.run("evaluate", [str(recording), "--exposure", "0.01"]) == 0
        assert sorted(folder.name for folder in (tmp_path / "output").iterdir()) == ["run_0.5ms", "run_0.8ms"]
        assert "run_0.5ms" in (tmp_path / "output" / "run_0.5ms" / "report.html").read_text()

    def test_no_frames_are_counted_where_no_sign_is_known(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        figures, _ = run(recording, tmp_path / "out", "--exposure", "0.01", "--sign-resolution", "axial")
        said = capsys.readouterr().out
        assert "published: no RMSE ω, as no frame has a known sign and a true ω; " in said
        assert not re.search(r"on \d+ frames", said)
        assert (figures["all"]["frames"], figures["all"]["frames_angular"]) == (COUNT, 0)

    def test_every_nth_frame(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        figures, table = run_without_plots(recording, tmp_path / "out", "--exposure", "0.01", "--every", "5")
        assert figures["frames"] == 3
        assert [int(row["stamp_ns"]) for row in table] == bags.frame_stamps(COUNT)[::5]

    def test_both_measurements_stand_side_by_side(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        figures, table = run(recording, tmp_path / "out", "--exposure", "0.01", "--measurement", "auto")
        assert list(figures["measurements"]) == ["single"], "uniform images cannot be aligned"
        assert figures["measurements"]["single"]["all"] == figures["all"]
        assert {row["measurement"] for row in table} == {"single"}
        assert {row["alignment_doubt"] for row in table[1:]} == {"no texture"}
        assert f"{COUNT - 1} frames not aligned: no texture" in capsys.readouterr().out
        for name in ("measurements.png", "exposure.png"):
            assert (tmp_path / "out" / name).stat().st_size > 5_000

    def test_an_exposure_that_cannot_be_estimated_is_said(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        options = ["--output", str(tmp_path / "out"), "--exposure", "estimate", "--measurement", "single"]
        assert command_line.run("evaluate", [str(recording), *options]) == 2
        assert "none of the frames on '/camera/image_raw/compressed' can be used: no texture" in (
            said := capsys.readouterr().err
        )
        assert "did not tell the exposure time to within 40%: give it" in said

    def test_the_ground_truths_own_noise_widens_what_is_expected(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        options = ("--exposure", "0.0105", "--sign-resolution", "oracle")
        strict, _ = run_without_plots(recording, tmp_path / "a", *options)
        lenient, _ = run_without_plots(recording, tmp_path / "b", *options, "--ground-truth-std", "0.5")
        assert lenient["covariance"]["nees_angular"] < 0.7 * strict["covariance"]["nees_angular"]

    def test_without_ground_truth_there_are_estimates_and_no_errors(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT, ground_truth="none")
        figures, table = run(recording, tmp_path / "out", "--exposure", "0.01")
        assert figures["frames"] == len(table) == COUNT
        assert figures["all"]["frames"] == 0
        assert not (tmp_path / "out" / "error_by_blur.png").exists()
        assert not [name for name in (*figures, *table[0]) if "truth" in name]
        assert table[0]["angular_y"]

    def test_the_bag_holds_what_the_node_would_publish(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        options = ("--exposure", "0.01", "--sign-resolution", "oracle", "--write-bag", str(tmp_path / "estimates"))
        run(recording, tmp_path / "out", *options)
        with Recording(tmp_path / "estimates") as estimates:
            imus = [message for _, message in estimates.messages("/imu/data_raw")]
            twists = [message for _, message in estimates.messages("/twist")]
        assert len(imus) == len(twists) == COUNT
        assert imus[2].header.frame_id == bags.FRAME_ID
        assert imus[2].header.stamp == bags.time_of(bags.frame_stamps(COUNT)[2])
        assert imus[2].orientation_covariance[0] == imus[2].linear_acceleration_covariance[0] == -1
        covariance = twists[2].twist.covariance.reshape(6, 6)
        assert np.linalg.eigvalsh(covariance).min() > 0
        assert (imus[2].angular_velocity_covariance == covariance[3:, 3:].ravel()).all()
        assert imus[2].angular_velocity.y == twists[2].twist.twist.angular.y == pytest.approx(-4, abs=0.01)
        assert twists[2].twist.twist.linear.y == pytest.approx(-0.2, abs=0.03)

    def test_an_open_sign_is_not_written(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        run(recording, tmp_path / "out", "--exposure", "0.01", "--write-bag", str(tmp_path / "estimates"))
        with Recording(tmp_path / "estimates") as estimates:
            assert not list(estimates.messages("/imu/data_raw"))

    def test_measured_depth_is_used_when_asked_for(self, tmp_path):
        """Depth three times as far as the engine says triples v."""
        depth = [bags.depth_message(stamp, 7.5) for stamp in bags.frame_stamps(COUNT)]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/depth": depth})
        options = ("--exposure", "0.01", "--sign-resolution", "oracle")
        network, _ = run_without_plots(recording, tmp_path / "a", *options)
        measured, _ = run_without_plots(recording, tmp_path / "b", *options, "--depth-topic", "auto")
        assert measured["all"]["rmse_linear"][1] > 5 * network["all"]["rmse_linear"][1]

    def test_bad_frames_are_counted_and_left_out(self, tmp_path, capsys):
        stamps = bags.frame_stamps(COUNT)
        images = [bags.image_message(stamp, i) for i, stamp in enumerate(stamps)]
        images[2].data = images[2].data[:-20]
        images[5] = bags.image_message(stamps[4], 4)
        images[6] = bags.image_message(stamps[4], 4)
        images[7] = bags.image_message(0, 7)
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/image_raw/compressed": images})
        figures, _ = run(recording, tmp_path / "out", "--exposure", "0.01", "--stamp-reference", "start")
        assert figures["frames"] == COUNT - 4
        said = capsys.readouterr().err
        assert "1 frames were not used: compressed image" in said
        assert "2 frames were not used: image stamp 17" in said
        assert "1 frames were not used: image stamp is 0 ns" in said


class TestBadInput:
    def fails(self, capsys, recording, *options) -> str:
        """One line on stderr and exit code 2."""
        assert (
            command_line.run("evaluate", [str(recording), "--output", str(Path(recording).parent / "o"), *options]) == 2
        )
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("evaluate: ")
        return line

    @pytest.fixture
    def recording(self, tmp_path):
        return bags.moving_camera(tmp_path / "bag", COUNT)

    def test_no_recording(self, tmp_path, tiny_model, capsys):
        assert "does not exist" in self.fails(capsys, tmp_path / "no", "--exposure", "0.01", "--model", str(tiny_model))

    @pytest.mark.parametrize("option", ["--every=0", "--ground-truth-std=-1"])
    def test_impossible_numbers(self, recording, capsys, option):
        name = option.split("=")[0].removeprefix("--").replace("-", "_")
        assert name in self.fails(capsys, recording, "--exposure", "0.01", option)

    def test_no_exposure(self, recording, capsys):
        assert "--fit-exposure" in self.fails(capsys, recording)

    def test_no_exposure_of_that_kind(self, recording, capsys):
        said = self.fails(capsys, recording, "--exposure", "camera_ros")
        assert "no topic of type diagnostic_msgs/msg/DiagnosticArray in the recording has it" in said

    @pytest.mark.usefixtures("exact_engine")
    def test_diagnostics_of_something_else(self, tmp_path, capsys):
        others = [bags.diagnostics(bags.FIRST_STAMP, temperature="40")]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/diagnostics": others})
        said = self.fails(capsys, recording, "--exposure", "camera_ros")
        assert "'/diagnostics' holds no exposure times" in said

    def test_two_exposures_for_one_run(self, recording, capsys):
        assert "exposure_topic" in self.fails(capsys, recording, "--exposure", "0.01", "--exposure-topic", "/x")

    @pytest.mark.parametrize("value", ["0", "-0.01", "nan", "inf", "20"])
    def test_impossible_exposure(self, recording, capsys, value):
        assert "exposure time is" in self.fails(capsys, recording, f"--exposure={value}")

    @pytest.mark.parametrize("value", ["-0.01", "nan", "24"])
    def test_impossible_readout_time(self, recording, capsys, value):
        assert "readout time is" in self.fails(capsys, recording, "--exposure", "0.01", f"--readout-time={value}")

    def test_no_model(self, recording, capsys):
        assert "does not exist" in self.fails(capsys, recording, "--exposure", "0.01", "--model", "no.onnx")

    def test_no_onnx(self, recording, tmp_path, capsys):
        (tmp_path / "bad.onnx").write_bytes(b"no model")
        assert "cannot be loaded as ONNX" in self.fails(
            capsys, recording, "--exposure", "0.01", "--model", str(tmp_path / "bad.onnx")
        )

    def test_existing_bag_is_not_overwritten(self, recording, capsys):
        assert "exists already" in self.fails(capsys, recording, "--exposure", "0.01", "--write-bag", str(recording))

    def test_output_is_a_file(self, recording, tmp_path, capsys):
        (tmp_path / "o").write_text("")
        assert "cannot be made" in self.fails(capsys, recording, "--exposure", "0.01")

    @pytest.mark.usefixtures("exact_engine")
    def test_unknown_topic(self, recording, capsys):
        assert "'/nowhere' is not in the recording" in self.fails(
            capsys, recording, "--exposure", "0.01", "--image-topic", "/nowhere"
        )

    @pytest.mark.usefixtures("exact_engine")
    def test_ground_truth_of_another_time(self, tmp_path, capsys):
        ground_truth = [bags.twist(stamp - 10**12, np.ones(6)) for stamp in bags.frame_stamps(COUNT)]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/truth": ground_truth})
        assert "does not overlap" in self.fails(capsys, recording, "--exposure", "0.01")

    @pytest.mark.usefixtures("exact_engine")
    @pytest.mark.parametrize("options", [("--fit-exposure",), ("--exposure", "0.01", "--sign-resolution", "oracle")])
    def test_ground_truth_is_needed_but_not_there(self, tmp_path, capsys, options):
        recording = bags.moving_camera(tmp_path / "bag", COUNT, ground_truth="none")
        assert "needs ground truth" in self.fails(capsys, recording, *options)

    @pytest.mark.usefixtures("exact_engine")
    @pytest.mark.parametrize(
        ("options", "reasons"),
        [
            (("--measurement", "single"), "--exposure-relative-error is 0.5: give 0.4 or less, or measure it"),
            (("--measurement", "auto"), "no texture; velocities from blur need an exposure time"),
            (("--measurement", "aligned"), "can be used: no texture\n"),
            (("--fit-exposure",), "--exposure-relative-error is 0.5"),
        ],
    )
    def test_an_exposure_that_is_too_uncertain_is_said(self, tmp_path, capsys, options, reasons):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        exposure = () if "--fit-exposure" in options else ("--exposure", "0.01")
        said = self.fails(capsys, recording, *exposure, *options, "--exposure-relative-error", "0.5")
        assert reasons in said + "\n"
        assert "no messages" not in said

    @pytest.mark.usefixtures("exact_engine")
    def test_an_exposure_by_which_no_camera_moves_so_is_said(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", COUNT)
        said = self.fails(capsys, recording, "--exposure", "0.00005", "--measurement", "single")
        assert "the blur means more than 60 rad/s" in said

    @pytest.mark.usefixtures("exact_engine")
    def test_too_little_to_fit(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", 3)
        assert "too few to fit the exposure" in self.fails(capsys, recording, "--fit-exposure")

    @pytest.mark.usefixtures("exact_engine")
    @pytest.mark.parametrize(("fx", "problem"), [(0.0, "must be positive"), (float("nan"), "not finite")])
    def test_no_usable_intrinsics(self, tmp_path, capsys, fx, problem):
        infos = [bags.camera_info(stamp, fx) for stamp in bags.frame_stamps(COUNT)]
        recording = bags.moving_camera(tmp_path / "bag", COUNT, **{"/camera/camera_info": infos})
        said = self.fails(capsys, recording, "--exposure", "0.01")
        assert "none of the frames" in said
        assert problem in said

    def test_unknown_option(self, recording):
        with pytest.raises(SystemExit) as stopped:
            command_line.run("evaluate", [str(recording), "--sign-resolution", "up"])
        assert stopped.value.code == 2


def recorded(name: str) -> Path:
    path = RECORDINGS / name
    if not path.is_dir():
        pytest.skip(f"recording {name} is not beside the repository")
    if not (Path(__file__).resolve().parents[2] / DEFAULT_MODEL).is_file():
        pytest.skip(f"{DEFAULT_MODEL} is missing")
    return path


@pytest.mark.parametrize("measurement", ["single", "auto"])
def test_burst_of_a_hand_held_camera(measurement, tmp_path):
    """It also slides, which explains the image motion in part."""
    shutter = ("--exposure", "0.02", "--stamp-reference", "start", "--readout-time", "0.0244944")
    figures, table = run_without_plots(recorded("handheld_burst"), tmp_path, *shutter, "--measurement", measurement)
    estimate, ground_truth = (
        np.array([[float(row[f"{name}_{axis}"]) for axis in "xyz"] for row in table])
        for name in ("angular", "truth_angular")
    )
    dot = np.einsum("ni,ni->n", estimate, ground_truth)
    estimated_rate, true_rate = (np.linalg.norm(rates, axis=1) for rates in (estimate, ground_truth))
    ratio = estimated_rate / true_rate
    assert figures["frames"] == figures["all"]["frames"] == 7
    assert np.degrees(np.arccos(np.abs(dot) / estimated_rate / true_rate)).max() <= 8
    assert (dot[1:] > 0).all()
    assert all(row["direction_resolved"] == "1" for row in table[1:])
    assert ratio.min() >= 0.8
    assert ratio.max() <= 1.2


def test_two_workers_find_what_one_does_on_real_frames(tmp_path, desk_rpy_3s):
    one, two = (
        run_without_plots(desk_rpy_3s, tmp_path / workers, "--exposure", "0.015", "--every", "4", "--workers", workers)
        for workers in ("1", "2")
    )
    assert untimed(one) == untimed(two)


def test_camera_rotated_by_hand_over_a_desk(tmp_path):
    figures, _ = run_without_plots(recorded("desk_rpy_a"), tmp_path, "--fit-exposure", "--sign-resolution", "oracle")
    assert figures["frames"] == 361
    assert figures["blurred"]["frames"] >= 100
    assert figures["blurred"]["axis_error_deg"]["median"] <= 8
    assert figures["blurred"]["direction_correct"] >= 0.97
