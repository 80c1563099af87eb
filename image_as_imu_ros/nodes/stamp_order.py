"""Header stamps that go back: images out of order, and recordings that start again."""

from __future__ import annotations

from image_as_imu_ros.messages.stamps import RESTART
from image_as_imu_ros.nodes.frames import Refused

_IN_A_ROW = 3  # older images in order among themselves: time was set back, by less than RESTART


class StampOrder:
    """Keeps the stamps of what is published increasing until a recording starts again."""

    def __init__(self) -> None:
        self._image = 0
        self._published = 0
        self._refused: list[int] = []  # stamps since the last image that was taken

    def check(self, stamp: int) -> None:
        """Take in an image's header stamp, ns.

        Raises:
            Refused: the image is a little older than the one before.
        """
        behind = self._image - stamp
        if self._refused and stamp < self._refused[-1]:
            self._refused.clear()
        if 0 < behind < RESTART and len(self._refused) < _IN_A_ROW - 1:
            self._refused.append(stamp)
            raise Refused(
                "order", f"the image is {behind / 1e6:.0f} ms older than the one before it: images come out of order"
            )
        if behind > 0:
            self._published = 0
        self._image = stamp
        self._refused.clear()

    def may_publish(self, stamp: int) -> bool:
        """Tell whether a velocity's stamp, ns, is later than that of the one before; if so, it is now the last one."""
        later = stamp > self._published
        if later:
            self._published = stamp
        return later
