"""An image message and what arrived beside it → the Frame that the estimator takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.constants import ESTIMATOR
from image_as_imu_ros.estimation.frame import Frame, Shutter, check_exposure
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.view import check_depth_shape
from image_as_imu_ros.messages.camera_info import camera_from_info
from image_as_imu_ros.messages.depth import decode_compressed_depth, decode_depth
from image_as_imu_ros.messages.exposure import reporting_camera, shares_topic
from image_as_imu_ros.messages.images import decode_compressed, decode_image, stamp_to_nanoseconds
from image_as_imu_ros.messages.intensity import IntensityWindow
from image_as_imu_ros.messages.stamps import DEPTH_TOLERANCE, EXPOSURE_TOLERANCE
from image_as_imu_ros.nodes.buffers import StampCache
from image_as_imu_ros.nodes.exposure_sources import EXPOSURE_TOPICS, ExposureSource, ExposureWatch
from image_as_imu_ros.nodes.parameters import Settings

_EXPOSURE_WAIT = 0.03  # s that an image waits for its exposure
DEPTH_WAIT = 0.02  # s that an image waits for its depth


class Refused(InputError):
    """A frame that cannot be used. The message is for people.

    Attributes:
        reason: a short name to count by.
        missing: whether no message of a kind that is needed has come yet, as is common while topics find each other.
    """

    def __init__(self, reason: str, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.missing = missing


@contextmanager
def refusing(reason: str) -> Iterator[None]:
    """Name the part of the input that an InputError from inside the block is about."""
    try:
        yield
    except Refused:
        raise
    except InputError as error:
        raise Refused(reason, str(error)) from None


@dataclass(frozen=True)
class Sources:
    """Where what goes with an image came from; before the first frame, the defaults.

    Attributes:
        exposure: PARAMETER, ESTIMATE, or TOPIC for that of any message.
        depth: "topic" or "network".
        rate_hint: whether there was one.
    """

    exposure: ExposureSource = ExposureSource.PARAMETER
    depth: str = "network"
    rate_hint: bool = False


@dataclass(frozen=True)
class Assembled:
    """A frame, and what is to be said about it.

    Attributes:
        camera_changed: whether it is another camera than the image before had, so that earlier frames do not count.
        depth_missing: whether depth images come, but none with this image's stamp.
        unused: why messages beside the image, such as its depth, could not be used; the frame goes without them.
    """

    frame: Frame
    sources: Sources
    camera_changed: bool
    depth_missing: bool
    unused: list[Refused]


class FrameAssembler:
    """Puts frames together. Callbacks fill in camera_info, exposures and depths; one thread calls `assemble`.

    Attributes:
        camera_info: the latest CameraInfo message, or None.
        exposures: s by the image's header stamp, and by camera where several share the topic.
        depths: depth messages by header stamp.
        exposure_watch: notices exposures that do not move.
        rate_hints: (3,) rad/s by header stamp, in the axes of the sensor that they come from.
    """

    def __init__(self, camera_info: Any = None) -> None:
        self.camera_info = camera_info
        self.exposures: StampCache[float] = StampCache(depth=64, tolerance=1e-9 * EXPOSURE_TOLERANCE)
        self.depths: StampCache[Any] = StampCache(depth=8, tolerance=1e-9 * DEPTH_TOLERANCE)
        self.exposure_watch = ExposureWatch()
        self.rate_hints: StampCache[np.ndarray] = StampCache(depth=2048, tolerance=0.1)
        self._window = IntensityWindow()
        self._camera: Camera | None = None  # of the last image

    def assemble(self, message: Any, settings: Settings, colour: str) -> Assembled:
        """Put together the frame of an Image or CompressedImage message.

        Args:
            message: the image.
            settings: the node's parameters.
            colour: "gray" or "rgb", what the network takes.

        Raises:
            Refused: something is missing or damaged.
        """
        unused: list[Refused] = []
        stamp = stamp_to_nanoseconds(message.header.stamp)
        if stamp <= 0:
            raise Refused("stamp", f"image stamp is {stamp} ns; it must be positive (is the driver's clock running?)")
        if self.camera_info is None:
            text = "no camera_info has arrived: remap the topic camera_info to this camera's"
            raise Refused("camera_info", text, missing=True)
        with refusing("camera_info"):
            camera = camera_from_info(self.camera_info)
        before, self._camera = self._camera, camera
        camera_changed = before is not None and not camera.resembles(before, ESTIMATOR.followed_change)
        with refusing("exposure"):
            exposure, source = self._exposure(stamp, message, settings, unused)
        with refusing("image"):
            decode = decode_compressed if settings.image_transport == "compressed" else decode_image
            image = decode(message, colour, self._window)
        depth, depth_missing = self._depth(stamp, settings, camera, unused)
        if source == ExposureSource.TOPIC and exposure is not None:
            self.exposure_watch.observe(exposure, float(image[::16, ::16].mean()))
        with refusing("image"):
            rate_hint = self._rate_hint(stamp, settings)
            shutter = Shutter(exposure, settings.stamp_reference, settings.readout_time)
            frame = Frame(image, stamp, camera, shutter, depth, rate_hint)
        sources = Sources(source, "network" if depth is None else "topic", rate_hint is not None)
        return Assembled(frame, sources, camera_changed, depth_missing, unused)

    def _exposure(
        self, stamp: int, message: Any, settings: Settings, unused: list[Refused]
    ) -> tuple[float | None, ExposureSource]:
        """Find the exposure, s, and where it comes from: see `Sources`."""
        if settings.exposure_source == ExposureSource.ESTIMATE:
            return settings.exposure_time or None, ExposureSource.ESTIMATE
        exposure, missing = None, ""
        if settings.exposure_source in EXPOSURE_TOPICS:
            camera = reporting_camera(settings.exposure_source, message.header)
            exact = shares_topic(settings.exposure_source)
            exposure = self.exposures.find(stamp, _EXPOSURE_WAIT, camera=camera, exact=exact)
            exposure = _usable(exposure, settings.exposure_time, unused)
            missing = (
                f"no exposure with this image's header stamp{_nearest(self.exposures.distance(stamp, camera))}, and "
            )
        source = ExposureSource.PARAMETER if exposure is None else ExposureSource.TOPIC
        if exposure is None:
            exposure = settings.exposure_time
            if exposure == 0:
                text = f"{missing}the parameter exposure_time is not set: no velocity without an exposure time"
                raise Refused("exposure", text, missing=bool(missing) and self.exposures.empty)
        check_exposure(exposure)
        return exposure, source

    def _depth(
        self, stamp: int, settings: Settings, camera: Camera, unused: list[Refused]
    ) -> tuple[np.ndarray | None, bool]:
        """Find the measured depth, m, and whether it is missing: see `Assembled`."""
        if settings.depth_transport == "none" or self.depths.empty:
            return None, False
        if (message := self.depths.find(stamp, DEPTH_WAIT)) is None:
            return None, True
        decode = decode_compressed_depth if settings.depth_transport == "compressed" else decode_depth
        try:
            depth = decode(message)
            check_depth_shape(depth, camera)
        except InputError as error:
            unused.append(Refused("depth", f"{error}; the network's depth is used"))
            return None, False
        return depth, False

    def _rate_hint(self, stamp: int, settings: Settings) -> np.ndarray | None:
        hint = self.rate_hints.find(stamp)
        return None if hint is None else rotation_of_axes(settings.rate_hint_axes) @ hint


def _usable(exposure: float | None, instead: float, unused: list[Refused]) -> float | None:
    """Check an exposure from the topic, s; None where it is impossible and the parameter gives one instead."""
    if exposure is None or instead == 0:
        return exposure
    try:
        check_exposure(exposure)
    except InputError as error:
        unused.append(Refused("exposure", f"{error}; exposure_time is used"))
        return None
    return exposure


def _nearest(distance: float | None) -> str:
    """Say how far from an image's stamp the nearest value is, s; nothing where none has come."""
    if distance is None:
        return ""
    return f" (the nearest one's is {abs(distance) * 1e3:.3g} ms {'later' if distance > 0 else 'earlier'})"
