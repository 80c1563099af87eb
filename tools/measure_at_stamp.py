"""Measure how far a mean velocity over dt is from the velocity halfway, in recorded motions: `departure` of AT_STAMP.

    python tools/measure_at_stamp.py MOTIONS

MOTIONS: CSV files of trajectories and gyroscopes (image_as_imu_training/datasets/carrier_motion.py). For each, and for
dt of 33, 100 and 200 ms: root mean square of mean − halfway, divided by that of the change from one mean to the next.
Recordings below 95 Hz, and stretches with gaps, are left out: they do not show what happens within 33 ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from image_as_imu_ros.geometry import so3
from image_as_imu_training.datasets.carrier_motion import Track, load_motions

_DT = (0.033, 0.1, 0.2)  # s
_HALFWAY = 0.01  # s; velocities halfway are means over twice this
_STEP = 0.005  # s, from one place that is looked at to the next
_SLOWEST = 95.0  # Hz
_FEWEST = 200  # places


def mean_velocities(track: Track, times: np.ndarray, dt: float) -> tuple[np.ndarray | None, np.ndarray]:
    """Average v, m/s, and ω, rad/s, over dt about (N,) times, in the axes of halfway: (N, 3) each; v may be unknown."""
    ends = times - dt / 2, times + dt / 2
    if track.angular is not None:
        steps = 0.5 * (track.angular[1:] + track.angular[:-1]) * np.diff(track.stamps)[:, None]
        total = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
        first, last = (np.stack([np.interp(end, track.stamps, axis) for axis in total.T], 1) for end in ends)
        return None, (last - first) / dt
    assert track.position is not None
    assert track.rotation is not None
    first, middle, last = (_rotations(track, time) for time in (ends[0], times, ends[1]))
    places = [np.stack([np.interp(end, track.stamps, axis) for axis in track.position.T], 1) for end in ends]
    linear = np.einsum("nji,nj->ni", middle, places[1] - places[0]) / dt
    return linear, so3.log(first.swapaxes(1, 2) @ last) / dt


def _rotations(track: Track, times: np.ndarray) -> np.ndarray:
    assert track.rotation is not None
    before = np.clip(np.searchsorted(track.stamps, times, side="right") - 1, 0, len(track.stamps) - 2)
    share = (times - track.stamps[before]) / (track.stamps[before + 1] - track.stamps[before])
    return so3.interpolate(track.rotation[before], track.rotation[before + 1], share)


def ratios(track: Track) -> Iterator[tuple[float, float]]:
    """Yield the quotients of v and of ω for each dt, NaN where they are not known."""
    margin = max(_DT) + _STEP
    times = np.arange(track.stamps[0] + margin, track.stamps[-1] - margin, _STEP)
    period = float(np.median(np.diff(track.stamps)))
    missing = track.stamps[:-1][np.diff(track.stamps) > 2.5 * period]
    near = np.searchsorted(missing, times + margin) > np.searchsorted(missing, times - margin)
    halfway = mean_velocities(track, times, 2 * max(_HALFWAY, period))
    for dt in _DT:
        step = round(dt / _STEP)
        found = []
        for mean, instant in zip(mean_velocities(track, times, dt), halfway, strict=True):
            if mean is None or instant is None or (~near).sum() < _FEWEST:
                found.append(float("nan"))
                continue
            kept = ~(near[step:] | near[:-step])
            change = (mean[step:] - mean[:-step])[kept]
            found.append(float(np.sqrt(np.square((mean - instant)[step:][kept]).mean() / np.square(change).mean())))
        yield found[0], found[1]


def main() -> None:
    """Print a line per recording, and medians and upper quartiles over all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("motions", type=Path, help="folder of CSV files")
    table = []
    for track in load_motions(parser.parse_args().motions).tracks:
        if 1 / np.median(np.diff(track.stamps)) < _SLOWEST:
            continue
        found = list(ratios(track))
        table.append(found)
        print(f"{track.name:56s}", *(f"v {v:.3f} ω {w:.3f} " for v, w in found))
    for name, quantile in (("median", 0.5), ("upper quartile", 0.75)):
        of_all = np.nanquantile(np.array(table), quantile, axis=0)
        print(f"{name:56s}", *(f"v {v:.3f} ω {w:.3f} " for v, w in of_all))


if __name__ == "__main__":
    main()
