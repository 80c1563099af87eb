"""Depth messages → metres. Works on rclpy's messages and rosbags' alike."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.image_files import decode_file
from image_as_imu_ros.messages.images import pixels_of

_COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, quantisation A and B
_SATURATED = np.iinfo(np.uint16).max  # mm: what sensors write where they measure nothing
_FARTHEST = 300.0  # m, median of a view: no sensor measures so far, but mm that are taken for m are


def decode_depth(message: Any) -> np.ndarray:
    """Decode a sensor_msgs/Image, 16UC1 (mm) or 32FC1 (m), to (H, W) float32 m.

    Where it is unknown, the value is the message's: 0, NaN or inf; 0 for the largest mm, 65535, at which sensors
    saturate.

    Raises:
        InputError: another encoding, or size, step and data do not fit together; metres that can only be mm.
    """
    if message.encoding == "16UC1":
        return _metres(pixels_of(message, "u2"))
    if message.encoding == "32FC1":
        depth = pixels_of(message, "f4").astype(np.float32, copy=False)
        known = depth[np.isfinite(depth) & (depth > 0)]
        if len(known) and (median := np.median(known)) > _FARTHEST:
            raise InputError(f"depth is {median:.0f} m (median), too far for a sensor: 32FC1 counts m; are these mm?")
        return depth
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
    depth = decode_file(data, message.format, cv2.IMREAD_UNCHANGED)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        raise InputError(f"compressed depth image ({message.format!r}) is not a 16-bit PNG with one channel")
    if quantisation is None or not message.format.startswith("32FC1"):
        return _metres(depth)
    a, b = np.array(quantisation, np.float32)
    return np.divide(a, depth - b, out=np.full(depth.shape, np.nan, np.float32), where=depth > 0)


def _metres(millimetres: np.ndarray) -> np.ndarray:
    """Convert (H, W) uint16 mm to float32 m, 0 where unknown."""
    depth = millimetres * np.float32(1e-3)
    depth[millimetres == _SATURATED] = 0
    return depth
