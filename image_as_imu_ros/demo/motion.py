"""The camera's known motion: closed-form velocities, and the poses that follow from them.

Velocities are in the camera's optical frame (x right, y down, z forward). The world frame is the camera's frame at
time 0, moved into the middle of the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from image_as_imu_ros.geometry.so3 import exp

LEVER_ARM = 0.0  # m, for this camera rotates about itself
LONGEST = 10.0  # s, until the last of the swings below has faded

_STEP = 1e-3  # s of integration
_START = (0.0, -0.1, -0.6)  # m in the world


@dataclass(frozen=True)
class _Swing:
    """A gesture of the hand: there and back, so that the camera ends about where it was.

    The velocity is amplitude · sin(2π·frequency·(t − middle)) under a Gaussian of the given width.
    """

    middle: float  # s
    angular: tuple[float, float, float]  # rad/s
    linear: tuple[float, float, float]  # m/s
    frequency: float  # Hz
    width: float  # s, standard deviation

    def envelope(self, times: np.ndarray) -> np.ndarray:
        """Compute the velocity at (N,) times, s, as a fraction of the amplitude, (N,)."""
        since = times - self.middle
        return np.sin(2 * np.pi * self.frequency * since) * np.exp(-0.5 * (since / self.width) ** 2)


_SWINGS = (
    _Swing(1.3, (0.3, 3.6, 0.0), (0.4, 0.0, 0.0), 0.9, 0.45),  # to the left and to the right
    _Swing(2.9, (-3.2, 0.0, 0.3), (0.0, 0.4, 0.1), 1.4, 0.35),  # nod
    _Swing(4.2, (0.0, 0.4, 4.5), (0.2, 0.0, 0.3), 1.2, 0.35),  # roll
    _Swing(5.7, (0.2, 0.3, 0.0), (0.7, 0.0, 1.1), 0.7, 0.45),  # step back and forth
    _Swing(7.2, (-2.4, -3.2, 1.8), (0.4, 0.3, -0.4), 1.2, 0.40),  # everything at once
    _Swing(8.7, (1.8, 4.8, 2.2), (-0.6, 0.2, 0.5), 1.5, 0.40),  # and faster
)

# Tremor that never rests: amplitude per axis and frequency of three sinusoids each.
_TREMOR_FREQUENCIES = np.array([[0.7, 1.3, 2.9], [0.5, 1.7, 2.3], [0.9, 1.1, 3.1]])  # Hz, (axis, sinusoid)
_TREMOR_ANGULAR = np.array([0.10, 0.10, 0.15])  # rad/s
_TREMOR_LINEAR = np.array([0.05, 0.04, 0.03])  # m/s


def angular_velocity(times: np.ndarray) -> np.ndarray:
    """Compute ω at (N,) times, s: (N, 3) rad/s."""
    times = np.asarray(times, dtype=np.float64)
    swings = sum(swing.envelope(times)[:, None] * swing.angular for swing in _SWINGS)
    return swings + _tremor(times, _TREMOR_ANGULAR)


def linear_velocity(times: np.ndarray) -> np.ndarray:
    """Compute v at (N,) times, s: (N, 3) m/s."""
    times = np.asarray(times, dtype=np.float64)
    swings = sum(swing.envelope(times)[:, None] * swing.linear for swing in _SWINGS)
    return swings + _tremor(times, _TREMOR_LINEAR)


def _tremor(times: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * times[:, None, None] * _TREMOR_FREQUENCIES) @ amplitudes


@dataclass(frozen=True)
class Pose:
    """Where the camera is: x_world = rotation @ x_camera + position."""

    rotation: np.ndarray  # (3, 3)
    position: np.ndarray  # (3,) m


@dataclass(frozen=True)
class Trajectory:
    """Poses from time 0 on, integrated from the velocities."""

    duration: float

    def pose(self, time: float) -> Pose:
        """Find the camera's pose at a time, s, of 0 to `duration`."""
        index = min(int(time / _STEP), len(self._poses) - 1)
        rest = time - index * _STEP
        middle = np.array([time - rest / 2])
        return _moved(self._poses[index], angular_velocity(middle)[0] * rest, linear_velocity(middle)[0] * rest)

    @cached_property
    def _poses(self) -> list[Pose]:
        poses = [Pose(np.eye(3), np.array(_START))]
        middles = (np.arange(np.ceil(self.duration / _STEP)) + 0.5) * _STEP
        for angular, linear in zip(angular_velocity(middles), linear_velocity(middles), strict=True):
            poses.append(_moved(poses[-1], angular * _STEP, linear * _STEP))
        return poses


def _moved(pose: Pose, rotation: np.ndarray, translation: np.ndarray) -> Pose:
    """Move a pose by a small rotation (3,), rad, and translation (3,), m, that happen together.

    R ← R exp(φ) and p ← p + R exp(φ/2) t: the midpoint rule.
    """
    halfway = pose.rotation @ exp(rotation / 2)
    return Pose(pose.rotation @ exp(rotation), pose.position + halfway @ translation)
