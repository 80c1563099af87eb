"""What a sensor collects while the camera moves: ray-plane intersections with a depth buffer, averaged in linear light.

1/Z of a plane is affine in pixel coordinates, so that the depth of every pixel is exact and the nearest face wins.
Every row of a rolling shutter averages the images of its own exposure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np

from image_as_imu_ros.evaluation.envelope.surfaces import Face, homography
from image_as_imu_ros.evaluation.envelope.trajectory import Trajectory
from image_as_imu_ros.geometry.camera import Camera

LONGEST_STEP = 0.5  # px of the image that anything moves between two of the images that are averaged

_NEAR = 0.05  # m; what is closer to the camera's plane is cut away
_SUBPIXEL_BITS = 6  # of polygon corners
_SKY = 45000  # of 65535, where no face is
_FEWEST, _MOST = 8, 640  # images per exposure
_VISIBLE_TIMES = 3  # at which faces are searched for that can be seen at all during an exposure
_PATH_TIMES = 33  # at which motion within an exposure is looked at: 200 Hz for 33 ms has 6.6 periods
_PATH_CELLS = 12  # points across and down by which it is measured
_DEPTH_BANDS = 60  # of rows with a time of their own


@dataclass(frozen=True)
class Detail:
    """What stays the same during an exposure.

    Attributes:
        faces: numbers of those that can be seen; None for any.
        levels: level of detail per face, by id; one that is missing gets the best for the pose at which it is painted.
            A change in the middle of a streak would show.
    """

    faces: frozenset[int] | None = None
    levels: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Companion:
    """A face that goes with the camera, and moves before it by itself.

    Attributes:
        face: in the camera's axes.
        amplitude: m, (3,) of its own sinusoidal motion; 0: fixed to the camera. frequency: Hz.
    """

    face: Face
    amplitude: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frequency: float = 1.0

    def offset(self, times: np.ndarray) -> np.ndarray:
        """Compute its displacement (N, 3) m at (N,) s."""
        return np.sin(2 * np.pi * self.frequency * times)[:, None] * np.array(self.amplitude)


@dataclass(frozen=True, eq=False)
class World:
    """All that there is to see.

    Attributes:
        faces: that stand. companion: one that goes with the camera.
    """

    faces: Sequence[Face]
    companion: Companion | None = None

    @cached_property
    def corners(self) -> np.ndarray:
        """(F, 4, 3) m of the faces."""
        return np.array([face.corners for face in self.faces]).reshape(-1, 4, 3)


@dataclass(frozen=True)
class Exposure:
    """When rows gather light.

    Attributes:
        middle: s, of the middle row's exposure. seconds: of every row's. readout: s from first to last row's start.
    """

    middle: float
    seconds: float
    readout: float = 0.0

    def row_times(self, height: int) -> np.ndarray:
        """Return the mid-exposure of every row, (H,) s."""
        share = np.arange(height) / (height - 1) - 0.5
        return self.middle + self.readout * share


def render_light(world: World, camera: Camera, trajectory: Trajectory, exposure: Exposure) -> np.ndarray:
    """Render what the sensor collects: (H, W) float32 linear light, 1 is white."""
    total = exposure.seconds + exposure.readout
    count = sub_frames(world, camera, trajectory, exposure)
    step = total / count
    times = exposure.middle - total / 2 + step * (np.arange(count) + 0.5)
    rotations, positions = trajectory.poses(times)
    row_times = exposure.row_times(camera.height)
    light = np.zeros((camera.height, camera.width), np.float32)
    detail = Detail(_visible(world, camera, trajectory, exposure))
    for time, rotation, position in zip(times, rotations, positions, strict=True):
        # Overlap of this image's time with that of each row.
        start = np.maximum(time - step / 2, row_times - exposure.seconds / 2)
        end = np.minimum(time + step / 2, row_times + exposure.seconds / 2)
        weights = np.maximum(end - start, 0) / exposure.seconds
        (rows,) = np.nonzero(weights)
        if not len(rows):
            continue
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        band = camera.crop(0, top, camera.width, bottom - top)
        image, _ = render_sharp(world, band, rotation, position, float(time), detail)
        light[top:bottom] += weights[top:bottom, None].astype(np.float32) * image
    return light / 65535


def render_depth(world: World, camera: Camera, trajectory: Trajectory, exposure: Exposure) -> np.ndarray:
    """Compute the exact depth at every row's mid-exposure: (H, W) float32 m, along the axis, 0 where nothing is."""
    height = camera.height
    edges = np.linspace(0, height, _DEPTH_BANDS + 1).astype(int) if exposure.readout else np.array([0, height])
    row_times = exposure.row_times(height)
    bands = []
    for top, bottom in pairwise(edges.tolist()):
        if top == bottom:
            continue
        time = row_times[top:bottom].mean()
        (rotation,), (position,) = trajectory.poses(np.array([time]))
        band = camera.crop(0, top, camera.width, bottom - top)
        bands.append(render_sharp(world, band, rotation, position, float(time))[1])
    inverse = np.concatenate(bands)
    return np.divide(1, inverse, out=np.zeros_like(inverse), where=inverse > 0)


def render_sharp(
    world: World,
    camera: Camera,
    rotation: np.ndarray,
    position: np.ndarray,
    time: float,
    detail: Detail | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render a sharp image from a pose.

    Args:
        rotation: (3, 3) camera to world. position: (3,) m.
        time: s, of the companion's own motion.

    Returns:
        (H, W) uint16 linear light, and (H, W) float32 1/Z, 1/m, 0 where nothing is.
    """
    detail = detail or Detail()
    light = np.full((camera.height, camera.width), _SKY, np.uint16)
    inverse_depth = np.zeros((camera.height, camera.width), np.float32)
    quads = (world.corners - position) @ rotation
    seen = [(world.faces[i], quads[i]) for i in _in_view(quads, camera) if detail.faces is None or i in detail.faces]
    seen.sort(key=lambda one: one[1][:, 2].min())  # the near ones first: of what they hide, nothing is painted
    if world.companion is not None:
        face = world.companion.face
        seen.insert(0, (face, face.corners + world.companion.offset(np.array([time]))[0]))
    for face, quad in seen:
        covered = _cover(inverse_depth, quad, camera)
        if covered is None:
            continue
        window, mask, outline = covered
        if id(face) not in detail.levels:
            detail.levels[id(face)] = face.level_at(camera, quad, outline.mean(0))
        texture = face.reduced(detail.levels[id(face)])
        matrix = homography(camera, quad, texture.shape)
        matrix[:2] -= np.outer((window[1].start, window[0].start), matrix[2])
        # OpenCV 4.13 writes garbage along the border of 16-bit images with BORDER_REPLICATE.
        painted = cv2.warpPerspective(texture, matrix, mask.shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
        cv2.copyTo(painted, mask, light[window])
    return light, inverse_depth


def sub_frames(world: World, camera: Camera, trajectory: Trajectory, exposure: Exposure) -> int:
    """Count the images to average for nothing to move by more than LONGEST_STEP between two."""
    total = exposure.seconds + exposure.readout
    times = _times_within(exposure, _PATH_TIMES)
    small = camera.resize(_PATH_CELLS, _PATH_CELLS)
    rotations, positions = trajectory.poses(times)
    middle = _PATH_TIMES // 2
    _, inverse = render_sharp(world, small, rotations[middle], positions[middle], float(times[middle]))
    columns, rows = np.meshgrid(np.arange(_PATH_CELLS), np.arange(_PATH_CELLS))
    rays = small.rays(np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float64))
    depth = 1 / np.maximum(inverse.ravel().astype(np.float64), 1e-3)
    seen = np.column_stack([rays, np.ones(len(rays))]) * depth[:, None]
    points = seen @ rotations[middle].T + positions[middle]
    local = np.einsum("tpj,tjk->tpk", points[None] - positions[:, None], rotations)
    pixels = local[..., :2] / np.maximum(local[..., 2:], _NEAR) * (camera.fx, camera.fy)
    path = np.linalg.norm(np.diff(pixels, axis=0), axis=2).sum(0).max()
    if world.companion is not None and any(world.companion.amplitude):
        speed = np.linalg.norm(world.companion.amplitude) * 2 * np.pi * world.companion.frequency
        path = max(path, camera.fx * speed / world.companion.face.corners[:, 2].min() * total)
    return int(np.clip(np.ceil(path / LONGEST_STEP), _FEWEST, _MOST))


def _visible(world: World, camera: Camera, trajectory: Trajectory, exposure: Exposure) -> frozenset[int]:
    """Find the faces that can be seen at several times of an exposure: hidden ones need not be painted."""
    found: set[int] = set()
    for rotation, position in zip(*trajectory.poses(_times_within(exposure, _VISIBLE_TIMES)), strict=True):
        inverse_depth = np.zeros((camera.height, camera.width), np.float32)
        owner = np.full((camera.height, camera.width), -1, np.int32)
        quads = (world.corners - position) @ rotation
        for index in _in_view(quads, camera):
            if (covered := _cover(inverse_depth, quads[index], camera)) is not None:
                owner[covered[0]][covered[1] > 0] = index
        found.update(np.unique(owner).tolist())
    return frozenset(found - {-1})


def _times_within(exposure: Exposure, count: int) -> np.ndarray:
    total = exposure.seconds + exposure.readout
    return exposure.middle + total * (np.arange(count) / (count - 1) - 0.5)


def _in_view(quads: np.ndarray, camera: Camera) -> list[int]:
    """Find the faces (F, 4, 3), seen from the camera, of which no side of the view hides all corners."""
    x, y, z = np.moveaxis(quads, -1, 0)
    left, right = -(camera.cx + 1) / camera.fx, (camera.width - camera.cx) / camera.fx
    top, bottom = -(camera.cy + 1) / camera.fy, (camera.height - camera.cy) / camera.fy
    outside = [z < _NEAR, x < left * z, x > right * z, y < top * z, y > bottom * z]
    return np.flatnonzero(~np.any([side.all(1) for side in outside], axis=0)).tolist()


def _cover(
    inverse_depth: np.ndarray, quad: np.ndarray, camera: Camera
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """Enter a face (4, 3), seen from the camera, into the depth buffer where it is the nearest so far.

    Returns:
        Rows and columns of a window, (h, w) uint8 255 where it is the nearest there, and its outline (N, 2) px, cut to
        the image; None where it covers nothing.
    """
    outline = _outline(quad, camera)
    if outline is None:
        return None
    left, top = (max(int(np.floor(edge)), 0) for edge in outline.min(0))
    right, bottom = (int(np.ceil(edge)) + 1 for edge in outline.max(0))
    bottom, right = min(bottom, camera.height), min(right, camera.width)
    if left >= right or top >= bottom:
        return None
    buffer = inverse_depth[top:bottom, left:right]
    mask = np.zeros(buffer.shape, np.uint8)
    corners = np.round((outline - (left, top)) * 2**_SUBPIXEL_BITS).astype(np.int32)
    # The mask also keeps out what is behind the camera.
    cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_8, _SUBPIXEL_BITS)
    plane = _inverse_depth(quad, camera, (slice(top, bottom), slice(left, right)))
    cv2.bitwise_and(mask, cv2.compare(plane, buffer, cv2.CMP_GT), mask)
    cv2.copyTo(plane, mask, buffer)
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    window = slice(top + y, top + y + height), slice(left + x, left + x + width)
    mask = mask[y : y + height, x : x + width]
    return window, mask, np.clip(outline, 0, (camera.width - 1, camera.height - 1))


def _inverse_depth(quad: np.ndarray, camera: Camera, window: tuple[slice, slice]) -> np.ndarray:
    """1/Z of the plane of a face at all pixels: n·P = d and P = Z·ray, so 1/Z = n·ray/d. (h, w) float32."""
    (ax, ay, az), (bx, by, bz) = (quad[1] - quad[0]).tolist(), (quad[3] - quad[0]).tolist()
    normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    distance = normal @ quad[0]
    # Seen exactly edge-on, a face is nowhere.
    scaled = normal / distance if abs(distance) > 1e-12 else np.zeros(3)
    rows, columns = (np.arange(part.start, part.stop) for part in window)
    x = (columns - camera.cx) / camera.fx * scaled[0]
    y = (rows - camera.cy) / camera.fy * scaled[1] + scaled[2]
    return np.add.outer(y.astype(np.float32), x.astype(np.float32))


def _outline(polygon: np.ndarray, camera: Camera) -> np.ndarray | None:
    """Clip a face (4, 3) to what is in front of the camera and little more than the image: (N, 2) px, None if empty."""
    # Sutherland-Hodgman against the near plane and the four sides of a view a few px wider than the image.
    left, right = (camera.cx + 4) / camera.fx, (camera.width + 3 - camera.cx) / camera.fx
    top, bottom = (camera.cy + 4) / camera.fy, (camera.height + 3 - camera.cy) / camera.fy
    sides = np.array([[0, 0, 1], [1, 0, left], [-1, 0, right], [0, 1, top], [0, -1, bottom]], np.float64)
    offsets = np.array([_NEAR, 0, 0, 0, 0])
    cuts = (polygon @ sides.T < offsets).any(0)
    for normal, offset in zip(sides[cuts], offsets[cuts], strict=True):
        inside = (polygon @ normal - offset).tolist()
        kept = []
        for i, end in enumerate(polygon):
            start, at_start, at_end = polygon[i - 1], inside[i - 1], inside[i]
            if (at_start >= 0) != (at_end >= 0):
                kept.append(start + (end - start) * (at_start / (at_start - at_end)))
            if at_end >= 0:
                kept.append(end)
        if len(kept) < 3:
            return None
        polygon = np.array(kept)
    return polygon[:, :2] / polygon[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def at_scale(camera: Camera, scale: float) -> Camera:
    """Return the camera of images `scale` times as wide and high."""
    return camera.resize(round(camera.width * scale), round(camera.height * scale))


def with_focal(camera: Camera, focal: float) -> Camera:
    """Return the camera with another focal length, px."""
    return replace(camera, fx=focal, fy=focal)
