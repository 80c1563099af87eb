"""Recorded motions of hands, heads, drones, legs and wheels: trajectories and gyroscopes, as paths over one exposure.

A folder of CSV files with a header: `t_ns`, and either `px,py,pz` (m) and `qw,qx,qy,qz`, poses of a camera in the
world, or `wx,wy,wz` (rad/s) of an IMU. A path is a piece of 10 to 60 ms, seen from the pose in its middle;
`random_motion` scales it to the blur that is wanted, as if it had been made faster or slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
import torch

from image_as_imu_ros.datasets.gyroscope_file import too_fast
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_training.rendering.motion import KNOTS

_POSITION, _QUATERNION, _ANGULAR = ("px", "py", "pz"), ("qw", "qx", "qy", "qz"), ("wx", "wy", "wz")
_SECONDS = (0.01, 0.06)  # length of a piece
_FEWEST = 5  # samples of a piece: fewer do not tell how the velocity changes
_LEAST_SPEED = 0.2  # 1/s, of what is 2 m away: below it noise would be scaled up
_MOST_DEVIATION = 0.5  # of the motion; beyond, it reverses and leaves no streak
_TYPICAL_DEPTH = 2.0  # m
_LEVER_ARM = 0.2  # m, at most, of a camera beside an IMU, along each axis
_NORM_ERROR = 0.1  # of a quaternion, beyond rounding
_TRIES = 1000  # pieces drawn for one that moves
_SIGNED = [np.diag(signs)[list(order)] for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
_AXES = np.array([axes for axes in _SIGNED if np.linalg.det(axes) > 0])  # the 24 ways to mount an IMU squarely


@dataclass(frozen=True)
class Track:
    """One recorded motion.

    Attributes:
        name: of its file. stamps: (N,) s.
        position: (N, 3) m and rotation: (N, 3, 3), camera in the world; or None and
        angular: (N, 3) rad/s in an IMU's axes, which are not known to be the camera's.
    """

    name: str
    stamps: np.ndarray
    position: np.ndarray | None = None
    rotation: np.ndarray | None = None
    angular: np.ndarray | None = None

    def path(self, middle: int, half: int, generator: np.random.Generator) -> np.ndarray | None:
        """Cut out the piece from `half` samples before a middle one to `half` after it.

        Returns:
            (KNOTS, 6) rotation vector, rad, and position, m, zero in the middle; None where samples are missing, where
            it hardly moves or where it reverses.
        """
        piece = slice(middle - half, middle + half + 1)
        stamps = self.stamps[piece] - self.stamps[middle]
        if np.diff(stamps).max() > 2 * np.median(np.diff(stamps)):
            return None
        if self.position is None or self.rotation is None:
            rotation_vectors, position = self._rotated(piece, stamps, generator)
        else:
            back = self.rotation[middle].T
            rotation_vectors = so3.log(back @ self.rotation[piece])
            position = (self.position[piece] - self.position[middle]) @ back.T
        seconds = min(-stamps[0], stamps[-1])
        path = np.concatenate([rotation_vectors, position], 1)
        knots = np.linspace(-seconds, seconds, KNOTS)
        path = np.stack([np.interp(knots, stamps, column) for column in path.T], 1)
        mean = path[-1] - path[0]
        deviation = path - np.linspace(-0.5, 0.5, KNOTS)[:, None] * mean
        if _extent(mean) < 2 * seconds * _LEAST_SPEED or _extent(deviation).max() > _MOST_DEVIATION * _extent(mean):
            return None
        return path

    def _rotated(
        self, piece: slice, stamps: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Integrate a gyroscope, to first order, and move a camera that sits beside it."""
        assert self.angular is not None
        angular = self.angular[piece] @ _AXES[generator.integers(len(_AXES))].T
        steps = 0.5 * (angular[1:] + angular[:-1]) * np.diff(stamps)[:, None]
        rotation_vectors = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
        rotation_vectors = rotation_vectors - rotation_vectors[len(stamps) // 2]
        arm = generator.uniform(-_LEVER_ARM, _LEVER_ARM, 3)
        return rotation_vectors, so3.exp(rotation_vectors) @ arm - arm


def _extent(motion: np.ndarray) -> np.ndarray:
    """Add up what rotations and positions (…, 6) do to the image of what is at a typical depth, rad."""
    return np.linalg.norm(motion[..., :3], axis=-1) + np.linalg.norm(motion[..., 3:], axis=-1) / _TYPICAL_DEPTH


@dataclass(frozen=True)
class CarrierMotions:
    """Recorded motions to draw paths from."""

    tracks: list[Track]

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw paths, every recording as likely as any other: (count, KNOTS, 6) float32 rad and m.

        Raises:
            InputError: hardly any piece moves.
        """
        own = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        return torch.from_numpy(np.stack([self._draw_one(own) for _ in range(count)]).astype(np.float32))

    def _draw_one(self, generator: np.random.Generator) -> np.ndarray:
        for _ in range(_TRIES):
            track = self.tracks[generator.integers(len(self.tracks))]
            period = float(np.median(np.diff(track.stamps)))
            half = max(round(generator.uniform(*_SECONDS) / period / 2), _FEWEST // 2)
            if len(track.stamps) <= 2 * half:
                continue
            path = track.path(int(generator.integers(half, len(track.stamps) - half)), half, generator)
            if path is not None:
                return path
        names = ", ".join(track.name for track in self.tracks[:5])
        raise InputError(f"{names}: none of {_TRIES} random pieces moves; expected recordings of moving cameras")


@lru_cache(maxsize=4)
def load_motions(folder: Path) -> CarrierMotions:
    """Read all CSV files of a folder.

    Raises:
        InputError: there are none, one has other columns or cannot have been recorded so, or hardly any piece moves.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise InputError(f"no recorded motions (*.csv) in {folder}")
    motions = CarrierMotions([_read(file) for file in files])
    motions.draw(1, torch.Generator())  # what does not move is said before anything is rendered
    return motions


def _read(file: Path) -> Track:
    try:
        header, *lines = file.read_text(encoding="utf-8-sig").splitlines() or [""]
        names = [name.strip() for name in header.split(",")]
        table = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, len(names)))
        values = dict(zip(names, table.T, strict=True))
    except ValueError as error:
        raise InputError(f"{file} is not a table of numbers: {error}") from None

    def columns(wanted: tuple[str, ...]) -> np.ndarray | None:
        return np.stack([values[name] for name in wanted], 1) if values.keys() >= set(wanted) else None

    position, quaternion, angular = (columns(wanted) for wanted in (_POSITION, _QUATERNION, _ANGULAR))
    if "t_ns" not in values or (angular is None and (position is None or quaternion is None)):
        raise InputError(
            f"{file} has the columns {', '.join(names)}; expected t_ns and px,py,pz,qw,qx,qy,qz or wx,wy,wz"
        )
    stamps = values["t_ns"] * 1e-9
    if complaint := _complaint(table, stamps, quaternion, angular):
        raise InputError(f"{file}: {complaint}")
    if quaternion is None:
        return Track(file.stem, stamps, angular=angular)
    return Track(file.stem, stamps, position, so3.rotation_matrices(quaternion))


def _complaint(table: np.ndarray, stamps: np.ndarray, quaternion: np.ndarray | None, angular: np.ndarray | None) -> str:
    """Say why a table (N, columns) is no recorded motion; empty if it may be one."""
    if len(table) < _FEWEST:
        return f"it has {len(table)} samples, expected {_FEWEST} or more"
    if not np.isfinite(table).all():
        row, _ = np.argwhere(~np.isfinite(table))[0]
        return f"a number of sample {row + 1} is not finite; leave such samples out"
    if not (np.diff(stamps) > 0).all():
        return f"t_ns does not increase after sample {np.argmin(np.diff(stamps) > 0) + 1}; sort the samples by time"
    if quaternion is not None:
        norm = np.linalg.norm(quaternion, axis=1)
        worst = int(np.argmax(np.abs(norm - 1)))
        if abs(norm[worst] - 1) > _NORM_ERROR:
            return f"the quaternion of sample {worst + 1} has norm {norm[worst]:.2f}, expected 1"
        return ""
    return "" if angular is None else too_fast(angular)
