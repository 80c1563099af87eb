"""What a photograph says about how it was taken (EXIF): exposure time and focal length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from image_as_imu_ros.errors import InputError

_EXIF_IFD, _EXPOSURE_TIME, _FOCAL_35MM = 0x8769, 0x829A, 0xA405  # tags of EXIF 2.32
_DIAGONAL_35MM = 43.27  # mm; equivalents compare diagonals (CIPA DCG-001)
_CONTRADICTION = 1.2  # factor; EXIF rounds both, and equivalents by up to 3 %


@dataclass(frozen=True)
class Photo:
    """What EXIF says; None where it says nothing.

    Attributes:
        exposure: s. focal_length: px of the file's own size, whichever way it is held.
    """

    exposure: float | None
    focal_length: float | None


@dataclass(frozen=True)
class Settled:
    """What is taken: fx, px, and exposure, s; `notes` say, a sentence each, where they come from or disagree."""

    fx: float
    exposure: float
    notes: tuple[str, ...]


def read_photo(path: str | Path) -> Photo:
    """Read a file's EXIF; nothing is known of a file that has none or is no image."""
    try:
        with Image.open(path) as image:
            tags = image.getexif().get_ifd(_EXIF_IFD)
            diagonal = math.hypot(*image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Photo(None, None)
    exposure, equivalent = (_positive(tags.get(tag)) for tag in (_EXPOSURE_TIME, _FOCAL_35MM))
    return Photo(exposure, None if equivalent is None else equivalent * diagonal / _DIAGONAL_35MM)


def settle(path: str | Path, fx: float | None, exposure: float | None) -> Settled:
    """Choose focal length and exposure of an image: what is given, else what EXIF says.

    Raises:
        InputError: neither says it.
    """
    photo = read_photo(path)
    notes: list[str] = []
    if fx is None:
        fx = _needed(photo.focal_length, "focal length", "--fx")
        notes.append(f"focal length {fx:.0f} px from EXIF's 35 mm equivalent, good to some 5 %")
    elif _contradicts(fx, photo.focal_length):
        notes.append(f"warning: --fx is {fx:g} px, but EXIF's 35 mm equivalent means {photo.focal_length:.0f} px")
    if exposure is None:
        exposure = _needed(photo.exposure, "exposure time", "--exposure")
        notes.append(f"exposure {1e3 * exposure:g} ms from EXIF")
    elif _contradicts(exposure, photo.exposure):
        notes.append(
            f"warning: --exposure is {1e3 * exposure:g} ms, but EXIF says {1e3 * (photo.exposure or 0):g} ms: "
            "all velocities scale with it"
        )
    return Settled(fx, exposure, tuple(notes))


def _needed(value: float | None, what: str, option: str) -> float:
    if value is None:
        raise InputError(f"the {what} is needed, and the image's EXIF does not say it: give {option}")
    return value


def _contradicts(given: float, said: float | None) -> bool:
    return said is not None and given > 0 and max(given / said, said / given) > _CONTRADICTION


def _positive(value: object) -> float | None:
    """Read a tag, which may be of any type and 0 / 0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
