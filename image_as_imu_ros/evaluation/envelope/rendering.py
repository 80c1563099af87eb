"""Cells → frames with ground truth, on disk where they have been rendered before."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.envelope.cell import Cell
from image_as_imu_ros.evaluation.envelope.motions import trajectory_of
from image_as_imu_ros.evaluation.envelope.renderer import (
    Companion,
    Exposure,
    World,
    at_scale,
    render_depth,
    render_light,
    with_focal,
)
from image_as_imu_ros.evaluation.envelope.scenes import Setting, build
from image_as_imu_ros.evaluation.envelope.sensor import photograph
from image_as_imu_ros.evaluation.envelope.surfaces import Face, Painter
from image_as_imu_ros.evaluation.envelope.textures import Material
from image_as_imu_ros.evaluation.envelope.trajectory import Trajectory
from image_as_imu_ros.geometry.camera import Camera

EPOCH = 1_000_000_000_000  # ns, stamp of time 0

_NOT_RENDERED = ("name", "sweep", "value", "exposure_known", "depth_share")
_LEAST_WIDTH = 240  # px; images of smaller cameras are rendered twice as large, and averaged over pixels
_DEPTH_WIDTH = 160  # px of depth images
_FIXED_DISTANCE = 0.35  # m, of the part of the view that goes with the camera
_MOVING_DISTANCE = 0.6  # m, of what moves by itself
_MOVING_RATE = 3.0  # Hz


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """A frame, and what was true.

    Attributes:
        image: (H, W) uint8. depth: (H', W') float32 m, exact, 0 where nothing is.
        stamp: ns, of the header: mid-exposure of the middle row, with jitter. time: s, without.
        exposure: s, of every row.
        camera: intrinsics.
        repeated: whether the image is the one before again; `time` is then that of the header.
        velocity: (6,) linear, angular in the camera's axes at mid-exposure, m/s and rad/s.
        mean_velocity: (6,) over the time since the frame before, in the camera's axes halfway; NaN for the first.
    """

    image: np.ndarray
    depth: np.ndarray
    stamp: int
    time: float
    exposure: float
    camera: Camera
    repeated: bool
    velocity: np.ndarray
    mean_velocity: np.ndarray


@dataclass(frozen=True, eq=False)
class RenderedCell:
    """All frames of a cell, and the trajectory for whatever else is to be known."""

    cell: Cell
    frames: list[RenderedFrame]

    @cached_property
    def trajectory(self) -> Trajectory:
        """Where the camera really was."""
        return trajectory_of(self.cell)

    def inputs(self, *, measured_depth: bool) -> Iterator[Frame]:
        """Yield the frames as an estimator takes them."""
        rng = np.random.default_rng([self.cell.seed, 3])
        for frame in self.frames:
            exposure = frame.exposure if self.cell.exposure_known else None
            shutter = Shutter(exposure, readout_time=self.cell.readout)
            known = rng.random(frame.depth.shape) < self.cell.depth_share
            depth = frame.depth * known if measured_depth else None
            yield Frame(frame.image, frame.stamp, frame.camera, shutter, depth)


def render_cell(cell: Cell, folder: Path | None = None) -> RenderedCell:
    """Render a cell.

    Args:
        folder: where rendered cells are kept; None renders it anew and keeps nothing. Files are named after all that
            they depend on, this source included, so that nothing stale is used.
    """
    if folder is None:
        return _with_ground_truth(cell, _render(cell))
    path = folder / f"{_digest(cell)}.npz"
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as stored:
        return _with_ground_truth(cell, {name: stored[name] for name in stored.files})
    arrays = _render(cell)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
    return _with_ground_truth(cell, arrays)


def world_of(cell: Cell) -> World:
    """Build all that there is to see."""
    camera, length = cell.camera, abs(cell.speed) * (cell.frames + 2) / cell.rate
    focal = max(camera.fx, 0.85 * 640)
    faces = build(Setting(cell.place, length, cell.distance, cell.material, focal, cell.seed))
    return World(faces, _companion(cell, camera))


def _companion(cell: Cell, camera: Camera) -> Companion | None:
    share, moving = cell.fixed_share or cell.moving_share, bool(cell.moving_share)
    if not share:
        return None
    depth = _MOVING_DISTANCE if moving else _FIXED_DISTANCE
    width, height = camera.width / camera.fx * depth, camera.height / camera.fy * depth
    painter = Painter(cell.seed + 100)
    if not moving:  # along the lower edge, like a bonnet
        corner, right, down = (-0.55 * width, (0.5 - share) * height, depth), 1.1 * width, (share + 0.1) * height
        return Companion(_board(painter, corner, right, down, camera.fx / depth))
    side = share**0.5
    corner = (-0.4 * side * width, -0.4 * side * height, depth)
    face = _board(painter, corner, side * width, side * height, camera.fx / depth)
    # Its own blur is that of the scene behind it.
    speed = cell.blur / 320 * camera.width / camera.fx / cell.exposure * depth
    amplitude = 1.3 * speed / (2 * np.pi * _MOVING_RATE)
    return Companion(face, (0.8 * amplitude, 0.6 * amplitude, 0.0), _MOVING_RATE)


def _board(painter: Painter, corner: tuple, width: float, height: float, density: float) -> Face:
    return painter.face(corner, (width, 0, 0), (0, height, 0), Material.LEAVES, 0.6 * density)


def _render(cell: Cell) -> dict[str, np.ndarray]:
    """Render all frames: arrays `images`, `depths`, `stamps`, `times`, `exposures`, `focals`, `repeated`."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([cell.seed, 2])
    world, trajectory = world_of(cell), trajectory_of(cell)
    exposure_gain = 0.0
    frames: list[tuple] = []
    for number in range(cell.frames):
        # One frame late, so that an exposure that has begun before time 0 does no harm.
        time = (number + 1) / cell.rate
        drawn = rng.random(), rng.standard_normal(), rng.uniform(-1, 1)
        if number and drawn[0] < cell.drops:
            continue
        exposure = cell.exposure_of(number)
        stamp = EPOCH + round(1e9 * (time + cell.jitter * drawn[1]))
        repeats = bool(cell.repeats) and number % cell.repeats == cell.repeats - 1
        repeats |= bool(cell.frozen_from) and number >= cell.frozen_from
        if repeats:
            frames.append((*frames[-1][:2], stamp, time, exposure, frames[-1][5], True))
            continue
        focal = cell.camera.fx * (1 + cell.focal_jitter * drawn[2])
        camera = with_focal(cell.camera, focal)
        timing = Exposure(time, exposure, cell.readout)
        light = _light(world, camera, trajectory, timing)
        exposure_gain = exposure_gain or cell.brightness / float(light.mean())
        image = photograph(
            exposure_gain * light, rng, electrons=cell.electrons, read_noise=cell.read_noise, jpeg=cell.jpeg
        )
        depth = render_depth(world, at_scale(camera, _DEPTH_WIDTH / camera.width), trajectory, timing)
        frames.append((image, depth, stamp, time, exposure, focal, False))
    names = ("images", "depths", "stamps", "times", "exposures", "focals", "repeated")
    return {name: np.array(values) for name, values in zip(names, zip(*frames, strict=True), strict=True)}


def _light(world: World, camera: Camera, trajectory: Trajectory, timing: Exposure) -> np.ndarray:
    """Render, small images twice as large first: pixels average the light that falls on them."""
    if camera.width >= _LEAST_WIDTH:
        return render_light(world, camera, trajectory, timing)
    light = render_light(world, at_scale(camera, 2), trajectory, timing)
    return cv2.resize(light, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


def _with_ground_truth(cell: Cell, arrays: dict[str, np.ndarray]) -> RenderedCell:
    trajectory, times = trajectory_of(cell), arrays["times"]
    velocity = trajectory.velocity(times)
    mean = np.vstack([np.full((1, 6), np.nan), trajectory.mean_velocity(times[:-1], times[1:])])
    frames = [
        RenderedFrame(
            image=arrays["images"][i],
            depth=arrays["depths"][i],
            stamp=int(arrays["stamps"][i]),
            time=float(times[i]),
            exposure=float(arrays["exposures"][i]),
            camera=with_focal(cell.camera, float(arrays["focals"][i])),
            repeated=bool(arrays["repeated"][i]),
            velocity=velocity[i],
            mean_velocity=mean[i],
        )
        for i in range(len(times))
    ]
    return RenderedCell(cell, frames)


def _digest(cell: Cell) -> str:
    """Name what decides about the frames; a new property of cells changes nothing of those that lack it."""
    rendered = [one for one in fields(cell) if one.name not in _NOT_RENDERED]
    changed = {one.name: getattr(cell, one.name) for one in rendered if getattr(cell, one.name) != one.default}
    return hashlib.sha256(f"{changed} {_source_digest()}".encode()).hexdigest()[:16]


@cache
def _source_digest() -> str:
    """SHA-256 of the modules that decide what a frame looks like."""
    names = ("motions", "renderer", "rendering", "scenes", "sensor", "surfaces", "textures", "trajectory")
    content = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(content).hexdigest()
