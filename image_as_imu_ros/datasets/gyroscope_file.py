"""Text files of a gyroscope: CSV of any app, its columns by their names, and Gyroflow's .gcsv."""

from __future__ import annotations

import csv
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.capture import Gyroscope
from image_as_imu_ros.datasets.files import ascending, nanoseconds, with_seconds
from image_as_imu_ros.errors import InputError

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_LONG_UNITS = {"nanosec": 1e-9, "microsec": 1e-6, "µs": 1e-6, "millisec": 1e-3}
_UNIT_OF_TIME = re.compile(r"(?:[\[(]\s*|_|\bin )(nanosec|ns|microsec|us|µs|millisec|ms)\s*[\])]?$", re.IGNORECASE)

_FASTEST = 35.0  # rad/s: 2000 °/s, where gyroscopes of phones and cameras saturate
_GCSV = "GYROFLOW IMU LOG"
_DEGREES = re.compile(r"°|deg|dps", re.IGNORECASE)
_THOUSANDTHS = re.compile(r"\bm(?=°|deg|dps|rad)|milli", re.IGNORECASE)
_ELAPSED = "secondselapsed"  # Sensor Logger's, beside its `time` in ns
_GYROSCOPES = "gyrotimestampsincereboot"  # SensorLog's, beside a loggingTime that may be a date
_TIMES = (
    _GYROSCOPES,
    "time",
    "timestamp",
    "t",
    "sensortimestamp",
    "loggingtime",
    "seconds",
    _ELAPSED,
    "timesincestart",  # AndroSensor
    "cts",  # gopro-telemetry
)
# What stands before x, y, z of an angular velocity: one of the first, or something that holds one of the second.
_PREFIXES = ("", "g", "w", "wrs", "wrss", "r", "alpha", "rot", "rotation")  # ASL: w_RS_S_x
_WORDS = ("gyr", "omega", "rotationrate", "angularvel", "angvel")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GyroscopeSamples:
    """Samples of a file: times (N,) s on its own clock; angular (N, 3) rad/s in the sensor's axes."""

    times: np.ndarray
    angular: np.ndarray


def read_gyroscope(
    path: Path, time_unit: str = "s", unnamed: tuple[int, int, int, int] = (0, 1, 2, 3)
) -> GyroscopeSamples:
    """Read a text file of times and rates.

    Columns are found by their names; without a line of names they are time, x, y, z. They stand between commas,
    semicolons, tabs or blanks; with all but the first a comma may be the decimal point. Rates are rad/s unless a name
    says °/s.

    Args:
        time_unit: key of TIME_UNITS; a .gcsv says its own, and so does a name like "Timestamp[nanosec]".
        unnamed: columns of time, x, y and z where no names stand above.

    Raises:
        InputError: there are fewer than two rows, or not one column for each of time, x, y and z.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    lines = [with_seconds(line) for line in text.splitlines() if line.strip()]
    scales = (TIME_UNITS[time_unit], 1.0)
    if lines and lines[0].strip() == _GCSV:
        lines, scales = _gcsv(path, lines)
    if not lines:
        raise InputError(f"{path} is empty")
    delimiter, rows = _table(lines)
    names = [] if _number(rows[0][0], delimiter) is not None else [name.strip() for name in rows.pop(0)]
    columns = _columns(path, names, time_unit) if names else list(unnamed)
    values = np.array([[_number(_at(row, i), delimiter) for i in columns] for row in rows], np.float64).reshape(-1, 4)
    values = values[np.isfinite(values).all(1)]
    if len(values) < 2:
        of = f" ({', '.join(names[i] for i in columns)})" if names else ""
        raise InputError(
            f"{path} has {len(values)} rows of numbers for a time and three rates{of}; at least 2 are needed"
        )
    if names:
        scales = (_scale(names[columns[0]], scales[0]), scales[1])
    samples = GyroscopeSamples(values[:, 0] * scales[0], values[:, 1:] * scales[1])
    return _in_radians(path, samples, names[columns[1]] if names else "")


def placed(samples: GyroscopeSamples, path: Path, rotation: np.ndarray | None, delay: int, frames: range) -> Gyroscope:
    """Put samples on the clock of frames and into the camera's axes.

    Args:
        path: of their file, for the message.
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.
        delay: ns that are added to their times.
        frames: stamps, ns, from the first frame's to the last one's.

    Raises:
        InputError: fewer than two samples lie between these.
    """
    since, length = samples.times + 1e-9 * (delay - frames.start), 1e-9 * (frames.stop - frames.start)
    if np.count_nonzero((since >= 0) & (since <= length)) < 2:
        raise InputError(
            f"{path} tells nothing of the frames: by --offset and --time-unit it goes from {since.min():.6g} to "
            f"{since.max():.6g} s after the first, and they last {length:.3g} s"
        )
    stamps = nanoseconds(samples.times) + delay
    recorded = stamps > 0  # not long before the first frame
    angular = samples.angular if rotation is None else samples.angular @ rotation.T
    return Gyroscope(*ascending(stamps[recorded], angular[recorded]))


def too_fast(angular: np.ndarray) -> str:
    """Say that rates (N, 3) rad/s are faster than gyroscopes measure; empty if they are not."""
    fastest = float(np.quantile(np.linalg.norm(angular, axis=1), 0.99))
    if fastest <= _FASTEST:
        return ""
    return f"rates up to {fastest:.0f} rad/s are faster than gyroscopes measure: are they °/s?"


def _table(lines: list[str]) -> tuple[str, list[list[str]]]:
    """Split lines into cells, names first where there are any; "#" marks comments, of which the last may hold them.

    Returns:
        What stands between the cells, and the rows.
    """
    comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
    table = [line for line in lines if not line.startswith("#")] or comments
    delimiter = max(";\t,", key=table[0].count)
    if delimiter not in table[0]:
        delimiter = " "
    rows = [line.split() for line in table] if delimiter == " " else list(csv.reader(table, delimiter=delimiter))
    if comments and _number(rows[0][0], delimiter) is not None:
        named = comments[-1]
        rows.insert(0, named.split() if delimiter == " " else next(csv.reader([named], delimiter=delimiter)))
    return delimiter, rows


def _gcsv(path: Path, lines: list[str]) -> tuple[list[str], tuple[float, float]]:
    """Split Gyroflow's head off: the table, and the scales of times and rates. https://docs.gyroflow.xyz."""
    head = {}
    rows = iter(lines)
    for line in rows:
        key, _, value = line.partition(",")
        if key.strip() in ("t", "time"):
            table = [line, *rows]
            break
        head[key.strip()] = value.strip()
    else:
        raise InputError(f"{path} is a {_GCSV} without a line t,gx,gy,gz")
    try:
        scales = float(head.get("tscale", 1)), float(head.get("gscale", 1))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if head.get("orientation", "XYZ") != "XYZ":
        _log.warning("%s: its orientation %s is not applied; name the axes: --axes", path, head["orientation"])
    return table, scales


def _columns(path: Path, names: list[str], time_unit: str) -> list[int]:
    """Find the columns of time, x, y, z."""
    normal = [_normal(name) for name in names]
    timed = [_normal(_UNIT_OF_TIME.sub("", name.strip())) for name in names]
    times = [timed.index(time) for time in _TIMES if time in timed]
    if time_unit == "s" and _ELAPSED in normal:
        times.insert(0, normal.index(_ELAPSED))
    found = [[i for i, name in enumerate(normal) if name.endswith(axis) and _is_rate(name[:-1])] for axis in "xyz"]
    surer = [[i for i in of_axis if any(word in normal[i] for word in _WORDS)] for of_axis in found]
    found = [sure or of_axis for sure, of_axis in zip(surer, found, strict=True)]
    if not times and not any(found) and len(names) >= 4:
        _log.warning("%s: its columns %s are taken for time, x, y, z", path, ", ".join(names[:4]))
        return [0, 1, 2, 3]
    if not times or any(len(of_axis) != 1 for of_axis in found):
        raise InputError(
            f"{path} has the columns {', '.join(names)}: one of them must be called time, and one each x, y and z "
            "(or gyro_x …)"
        )
    return [times[0], *(of_axis[0] for of_axis in found)]


def _scale(name: str, otherwise: float) -> float:
    """Find how many s a column's unit is: by its name, else `otherwise`."""
    if _normal(name) == _ELAPSED:
        return 1.0
    found = _UNIT_OF_TIME.search(name.strip().lower())
    return otherwise if found is None else _LONG_UNITS.get(found.group(1)) or TIME_UNITS[found.group(1)]


def _is_rate(prefix: str) -> bool:
    return prefix in _PREFIXES or any(word in prefix for word in _WORDS)


def _normal(name: str) -> str:
    """Letters of a name alone, without its unit in brackets; an axis may stand there, too: "Gyroscope (z) [rad/s]"."""
    name = re.sub(r"[(\[]([xyz])[)\]]", r"\1", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z]", "", re.sub(r"[(\[].*?[)\]]", "", name.lower()))


def _at(row: list[str], i: int) -> str:
    return row[i] if i < len(row) else ""


def _number(text: str, delimiter: str) -> float | None:
    """Read a number; None where it is none."""
    text = text.strip()
    if delimiter != ",":
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def _in_radians(path: Path, samples: GyroscopeSamples, name: str) -> GyroscopeSamples:
    """Convert rates that are called °/s, or thousandths; warn of those that look like it."""
    factor = (np.pi / 180 if _DEGREES.search(name) else 1.0) * (1e-3 if _THOUSANDTHS.search(name) else 1.0)
    angular = factor * samples.angular
    if complaint := too_fast(angular):
        _log.warning("%s: %s Then write °/s (or mdps) into the columns' names", path, complaint)
    return GyroscopeSamples(samples.times, angular)
