"""Image messages → arrays. Works on any object with the message's fields: rclpy's and rosbags' alike."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import MAX_SIDE
from image_as_imu_ros.messages.image_files import decode_file
from image_as_imu_ros.messages.intensity import IntensityWindow


@dataclass(frozen=True)
class _Encoding:
    """Layout of one pixel, and the OpenCV conversions from it; None where it is already so.

    With `half_rows`, half as many rows of interleaved colour differences follow the rows of luminance.
    """

    dtype: str
    channels: int
    to_gray: int | None
    to_rgb: int | None
    half_rows: bool = False


_MONO8 = _Encoding("u1", 1, None, cv2.COLOR_GRAY2RGB)
_MONO16 = _Encoding("u2", 1, None, cv2.COLOR_GRAY2RGB)
_BGR8 = _Encoding("u1", 3, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB)
_BGRA8 = _Encoding("u1", 4, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2RGB)
_UYVY = _Encoding("u1", 2, cv2.COLOR_YUV2GRAY_UYVY, cv2.COLOR_YUV2RGB_UYVY)
_YUYV = _Encoding("u1", 2, cv2.COLOR_YUV2GRAY_YUY2, cv2.COLOR_YUV2RGB_YUY2)
_BAYER = {  # by the first two pixels of the first two rows; OpenCV names the pattern by the second two of each
    "rggb": (cv2.COLOR_BayerBG2GRAY, cv2.COLOR_BayerBG2RGB),
    "bggr": (cv2.COLOR_BayerRG2GRAY, cv2.COLOR_BayerRG2RGB),
    "gbrg": (cv2.COLOR_BayerGR2GRAY, cv2.COLOR_BayerGR2RGB),
    "grbg": (cv2.COLOR_BayerGB2GRAY, cv2.COLOR_BayerGB2RGB),
}
_ENCODINGS = {
    "mono8": _MONO8,
    "8UC1": _MONO8,
    "mono16": _MONO16,
    "16UC1": _MONO16,
    "bgr8": _BGR8,
    "8UC3": _BGR8,
    "rgb8": _Encoding("u1", 3, cv2.COLOR_RGB2GRAY, None),
    "bgra8": _BGRA8,
    "8UC4": _BGRA8,
    "rgba8": _Encoding("u1", 4, cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2RGB),
    "bgr16": _Encoding("u2", 3, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB),
    "rgb16": _Encoding("u2", 3, cv2.COLOR_RGB2GRAY, None),
    **{f"bayer_{name}8": _Encoding("u1", 1, *codes) for name, codes in _BAYER.items()},
    **{f"bayer_{name}16": _Encoding("u2", 1, *codes) for name, codes in _BAYER.items()},
    "yuv422": _UYVY,  # the old name of uyvy
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,  # the old name of yuyv
    "yuyv": _YUYV,
    "nv12": _Encoding("u1", 1, cv2.COLOR_YUV2GRAY_NV12, cv2.COLOR_YUV2RGB_NV12, half_rows=True),
    "nv21": _Encoding("u1", 1, cv2.COLOR_YUV2GRAY_NV21, cv2.COLOR_YUV2RGB_NV21, half_rows=True),
}

_MOSAIC = re.compile(r"(bayer_(?:rggb|bggr|gbrg|grbg)(?:8|16)); \w+ compressed\s*$")  # a CompressedImage's format


def decode_image(message: Any, colour: str = "gray", window: IntensityWindow | None = None) -> np.ndarray:
    """Decode a sensor_msgs/Image to (H, W) uint8 luminance or, with colour "rgb", (H, W, 3) uint8 RGB.

    Where the message already holds what is asked for, the result is a view of its data. 16-bit images go through the
    stream's window; without one, through their own. Encodings that OpenCV cannot convert go through cv_bridge.

    Raises:
        InputError: size, step or data do not fit together, or the encoding cannot be decoded here.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        return _decode_with_cv_bridge(message, colour)
    image = (window or IntensityWindow()).to_8_bit(
        pixels_of(message, encoding.dtype, encoding.channels, encoding.half_rows)
    )
    return _converted(image, encoding, message.encoding, colour)


def decode_compressed(message: Any, colour: str = "gray", window: IntensityWindow | None = None) -> np.ndarray:
    """Decode a sensor_msgs/CompressedImage (JPEG, PNG) to the same as `decode_image`.

    image_transport compresses Bayer mosaics as they are: its format then names a pattern, but nothing that they were
    converted to.

    Raises:
        InputError: the data are damaged or in a format that OpenCV cannot read.
    """
    # The stored rows and columns are the sensor's, which CameraInfo describes, whatever EXIF says of orientation.
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    mosaic = _MOSAIC.match(message.format)
    flags |= cv2.IMREAD_COLOR if colour == "rgb" and not mosaic else cv2.IMREAD_GRAYSCALE
    image = (window or IntensityWindow()).to_8_bit(decode_file(memoryview(message.data), message.format, flags))
    if mosaic:
        return _converted(image, _ENCODINGS[mosaic[1]], message.format, colour)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if colour == "rgb" else image


def _converted(image: np.ndarray, encoding: _Encoding, name: str, colour: str) -> np.ndarray:
    """Convert 8-bit pixels of an encoding to luminance or RGB."""
    conversion = encoding.to_rgb if colour == "rgb" else encoding.to_gray
    if conversion is None:
        return image
    try:
        return cv2.cvtColor(image, conversion)
    except cv2.error as error:
        size = f"{image.shape[1]}×{image.shape[0]}"
        raise InputError(f"image of {size} px cannot be converted from {name}: {error.err}") from None


def stamp_to_nanoseconds(stamp: Any) -> int:
    """Convert a builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def pixels_of(message: Any, dtype: str, channels: int = 1, half_rows: bool = False) -> np.ndarray:
    """View an Image message's data as (H, W) or (H, W, channels).

    Args:
        dtype: "u1", "u2" or "f4"; the byte order is the message's.
        half_rows: whether half as many rows follow; they are part of the result.

    Raises:
        InputError: size, step and data do not fit together.
    """
    width, height, step = int(message.width), int(message.height), int(message.step)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InputError(f"image size is {width}×{height} px; expected 1 to {MAX_SIDE} px a side")
    if half_rows:
        if width % 2 or height % 2:
            raise InputError(f"image size is {width}×{height} px; {message.encoding} images have even sides")
        height += height // 2
    item = np.dtype(dtype).itemsize
    pixel = item * channels
    if step < width * pixel:
        raise InputError(
            f"image step is {step} bytes, but {width} px of {message.encoding} take {width * pixel}: "
            "the driver is wrong"
        )
    if len(message.data) < step * height:
        raise InputError(
            f"image has {len(message.data)} bytes of data, but {height} rows of {step} take {step * height}: "
            "the message is truncated"
        )
    shape, strides = (height, width), (step, pixel)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, item)
    order = ">" if message.is_bigendian else "<"
    return np.ndarray(shape, np.dtype(dtype).newbyteorder(order), memoryview(message.data), strides=strides)


def _decode_with_cv_bridge(message: Any, colour: str) -> np.ndarray:
    known = ", ".join(_ENCODINGS)
    fault = _cv_bridge_fault()
    if fault:
        raise InputError(
            f"image encoding {message.encoding!r} needs cv_bridge, which does not work here ({fault}); "
            f"without it: {known}"
        )
    try:
        return import_module("cv_bridge").CvBridge().imgmsg_to_cv2(message, "rgb8" if colour == "rgb" else "mono8")
    except Exception as error:  # CvBridgeError, cv2.error, RuntimeError, … by version
        raise InputError(f"image encoding {message.encoding!r} cannot be decoded: {error}; known: {known}") from None


@cache
def _cv_bridge_fault() -> str:
    """Say why cv_bridge does not work here; empty if it does.

    It is tried out in a process of its own: a build for another NumPy can crash the interpreter.
    """
    probe = (
        "import numpy; from cv_bridge import CvBridge; bridge = CvBridge(); "
        "bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(numpy.zeros((2, 2, 3), numpy.uint8), 'bgr8'), 'mono8')"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode == 0:
        return ""
    return (result.stderr.strip().splitlines() or [f"it ends with code {result.returncode}"])[-1]
