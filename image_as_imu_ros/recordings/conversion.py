"""Captures and data sets in other layouts → recordings that evaluate and the node's replay read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.datasets import euroc, stray_scanner, tum, video
from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, mean_blur
from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.datasets.video_file import open_video
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import check_exposure
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Intrinsics
from image_as_imu_ros.recordings.recording_writer import write_recording
from image_as_imu_ros.settings import TextEnum

DEFAULT_EXPOSURE = 0.01  # s, what phones and web cameras often take indoors
_TUM_SIZE = 640, 480  # px


class Layout(TextEnum):
    """What wrote a capture."""

    STRAY = "stray"
    VIDEO = "video"
    EUROC = "euroc"
    TUM = "tum"


@dataclass(frozen=True)
class Conversion:
    """What is converted and how.

    Attributes:
        source: file or folder. output: folder of the new recording.
        exposure: s; None for what the capture says, else `DEFAULT_EXPOSURE`.
        resize, crop: (width, height) px of the whole image, and of the middle of it that is kept.
        min_blur: px at 320 px image width; frames that the measured rotation smeared by less are left out.
        camera: of an EuRoC sequence.
        gyroscope, time_unit, offset, axes: CSV beside a video, and how it is read; see `video.open_capture`.
        intrinsics: of a video or a TUM sequence; None for what the sequence's name says.

    Raises:
        InputError: an exposure is out of range.
    """

    layout: Layout
    source: Path
    output: Path
    exposure: float | None = None
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    min_blur: float | None = None
    camera: str = "cam0"
    gyroscope: Path | None = None
    time_unit: str = "s"
    offset: float = 0.0
    axes: str = "x,y,z"
    intrinsics: Intrinsics | None = None

    def __post_init__(self) -> None:
        if self.exposure is not None:
            check_exposure(self.exposure)


@dataclass(frozen=True)
class Converted:
    """What came of it.

    Attributes:
        kept: number of frames, of `count` in the capture.
        assumed_exposure: s, of frames whose exposure nobody said; None if there are none.
        ground_truth: names of what else was found.
    """

    kept: int
    count: int
    assumed_exposure: float | None
    ground_truth: tuple[str, ...]


def convert(conversion: Conversion) -> Converted:
    """Write a capture as a recording (rosbag2, MCAP).

    Raises:
        InputError: the source cannot be used, or the output exists.
    """
    capture = _open(conversion)
    frames = _Wanted(capture, conversion)
    write_recording(conversion.output, capture, frames, frames.default_exposure)
    found = (("gyroscope", capture.gyroscope), ("poses", capture.poses))
    return Converted(
        kept=frames.kept,
        count=capture.count,
        assumed_exposure=frames.default_exposure if frames.assumed else None,
        ground_truth=tuple(name for name, part in found if part is not None),
    )


def _open(conversion: Conversion) -> Capture:
    source, intrinsics = conversion.source, conversion.intrinsics
    if not source.exists():
        raise InputError(f"{str(source)!r} does not exist")
    if conversion.layout == Layout.STRAY:
        return stray_scanner.open_capture(source)
    if conversion.layout == Layout.EUROC:
        return euroc.open_capture(source, conversion.camera)
    if conversion.layout == Layout.TUM:
        return tum.open_capture(source, intrinsics.camera(*_TUM_SIZE) if intrinsics else None)
    if intrinsics is None:
        raise InputError("a video says nothing about its camera: give its intrinsics")
    width, height = (int(open_video(source).get(property_)) for property_ in video.SIZE)
    return video.open_capture(
        source,
        intrinsics.camera(width, height),
        conversion.gyroscope,
        rotation=rotation_of_axes(conversion.axes),
        time_unit=conversion.time_unit,
        offset=conversion.offset,
    )


class _Wanted:
    """The frames of a capture that are asked for, resized and cropped.

    Attributes:
        default_exposure: of frames that do not say theirs, s.
        kept: how many there were so far.
        assumed: whether nobody said what the exposure was.
    """

    def __init__(self, capture: Capture, conversion: Conversion) -> None:
        self._capture, self._conversion = capture, conversion
        self._rotation = capture.angular_velocity() if conversion.min_blur else None
        if conversion.min_blur and self._rotation is None:
            raise InputError("--min-blur needs a gyroscope or poses in the capture")
        self.default_exposure = conversion.exposure or DEFAULT_EXPOSURE
        self.kept = 0
        self.assumed = False

    def __iter__(self) -> Iterator[CapturedFrame]:
        conversion = self._conversion
        for frame in tqdm(self._capture.frames, "converting", self._capture.count, unit="frame", leave=False):
            camera = frame.camera
            if frame.image.shape[:2] != (camera.height, camera.width):
                raise InputError(
                    f"an image is {frame.image.shape[1]}×{frame.image.shape[0]} px, "
                    f"but its camera takes {camera.width}×{camera.height}"
                )
            exposure = conversion.exposure or frame.exposure or DEFAULT_EXPOSURE
            if self._rotation is not None and not self._is_blurred(frame, self._rotation, exposure):
                continue
            self.assumed |= conversion.exposure is None and frame.exposure is None
            self.kept += 1
            frame = frame.resized(*conversion.resize) if conversion.resize else frame
            yield frame.cropped(*conversion.crop) if conversion.crop else frame
        if not self.kept:
            raise InputError(f"none of the {self._capture.count} frames is left: --min-blur is too much")

    def _is_blurred(self, frame: CapturedFrame, rotation: GroundTruth, exposure: float) -> bool:
        """Not where nothing was measured."""
        _, angular = rotation.at(np.array([frame.stamp]), exposure)
        return mean_blur(frame.camera, angular[0], exposure) >= (self._conversion.min_blur or 0.0)
