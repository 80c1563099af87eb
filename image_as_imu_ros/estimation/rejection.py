"""Why a measurement is not used."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.settings import TextEnum


class Reason(TextEnum):
    """Why two frames give no velocity."""

    OLD_FRAME = "old frame"
    NO_TEXTURE = "no texture"
    UNKNOWN_DEPTH = "unknown depth"
    NO_SOLUTION = "no solution"
    NO_MATCH = "no match"
    AMBIGUOUS = "ambiguous"
    CONTRADICTS_BLUR = "contradicts blur"


@dataclass(frozen=True)
class Rejection:
    """A measurement that is not used.

    Attributes:
        reason: to count by. message: for people, with the values that led to it.
    """

    reason: Reason
    message: str
