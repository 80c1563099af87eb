"""Tables of frames: stamps, file names, exposure times and focal lengths, a row each."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.files import check_stamp, with_seconds
from image_as_imu_ros.datasets.gyroscope_file import TIME_UNITS
from image_as_imu_ros.errors import InputError

_TIMES = ("timestamp", "time", "t", "stamp")
_FILES = ("file", "filename", "image", "name")
_EXPOSURES = ("exposuretime", "exposure", "exposureduration")
_READOUTS = ("framereadouttime", "readouttime", "readout")
_UNIT = re.compile(r"[\[(_ ](nanosec|ns|microsec|us|µs|millisec|ms|sec|s)[\])]?$", re.IGNORECASE)
_UNITS = {"nanosec": "ns", "microsec": "us", "µs": "us", "millisec": "ms", "sec": "s"}
_SHORTEST, _LONGEST = 100_000, 10_000_000_000  # ns from frame to frame: nothing outside is a camera's
_NEAREST = 1_000_000  # ns within which two tables mean the same frame


@dataclass(frozen=True)
class FrameTable:
    """What is known of N frames.

    Attributes:
        stamps: (N,) int64 ns. files: names, empty where the table holds none.
        exposure, fx, fy, readout: (N,) s and px; NaN where not known.
    """

    stamps: np.ndarray
    files: tuple[str, ...]
    exposure: np.ndarray
    fx: np.ndarray
    fy: np.ndarray
    readout: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def readout_time(self) -> float:
        """Median from the first row's start to the last row's, s; 0 where not known."""
        known = self.readout[np.isfinite(self.readout)]
        return float(np.median(known)) if len(known) else 0.0

    def at(self, stamps: np.ndarray) -> FrameTable:
        """Look other stamps (M,) up, to 1 ms; nothing but the stamp is known of those that are not there."""
        order = np.argsort(self.stamps)
        later = np.clip(np.searchsorted(self.stamps[order], stamps), 1, len(order) - 1) if len(order) > 1 else 0
        near = np.stack([order[np.maximum(later - 1, 0)] + np.zeros(len(stamps), int), order[later]])
        best = near[np.abs(self.stamps[near] - stamps).argmin(0), np.arange(len(stamps))]
        known = np.abs(self.stamps[best] - stamps) <= _NEAREST
        columns = {name: np.where(known, getattr(self, name)[best], np.nan) for name in ("exposure", "fx", "fy")}
        return replace(self, stamps=stamps, files=(), readout=np.where(known, self.readout[best], np.nan), **columns)


def read_frame_table(path: Path, time_unit: str = "s") -> FrameTable:
    """Read a text file with a row per frame. Columns are found by their names; without names the first is the time.

    Units stand behind a name, "[nanosec]", "(ms)" or "_us"; without one, times are in `time_unit`, others in s.

    Raises:
        InputError: it cannot be read, has no row, no column of times, or a time that is no number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [with_seconds(line) for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of frames: {error}") from None
    if not lines:
        raise InputError(f"{path} is empty")
    rows = [_split(line) for line in lines if not line.startswith("#")]
    names = _split(lines[0].lstrip("# ")) if not _is_number(_split(lines[0])[0]) else ["time"]
    if rows and not _is_number(rows[0][0]) and rows[0] == names:
        rows = rows[1:]
    columns = {_normal(name): i for i, name in reversed(list(enumerate(names)))}
    time = next((columns[name] for name in _TIMES if name in columns), None)
    if time is None or not rows:
        raise InputError(f"{path} has the columns {', '.join(names)}: one must be called time, and rows must follow")
    unit = _unit(names[time]) or time_unit
    file = next((columns[name] for name in _FILES if name in columns), None)

    def numbers(*candidates: str) -> np.ndarray:
        i = next((columns[name] for name in candidates if name in columns), None)
        if i is None:
            return np.full(len(rows), np.nan)
        scale = TIME_UNITS[_unit(names[i]) or "s"]
        values = np.array([float(row[i]) if i < len(row) and _is_number(row[i]) else np.nan for row in rows])
        return np.where(values > 0, values * scale, np.nan)

    stamps = np.array([_nanoseconds(path, row[time], unit) for row in rows], np.int64)
    check_period(stamps, f"{path}: its times, taken for {unit},", "--time-unit")
    return FrameTable(
        stamps=stamps,
        files=tuple(row[file] for row in rows) if file is not None and min(map(len, rows)) > file else (),
        exposure=numbers(*_EXPOSURES),
        fx=numbers("fx"),
        fy=numbers("fy"),
        readout=numbers(*_READOUTS),
    )


def _split(line: str) -> list[str]:
    """Split at commas, semicolons or tabs, or, where there are none, at blanks."""
    delimiter = max(",;\t", key=line.count)
    if delimiter in line:
        return [word.strip() for word in next(csv.reader([line], delimiter=delimiter))]
    return line.split()


def _normal(name: str) -> str:
    return re.sub(r"[^a-z]", "", _UNIT.sub("", re.sub(r"\[px\]", "", name.lower().strip())))


def _unit(name: str) -> str | None:
    found = _UNIT.search(name.strip())
    if found is None:
        return None
    unit = found.group(1).lower()
    return _UNITS.get(unit, unit)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nanoseconds(path: Path, text: str, unit: str) -> int:
    """Convert a decimal number exactly: a float of s since 1970 only holds 0.2 µs."""
    try:
        stamp = int(Decimal(text) * round(1e9 * TIME_UNITS[unit]))
    except (InvalidOperation, ValueError, OverflowError):
        raise InputError(f"{path}: {text!r} is not a time in {unit}") from None
    try:
        return check_stamp(stamp)
    except InputError as error:
        raise InputError(f"{path}: {error} It is taken for {unit}; --time-unit") from None


def check_period(stamps: np.ndarray, what: str, cure: str) -> None:
    """Check that stamps (N,) ns, in any order, are those of a camera's frames.

    Raises:
        InputError: they are closer together, or farther apart. The message begins with `what` and ends with `cure`.
    """
    period = float(np.median(np.diff(np.sort(stamps)))) if len(stamps) > 1 else float(_SHORTEST)
    if not _SHORTEST <= period <= _LONGEST:
        raise InputError(
            f"{what} are {1e-9 * period:.3g} s apart, which no camera's frames are: are they numbers of frames, or "
            f"times in another unit ({cure})?"
        )
