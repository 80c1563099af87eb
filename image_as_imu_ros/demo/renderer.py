"""Sharp and motion-blurred images of flat, textured faces, in linear light, and their depth, with OpenCV only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from image_as_imu_ros.demo.motion import Pose
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres

_NEAR = 0.05  # m; what is closer to the camera's plane is cut away
_SUBPIXEL_BITS = 6  # of polygon corners


@dataclass(frozen=True)
class Face:
    """A textured parallelogram, seen from the side from which `right` points right and `down` points down.

    Attributes:
        corner: (3,) m, the texture's top left corner in the world.
        right, down: (3,) m, its edges.
        texture: (h, w, 3) uint16, linear light BGR, 65535 is white.
    """

    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    texture: np.ndarray

    @cached_property
    def normal(self) -> np.ndarray:
        """(3,) unit vector into the face, away from who sees it."""
        normal = np.cross(self.right, self.down)
        return normal / np.linalg.norm(normal)

    @cached_property
    def corners(self) -> np.ndarray:
        """(4, 3) m, clockwise from the top left."""
        return self.corner + np.array([0 * self.right, self.right, self.right + self.down, self.down])

    @cached_property
    def mipmaps(self) -> list[np.ndarray]:
        """The texture and its halves, so that a far face does not alias."""
        levels = [self.texture]
        while min(levels[-1].shape[:2]) >= 32:
            height, width = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        return levels

    def is_seen_from(self, position: np.ndarray) -> bool:
        """Tell whether a camera at (3,) m sees its front."""
        return bool((self.corner - position) @ self.normal > 0)

    def homography(self, camera: Camera, pose: Pose, level: int) -> np.ndarray:
        """Compute the (3, 3) homography from pixels of a texture level to pixels of the image."""
        height, width = self.mipmaps[level].shape[:2]
        right, down = self.right / width, self.down / height
        centre = self.corner + (right + down) / 2 - pose.position
        return camera.matrix @ pose.rotation.T @ np.column_stack([right, down, centre])


@dataclass(frozen=True)
class Solid:
    """Faces of a convex body, or of a room around the camera: none hides another that faces the camera."""

    faces: tuple[Face, ...]

    @cached_property
    def centre(self) -> np.ndarray:
        """(3,) m, mean of all corners."""
        return np.mean([face.corners for face in self.faces], axis=(0, 1))


def render(room: Solid, things: Sequence[Solid], camera: Camera, pose: Pose, levels: dict[int, int]) -> np.ndarray:
    """Render a sharp image.

    Args:
        room: what surrounds the camera.
        things: solids in the room, apart enough that sorting them by distance settles who hides whom.
        camera: without distortion.
        pose: of the camera.
        levels: which mipmap level to take per face, by id; a face that is missing here gets the best for this pose.

    Returns:
        (H, W, 3) uint16 linear light BGR.
    """
    image = np.zeros((camera.height, camera.width, 3), np.uint16)
    for face in _far_to_near(room, things, pose):
        _paint(image, face, camera, pose, levels)
    return image


def render_depth(room: Solid, things: Sequence[Solid], camera: Camera, pose: Pose) -> np.ndarray:
    """Render what `render` shows as depth along the optical axis, (H, W) float32 m; 0 where nothing is seen."""
    depth = np.zeros((camera.height, camera.width), np.float32)
    rays = np.dstack([camera.rays(cell_centres(camera.height, camera.width, 1)).reshape(*depth.shape, 2), depth + 1])
    for face in _far_to_near(room, things, pose):
        outline = _outline(face, camera, pose)
        if outline is None:
            continue
        # Of points z·ray on the plane n: n·R·ray·z = n·(corner − position).
        slopes = rays @ (face.normal @ pose.rotation)
        distance = (face.corner - pose.position) @ face.normal
        np.divide(distance, slopes, out=depth, where=_mask(outline, depth.shape) > 0, casting="same_kind")
    return depth


def render_blurred(
    room: Solid, things: Sequence[Solid], camera: Camera, pose_at: Callable[[float], Pose], times: np.ndarray
) -> np.ndarray:
    """Average sharp images: what a sensor collects while the camera moves.

    Args:
        room, things, camera: see `render`.
        pose_at: time, s → pose.
        times: (N,) s, evenly over the exposure.

    Returns:
        (H, W, 3) float32 linear light BGR, 1 is white.
    """
    light = np.zeros((camera.height, camera.width, 3), np.float32)
    # One mipmap level per face for the whole exposure: a change in the middle of a streak would show.
    levels: dict[int, int] = {}
    for time in times:
        cv2.accumulate(render(room, things, camera, pose_at(time), levels), light)
    return light / (65535 * len(times))


def _far_to_near(room: Solid, things: Sequence[Solid], pose: Pose) -> Iterator[Face]:
    """Go through the faces that are seen, so that each hides what came before."""
    for solid in (room, *sorted(things, key=lambda thing: -np.linalg.norm(thing.centre - pose.position))):
        yield from (face for face in solid.faces if face.is_seen_from(pose.position))


def _paint(image: np.ndarray, face: Face, camera: Camera, pose: Pose, levels: dict[int, int]) -> None:
    outline = _outline(face, camera, pose)
    if outline is None:
        return
    left, top = np.maximum(np.floor(outline.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, (camera.width, camera.height))
    if left >= right or top >= bottom:
        return
    if id(face) not in levels:
        levels[id(face)] = _mipmap_level(face, camera, pose, ((left + right) / 2, (top + bottom) / 2))
    level = levels[id(face)]
    window = image[top:bottom, left:right]
    size = (right - left, bottom - top)
    to_window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    homography = to_window @ face.homography(camera, pose, level)
    # OpenCV 4.13 writes garbage along the border of 16-bit images with BORDER_REPLICATE.
    painted = cv2.warpPerspective(face.mipmaps[level], homography, size, borderMode=cv2.BORDER_REFLECT_101)
    # The mask also keeps out what the homography shows of the part behind the camera.
    cv2.copyTo(painted, _mask(outline - (left, top), window.shape[:2]), window)


def _mask(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fill a polygon (N, 2) px with 255 in (H, W) uint8."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, np.round(outline * 2**_SUBPIXEL_BITS).astype(np.int32), 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask


def _outline(face: Face, camera: Camera, pose: Pose) -> np.ndarray | None:
    """Clip a face to what is in front of the camera and little more than the image: (N, 2) px, None if empty."""
    polygon = (face.corners - pose.position) @ pose.rotation
    # Sutherland-Hodgman against the near plane and the four sides of a view a little wider than the image.
    x, y = 1.1 * camera.width / camera.fx, 1.1 * camera.height / camera.fy
    for normal, offset in (((0, 0, 1), _NEAR), ((1, 0, x), 0), ((-1, 0, x), 0), ((0, 1, y), 0), ((0, -1, y), 0)):
        inside = polygon @ normal - offset
        kept = []
        for start, end, at_start, at_end in zip(
            polygon, np.roll(polygon, -1, 0), inside, np.roll(inside, -1), strict=True
        ):
            if at_start >= 0:
                kept.append(start)
            if (at_start >= 0) != (at_end >= 0):
                kept.append(start + (end - start) * at_start / (at_start - at_end))
        if len(kept) < 3:
            return None
        polygon = np.array(kept)
    return camera.project(polygon[:, :2] / polygon[:, 2:])


def _mipmap_level(face: Face, camera: Camera, pose: Pose, pixel: tuple[float, float]) -> int:
    """Choose the level with about one texture pixel per image pixel around an image pixel."""
    inverse = np.linalg.inv(face.homography(camera, pose, 0))
    denominator = inverse[2] @ (*pixel, 1)
    # Determinant of a homography's Jacobian.
    area = abs(np.linalg.det(inverse) / denominator**3)
    return int(np.clip(round(0.5 * np.log2(area)), 0, len(face.mipmaps) - 1))
