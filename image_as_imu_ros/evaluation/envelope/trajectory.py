"""Motions in closed form: pose and velocity of the camera at any time.

The camera's orientation is R = R_y(yaw)·R_x(pitch)·R_z(roll)·exp(vibration), camera to world, and its position p. With
the unit axes e, its velocity in its own axes is v = Rᵀ·ṗ, and without vibration

    ω = R_zᵀ·(R_xᵀ·e_y·yaẇ + e_x·pitcḣ) + e_z·rolṙ.

A vibration φ = a·A·sin(2πft) about a fixed axis a of the camera adds a·A·2πf·cos(2πft), and rotates the rest by
exp(−φ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.geometry import so3


@dataclass(frozen=True)
class Wave:
    """constant + rate·t + Σ amplitude·sin(2π·frequency·t + phase), of (amplitude, frequency, phase)."""

    constant: float = 0.0
    rate: float = 0.0
    parts: tuple[tuple[float, float, float], ...] = ()

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Compute the coordinate at (N,) s."""
        return self._sum(times, 0) + self.constant + self.rate * times

    def derivative(self, times: np.ndarray) -> np.ndarray:
        """Compute its rate at (N,) s."""
        return self._sum(times, 1) + self.rate

    def _sum(self, times: np.ndarray, order: int) -> np.ndarray:
        total = np.zeros_like(times, np.float64)
        for amplitude, frequency, phase in self.parts:
            angular_frequency = 2 * np.pi * frequency
            argument = angular_frequency * times + phase
            total += amplitude * (angular_frequency * np.cos(argument) if order else np.sin(argument))
        return total

    def scaled(self, factor: float) -> Wave:
        """Multiply all but the constant."""
        parts = tuple((factor * amplitude, frequency, phase) for amplitude, frequency, phase in self.parts)
        return Wave(self.constant, factor * self.rate, parts)


@dataclass(frozen=True)
class Vibration:
    """Small rotations about one axis of the camera.

    Attributes:
        amplitude: rad. frequency: Hz. axis: (x, y, z), a unit vector.
    """

    amplitude: float
    frequency: float
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def angle(self, times: np.ndarray) -> np.ndarray:
        """Compute the rotation vectors (N, 3) at (N,) s."""
        return (self.amplitude * np.sin(2 * np.pi * self.frequency * times))[:, None] * np.array(self.axis)

    def rate(self, times: np.ndarray) -> np.ndarray:
        """Compute the rates (N, 3) at (N,) s."""
        angular_frequency = 2 * np.pi * self.frequency
        return (self.amplitude * angular_frequency * np.cos(angular_frequency * times))[:, None] * np.array(self.axis)


@dataclass(frozen=True)
class Trajectory:
    """Pose of the camera over time, in the world of its scene (x right, y down, z ahead).

    Attributes:
        x, y, z: m. yaw, pitch, roll: rad, about y, x and z.
        vibration: on top of these; None for none.
    """

    x: Wave = Wave()
    y: Wave = Wave()
    z: Wave = Wave()
    yaw: Wave = Wave()
    pitch: Wave = Wave()
    roll: Wave = Wave()
    vibration: Vibration | None = None

    def poses(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute (N, 3, 3) camera to world, and (N, 3) m, at (N,) s."""
        times = np.asarray(times, np.float64)
        rotation = _about(1, self.yaw(times)) @ _about(0, self.pitch(times)) @ _about(2, self.roll(times))
        if self.vibration is not None:
            rotation = rotation @ so3.exp(self.vibration.angle(times))
        return rotation, np.stack([self.x(times), self.y(times), self.z(times)], 1)

    def velocity(self, times: np.ndarray) -> np.ndarray:
        """Compute (N, 6) linear, angular in the camera's axes at (N,) s."""
        times = np.asarray(times, np.float64)
        pitch, roll = _about(0, self.pitch(times)), _about(2, self.roll(times))
        rotation = _about(1, self.yaw(times)) @ pitch @ roll
        axes = np.eye(3)
        about_yaw = self.yaw.derivative(times)[:, None] * np.einsum("nji,j->ni", pitch, axes[1])
        angular = np.einsum("nji,nj->ni", roll, about_yaw + self.pitch.derivative(times)[:, None] * axes[0])
        angular += self.roll.derivative(times)[:, None] * axes[2]
        moved = np.stack([wave.derivative(times) for wave in (self.x, self.y, self.z)], 1)
        linear = np.einsum("nji,nj->ni", rotation, moved)
        if self.vibration is not None:
            back = so3.exp(-self.vibration.angle(times))
            linear, angular = (np.einsum("nij,nj->ni", back, vectors) for vectors in (linear, angular))
            angular += self.vibration.rate(times)
        return np.concatenate([linear, angular], 1)

    def mean_velocity(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Compute the velocities (N, 6) that, held from `start` to `end` (N,) s, lead from pose to pose.

        The rotation vector between the poses, and the displacement seen from halfway, over the time between.
        """
        (first, here), (last, there) = self.poses(start), self.poses(end)
        elapsed = (np.asarray(end) - np.asarray(start))[:, None]
        rotation = so3.log(first.transpose(0, 2, 1) @ last)
        halfway = first @ so3.exp(rotation / 2)
        linear = np.einsum("nji,nj->ni", halfway, there - here)
        return np.concatenate([linear, rotation], 1) / elapsed


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) about a coordinate axis by (N,) rad."""
    return so3.exp(angle[:, None] * np.eye(3)[axis])
