"""A camera image with its times: the only place that knows what stamps mean.

A row is exposed for τ; the middle row starts readout/2 after the first. From a header stamp t that is the start, the
middle or the end of the whole frame's exposure follows the mid-exposure of the middle row:

    t + (τ + readout)/2,    t,    t − (τ + readout)/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.settings import TextEnum

_SHORTEST = 1e-6  # s, exposure; no shutter is faster
_LONGEST = 1.0  # s, exposure or readout; longer is a mistake of unit


class StampReference(TextEnum):
    """Which time of the exposure a header stamp is."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


@dataclass(frozen=True)
class Shutter:
    """How an image was exposed.

    Attributes:
        exposure: time that one row integrates light, s; None where it is not known.
        stamp_reference: what the image's header stamp means.
        readout_time: from the first row's start to the last row's start, s; 0 for a global shutter.

    Raises:
        InputError: a time is not finite, not positive, or longer than a second.
    """

    exposure: float | None = None
    stamp_reference: StampReference = StampReference.MIDDLE
    readout_time: float = 0.0

    def __post_init__(self) -> None:
        if self.exposure is not None:
            check_exposure(self.exposure)
        if self.stamp_reference not in tuple(StampReference):
            raise InputError(
                f"stamp_reference is {str(self.stamp_reference)!r}, expected one of: {', '.join(StampReference)}"
            )
        if not 0 <= self.readout_time <= _LONGEST:
            raise InputError(f"readout time is {self.readout_time} s; expected 0 to {_LONGEST:g} s (check the unit)")

    def mid_exposure(self, header_stamp: int, exposure: float) -> int:
        """Compute the mid-exposure of the middle row, ns, from a header stamp, ns, and an exposure time, s."""
        half = round((exposure + self.readout_time) / 2 * 1e9)
        offsets = {StampReference.START: half, StampReference.MIDDLE: 0, StampReference.END: -half}
        return header_stamp + offsets[self.stamp_reference]


@dataclass(frozen=True)
class Frame:
    """One camera image.

    Attributes:
        image: (H, W) luminance or (H, W, 3) RGB, uint8.
        stamp: header stamp, ns.
        camera: intrinsics of this image.
        shutter: how it was exposed; what its stamp means.
        depth: (H', W') m registered to the image, 0 or NaN where unknown; None to use the network's.
        rate_hint: (3,) rad/s, the camera's angular velocity in its optical frame as another sensor roughly knows it. It
            helps to find the sign and changes nothing else.

    Raises:
        InputError: the image, the stamp or the rate hint cannot be used.
    """

    image: np.ndarray
    stamp: int
    camera: Camera
    shutter: Shutter
    depth: np.ndarray | None = None
    rate_hint: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim not in (2, 3) or self.image.shape[2:] not in ((), (3,)):
            raise InputError(
                f"image has shape {self.image.shape} and type {self.image.dtype}; expected (H, W) or (H, W, 3) uint8"
            )
        if self.stamp <= 0:
            raise InputError(f"image stamp is {self.stamp} ns; it must be positive (is the driver's clock running?)")
        if self.rate_hint is not None and not np.isfinite(self.rate_hint).all():
            raise InputError(f"rate_hint is {self.rate_hint} rad/s; it must be finite")


def check_exposure(exposure: float) -> None:
    """Check that an exposure time, s, is between a microsecond and a second.

    Raises:
        InputError: it is not.
    """
    if not _SHORTEST <= exposure <= _LONGEST:
        raise InputError(f"exposure time is {exposure} s; expected {_SHORTEST:g} to {_LONGEST:g} s (check the unit)")


def halfway(mid_exposure: int, dt: float) -> int:
    """Compute the time, ns, halfway from a mid-exposure `dt` s earlier to this one, ns."""
    return mid_exposure - round(dt * 1e9) // 2
