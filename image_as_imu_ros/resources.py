"""Where files are: models, launch and config beside the code, and what this package keeps for the next start."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from image_as_imu_ros.errors import InputError

DEFAULT_MODEL = "models/blur_imu_small.onnx"


def resource(name: str) -> Path:
    """Path of a shipped file, e.g. "config/ekf.yaml", in a source tree, a pip installation or a ROS workspace.

    Raises:
        InputError: the file is in none of them.
    """
    packages = Path(__file__).resolve().parents[1]
    # pip writes them under the prefix that the packages are under, PREFIX/lib/python3.10/site-packages, which is not
    # Python's own with --user and for Debian's /usr/local; with --target under the folder of the packages itself.
    prefixes = [packages, *packages.parents[2:3], Path(sys.prefix)]
    places = [packages, *(prefix / "share" / "image_as_imu_ros" for prefix in prefixes)]
    with suppress(ImportError, KeyError, OSError):  # no ROS, or this package is not in its workspace
        from ament_index_python.packages import get_package_share_directory

        places.insert(0, Path(get_package_share_directory("image_as_imu_ros")))
    for place in places:
        if (place / name).exists():
            return place / name
    raise InputError(f"{name} is missing; looked in {', '.join(map(str, places))}. Reinstall the package")


def cache_path(name: str) -> Path:
    """Name the user's folder for files that can be made again, e.g. "plans": under XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "image_as_imu" / name


def cache_folder(name: str) -> Path:
    """Find such a folder; make it if need be, for its user only.

    Raises:
        InputError: it cannot be made.
    """
    folder = cache_path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder} ({error.strerror}): set XDG_CACHE_HOME to one that can be written to"
        ) from None
    return folder
