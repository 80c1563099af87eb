"""When frames were taken: the regular period that a camera keeps, followed through stamps that jitter about it.

A driver often stamps an image when it arrives. Where the camera itself keeps a regular period T, header stamps are
t₀ + n·T plus noise σ: a line through the last N, whole numbers n counting dropped frames, knows T to σ·√(12/N³) and the
present to 2σ/√N, while the difference of two stamps errs by √2·σ. The period is where the stamps' phases agree most:

    T = argmax |Σ exp(2πi·t/T)|,    n = round((t − t₀)/T).

Not every camera keeps one: rates vary with the exposure, triggers come when they come. Then the stamps are the best
there is. Noise about a line is independent from stamp to stamp, so that successive residuals differ by √2·σ; those of a
rate that wanders are alike, those of one that alternates are opposite. A few stamps cannot tell: there the period is
followed, for most cameras keep one, but not trusted more than a stamp.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from image_as_imu_ros.estimation.constants import FRAME_TIMES

# Periods that are tried, of the median interval: half of the frames, or two of three, may have been dropped.
_WITHOUT_DROPS = 121
_SOME_PERIODS = np.concatenate([np.linspace(0.85, 1.15, _WITHOUT_DROPS) / divisor for divisor in (1, 2, 3)])


@dataclass(frozen=True)
class FrameTime:
    """When a frame was taken.

    Attributes:
        header_stamp: ns. offset: s, from it to where the period puts the frame; 0 where no period is followed.
        std: of the time, s, as far as the stamps tell it.
        period: s; 0 where none is followed. period_std: s. jitter: s, σ of a stamp about the line.
        periods_since: header stamp of an earlier frame → periods from it to this one.
    """

    header_stamp: int
    offset: float = 0.0
    std: float = 0.0
    period: float = 0.0
    period_std: float = 0.0
    jitter: float = 0.0
    periods_since: Mapping[int, int] = field(default_factory=dict)

    @property
    def correction(self) -> int:
        """`offset` in ns."""
        return round(self.offset * 1e9)

    def since(self, earlier: FrameTime) -> tuple[float, float]:
        """Compute the time from an earlier frame to this one and its standard deviation, s."""
        by_stamps = (self.header_stamp - earlier.header_stamp) * 1e-9
        periods = self.periods_since.get(earlier.header_stamp)
        if periods is None:
            return by_stamps, math.hypot(self.std, earlier.std)
        dt = periods * self.period
        # Far from what the stamps say, they may have been counted wrongly, or the rate is another one now.
        error = abs(by_stamps - dt)
        limit = min(FRAME_TIMES.outlier * self.jitter, FRAME_TIMES.countable * self.period)
        return dt, math.hypot(periods * self.period_std, error if error > limit else 0.0)


class FrameTimes:
    """Follows the period of a camera through its header stamps."""

    def __init__(self) -> None:
        self._stamps: deque[int] = deque(maxlen=FRAME_TIMES.window)

    def take(self, header_stamp: int) -> FrameTime:
        """Take in the header stamp, ns, of the next frame; of one that is not later than the last, start anew."""
        if self._stamps and not 0 < header_stamp - self._stamps[-1] <= FRAME_TIMES.longest_interval * 1e9:
            self._stamps.clear()
        self._stamps.append(header_stamp)
        times = (np.array(self._stamps, np.int64) - header_stamp) * 1e-9
        if len(times) < FRAME_TIMES.least_stamps:
            return FrameTime(header_stamp, std=_jitter(times))
        numbers = _numbers(times)
        line = _Line.through(numbers, times)
        late = float((np.diff(numbers) < 1).mean())  # by more than a period
        if late > FRAME_TIMES.largest_late or not line.shows_jitter:
            return FrameTime(header_stamp)
        period, now, std = line.period, line.now, line.std
        sure = len(times) >= FRAME_TIMES.sure_from
        return FrameTime(
            header_stamp,
            offset=now,
            std=2 * std / len(times) ** 0.5,
            period=period,
            period_std=std * (12 / len(times) ** 3) ** 0.5 if sure else std,
            jitter=std,
            # A stamp so late that it counts as the next frame's own is still an earlier one's.
            periods_since={stamp: max(1, -int(number)) for stamp, number in zip(self._stamps, numbers, strict=True)},
        )


def regular_stamps(stamps: np.ndarray) -> np.ndarray:
    """Put header stamps (N,) ns, ascending, where the camera's period has them, looking ahead as well as back.

    Those that do not jitter about one, or are few, stay: (N,) int64 ns.
    """
    regular = stamps.copy()
    pauses = np.flatnonzero(np.diff(stamps) > FRAME_TIMES.longest_interval * 1e9) + 1
    for part in np.split(np.arange(len(stamps)), pauses):
        count = min(FRAME_TIMES.window, len(part))
        if count < FRAME_TIMES.sure_from:
            continue
        for i, here in enumerate(part.tolist()):
            first = min(max(i - count // 2, 0), len(part) - count)
            last = part[first + count - 1]
            times = (stamps[part[first] : last + 1] - stamps[last]) * 1e-9
            numbers = _numbers(times)
            line = _Line.through(numbers, times)
            if line.shows_jitter and (np.diff(numbers) < 1).mean() <= FRAME_TIMES.largest_late:
                regular[here] = stamps[last] + round(1e9 * (line.now + line.period * numbers[i - first]))
    return regular


@dataclass(frozen=True)
class _Line:
    """A line through stamps, without single ones that came late.

    Attributes:
        period: s. now: s, where it puts the last one. std: s, of a stamp. residuals: (N,) s, of those that are used.
        used: share of the stamps.
    """

    period: float
    now: float
    std: float
    residuals: np.ndarray
    used: float

    @classmethod
    def through(cls, numbers: np.ndarray, times: np.ndarray) -> _Line:
        """Fit a line twice, the second time without outliers."""
        kept = np.ones(len(times), bool)
        for _ in range(2):
            x, y = numbers[kept] - numbers[kept].mean(), times[kept]
            period = (x @ y) / (x @ x)
            now = y.mean() - period * numbers[kept].mean()
            residuals = times - now - period * numbers
            kept = np.abs(residuals) <= FRAME_TIMES.outlier * np.median(np.abs(residuals)) + 1e-9
        residuals = residuals[kept]
        std = math.sqrt(np.square(residuals).sum() / max(1, len(residuals) - 2))
        return cls(float(period), float(now), std, residuals, len(residuals) / len(times))

    @property
    def shows_jitter(self) -> bool:
        """Whether the residuals are those of stamps of a regular camera, and not negligible."""
        if self.used < 1 - FRAME_TIMES.largest_outliers or not (
            FRAME_TIMES.negligible_jitter * self.period < self.std < FRAME_TIMES.largest_jitter * self.period
        ):
            return False
        independence = float(np.square(np.diff(self.residuals)).mean()) / (2 * self.std**2)
        few = len(self.residuals) < FRAME_TIMES.sure_from * (1 - FRAME_TIMES.largest_outliers)
        return few or abs(independence - 1.15) < FRAME_TIMES.dependence


def _numbers(times: np.ndarray) -> np.ndarray:
    """Count the periods (N,) from times (N,), s, to the last of them, as negative whole numbers."""
    periods = np.median(np.diff(times)) * _SOME_PERIODS
    cycles = times / periods[:, None]
    # Single precision, of what is left of whole cycles, tells which is best, in a fifth of the time.
    angles = (2 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)
    agreement = np.square(np.cos(angles).sum(1)) + np.square(np.sin(angles).sum(1))
    numbers = _counted(cycles[int(np.argmax(agreement))])
    if np.diff(numbers).min() > 1:  # no two frames in a row: stamps that were rounded, not a camera that drops so many
        numbers = _counted(cycles[int(np.argmax(agreement[:_WITHOUT_DROPS]))])
    return numbers


def _counted(cycles: np.ndarray) -> np.ndarray:
    """Round cycles (N,) whose phases are about equal to whole numbers, negative, up to the last one's 0."""
    start = np.angle(np.exp(2j * np.pi * cycles).sum()) / (2 * np.pi)
    numbers = np.round(cycles - start)
    return numbers - numbers[-1]


def _jitter(times: np.ndarray) -> float:
    """Estimate the standard deviation, s, of a few stamps of a constant rate: second differences err by √6 of it."""
    return float(np.sqrt(np.square(np.diff(times, 2)).mean() / 6)) if len(times) > 2 else 0.0
