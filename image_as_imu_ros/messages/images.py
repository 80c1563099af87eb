"""Camera messages → arrays and cameras. Works on any object with the message's fields: rclpy's and rosbags' alike."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import MAX_SIDE, Camera

_COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, quantisation A and B


@dataclass(frozen=True)
class _Encoding:
    """Layout of one pixel, and the OpenCV conversions from it; None where it is already so."""

    dtype: str
    channels: int
    to_gray: int | None
    to_rgb: int | None


_MONO8 = _Encoding("u1", 1, None, cv2.COLOR_GRAY2RGB)
_MONO16 = _Encoding("u2", 1, None, cv2.COLOR_GRAY2RGB)
_BGR8 = _Encoding("u1", 3, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB)
_ENCODINGS = {
    "mono8": _MONO8,
    "8UC1": _MONO8,
    "mono16": _MONO16,
    "16UC1": _MONO16,
    "bgr8": _BGR8,
    "8UC3": _BGR8,
    "rgb8": _Encoding("u1", 3, cv2.COLOR_RGB2GRAY, None),
    "bgra8": _Encoding("u1", 4, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2RGB),
    "rgba8": _Encoding("u1", 4, cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2RGB),
}


def decode_image(message: Any, colour: str = "gray") -> np.ndarray:
    """Decode a sensor_msgs/Image to (H, W) uint8 luminance or, with colour "rgb", (H, W, 3) uint8 RGB.

    Where the message already holds what is asked for, the result is a view of its data. 16-bit images often hold 10
    or 12 bits in the low end: they are scaled by a power of two so that the
    frame's brightest pixel uses all of 8 bits. Encodings
    other than mono8, mono16, rgb8, bgr8, rgba8, bgra8 and their nameless forms 8UC1, 16UC1, 8UC3 go through cv_bridge.

    Raises:
        InputError: size, step or data do not fit together, or the encoding cannot be decoded here.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        return _decode_with_cv_bridge(message, colour)
    image = _to_8_bit(_pixels(message, encoding.dtype, encoding.channels))
    conversion = encoding.to_rgb if colour == "rgb" else encoding.to_gray
    return image if conversion is None else cv2.cvtColor(image, conversion)


def decode_compressed(message: Any, colour: str = "gray") -> np.ndarray:
    """Decode a sensor_msgs/CompressedImage (JPEG, PNG) to the same as `decode_image`.

    Raises:
        InputError: the data are damaged or in a format that OpenCV cannot read.
    """
    # The stored rows and columns are the sensor's, which CameraInfo describes, whatever EXIF says of orientation.
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    flags |= cv2.IMREAD_COLOR if colour == "rgb" else cv2.IMREAD_GRAYSCALE
    image = _to_8_bit(_decode_file(memoryview(message.data), message.format, flags))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if colour == "rgb" else image


def decode_depth(message: Any) -> np.ndarray:
    """Decode a sensor_msgs/Image, 16UC1 (mm) or 32FC1 (m), to (H, W) float32 m.

    Where it is unknown, the value is the message's: 0, NaN or inf.

    Raises:
        InputError: another encoding, or size, step and data do not fit together.
    """
    if message.encoding == "16UC1":
        return _pixels(message, "u2", 1) * np.float32(1e-3)
    if message.encoding == "32FC1":
        return _pixels(message, "f4", 1).astype(np.float32, copy=False)
    raise InputError(f"depth encoding is {message.encoding!r}, expected '16UC1' (mm) or '32FC1' (m)")


def decode_compressed_depth(message: Any) -> np.ndarray:
    """Decode a sensor_msgs/CompressedImage with a 16-bit PNG of depth to (H, W) float32 m, 0 or NaN where unknown.

    Takes a plain PNG (mm), and compressed_depth_image_transport's ("… compressedDepth …"): the PNG follows a header,
    and holds mm for 16UC1 but quantised inverse depth for 32FC1.

    Raises:
        InputError: the data are damaged or not a 16-bit PNG.
    """
    data = memoryview(message.data)
    quantisation = None
    if "compressedDepth" in message.format:
        if len(data) < _COMPRESSED_DEPTH_HEADER.size:
            raise InputError(f"compressed depth image ({message.format!r}) has only {len(data)} bytes")
        _, *quantisation = _COMPRESSED_DEPTH_HEADER.unpack_from(data)
        data = data[_COMPRESSED_DEPTH_HEADER.size :]
    depth = _decode_file(data, message.format, cv2.IMREAD_UNCHANGED)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        raise InputError(f"compressed depth image ({message.format!r}) is not a 16-bit PNG with one channel")
    if quantisation is None or not message.format.startswith("32FC1"):
        return depth * np.float32(1e-3)
    a, b = np.array(quantisation, np.float32)
    return np.divide(a, depth - b, out=np.full(depth.shape, np.nan, np.float32), where=depth > 0)


def camera_from_info(message: Any) -> Camera:
    """Read from a sensor_msgs/CameraInfo the camera of its images, binning and region of interest applied.

    Raises:
        InputError: not calibrated, not finite, an unknown lens model, or a region outside the sensor.
    """
    k = message.k if hasattr(message, "k") else message.K
    d = message.d if hasattr(message, "d") else message.D
    camera = Camera(
        width=int(message.width),
        height=int(message.height),
        fx=float(k[0]),
        fy=float(k[4]),
        cx=float(k[2]),
        cy=float(k[5]),
        distortion_model=message.distortion_model,
        distortion=tuple(map(float, d)),
    )
    roi = message.roi
    width, height = int(roi.width) or camera.width, int(roi.height) or camera.height
    left, top = int(roi.x_offset), int(roi.y_offset)
    if left + width > camera.width or top + height > camera.height:
        raise InputError(
            f"camera_info's region of interest, {width}×{height} at ({left}, {top}), "
            f"is not inside its {camera.width}×{camera.height} image"
        )
    binned_width, binned_height = width // max(1, message.binning_x), height // max(1, message.binning_y)
    used_width, used_height = binned_width * max(1, message.binning_x), binned_height * max(1, message.binning_y)
    return camera.crop(left, top, used_width, used_height).resize(binned_width, binned_height)


def stamp_to_nanoseconds(stamp: Any) -> int:
    """Convert a builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pixels(message: Any, dtype: str, channels: int) -> np.ndarray:
    """View an Image message's data as (H, W) or (H, W, channels)."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InputError(f"image size is {width}×{height} px; expected 1 to {MAX_SIDE} px a side")
    pixel = np.dtype(dtype).itemsize * channels
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
        shape, strides = (*shape, channels), (*strides, 1)
    order = ">" if message.is_bigendian else "<"
    return np.ndarray(shape, np.dtype(dtype).newbyteorder(order), memoryview(message.data), strides=strides)


def _to_8_bit(image: np.ndarray) -> np.ndarray:
    """Scale uint16 by a power of two so that its brightest pixel keeps 8 significant bits; leave uint8 as it is."""
    if image.dtype == np.uint8:
        return image
    return (image >> max(0, int(image.max()).bit_length() - 8)).astype(np.uint8)


def _decode_file(data: memoryview, name: str, flags: int) -> np.ndarray:
    """Decode an image file in memory to an array as OpenCV gives it, BGR if coloured."""
    # OpenCV decodes the rows that are there and fills up the others.
    tail = bytes(data[-4096:]).rstrip(b"\0")
    jpeg_is_cut = data[:2] == b"\xff\xd8" and not tail.endswith(b"\xff\xd9")
    png_is_cut = data[:4] == b"\x89PNG" and b"IEND" not in tail
    try:
        image = None if jpeg_is_cut or png_is_cut else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, ValueError):  # ValueError: no data
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        cut = " (its end is missing)" if jpeg_is_cut or png_is_cut else ""
        raise InputError(f"compressed image of {len(data)} bytes, format {name!r}, cannot be decoded{cut}")
    if max(image.shape[:2]) > MAX_SIDE:
        raise InputError(f"image size is {image.shape[1]}×{image.shape[0]} px; expected at most {MAX_SIDE} px a side")
    return image


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
