"""A video file and, beside it, files of a gyroscope and of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame
from image_as_imu_ros.datasets.files import nanoseconds
from image_as_imu_ros.datasets.frame_table import FrameTable
from image_as_imu_ros.datasets.gyroscope_file import GyroscopeSamples, placed
from image_as_imu_ros.datasets.video_file import duration, frame_count, open_video, video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera, Intrinsics

_START = 1_000_000_000  # ns; stamp of the first frame, for a stamp of 0 means that there is none
_SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


def open_capture(
    path: Path,
    intrinsics: Intrinsics | None,
    gyroscope: tuple[GyroscopeSamples, Path] | None = None,
    *,
    rotation: np.ndarray | None = None,
    offset: float = 0.0,
    frames: FrameTable | None = None,
    stamp_reference: str | None = None,
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
    delay = 0 if frames is None or frames.stamps[0] > 0 else _START - int(frames.stamps[0])
    samples = None
    if gyroscope is not None:
        last = _START + int(nanoseconds(duration(path)))
        span = range(_START, last) if frames is None else range(*(int(frames.stamps[i]) + delay for i in (0, -1)))
        read, file = gyroscope
        added = (_START if frames is None else delay) - round(1e9 * offset)
        samples = placed(read, file, rotation, added, span)
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


class _Frames:
    def __init__(self, path: Path, camera: Camera, frames: FrameTable | None, delay: int) -> None:
        self._path, self._camera, self._frames, self._delay = path, camera, frames, delay

    def __iter__(self) -> Iterator[CapturedFrame]:
        first = None
        for number, (time, image) in enumerate(video_frames(self._path)):
            first = time if first is None else first
            stamp = _START + int(nanoseconds(time - first))
            if self._frames is not None:
                stamp = int(self._frames.stamps[number]) + self._delay
            yield frame_of(stamp, image, self._camera, self._frames, number)
