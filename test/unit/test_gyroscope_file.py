"""Gyroscope files of phones and loggers: columns by their names, separators, units, Gyroflow's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from image_as_imu_ros.datasets.gyroscope_file import placed, read_gyroscope
from image_as_imu_ros.errors import InputError

TIMES = np.array([0.0, 0.01, 0.02])
RATES = np.array([[0.1, -2.0, 0.3], [0.2, -2.1, 0.4], [0.3, -2.2, 0.5]])  # x, y, z


def read(tmp_path: Path, text: str, **options):
    path = tmp_path / "gyro.csv"
    path.write_text(text)
    return read_gyroscope(path, **options)


def table(names: str, order: str, separator: str = ",", factor: float = 1.0) -> str:
    """Write rows of t, x, y, z and 7 for anything else, in the order of letters, under a line of names."""
    lines = [names] if names else []
    for time, rates in zip(TIMES, RATES * factor, strict=True):
        values = {"t": time, "n": 1e9 * (1.7e9 + time), **dict(zip("xyz", rates, strict=True))}
        lines.append(separator.join(f"{values.get(letter, 7):.9g}" for letter in order))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("names", "order", "separator"),
    [
        pytest.param("", "txyz", ",", id="no names"),
        pytest.param("time,x,y,z", "txyz", ",", id="plain"),
        pytest.param("time,seconds_elapsed,z,y,x", "ntzyx", ",", id="Sensor Logger"),
        pytest.param("timestamp, alpha_x, alpha_y, alpha_z", "txyz", ",", id="Stray Scanner"),
        pytest.param("t,ax,ay,az,gx,gy,gz", "taaaxyz", ",", id="accelerometer first"),
        pytest.param("Timestamp[sec]\tgyro_z\tgyro_y\tgyro_x", "tzyx", "\t", id="tabs"),
        pytest.param(
            '"Time (s)";"Gyroscope x (rad/s)";"Gyroscope y (rad/s)";"Gyroscope z (rad/s)";"Absolute (rad/s)"',
            "txyza",
            ";",
            id="phyphox",
        ),
        pytest.param("", "txyz", " ", id="between blanks"),
        pytest.param("# recorded by hand\n# time wx wy wz", "txyz", " ", id="numpy.savetxt"),
        pytest.param("# a board's log\ntime,z,y,x", "tzyx", ",", id="names below a comment"),
        pytest.param(
            "loggingTime(txt);gyroTimestamp_sinceReboot(s);gyroRotationX(rad/s);gyroRotationY(rad/s);gyroRotationZ(rad/s)",
            "ntxyz",
            ";",
            id="SensorLog",
        ),
        pytest.param("loggingTime,motionRotationRateX(rad/s),motionRotationRateY,motionRotationRateZ", "txyz", ","),
    ],
)
def test_columns_are_found_by_their_names(tmp_path, names, order, separator):
    samples = read(tmp_path, table(names, order, separator))
    np.testing.assert_allclose(samples.times, TIMES)
    np.testing.assert_allclose(samples.angular, RATES)


@pytest.mark.parametrize(
    ("names", "order", "options"),
    [
        ("GYROSCOPE X (rad/s);GYROSCOPE Y (rad/s);GYROSCOPE Z (rad/s);Time since start in ms ;DATE", "xyzta", {}),
        (
            '"cts";"date";"Gyroscope (z) [rad/s]";"Gyroscope (x) [rad/s]";"Gyroscope (y) [rad/s]"',
            "tazxy",
            {"time_unit": "ms"},
        ),
    ],
    ids=["AndroSensor", "gopro-telemetry"],
)
def test_times_in_ms_of_two_apps(tmp_path, names, order, options):
    samples = read(tmp_path, table(names, order, ";"), **options)
    np.testing.assert_allclose(samples.times, 1e-3 * TIMES)
    np.testing.assert_allclose(samples.angular, RATES)


def test_dates_are_times(tmp_path):
    rows = (f"2024-01-01T10:00:0{i}.5Z,1,2,3\n" for i in range(3))
    samples = read(tmp_path, "timestamp,gyro_x,gyro_y,gyro_z\n" + "".join(rows))
    np.testing.assert_allclose(samples.times, 1_704_103_200.5 + np.arange(3), rtol=0, atol=1e-6)


def test_columns_without_numbers_are_named(tmp_path):
    text = "timestamp,gyro_x,gyro_y,gyro_z\n" + "2024-13-01T10:00:00.000,1,2,3\n" * 3
    with pytest.raises(InputError, match=r"has 0 rows of numbers .* \(timestamp, gyro_x, gyro_y, gyro_z\)"):
        read(tmp_path, text)


def test_sensor_loggers_time_in_ns_is_taken_where_ns_are_asked_for(tmp_path):
    samples = read(tmp_path, table("time,seconds_elapsed,z,y,x", "ntzyx"), time_unit="ns")
    assert samples.times[0] == pytest.approx(1.7e9)


def test_behind_semicolons_a_comma_is_the_decimal_point(tmp_path):
    samples = read(tmp_path, table("Time;x;y;z", "txyz", ";").replace(".", ","))
    np.testing.assert_allclose(samples.angular, RATES)


def test_gyroflows_log_says_its_own_scales(tmp_path):
    head = "GYROFLOW IMU LOG\nversion,1.3\nid,logger\norientation,XYZ\ntscale,0.001\ngscale,0.01\n"
    rows = "".join(f"{1e3 * t:.0f},{x},{y},{z}\n" for t, (x, y, z) in zip(TIMES, np.rint(100 * RATES), strict=True))
    samples = read(tmp_path, head + "t,gx,gy,gz\n" + rows)
    np.testing.assert_allclose(samples.times, TIMES)
    np.testing.assert_allclose(samples.angular, RATES)


def test_rates_that_are_called_degrees_are_converted(tmp_path):
    samples = read(tmp_path, table("time,x (°/s),y (°/s),z (°/s)", "txyz", factor=180 / np.pi))
    np.testing.assert_allclose(samples.angular, RATES)


def test_rates_that_look_like_degrees_are_warned_of(tmp_path, caplog):
    read(tmp_path, table("time,x,y,z", "txyz", factor=180 / np.pi))
    assert "are they °/s?" in caplog.text
    caplog.clear()
    read(tmp_path, table("time,x,y,z", "txyz"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (table("time,x,y", "txy"), "one each x, y and z"),
        (table("time,gx,gy,gz,gyro_x,gyro_x,gyro_y,gyro_z", "txyzxxyz"), "one each x, y and z"),
        (table("when,ax,ay,az", "taaa"), None),
        ("time,x,y,z\n1,2,3,4\n", "has 1 rows"),
        ("GYROFLOW IMU LOG\nversion,1.3\n", "without a line t,gx,gy,gz"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(tmp_path, caplog, text, reason):
    if reason is None:
        read(tmp_path, text)
        assert "are taken for time, x, y, z" in caplog.text
        return
    with pytest.raises(InputError, match=reason) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unit", ["(deg/s)", "[deg s^-1]", "[°/s]", "(dps)", "[DEG/S]"])
def test_degrees_have_many_names(tmp_path, unit):
    samples = read(
        tmp_path, table(",".join(["time", *(f"gyro_{axis} {unit}" for axis in "xyz")]), "txyz", factor=180 / np.pi)
    )
    np.testing.assert_allclose(samples.angular, RATES)


@pytest.mark.parametrize(("unit", "factor"), [("mdps", 180e3 / np.pi), ("mdeg/s", 180e3 / np.pi), ("mrad/s", 1e3)])
def test_thousandths_are_taken_for_thousandths(tmp_path, caplog, unit, factor):
    samples = read(
        tmp_path, table(",".join(["time", *(f"gyro_{axis} ({unit})" for axis in "xyz")]), "txyz", factor=factor)
    )
    np.testing.assert_allclose(samples.angular, RATES)
    assert not caplog.text


def test_rates_that_are_too_fast_even_as_degrees_are_warned_of(tmp_path, caplog):
    read(tmp_path, table("time,x (°/s),y (°/s),z (°/s)", "txyz", factor=180e3 / np.pi))
    assert "faster than gyroscopes measure" in caplog.text


def test_a_unit_behind_the_name_of_the_time_is_taken_as_in_tables_of_frames(tmp_path):
    text = table("timestamp_ns,gyro_x,gyro_y,gyro_z", "nxyz")
    for unit in ("s", "ns"):
        assert read(tmp_path, text, time_unit=unit).times[0] == pytest.approx(1.7e9)


def test_the_layout_of_asl_is_known(tmp_path):
    names = [f"w_RS_S_{axis} [rad s^-1]" for axis in "xyz"] + [f"a_RS_S_{axis} [m s^-2]" for axis in "xyz"]
    samples = read(tmp_path, table(",".join(["#timestamp [ns]", *names]), "nxyzaaa"))
    assert samples.times[0] == pytest.approx(1.7e9)
    np.testing.assert_allclose(samples.angular, RATES)


def test_times_far_from_the_frames_are_said_as_they_are(tmp_path):
    samples = read(tmp_path, table("time,x,y,z", "nxyz"))
    with pytest.raises(InputError, match=r"goes from 1\.7e\+18 to 1\.7e\+18 s after the first, and they last 1 s"):
        placed(samples, tmp_path / "gyro.csv", None, 0, range(10**9, 2 * 10**9))
