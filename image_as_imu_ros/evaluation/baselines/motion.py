"""What a baseline answers: the camera's mean velocity from each frame to the next; how poses become it; its scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from image_as_imu_ros.geometry import so3

NO_PIECE = -1  # of frames without an answer


@dataclass(frozen=True)
class Motion:
    """Mean velocity of the camera since the frame before, in its optical frame halfway. Row 0 has none.

    Attributes:
        angular: (N, 3) rad/s; NaN where the method has no answer.
        linear: (N, 3) per second, in the unit of its piece; NaN where the method has no answer, or never has one.
        piece: (N,) int. Of each piece of the trajectory the scale is arbitrary and the same all over.
        seconds: spent per frame, decoding included.
        failures: why frames 1 … N−1 without an answer have none → how many.
    """

    angular: np.ndarray
    linear: np.ndarray
    piece: np.ndarray
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def answered(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(np.isfinite(self.angular).all(1))


@dataclass(frozen=True)
class Poses:
    """Where the camera was at each frame: optical frame → the world of its piece.

    Attributes:
        rotations: (N, 3, 3). positions: (N, 3), in the unit of its piece. Both NaN where not known.
        piece: (N,) int: poses of different pieces have nothing to do with each other. NO_PIECE where not known.
    """

    rotations: np.ndarray
    positions: np.ndarray
    piece: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> Poses:
        """Make poses to be filled in."""
        return cls(np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan), np.full(count, NO_PIECE))


def motion_of_poses(stamps: np.ndarray, poses: Poses, seconds: float, missing: str) -> Motion:
    """Take differences of consecutive poses, seen from the camera halfway.

    Args:
        stamps: (N,) int64 ns.
        seconds: spent per frame.
        missing: why a pose is not known, for `Motion.failures`.
    """
    count = len(stamps)
    angular, linear = np.full((count, 3), np.nan), np.full((count, 3), np.nan)
    piece = np.full(count, NO_PIECE)
    failures: dict[str, int] = {}
    for i in range(1, count):
        if NO_PIECE in poses.piece[i - 1 : i + 1]:
            reason = missing if poses.piece[i] == NO_PIECE else f"frame before: {missing}"
        elif poses.piece[i - 1] != poses.piece[i]:
            reason = "another piece of the trajectory starts"
        else:
            elapsed = (stamps[i] - stamps[i - 1]) * 1e-9
            rotation = so3.log(poses.rotations[i - 1].T @ poses.rotations[i])
            halfway = poses.rotations[i - 1] @ so3.exp(rotation / 2)
            angular[i] = rotation / elapsed
            linear[i] = halfway.T @ (poses.positions[i] - poses.positions[i - 1]) / elapsed
            piece[i] = poses.piece[i]
            continue
        failures[reason] = failures.get(reason, 0) + 1
    return Motion(angular, linear, piece, seconds, failures)


def with_scale(motion: Motion, true_linear: np.ndarray) -> tuple[Motion, list[float]]:
    """Scale each piece to the ground truth, by least squares as in Umeyama (1991).

    The ground truth of a recording is velocities, so the scale is fitted to displacements between frames in the
    camera's axes and not to positions: the same sum of squares without the rotation and the offset between the two
    worlds.

    Args:
        true_linear: (N, 3) m/s over the same times; NaN where not known.

    Returns:
        Motion with `linear` in m/s, NaN in pieces whose scale is not known or comes out negative; and the scales.
    """
    linear, scales = np.full_like(motion.linear, np.nan), []
    for piece in np.unique(motion.piece[motion.piece != NO_PIECE]):
        inside = motion.piece == piece
        known = inside & np.isfinite(motion.linear).all(1) & np.isfinite(true_linear).all(1)
        length = np.square(motion.linear[known]).sum()
        scale = (motion.linear[known] * true_linear[known]).sum() / length if length > 0 else 0.0
        if scale > 0:
            linear[inside] = scale * motion.linear[inside]
            scales.append(float(scale))
    return replace(motion, linear=linear), scales
