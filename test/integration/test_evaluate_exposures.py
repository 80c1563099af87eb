"""The evaluate command takes the exposures that the node would take, and publishes what the node would publish."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.commands.evaluate import parse
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.evaluation import open_engine
from image_as_imu_ros.evaluation.evaluate import evaluate
from image_as_imu_ros.evaluation.exposure import longer_than_period, readout_longer_than_period
from image_as_imu_ros.evaluation.report.files import write_figures
from image_as_imu_ros.geometry.axial_flow import axial_from_signed
from image_as_imu_ros.recordings.recording import Recording

STAMPS = bags.frame_stamps(bags.COUNT)
PAN = 2.0  # rad/s
METADATA = {"flir": "flir_camera_msgs/msg/ImageMetaData", "depthai": "depthai_ros_msgs/msg/CameraMetadata"}


class PanEngine(bags.ExactEngine):
    """Sees the streaks that a pan at `PAN` makes within bags.EXPOSURE."""

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """See `Engine.infer`."""
        flow = bags.EXPOSURE * (self._velocity_to_flow @ [0, 0, 0, 0, PAN, 0]).T.reshape(2, 28, 40)
        sigma, depth_sigma = np.full((2, 28, 40), 0.05), np.full((28, 40), 0.1)
        return NetworkOutput(axial_from_signed(flow), sigma, self._depth.reshape(28, 40), depth_sigma, 4)


def run(recording: Path, output: Path, *options: str) -> tuple[dict, list[dict]]:
    assert command_line.run("evaluate", [str(recording), "--output", str(output), *options]) == 0
    return read(output)


def run_without_plots(recording: Path, output: Path, *options: str) -> tuple[dict, list[dict]]:
    command = parse([str(recording), *options])
    write_figures(evaluate(command.recording, command.config), output)
    return read(output)


def read(output: Path) -> tuple[dict, list[dict]]:
    with (output / "frames.csv").open() as file:
        return json.loads((output / "metrics.json").read_text()), list(csv.DictReader(file))


@pytest.mark.parametrize("apart", [0, 300_000])
def test_of_two_cameras_on_one_topic_each_image_gets_its_own_exposure(tmp_path, monkeypatch, apart):
    bags.let_evaluate_see_exactly(monkeypatch)
    messages = []
    for stamp in STAMPS:
        messages += [
            bags.diagnostics(stamp, ExposureTime="18400"),
            bags.diagnostics(stamp + apart, ExposureTime="3000"),
        ]
        messages[-1].header.frame_id = "right_optical"
    recording = bags.moving_camera(tmp_path / "bag", **{"/diagnostics": messages})
    _, table = run_without_plots(recording, tmp_path, "--exposure", "camera_ros")
    assert [float(row["exposure_s"]) for row in table] == [0.0184] * bags.COUNT


def test_exposures_of_another_camera_alone_are_of_no_use(tmp_path, monkeypatch, capsys):
    bags.let_evaluate_see_exactly(monkeypatch)
    messages = [bags.diagnostics(stamp, ExposureTime="3000") for stamp in STAMPS]
    for message in messages:
        message.header.frame_id = "right_optical"
    recording = bags.moving_camera(tmp_path / "bag", **{"/diagnostics": messages})
    assert command_line.run("evaluate", [str(recording), "--output", str(tmp_path), "--exposure", "camera_ros"]) == 2
    assert "exposures of 'right_optical', but none of this image's frame, 'camera_optical'" in capsys.readouterr().err


@pytest.mark.parametrize("source", METADATA)
def test_drivers_that_report_microseconds(tmp_path, monkeypatch, source):
    bags.let_evaluate_see_exactly(monkeypatch)
    store, kind = get_typestore(Stores.ROS2_JAZZY), METADATA[source]
    store.register(get_types_from_msg("std_msgs/Header header\nuint32 exposure_time", kind))
    monkeypatch.setattr(bags, "_STORE", store)
    topics = {"/camera/meta": [store.types[kind](bags.header(stamp), 18_400) for stamp in STAMPS]}
    recording = bags.moving_camera(tmp_path / "bag", **topics)
    figures, _ = run_without_plots(recording, tmp_path, "--exposure", source)
    assert figures["exposure_s"] == pytest.approx(0.0184)


@pytest.mark.parametrize(("given", "contradicted"), [(bags.EXPOSURE, False), (6 * bags.EXPOSURE, True)])
def test_velocities_that_the_node_holds_back_do_not_count(tmp_path, monkeypatch, capsys, given, contradicted):
    monkeypatch.setattr(open_engine, "resource", lambda name: name)
    monkeypatch.setattr(open_engine, "load_engine", lambda *_: PanEngine(STAMPS))
    stamps = bags.frame_stamps(25)
    topics = {
        "/camera/image_raw/compressed": bags.panorama_messages(stamps, PAN),
        "/truth": [bags.twist(stamp, np.array([0, 0, 0, 0, PAN, 0])) for stamp in stamps],
    }
    recording = bags.moving_camera(tmp_path / "bag", **topics)
    options = ("--exposure", str(given), "--measurement", "single", "--write-bag", str(tmp_path / "estimates"))
    figures, table = run(recording, tmp_path / "out", *options)
    count = sum(int(row["held_back"]) for row in table)
    assert (count > 0) == contradicted
    assert figures["held_back"] == figures["measurements"]["single"]["held_back"] == count
    assert figures["measurements"]["aligned"]["held_back"] == 0
    assert figures["all"]["frames"] <= figures["frames"] - count
    with Recording(tmp_path / "estimates") as written:
        published = written.count("/imu/data_raw")
    assert published <= figures["frames"] - count
    said = capsys.readouterr().out
    assert (f"{count} velocities held back, as by the node" in said) == contradicted


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(
    ("exposure", "log_std", "said"),
    [
        (
            0.0572,
            0.14,
            "57.2 ms ± 14% is impossible, as frames are 33.3 ms apart: velocities from blur are at least 1.72",
        ),
        (0.05, 0.0, "50.0 ms is impossible"),
        (0.0333, 0.02, ""),
        (0.01, 0.0, ""),
    ],
)
def test_an_exposure_longer_than_from_frame_to_frame_is_impossible(exposure, log_std, said, every):
    stamps = np.delete(np.arange(30) * 33_333_333, [7, 8])[::every]
    complaint = longer_than_period(exposure, log_std, stamps, every)
    assert said in complaint
    assert bool(complaint) == bool(said)


@pytest.mark.parametrize("every", [1, 3])
def test_a_readout_longer_than_from_frame_to_frame_is_impossible(every):
    stamps = np.arange(30)[::every] * 33_333_333
    assert "500.0 ms is impossible, as frames are 33.3 ms apart" in readout_longer_than_period(0.5, stamps, every)
    assert not readout_longer_than_period(0.033, stamps, every)
    assert not readout_longer_than_period(0.5, stamps[:1], every)


def test_an_impossible_readout_is_warned_of(tmp_path, monkeypatch, capsys):
    bags.let_evaluate_see_exactly(monkeypatch)
    recording = bags.moving_camera(tmp_path / "bag")
    arguments = [str(recording), "--output", str(tmp_path / "out"), "--exposure", "0.01", "--readout-time", "0.2"]
    assert command_line.run("evaluate", arguments) == 0
    assert "WARNING: a readout time of 200.0 ms is impossible" in capsys.readouterr().out


def test_a_unit_of_values_that_are_not_recorded_is_refused(tmp_path, capsys):
    arguments = [str(tmp_path), "--exposure", "0.0138", "--exposure-unit", "ms"]
    assert command_line.run("evaluate", arguments) == 2
    assert "where the exposure is 0.0138, it is in s" in capsys.readouterr().err
