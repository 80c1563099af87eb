"""A folder of images with a table of frames, and event cameras' sequences in RPG's text layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Frames, Gyroscope, Poses
from image_as_imu_ros.datasets.files import ascending, check_stamp, first_size, nanoseconds, read_image, read_text
from image_as_imu_ros.datasets.frame_table import FrameTable, check_period, read_frame_table
from image_as_imu_ros.datasets.gyroscope_file import GyroscopeSamples, placed
from image_as_imu_ros.datasets.video import camera_of, frame_of
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera, Intrinsics

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".webp")
_DELAY = 1_000_000_000  # ns added where stamps begin at 0, which means that there is none


def open_capture(
    folder: Path,
    intrinsics: Intrinsics | None,
    gyroscope: tuple[GyroscopeSamples, Path] | None = None,
    *,
    rotation: np.ndarray | None = None,
    offset: float = 0.0,
    frames: FrameTable | None = None,
) -> Capture:
    """Open a folder of images.

    Args:
        intrinsics: None where the table has focal lengths.
        gyroscope: samples and their file, on the clock of the frames.
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.
        offset: s by which the gyroscope's clock is ahead of the frames'.
        frames: names of files, else a row per image in the order of names; None: the names are stamps in ns.

    Raises:
        InputError: no image can be read, or nothing says when they were taken.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of images")
    table = _stamped_by_name(folder) if frames is None else frames
    files = table.files or tuple(path.name for path in _images(folder))
    if len(files) != len(table):
        raise InputError(f"{folder} has {len(files)} images, but their table {len(table)} rows: which belong together?")
    order = np.argsort(table.stamps, kind="stable")
    delay = _DELAY if table.stamps.min() <= 0 else 0
    width, height = first_size(folder / file for file in files)
    camera = camera_of(intrinsics, table, width, height)
    stamps = table.stamps[order] + delay

    def read(i: int) -> CapturedFrame:
        number = int(order[i])
        return frame_of(int(stamps[i]), read_image(folder / files[number]), camera, table, number)

    samples = None
    if gyroscope is not None:
        span = range(int(stamps[0]), int(stamps[-1]))
        samples = placed(gyroscope[0], gyroscope[1], rotation, delay - round(1e9 * offset), span)
    return Capture(
        Frames(stamps, np.zeros(len(stamps), bool), read),
        len(stamps),
        lossless=Path(files[0]).suffix.lower() not in (".jpg", ".jpeg", ".webp"),
        gyroscope=samples,
        readout_time=table.readout_time,
    )


def open_events(folder: Path) -> Capture:
    """Open a sequence of the event-camera data set (Mueggler et al. 2017), of which the frames are read.

    images.txt (time, file), calib.txt (fx fy cx cy k1 k2 p1 p2 k3), imu.txt (time ax ay az gx gy gz, in the camera's
    axes) and groundtruth.txt (time px py pz qx qy qz qw of the camera).

    Raises:
        InputError: files are missing or damaged.
    """
    times, files = _listed(folder / "images.txt")
    camera_numbers = _numbers(folder / "calib.txt", 9)[0]
    width, height = first_size(folder / file for file in files)
    fx, fy, cx, cy, *distortion = camera_numbers[:9].tolist()
    camera = Camera(width, height, fx, fy, cx, cy, "plumb_bob", tuple(distortion))
    delay = _DELAY if times[0] <= 0 else 0
    stamps = times + delay

    def read(i: int) -> CapturedFrame:
        return CapturedFrame(int(stamps[i]), read_image(folder / files[i]), camera)

    gyroscope = poses = None
    if (folder / "imu.txt").exists():
        rows = _numbers(folder / "imu.txt", 7)
        gyroscope = Gyroscope(*ascending(nanoseconds(rows[:, 0]) + delay, rows[:, 4:7]))
    if (folder / "groundtruth.txt").exists():
        rows = _numbers(folder / "groundtruth.txt", 8)
        pose_stamps, values = ascending(nanoseconds(rows[:, 0]) + delay, rows[:, 1:8])
        poses = Poses.of(pose_stamps, values[:, [6, 3, 4, 5]], values[:, :3])
    frames = Frames(stamps, np.zeros(len(stamps), bool), read)
    return Capture(frames, len(stamps), lossless=True, gyroscope=gyroscope, poses=poses)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _stamped_by_name(folder: Path) -> FrameTable:
    images = _images(folder)
    if not images:
        raise InputError(f"{folder} holds no images ({', '.join(_SUFFIXES)})")
    if not all(path.stem.isdecimal() for path in images):
        raise InputError(f"{folder}: the names of its images are no stamps in ns: give a table of frames, --frames CSV")
    unknown = np.full(len(images), np.nan)
    stamps = np.array([check_stamp(int(path.stem)) for path in images], np.int64)
    check_period(stamps, f"{folder}: the names of its images, taken for stamps in ns,", "--frames CSV tells the stamps")
    return FrameTable(stamps, tuple(path.name for path in images), unknown, unknown, unknown, unknown)


def _listed(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read lines of a time, s, and a file name: stamps (N,) ns, and names."""
    try:
        lines = read_text(path).splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        stamps, files = read_frame_table(path).stamps, tuple(row[1] for row in rows)
    except (OSError, IndexError) as error:
        raise InputError(f"{path} is not a list of times and file names: {error}") from None
    return stamps, files


def _numbers(path: Path, least_columns: int) -> np.ndarray:
    """Read rows of numbers, (N, columns)."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}") from None
    if not len(table) or table.shape[1] < least_columns:
        raise InputError(f"{path} needs rows of {least_columns} numbers")
    return table
