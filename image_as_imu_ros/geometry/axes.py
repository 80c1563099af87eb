"""Signed axes, "-y,-x,-z": how the axes of a sensor that is mounted squarely lie in another frame."""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.errors import InputError


def rotation_of_axes(axes: str) -> np.ndarray:
    """Read a text like "-y,-x,-z" as the rotation (3, 3) from the sensor's frame.

    Row i is what the target's axis i is in the sensor's axes: a forward-looking camera on a robot base, whose x points
    forward, y left and z up, has "-y,-z,x".

    Raises:
        InputError: it is not three different axes, or they make a left-handed frame.
    """
    rows = []
    for axis in axes.split(","):
        sign, name = (-1.0, axis.strip()[1:]) if axis.strip().startswith("-") else (1.0, axis.strip().removeprefix("+"))
        if name not in ("x", "y", "z"):
            raise InputError(f"axes are {axes!r}; expected three of x, y, z with signs, for example '-y,-z,x'")
        rows.append(sign * np.eye(3)["xyz".index(name)])
    rotation = np.array(rows)
    if rotation.shape != (3, 3) or abs(np.linalg.det(rotation)) < 0.5:
        raise InputError(f"axes are {axes!r}; each of x, y and z must appear once")
    if np.linalg.det(rotation) < 0:
        raise InputError(f"axes {axes!r} make a left-handed frame: the sign of one of them is wrong")
    return rotation
