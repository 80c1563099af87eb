"""trajectory:FILE: what any other system has written, in the format of TUM, KITTI or EuRoC.

Poses are those of the camera's optical frame in a fixed one. They go to frames as in evo: a frame without a pose within
10 ms has none; else its pose is interpolated between its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, Poses, motion_of_poses
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.so3 import rotation_matrices

_MOST_APART = 0.01  # s


@dataclass(frozen=True)
class Trajectory:
    """Poses as they stand in a file.

    Attributes:
        stamps: (M,) int64 ns, ascending; None in KITTI's format: one pose per frame.
        rotations: (M, 3, 3) camera → world. positions: (M, 3).
    """

    stamps: np.ndarray | None
    rotations: np.ndarray
    positions: np.ndarray


def read_trajectory(path: str | Path) -> Trajectory:
    """Read a file; what it holds says which format it is.

    - TUM: eight numbers, `seconds tx ty tz qx qy qz qw`.
    - KITTI: twelve numbers, the first three rows of a 4×4 matrix.
    - EuRoC: separated by commas, `nanoseconds,tx,ty,tz,qw,qx,qy,qz`; what follows is not read.

    Lines that start with # are comments.

    Raises:
        InputError: no such file, or none of these formats.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"trajectory {str(path)!r} cannot be read: {error}") from None
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    euroc = bool(lines) and "," in lines[0]
    try:
        rows = [[float(text) for text in (line.split(",")[:8] if euroc else line.split())] for line in lines]
        table = np.array(rows)
    except ValueError:  # no numbers, or rows of different length
        table = np.empty((0, 0))
    columns = table.shape[1] if table.ndim == 2 else 0
    if columns not in ((8,) if euroc else (8, 12)) or not np.isfinite(table).all():
        raise InputError(
            f"trajectory {str(path)!r} is not in the format of TUM (8 numbers a line), KITTI (12) or EuRoC (8 or more, "
            "separated by commas)"
        )
    if columns == 12:
        matrices = table.reshape(-1, 3, 4)
        return Trajectory(None, matrices[:, :, :3], matrices[:, :, 3])
    quaternions = table[:, 4:] if euroc else np.roll(table[:, 4:], 1, axis=1)
    if not np.linalg.norm(quaternions, axis=1).all():
        raise InputError(f"trajectory {str(path)!r} has an orientation of zero length")
    stamps, first = np.unique(np.round(table[:, 0] * (1 if euroc else 1e9)).astype(np.int64), return_index=True)
    return Trajectory(stamps, rotation_matrices(quaternions[first]), table[first, 1:4])


def run(frames: Frames, trajectory: Trajectory) -> Motion:
    """Find the motion between frames. Raises InputError: no pose belongs to any frame."""
    return motion_of_poses(frames.stamps, poses_at(trajectory, frames.stamps), np.nan, "no pose within 10 ms")


def poses_at(trajectory: Trajectory, stamps: np.ndarray) -> Poses:
    """Interpolate poses at frames with (N,) ns `stamps`.

    Raises:
        InputError: no pose belongs to any frame.
    """
    poses = Poses.unknown(len(stamps))
    if trajectory.stamps is None:
        if len(trajectory.rotations) != len(stamps):
            raise InputError(
                f"the trajectory has {len(trajectory.rotations)} poses without stamps for {len(stamps)} frames: "
                "KITTI's format needs one pose per frame"
            )
        return Poses(trajectory.rotations, trajectory.positions, np.zeros(len(stamps), int))
    for i, stamp in enumerate(stamps):
        after = int(np.searchsorted(trajectory.stamps, stamp))
        sides = range(max(after - 1, 0), min(after + 1, len(trajectory.stamps)))
        if min(abs(int(trajectory.stamps[side] - stamp)) for side in sides) > _MOST_APART * 1e9:
            continue
        before, after = sides[0], sides[-1]
        between = max(int(trajectory.stamps[after] - trajectory.stamps[before]), 1)
        share = np.clip((stamp - trajectory.stamps[before]) / between, 0, 1)
        poses.rotations[i] = so3.interpolate(trajectory.rotations[before], trajectory.rotations[after], share)
        poses.positions[i] = (1 - share) * trajectory.positions[before] + share * trajectory.positions[after]
        poses.piece[i] = 0
    if not (poses.piece == 0).any():
        raise InputError(
            f"no pose of the trajectory, {trajectory.stamps[0] * 1e-9:.3f} to {trajectory.stamps[-1] * 1e-9:.3f} s, is "
            f"within {1e3 * _MOST_APART:g} ms of a frame, {stamps[0] * 1e-9:.3f} to {stamps[-1] * 1e-9:.3f} s: "
            "are both stamped by the same computer?"
        )
    return poses
