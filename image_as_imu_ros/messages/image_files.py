"""Image files, in memory as CompressedImage carries them, or in folders → arrays, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import MAX_SIDE

# Markers of the segment that holds a JPEG's size, start of frame (ITU T.81, table B.1).
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"
_USUAL_END = 64  # bytes, within which a file's end marker mostly stands

# Half a megabyte can hold 16384 × 16384 px, which take gigabytes and most of a minute to decode. Machine-vision sensors
# have up to 65 megapixels (Gpixel GMAX3265: 9344 × 7000).
_MAX_PIXELS = 8192 * 8192

# For whoever has images of another kind.
REPUBLISH = "ros2 run image_transport republish makes raw images of other transports' (theora, ffmpeg, zstd, …)"


class UnreadableImageError(InputError):
    """One image of many is missing or damaged; the others may be whole."""


def read_image_file(path: str | Path, flags: int) -> np.ndarray | None:
    """Read an image file as `cv2.imread` does; None where it is missing or no image.

    OpenCV takes names for UTF-8, and crashes where they are not. Python reads any.

    Raises:
        UnreadableImageError: it is cut off, or has more pixels than OpenCV takes.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError):  # ValueError: a zero in the name
        return None
    if _is_cut(memoryview(data)):
        raise UnreadableImageError(f"{path} cannot be read: it is cut off, the end of the image is missing")
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise UnreadableImageError(f"{path} cannot be read as an image: {error.err}") from None


def write_image_file(path: str | Path, image: np.ndarray) -> None:
    """Write an image file as `cv2.imwrite` does, in the format of the name's suffix.

    Raises:
        InputError: OpenCV does not know the suffix. OSError: the file cannot be written.
    """
    suffix = Path(path).suffix
    try:
        written, data = cv2.imencode(suffix, image) if suffix.isascii() else (False, image)
    except cv2.error:
        written, data = False, image
    if not written:
        raise InputError(f"{str(path)!r} cannot be written: its name must end in .png or .jpg")
    Path(path).write_bytes(data.tobytes())


def decode_file(data: memoryview, name: str, flags: int) -> np.ndarray:
    """Decode an image file in memory to an array as OpenCV gives it, BGR if coloured.

    Args:
        name: of the format, for messages.
        flags: OpenCV's IMREAD flags.

    Raises:
        InputError: the data are damaged, too large, or in a format that OpenCV cannot read.
    """
    size = stored_size(data)
    check_size(size)
    is_cut = _is_cut(data)
    try:
        image = None if is_cut else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, ValueError):  # ValueError: no data
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        why = " (its end is missing)" if is_cut else f": it is no JPEG or PNG; {REPUBLISH}" if size is None else ""
        raise InputError(f"compressed image of {len(data)} bytes, format {name!r}, cannot be decoded{why}")
    check_size((image.shape[1], image.shape[0]))
    return image


def stored_size(data: memoryview) -> tuple[int, int] | None:
    """Read (width, height), px, from the header of a PNG or JPEG; None where it is in neither.

    A few bytes can claim an image of hundreds of megabytes: the size is read before anything is decoded.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] != b"\xff\xd8":
        return None
    for marker, position in _jpeg_segments(data):
        if marker in _JPEG_FRAMES and position + 9 <= len(data):
            height, width = (int.from_bytes(data[position + i : position + i + 2], "big") for i in (5, 7))
            return width, height
    return None


def _is_cut(data: memoryview) -> bool:
    """Tell whether a PNG or JPEG lacks its end: OpenCV decodes the rows that are there and fills up the others.

    What follows the end does not matter: drivers leave fill bytes and the rest of a buffer there, phones a video.
    """
    if data[:4] == b"\x89PNG":
        return not _png_has_end(data)
    return data[:2] == b"\xff\xd8" and not _jpeg_has_end(data)


def _jpeg_has_end(data: memoryview) -> bool:
    """Tell whether an end marker follows the scan. In segments before it, a thumbnail has one of its own.

    No such bytes are in a scan itself: a zero follows each of its 0xFF.
    """
    scan = max((position for _, position in _jpeg_segments(data)), default=2)
    usual = max(scan, len(data) - _USUAL_END)
    return _JPEG_END in bytes(data[usual:]) or _JPEG_END in bytes(data[scan : usual + 1])


def _jpeg_segments(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (marker, position) of each segment of a JPEG up to the first scan, or to what is no segment."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        yield marker, position
        if marker == _JPEG_SCAN:
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _png_has_end(data: memoryview) -> bool:
    position = 8
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def check_size(size: tuple[int, int] | None) -> None:
    """Check (width, height), px, where it is known.

    Raises:
        InputError: no camera has so many pixels, and nothing here takes them.
    """
    if size is not None and (max(size) > MAX_SIDE or size[0] * size[1] > _MAX_PIXELS):
        raise InputError(
            f"image size is {size[0]}×{size[1]} px; expected at most {MAX_SIDE} px a side and {_MAX_PIXELS / 1e6:.0f} "
            "megapixels"
        )
