"""A video file and, beside it, files of a gyroscope and of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame
from image_as_imu_ros.datasets.files import nanoseconds
from image_as_imu_ros.datasets.frame_table import FrameTable
from image_as_imu_ros.datasets.gyroscope_file import GyroscopeSamples, placed
from image_as_imu_ros.datasets.video_file import duration, frame_count, open_video, video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.geometry.camera import Camera, Intrinsics

_START = 1_000_000_000  # ns; stamp of the first frame where stamps begin at 0, which means that there is none
_SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


def open_capture(
    path: Path,
    intrinsics: Intrinsics | None,
    gyroscope: tuple[GyroscopeSamples, Path] | None = None,
    *,
    rotation: np.ndarray | None = None,
    offset: float = 0.0,
    frames: FrameTable | None = None,
    stamp_reference: StampReference | None = None,
) -> Capture:
    """Open a video file.

    Args:
        intrinsics: of the video's frames; None where the table of frames has focal lengths.
        gyroscope: samples and the file that they are from.
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.
        offset: s. Without a table of frames, the gyroscope's time at the video's first frame; with one, how much the
            gyroscope's clock is ahead of it.
        frames: a row per frame; None: stamps are the video's own, from 1 s on.
        stamp_reference: what the stamps of `frames` are.

    Raises:
        InputError: a file cannot be used, or the files do not belong together.
    """
    count = frame_count(path)
    if frames is not None and len(frames) != count:
        raise InputError(f"{path} has {count} frames, but their table {len(frames)} rows: which belong together?")
    width, height = (int(open_video(path).get(property_)) for property_ in _SIZE)
    camera = camera_of(intrinsics, frames, width, height)
    # Without a table, stamps are the video's own, which begin at 0.
    first, last = (0, int(nanoseconds(duration(path)))) if frames is None else map(int, frames.stamps[[0, -1]])
    delay = 0 if first > 0 else _START - first
    samples = None
    if gyroscope is not None:
        read, file = gyroscope
        samples = placed(read, file, rotation, delay - round(1e9 * offset), range(first + delay, last + delay))
    return Capture(
        _Frames(path, camera, frames, delay),
        count,
        lossless=False,
        gyroscope=samples,
        stamp_reference=None if frames is None else stamp_reference,
        readout_time=0.0 if frames is None else frames.readout_time,
    )


def camera_of(intrinsics: Intrinsics | None, frames: FrameTable | None, width: int, height: int) -> Camera:
    """Make the camera of a capture: of the intrinsics that are given, else with the frames' median focal length.

    Raises:
        InputError: neither says it.
    """
    if intrinsics is not None:
        return intrinsics.camera(width, height)
    known = np.array([]) if frames is None else frames.fx[np.isfinite(frames.fx)]
    if not len(known):
        raise InputError("nothing says the camera's focal length: give its intrinsics, --fx …")
    return Intrinsics(float(np.median(known))).camera(width, height)


def frame_of(stamp: int, image: np.ndarray, camera: Camera, frames: FrameTable | None, number: int) -> CapturedFrame:
    """Make a frame with what a table says of it."""
    if frames is None:
        return CapturedFrame(stamp, image, camera)
    exposure, fx, fy = (float(column[number]) for column in (frames.exposure, frames.fx, frames.fy))
    if np.isfinite(fx):
        camera = replace(camera, fx=fx, fy=fy if np.isfinite(fy) else fx)
    return CapturedFrame(stamp, image, camera, exposure if np.isfinite(exposure) else None)


@dataclass(frozen=True)
class _Frames:
    """Frames of a video, decoded one after the other; `delay`, ns, is added to the stamps of their table or video."""

    path: Path
    camera: Camera
    table: FrameTable | None
    delay: int

    def __iter__(self) -> Iterator[CapturedFrame]:
        start = 0.0
        for number, (time, image) in enumerate(video_frames(self.path)):
            start = time if number == 0 else start
            stamp = nanoseconds(time - start) if self.table is None else self.table.stamps[number]
            yield frame_of(int(stamp) + self.delay, image, self.camera, self.table, number)
