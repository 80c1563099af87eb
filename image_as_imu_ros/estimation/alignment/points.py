"""One frame at the points of a level: intensities, their Jacobian, and where the points were before.

A small motion δx of the camera back moves a point's pixel by −A·δx, so its intensity by −∇I·A·δx, with A the motion
field matrix. Rows at y = −1…1 that have rotated by a shear s have rotated by y/2·s more than the middle one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.levels import Level
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.geometry.camera import Camera


@dataclass(frozen=True)
class Points:
    """This frame at the points of a level.

    Attributes:
        camera: of the level. rays: (3, N). inverse_depth: (N,) 1/m or None. place: (2, N).
        by_shear: (3, 2·N) px, x of all points and then y, how far they are moved by a shear.
        intensity: (N,).
        jacobian: (11, N) or, without depth, (8, N): how the intensity changes with (t, ω) or ω, shear, gain and offset.
    """

    camera: Camera
    rays: np.ndarray
    inverse_depth: np.ndarray | None
    place: np.ndarray
    by_shear: np.ndarray
    intensity: np.ndarray
    jacobian: np.ndarray

    @classmethod
    def of(cls, level: Level, image: np.ndarray, inverse_depth: np.ndarray | None) -> Points:
        """Points of a level in its image, with the inverse depth (h·w,) of the grid's cells, 1/m, NaN where unknown."""
        index, rays, linear, angular = level.index, level.rays, level.linear, level.angular
        place = level.place
        if inverse_depth is not None:
            inverse_depth = inverse_depth[level.cells]
            known = np.isfinite(inverse_depth)
            if not known.all():
                index, rays, inverse_depth = index[known], rays[:, known], inverse_depth[known]
                linear, angular, place = linear[..., known], angular[..., known], place[:, known]
        pixels, width = image.ravel(), image.shape[1]
        intensity = pixels[index]
        slope_x = (pixels[index + 1] - pixels[index - 1]) / 2
        slope_y = (pixels[index + width] - pixels[index - width]) / 2
        # The motion field is how static points move, opposite to the camera.
        by_rotation = -(slope_x * angular[0] + slope_y * angular[1])
        by_motion = [by_rotation, place[1] / 2 * by_rotation]
        if inverse_depth is not None:
            by_motion.insert(0, -(slope_x * linear[0] + slope_y * linear[1]) * inverse_depth)
        jacobian = np.concatenate([*by_motion, intensity[None], np.ones_like(intensity)[None]])
        by_shear = -(place[1] / 2 * angular).transpose(1, 0, 2).reshape(3, -1)
        return cls(level.camera, rays, inverse_depth, place, by_shear, intensity, jacobian)

    @cached_property
    def for_loops(self) -> tuple[np.ndarray, ...]:
        """What compiled loops need: camera matrix, rays, inverse depth (empty without), by_shear and intensity."""
        inverse_depth = np.empty(0, np.float32) if self.inverse_depth is None else self.inverse_depth
        arrays = self.rays, inverse_depth, self.by_shear, self.intensity
        return *compiled.doubles(self.camera.matrix), *compiled.singles(*arrays)

    def positions(self, poses: Poses) -> np.ndarray:
        """Predict where the points were in the previous frame, (S, 2, N) float32 px."""
        matrix = self.camera.matrix
        points = ((matrix @ poses.rotation).reshape(-1, 3).astype(np.float32) @ self.rays).reshape(len(poses), 3, -1)
        if self.inverse_depth is not None:
            points += (poses.translation @ matrix.T).astype(np.float32)[..., None] * self.inverse_depth
        positions = points[:, :2] / np.maximum(points[:, 2:], 0.01)
        if poses.shear.any():
            positions += (poses.shear.astype(np.float32) @ self.by_shear).reshape(positions.shape)
        return positions


def sample(image: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate intensities (S, N) of an image at (S, 2, N) px; 1.0 where they are inside it, else 0.0."""
    intensity = cv2.remap(
        image, positions[:, 0], positions[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1e6
    )
    return intensity, (intensity >= 0).astype(np.float32)
