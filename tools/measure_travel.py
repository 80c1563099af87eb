"""Measure about which point cameras rotate, and how fast that travels: `lever_arm_std` and `probabilities` of TRAVEL.

    python tools/measure_travel.py MOTIONS

MOTIONS: CSV files of trajectories (image_as_imu_training/datasets/carrier_motion.py). v = ω × r is fitted to changes
within half a second of the camera's v and ω, in its own axes, by least squares: r leads from the point that it rotates
about to the camera. The components of that point's velocity are taken for draws from a mixture of zero-mean Gaussians
of the sizes `speeds`, whose probabilities are fitted by expectation–maximisation; each trajectory counts once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure_at_stamp import mean_velocities

from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.constants import TRAVEL
from image_as_imu_ros.estimation.prior import Prior
from image_as_imu_training.datasets.carrier_motion import Track, load_motions

_DT = 0.04  # s, over which velocities are means
_STEP = 0.01  # s
_CHANGES = 0.5  # s; what changes more slowly is where the carrier goes
_ITERATIONS = 300  # of expectation–maximisation; of twice as many, the second digit is the same


def lever_arm(track: Track) -> np.ndarray:
    """Fit r (3,) m to a trajectory."""
    linear, angular = _velocities(track)
    window = np.ones(round(_CHANGES / _STEP)) / round(_CHANGES / _STEP)

    def changes(velocity: np.ndarray) -> np.ndarray:
        return velocity - np.stack([np.convolve(axis, window, "same") for axis in velocity.T], 1)

    x, y, z = changes(angular).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3)
    return np.linalg.lstsq(cross, changes(linear).ravel(), rcond=None)[0]


def pivot_velocity(track: Track) -> np.ndarray:
    """Compute the components (N,), m/s, of the velocity of the point that the camera is expected to rotate about."""
    motions = np.hstack(_velocities(track))
    components = (motions @ Prior(1.0, EstimatorConfig().lever_arm).pivot_from_camera.T).ravel()
    return components[np.isfinite(components)]


def probabilities(of_each: list[np.ndarray]) -> np.ndarray:
    """Fit the probabilities (K,) of the sizes to the components of each trajectory."""
    sizes = EstimatorConfig().linear_velocity_std * np.array(TRAVEL.speeds)
    densities = [np.exp(-np.square(one[:, None] / sizes) / 2) / sizes for one in of_each]
    found = np.full(len(sizes), 1 / len(sizes))
    for _ in range(_ITERATIONS):
        shares = [found * one / (one @ found)[:, None] for one in densities]
        found = np.mean([share.mean(0) for share in shares], 0)
    return found


def _velocities(track: Track) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(track.stamps[0] + _DT, track.stamps[-1] - _DT, _STEP)
    linear, angular = mean_velocities(track, times, _DT)
    assert linear is not None
    return linear, angular


def main() -> None:
    """Print a line per trajectory of a camera, and what they are about the expected lever arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("motions", type=Path, help="folder of CSV files")
    found, velocities = [], []
    for track in load_motions(parser.parse_args().motions).tracks:
        if track.position is None or "broad" in track.name:  # those of `broad` are a board's, not a camera's
            continue
        found.append(lever_arm(track))
        velocities.append(pivot_velocity(track))
        print(f"{track.name:40s}", *(f"{metres:6.3f}" for metres in found[-1]), "m")
    expected = np.array([0, 0, EstimatorConfig().lever_arm])
    print(
        "root mean square about the expected one:", np.sqrt(np.square(np.array(found) - expected).mean()).round(3), "m"
    )
    sizes = ", ".join(f"{EstimatorConfig().linear_velocity_std * one:.2g}" for one in TRAVEL.speeds)
    print(f"probabilities of sizes of {sizes} m/s:", *probabilities(velocities).round(2))


if __name__ == "__main__":
    main()
