"""The trajectory of a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from image_as_imu_ros.evaluation.envelope.cell import Cell, Motion
from image_as_imu_ros.evaluation.envelope.scenes import Place
from image_as_imu_ros.evaluation.envelope.trajectory import Trajectory, Vibration, Wave
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

# (amplitude, Hz, phase) of the gestures of a hand, rad and m: to be scaled to the blur that is asked for.
_HAND_YAW = Wave(parts=((1.0, 0.9, 0.3), (0.30, 2.1, 1.1)))
_HAND_PITCH = Wave(parts=((0.6, 1.1, 2.0), (0.25, 1.9, 0.4)))
_HAND_ROLL = Wave(parts=((0.5, 0.8, 1.0),))
_HAND_X = Wave(parts=((0.05, 0.8, 0.5),))
_HAND_Y = Wave(parts=((0.04, 1.1, 1.5),))
_HAND_Z = Wave(parts=((0.04, 0.6, 2.5),))
_HAND_BLUR = 8.0  # px at 320 px width, at which the hand's translation is as above

# Tremor of hands and steps: (Hz, share of the tremor's power), and its share of the power of ω and of v. In motions of
# hands and of a walker's head (RPNG AR table, BROAD, TUM RGB-D fr1, Aria) 7 to 17 % of the power of ω is above 3 Hz,
# 3 to 10 % above 6 Hz and 1 to 3 % above 10 Hz; of v, where hands turn rather than shake, 1 % above 3 Hz.
_HAND_TREMOR = ((3.4, 0.3), (4.9, 0.25), (7.7, 0.35), (11.0, 0.1))
_ANGULAR_TREMOR = 0.1
_LINEAR_TREMOR = 0.012

# What no vehicle is without: about 0.1 rad/s and 0.05 m/s. Of a phone in a car (phone_drive), 63 % of the power of ω is
# above 3 Hz, 17 % above 6 Hz and 5 % above 10 Hz.
_VEHICLE_TREMOR = ((4.2, 0.35), (5.4, 0.35), (7.7, 0.22), (11.0, 0.08))
_VEHICLE_SHARE = 0.6
_TREMOR = {
    "yaw": (0.005, 2.3, 0.4),
    "pitch": (0.004, 2.9, 1.2),
    "roll": (0.004, 2.6, 2.2),
    "x": (0.006, 1.4, 0.7),
    "y": (0.004, 1.9, 1.9),
}


def trajectory_of(cell: Cell) -> Trajectory:
    """Build the trajectory: from time 0 on, in the world of the cell's place."""
    trajectory = _MAKERS[cell.motion](cell)
    if cell.place == Place.FLOOR:
        trajectory = replace(trajectory, pitch=replace(trajectory.pitch, constant=-np.pi / 2))
    if cell.vibration:
        axis = np.array([0.8, 0.5, 0.33])
        unit = axis / np.linalg.norm(axis)
        vibration = Vibration(np.radians(cell.vibration), cell.vibration_rate, (unit[0], unit[1], unit[2]))
        trajectory = replace(trajectory, vibration=vibration)
    return trajectory


def _hand_held(cell: Cell) -> Trajectory:
    times = np.linspace(0, cell.frames / cell.rate, 200)
    pixels = cell_centres(6, 8, 1) / (8, 6) * (cell.camera.width, cell.camera.height)
    matrix = MotionFieldMatrix.at(cell.camera, pixels)
    yaw, pitch, roll = _trembling(_HAND_TREMOR, _ANGULAR_TREMOR, _HAND_YAW, _HAND_PITCH, _HAND_ROLL)

    def hand(scale: float) -> Trajectory:
        return Trajectory(yaw=yaw.scaled(scale), pitch=pitch.scaled(scale), roll=roll.scaled(scale))

    scale = 0.1
    for _ in range(4):  # nearly linear
        flow = np.einsum("pij,tj->tpi", matrix.angular, hand(scale).velocity(times)[:, 3:])
        blur = np.linalg.norm(flow, axis=2).mean() * cell.exposure * 320 / cell.width
        scale *= cell.blur / blur
    # A firm hand does not wobble, and the arm is only so long.
    reach = float(np.clip(cell.blur / _HAND_BLUR, 0.05, 1.5))
    swaying = _trembling(_HAND_TREMOR, _LINEAR_TREMOR, _HAND_X, _HAND_Y, _HAND_Z)
    waves = (wave.scaled(reach * cell.distance / 2.5) for wave in swaying)
    return replace(hand(scale), **dict(zip("xyz", waves, strict=True)))


def _forward(cell: Cell) -> Trajectory:
    yaw, pitch, roll, x, y = (Wave(parts=(_TREMOR[name],)) for name in ("yaw", "pitch", "roll", "x", "y"))
    yaw, pitch, roll = _trembling(_VEHICLE_TREMOR, _VEHICLE_SHARE, yaw, pitch, roll)
    return Trajectory(x=x, y=y, z=Wave(rate=cell.speed), yaw=yaw, pitch=pitch, roll=roll)


def _sideways(cell: Cell) -> Trajectory:
    forward = _forward(cell)
    return replace(forward, yaw=replace(forward.yaw, constant=np.pi / 2))


def _winding(cell: Cell) -> Trajectory:
    forward = _forward(cell)
    yaw = replace(forward.yaw, parts=((0.35, 0.5, 0.6), *forward.yaw.parts))
    return replace(forward, yaw=yaw, x=Wave(parts=((0.25, 0.4, 0.0),)))


def _walking(cell: Cell) -> Trajectory:
    """Two steps a second: up and down with every step, from side to side with every second."""
    x, y, z = _trembling(
        _HAND_TREMOR,
        _LINEAR_TREMOR,
        Wave(parts=((0.03, 1.0, 0.3),)),
        Wave(parts=((0.025, 2.0, 1.0),)),
        Wave(rate=cell.speed, parts=((0.012, 2.0, 0.0),)),
    )
    yaw, pitch, roll = _trembling(
        _HAND_TREMOR,
        _ANGULAR_TREMOR,
        Wave(parts=((0.05, 1.0, 0.9), (0.25, 0.3, 0.5))),
        Wave(parts=((0.03, 2.0, 0.2),)),
        Wave(parts=((0.03, 1.0, 2.1),)),
    )
    return Trajectory(x, y, z, yaw, pitch, roll)


def _trembling(tremor: Sequence[tuple[float, float]], share: float, *gestures: Wave) -> list[Wave]:
    """Add tremor to waves, this share of the power of their rates, each with phases of its own.

    Args:
        tremor: (Hz, share of the tremor's power).
    """
    trembling = []
    for axis, wave in enumerate(gestures):
        amplitudes, frequencies, _ = np.array(wave.parts).T
        squared = np.square(amplitudes * frequencies).sum() * share / (1 - share)
        parts = tuple(
            (math.sqrt(part * squared) / frequency, frequency, 1.7 * number + 0.9 * axis)
            for number, (frequency, part) in enumerate(tremor)
        )
        trembling.append(replace(wave, parts=wave.parts + parts))
    return trembling


def _constant_nod(cell: Cell) -> Trajectory:
    return Trajectory(pitch=Wave(rate=cell.rotation))


def _constant_pan(cell: Cell) -> Trajectory:
    return Trajectory(yaw=Wave(rate=cell.rotation))


def _rest(cell: Cell) -> Trajectory:
    return Trajectory()


_MAKERS = {
    Motion.HAND_HELD: _hand_held,
    Motion.CONSTANT_NOD: _constant_nod,
    Motion.CONSTANT_PAN: _constant_pan,
    Motion.FORWARD: _forward,
    Motion.SIDEWAYS: _sideways,
    Motion.WINDING: _winding,
    Motion.WALKING: _walking,
    Motion.REST: _rest,
}
