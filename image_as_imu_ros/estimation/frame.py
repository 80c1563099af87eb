"""A camera image with its times: the only place that knows what stamps mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera

STAMP_REFERENCES = ("start", "middle", "end")


_LONGEST_EXPOSURE = 1.0  # s; longer is a mistake of unit


def check_exposure(exposure: float) -> None:
    """Raises InputError unless an exposure time, s, is a positive number of at most a second."""
    if not (math.isfinite(exposure) and 0 < exposure <= _LONGEST_EXPOSURE):
        raise InputError(
            f"exposure time is {exposure} s; expected more than 0 and at most {_LONGEST_EXPOSURE:g} s (check the unit)"
        )


def mid_exposure(stamp: int, exposure: float, reference: str, readout_time: float = 0.0) -> int:
    """Mid-exposure of the middle row, ns, from a driver's stamp.

    Args:
        stamp: ns.
        exposure: of one row, s.
        reference: what the stamp means: "start" or "end" of the whole frame's exposure, or its "middle".
        readout_time: from the first row's start to the last row's start, s; 0 for a global shutter.
    """
    if reference not in STAMP_REFERENCES:
        raise InputError(f"stamp_reference is {reference!r}, expected one of: {', '.join(STAMP_REFERENCES)}")
    half = round((exposure + readout_time) / 2 * 1e9)
    return stamp + {"start": half, "middle": 0, "end": -half}[reference]


@dataclass(frozen=True)
class Frame:
    """One camera image.

    Attributes:
        image: (H, W) luminance or (H, W, 3) RGB, uint8.
        stamp: mid-exposure of the middle row, nanoseconds. See `mid_exposure`.
        camera: intrinsics of this image.
        exposure: time that one row integrates light, s; None where not known, which takes Options.estimate_exposure.
        depth: (H', W') m registered to the image, 0 or NaN where unknown; None to use the network's.
        rate_hint: (3,) rad/s, the camera's angular velocity in its optical frame as another sensor roughly knows it. It
            helps to find the direction and changes nothing else.
        driver_stamp: ns, what `stamp` was derived from; None if that is the same. While the exposure is estimated, gaps
            between frames are measured on it: they must not change because the estimate does.
    """

    image: np.ndarray
    stamp: int
    camera: Camera
    exposure: float | None
    depth: np.ndarray | None = None
    rate_hint: np.ndarray | None = None
    driver_stamp: int | None = None

    def __post_init__(self) -> None:
        if self.exposure is not None:
            check_exposure(self.exposure)
        if self.image.dtype != np.uint8 or self.image.ndim not in (2, 3) or self.image.shape[2:] not in ((), (3,)):
            raise InputError(
                f"image has shape {self.image.shape} and type {self.image.dtype}; expected (H, W) or (H, W, 3) uint8"
            )
        if self.stamp <= 0:
            raise InputError(f"image stamp is {self.stamp} ns; it must be positive (is the driver's clock running?)")
        if self.rate_hint is not None and not np.isfinite(self.rate_hint).all():
            raise InputError(f"rate_hint is {self.rate_hint} rad/s; it must be finite")

    @property
    def clock(self) -> int:
        """The driver's stamp, ns, as far as it is known."""
        return self.stamp if self.driver_stamp is None else self.driver_stamp
