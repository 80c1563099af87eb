"""The recording that the demo plays: rendered once, then kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.demo import motion
from image_as_imu_ros.demo.renderer import Solid, render_blurred, render_depth
from image_as_imu_ros.demo.room import boxes, room
from image_as_imu_ros.demo.sensor import photograph
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix
from image_as_imu_ros.resources import cache_path

CAMERA = Camera(width=640, height=480, fx=480.0, fy=480.0, cx=319.5, cy=239.5)
RATE = 30.0  # Hz
EXPOSURE = 0.016  # s

_DEPTH_CAMERA = CAMERA.resize(320, 240)  # as the coarser sensor beside a colour camera
_NEAREST = 1.0  # m, that anything in the room comes to the camera
_LEAST_SUBFRAMES, _MOST_SUBFRAMES = 4, 128
_WORKERS = 2


@dataclass(frozen=True)
class Recording:
    """Frames and their ground truth. Frame i is exposed from i / RATE to i / RATE + EXPOSURE.

    Attributes:
        frames: (N, 480, 640, 3) uint8 BGR, read from disk as needed.
    """

    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def times(self) -> np.ndarray:
        """(N,) mid-exposures, s."""
        return np.arange(len(self)) / RATE + EXPOSURE / 2

    def depths(self) -> Iterator[np.ndarray]:
        """Render (240, 320) uint16 mm at each mid-exposure, registered to the frame."""
        trajectory = _trajectory(len(self) / RATE)
        for time in self.times:
            depth = render_depth(*_scene(), _DEPTH_CAMERA, trajectory.pose(time))
            yield np.round(1000 * depth).astype(np.uint16)

    @property
    def angular(self) -> np.ndarray:
        """(N, 3) true ω at mid-exposure, rad/s, in the camera's optical frame."""
        return motion.angular_velocity(self.times)

    @property
    def linear(self) -> np.ndarray:
        """(N, 3) true v at mid-exposure, m/s, in the camera's optical frame."""
        return motion.linear_velocity(self.times)


def open_recording(path: str | Path, frames: int | None = None) -> Recording:
    """Open the first frames, or all, of a file from `rendered`."""
    return Recording(np.load(path, mmap_mode="r")[:frames])


def frame_count(seconds: float) -> int:
    """Count the frames that are exposed in a time, s."""
    return round(seconds * RATE)


def rendered(seconds: float) -> Path:
    """Find the file with at least that many seconds of frames; render it if the cache does not hold it.

    Raises:
        InputError: the cache folder cannot be written to.
    """
    frames = frame_count(seconds)
    folder = cache_path("demo")
    path = folder / f"demo-{_version()}.npy"
    if path.exists() and len(np.load(path, mmap_mode="r")) >= frames:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{path.stem}-{os.getpid()}.unfinished"
        try:
            _render(unfinished, frames)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        for outdated in set(folder.glob("demo-*.npy")) - {path}:
            outdated.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot keep the rendered recording in {folder}: {error.strerror}. "
            "Make room or set XDG_CACHE_HOME to another folder"
        ) from error
    return path


def _version() -> str:
    """Hash everything that the frames depend on."""
    here = Path(__file__).parent
    sources = [here / f"{name}.py" for name in ("motion", "room", "renderer", "sensor", "recording")]
    digest = hashlib.sha256()
    for source in (*sources, *sorted((here / "assets").glob("*.jpg"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _render(path: Path, frames: int) -> None:
    shape = (frames, CAMERA.height, CAMERA.width, 3)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        # Reserved now, because a full disk would kill whoever writes to the mapped file later.
        os.posix_fallocate(file.fileno(), 0, file.tell() + int(np.prod(shape)))
    # Fresh processes: a forked one would inherit the locks of OpenCV's and ONNX Runtime's threads.
    with ProcessPoolExecutor(_WORKERS, mp_context=get_context("spawn")) as workers:
        # The workers inherit that Ctrl-C waits; this process, for which it then comes, ends them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            tasks = [workers.submit(_render_frame, path, index, frames) for index in range(frames)]
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for task in tqdm(tasks, desc="rendering", unit="frame"):
                task.result()
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _render_frame(path: Path, index: int, frames: int) -> None:
    cv2.setNumThreads(1)
    trajectory = _trajectory(frames / RATE)
    surroundings, things = _scene()
    light = render_blurred(surroundings, things, CAMERA, trajectory.pose, subframe_times(index))
    np.load(path, mmap_mode="r+")[index] = photograph(light, seed=index)


@cache
def _trajectory(duration: float) -> motion.Trajectory:
    return motion.Trajectory(duration)


@cache
def _scene() -> tuple[Solid, list[Solid]]:
    return room(), boxes()


def subframe_times(index: int) -> np.ndarray:
    """Place (N,) times, s, evenly over a frame's exposure: nothing moves by more than about a pixel between two."""
    middle = np.array([_middle(index)])
    corners = np.array([(x, y) for x in (0, CAMERA.width - 1) for y in (0, CAMERA.height - 1)])
    matrix = MotionFieldMatrix.at(CAMERA, corners).velocity_to_flow(np.full(len(corners), _NEAREST))
    velocity = np.concatenate([motion.linear_velocity(middle)[0], motion.angular_velocity(middle)[0]])
    longest = EXPOSURE * np.linalg.norm(matrix @ velocity, axis=1).max()
    count = int(np.clip(np.ceil(longest), _LEAST_SUBFRAMES, _MOST_SUBFRAMES))
    return _middle(index) + EXPOSURE * ((np.arange(count) + 0.5) / count - 0.5)


def _middle(index: int) -> float:
    """Compute a frame's mid-exposure, s."""
    return index / RATE + EXPOSURE / 2
