"""Captures and data sets in other layouts → recordings that evaluate and the node's replay read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.datasets import euroc, gopro, image_folder, phone, stray_scanner, tum, video
from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, mean_blur
from image_as_imu_ros.datasets.frame_table import read_frame_table
from image_as_imu_ros.datasets.ground_truth import GroundTruth, too_rare
from image_as_imu_ros.datasets.gyroscope_file import read_gyroscope
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference, check_exposure
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Intrinsics
from image_as_imu_ros.messages.image_files import UnreadableImageError, check_size
from image_as_imu_ros.recordings.recording_writer import write_recording
from image_as_imu_ros.settings import TextEnum

ASSUMED_EXPOSURE = 0.01  # s, what phones and web cameras often take indoors; only to choose blurred frames by
_NEAREST = 0.4  # m that structured light and time of flight measure from
_FARTHEST = 10.0  # m that they measure to
_NEAR_SHARE = 0.05  # of a depth image, as its nearest
_DEPTH_STEP = 4  # px between depths that are looked at
_LARGEST_SCALE = 100_000.0  # units per metre
_LARGEST_OFFSET = 4e9  # s; stamps of ns since 1970 hold twice as many


class Layout(TextEnum):
    """What wrote a capture."""

    STRAY = "stray"
    VIDEO = "video"
    IMAGES = "images"
    GOPRO = "gopro"
    MARS = "mars"
    OPENCAMERA = "opencamera"
    EUROC = "euroc"
    TUM = "tum"
    EVENTS = "events"


@dataclass(frozen=True)
class Conversion:
    """What is converted and how.

    Attributes:
        source: file or folder. output: folder of the new recording.
        exposure: s; None for what the capture says of each frame, if anything.
        resize, crop: (width, height) px of the whole image, and of the middle of it that is kept.
        min_blur: px at 320 px image width; frames that the measured rotation smeared by less are left out.
        camera: of an EuRoC sequence.
        gyroscope, time_unit, offset: text file beside a video or images, and how it is read; see `video.open_capture`.
        axes: the camera's in the gyroscope's; None for what the layout's own are, else the same.
        frames: table of a video's or a folder's frames.
        intrinsics: of a video, images or a TUM sequence; None for what the capture says.
        depth_scale: units per metre of a TUM sequence's depth images.

    Raises:
        InputError: a number is out of range.
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
    axes: str | None = None
    frames: Path | None = None
    intrinsics: Intrinsics | None = None
    depth_scale: float = tum.UNITS_PER_METRE

    def __post_init__(self) -> None:
        if self.exposure is not None:
            check_exposure(self.exposure)
        if not (1 <= self.depth_scale <= _LARGEST_SCALE):
            raise InputError(
                f"--depth-scale is {self.depth_scale:g}, expected units per metre, 1 to {_LARGEST_SCALE:g}: 1000 where "
                "depth is in mm"
            )
        if not abs(self.offset) <= _LARGEST_OFFSET:
            raise InputError(f"--offset is {self.offset:g}, expected s, at most {_LARGEST_OFFSET:g}")
        if self.min_blur is not None and not 0 <= self.min_blur < math.inf:
            raise InputError(f"--min-blur is {self.min_blur:g}, expected px, 0 or more")
        try:
            check_size(self.resize)
        except InputError as error:
            raise InputError(f"--resize: {error}") from None


@dataclass
class Unreadable:
    """How many images are missing or damaged, and why the first one is."""

    count: int = 0
    reason: str = ""

    def add(self, reason: str) -> None:
        """Count one more."""
        self.reason = self.reason or reason
        self.count += 1


@dataclass(frozen=True)
class Converted:
    """What was converted.

    Attributes:
        kept: number of frames, of `count` in the capture. with_depth: how many of them have depth.
        unreadable, unreadable_depths: frames without a readable image, which are left out, or without readable depth.
        unknown_exposures: number of frames without an exposure time in the capture, and so in the recording.
        ground_truth: "gyroscope" and "poses", as far as the capture has them.
        poses_complaint, depth_complaint: why the poses or depths cannot be used; empty if they seem usable.
        stamp_reference, readout_time: what the capture says of its frames; None where it does not.
    """

    kept: int
    count: int
    with_depth: int
    unreadable: Unreadable
    unreadable_depths: Unreadable
    unknown_exposures: int
    poses_complaint: str
    depth_complaint: str
    ground_truth: tuple[str, ...]
    stamp_reference: StampReference | None
    readout_time: float | None


def convert(conversion: Conversion) -> Converted:
    """Write a capture as a recording (rosbag2, MCAP).

    Raises:
        InputError: the source cannot be used, or the output exists.
    """
    try:
        capture = _open(conversion)
    except OSError as error:  # not allowed
        raise InputError(f"{error.filename or str(conversion.source)!r} cannot be read: {error.strerror}") from None
    frames = _Wanted(capture, conversion)
    write_recording(conversion.output, capture, frames)
    found = (("gyroscope", capture.gyroscope), ("poses", capture.poses))
    return Converted(
        kept=frames.kept,
        count=capture.count,
        with_depth=len(frames.depths),
        unreadable=frames.unreadable,
        unreadable_depths=frames.unreadable_depths,
        poses_complaint=too_rare(capture.poses.stamps) if capture.poses is not None else "",
        depth_complaint=_implausible(frames.depths) if conversion.layout == Layout.TUM else "",
        unknown_exposures=frames.unknown,
        ground_truth=tuple(name for name, part in found if part is not None),
        stamp_reference=capture.stamp_reference,
        readout_time=capture.readout_time or None,
    )


def _open(conversion: Conversion) -> Capture:
    source, intrinsics = conversion.source, conversion.intrinsics
    if not source.exists():
        raise InputError(f"{str(source)!r} does not exist")
    rotation = None if conversion.axes is None else rotation_of_axes(conversion.axes)
    phone_axes = {} if rotation is None else {"rotation": rotation}  # else those that phones have
    match conversion.layout:
        case Layout.STRAY:
            return stray_scanner.open_capture(source)
        case Layout.EUROC:
            return euroc.open_capture(source, conversion.camera)
        case Layout.TUM:
            return tum.open_capture(source, intrinsics, conversion.depth_scale)
        case Layout.EVENTS:
            return image_folder.open_events(source)
        case Layout.MARS:
            return phone.open_mars(source, intrinsics, **phone_axes)
        case Layout.OPENCAMERA:
            return phone.open_opencamera(source, intrinsics, **phone_axes)
        case Layout.GOPRO:
            return gopro.open_capture(source, intrinsics, rotation)
        case Layout.VIDEO | Layout.IMAGES:
            reader = video if conversion.layout == Layout.VIDEO else image_folder
            file, table, unit = conversion.gyroscope, conversion.frames, conversion.time_unit
            return reader.open_capture(
                source,
                intrinsics,
                None if file is None else (read_gyroscope(file, unit), file),
                rotation=rotation,
                offset=conversion.offset,
                frames=None if table is None else read_frame_table(table, unit),
            )


def _implausible(depths: list[np.ndarray]) -> str:
    """Say how depths contradict what depth cameras measure; empty if they do not, or if there are none."""
    known = np.array([one for one in depths if np.isfinite(one).all()])
    if not len(known):
        return ""
    near, middle = np.median(known, 0)
    if near >= _NEAREST and middle <= _FARTHEST:
        return ""
    return (
        f"the depth images have their median at {middle:.2g} m, and a twentieth of them nearer than {near:.2g} m: "
        f"depth cameras mostly measure from {_NEAREST:g} to {_FARTHEST:g} m"
    )


class _Wanted:
    """The frames of a capture that are asked for, resized and cropped.

    Attributes:
        kept: how many there were so far.
        unknown: how many of them have no known exposure time.
        depths: of each that has depth, how far the nearest of it and the middle of it are, m.
        unreadable, unreadable_depths: as of `Converted`.
    """

    def __init__(self, capture: Capture, conversion: Conversion) -> None:
        self._capture, self._conversion = capture, conversion
        self._rotation = capture.angular_velocity() if conversion.min_blur else None
        if conversion.min_blur and self._rotation is None:
            raise InputError("--min-blur needs a gyroscope or poses in the capture")
        self.kept = 0
        self.unknown = 0
        self.depths: list[np.ndarray] = []
        self.unreadable = Unreadable()
        self.unreadable_depths = Unreadable()

    def __iter__(self) -> Iterator[CapturedFrame]:
        conversion = self._conversion
        for frame in tqdm(self._readable(), "converting", self._capture.count, unit="frame", leave=False):
            camera = frame.camera
            if frame.image.shape[:2] != (camera.height, camera.width):
                raise InputError(
                    f"an image is {frame.image.shape[1]}×{frame.image.shape[0]} px, "
                    f"but its camera takes {camera.width}×{camera.height}"
                )
            frame = replace(frame, exposure=conversion.exposure or frame.exposure)
            exposure = frame.exposure or ASSUMED_EXPOSURE
            if self._rotation is not None and not self._is_blurred(frame, self._rotation, exposure):
                continue
            self.unknown += frame.exposure is None
            self.kept += 1
            self._measure_depth(frame)
            frame = frame.resized(*conversion.resize) if conversion.resize else frame
            yield frame.cropped(*conversion.crop) if conversion.crop else frame
        if not self.kept:
            reason = "--min-blur is too much" if self._rotation is not None else self.unreadable.reason
            raise InputError(f"none of the {self._capture.count} frames is left: {reason}")

    def _readable(self) -> Iterator[CapturedFrame]:
        frames = iter(self._capture.frames)
        while True:
            try:
                yield next(frames)
            except StopIteration:
                return
            except UnreadableImageError as error:
                self.unreadable.add(str(error))

    def _measure_depth(self, frame: CapturedFrame) -> None:
        if frame.depth_image is not None:
            depth = frame.depth_image.metres()[::_DEPTH_STEP, ::_DEPTH_STEP]
            known = depth[np.isfinite(depth)]
            self.depths.append(np.quantile(known, [_NEAR_SHARE, 0.5]) if len(known) else np.full(2, np.nan))
        elif frame.depth_complaint:
            self.unreadable_depths.add(frame.depth_complaint)

    def _is_blurred(self, frame: CapturedFrame, rotation: GroundTruth, exposure: float) -> bool:
        """Tell whether a rotation has blurred a frame enough; not where no rotation is known."""
        _, angular = rotation.at(np.array([frame.stamp]), exposure)
        return mean_blur(frame.camera, angular[0], exposure) >= (self._conversion.min_blur or 0.0)
