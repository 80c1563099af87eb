"""Ground truth: velocities of the camera from poses, a twist or a gyroscope."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from image_as_imu_ros.geometry import so3

LONGEST_DT = 0.125  # s between two samples, 10 Hz and a quarter of jitter; nothing is known inside longer ones
_HOLD = 0.02  # s for which the first and the last sample of the recording stand for their surroundings
_POSE_WINDOW = 0.02  # s to either side over which poses are differenced: shorter ones amplify their noise
_EDGE = 0.25  # of the usual period


@dataclass(frozen=True)
class GroundTruth:
    """Samples of the camera's velocity, in its optical frame.

    Attributes:
        stamps: (N,) int64 ns, ascending.
        linear, angular: (N, 3) m/s and rad/s. `linear` is NaN where not known.
        frame_id: of the velocities; empty if it cannot be told (poses).
    """

    stamps: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    frame_id: str

    def at(self, stamps: np.ndarray, window: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average the velocity over a time window about each stamp, by linear interpolation between the samples.

        Args:
            stamps: (M,) int64 ns, the windows' middles.
            window: s, more than 0; one for all stamps, or (M,).

        Returns:
            (linear, angular), both (M, 3). NaN where the window touches more than 0.125 s without a sample, or
            lies more than 20 ms before the first or after the last.
        """
        times = self._times
        middle = (np.asarray(stamps, np.int64) - self.stamps[0]) * 1e-9
        start = np.clip(middle - window / 2, times[0], times[-1])
        end = np.clip(middle + window / 2, times[0], times[-1])
        known = (middle >= times[0]) & (middle <= times[-1]) & (end > start)
        first = np.searchsorted(times, start, side="right") - 1
        last = np.searchsorted(times, end, side="left")
        known &= self._interruptions_before[last] == self._interruptions_before[np.maximum(first, 0)]
        mean = np.full((len(middle), 6), np.nan)
        mean[known] = (self._travelled(end[known]) - self._travelled(start[known])) / (end - start)[known, None]
        return mean[:, :3], mean[:, 3:]

    @cached_property
    def _times(self) -> np.ndarray:
        """(N + 2,) s since the first sample, with the ends of the time for which anything is known."""
        times = (self.stamps - self.stamps[0]) * 1e-9
        return np.r_[times[0] - _HOLD, times, times[-1] + _HOLD]

    @cached_property
    def _values(self) -> np.ndarray:
        """(N + 2, 6) (v, ω) at `_times`."""
        values = np.concatenate([self.linear, self.angular], axis=1)
        return np.concatenate([values[:1], values, values[-1:]])

    @cached_property
    def _interruptions_before(self) -> np.ndarray:
        """(N + 2,) how many interruptions there are before each of `_times`."""
        return np.r_[0, np.cumsum(np.diff(self._times) > LONGEST_DT)]

    @cached_property
    def _integral(self) -> np.ndarray:
        """(N + 2, 6) ∫ (v, ω) from the first of `_times` to each."""
        steps = np.diff(self._times)[:, None]
        areas = steps * (self._values[1:] + self._values[:-1]) / 2
        return np.concatenate([np.zeros((1, 6)), np.cumsum(areas, 0)])

    def _travelled(self, until: np.ndarray) -> np.ndarray:
        """(M,) s → (M, 6) ∫ (v, ω) from the first of `_times`, v and ω being linear between samples."""
        i = np.clip(np.searchsorted(self._times, until, side="right") - 1, 0, len(self._times) - 2)
        elapsed = (until - self._times[i])[:, None]
        slope = (self._values[i + 1] - self._values[i]) / (self._times[i + 1] - self._times[i])[:, None]
        return self._integral[i] + elapsed * self._values[i] + elapsed**2 / 2 * slope


def velocities_of_poses(stamps: np.ndarray, rotations: np.ndarray, positions: np.ndarray) -> GroundTruth:
    """Differentiate the poses of a body in a fixed frame: its velocities in its own axes, by differences over ±20 ms.

    The difference to a pose h₁ earlier is a velocity h₁/2 before, that to one h₂ later a velocity h₂/2 after: at the
    pose itself it is (h₂·v₁ + h₁·v₂) / (h₁ + h₂), where the acceleration is constant.

    Args:
        stamps: (N,) int64 ns, ascending.
        rotations: (N, 3, 3) body → fixed frame. positions: (N, 3) m.

    Returns:
        A sample for every pose with a neighbour within 0.125 s on either side. Of 10 Hz that is a mean over 0.2 s, true
        at the stamp where acceleration hardly changes in that time: of vehicles, not of hands.
    """
    # Poses at the window's edge, as of 100 Hz, belong to it whether their stamps are a little early or late.
    period = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0  # ns
    window = round(_POSE_WINDOW * 1e9 + _EDGE * period)
    here = np.arange(len(stamps))
    before = np.minimum(np.searchsorted(stamps, stamps - window), np.maximum(here - 1, 0))
    after = np.maximum(np.searchsorted(stamps, stamps + window, side="right") - 1, np.minimum(here + 1, len(here) - 1))
    # Both neighbours are needed and must be near.
    longest = round(LONGEST_DT * 1e9)
    inner = (before < here) & (after > here)
    inner &= (stamps - stamps[before] <= longest) & (stamps[after] - stamps <= longest)
    here, before, after = here[inner], before[inner], after[inner]
    earlier, later = ((stamps[a] - stamps[b])[:, None] * 1e-9 for a, b in ((here, before), (after, here)))

    def between(a: np.ndarray, b: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """(N, 6) mean velocity from poses a to poses b; v in the fixed frame."""
        rotated = so3.log(rotations[a].transpose(0, 2, 1) @ rotations[b])
        return np.concatenate([positions[b] - positions[a], rotated], axis=1) / seconds

    velocities = later * between(before, here, earlier) + earlier * between(here, after, later)
    velocities /= earlier + later
    linear = np.einsum("nji,nj->ni", rotations[here], velocities[:, :3])
    return GroundTruth(stamps[here], linear, velocities[:, 3:], "")


def too_rare(stamps: np.ndarray) -> str:
    """Say that samples (N,) ns, ascending, come too rarely for a velocity between them; empty if two do not."""
    steps = np.diff(stamps) * 1e-9
    if not len(steps) or steps.min() <= LONGEST_DT:
        return ""
    return (
        f"its samples are {np.median(steps):.3g} s apart ({1 / np.median(steps):.3g} Hz), and across more than "
        f"{LONGEST_DT:g} s ({1 / LONGEST_DT:g} Hz) no velocity is taken"
    )
