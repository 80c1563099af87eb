"""Captures of a known motion in layouts that `convert` reads: a shaken camera in the demo's room, rendered small."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.camera import Camera
from image_as_imu_ros.demo import motion
from image_as_imu_ros.demo.renderer import render_blurred
from image_as_imu_ros.demo.room import boxes, room
from image_as_imu_ros.demo.sensor import photograph

CAMERA = Camera(256, 192, 192.0, 192.0, 127.5, 95.5)
EXPOSURE = 0.016
RATE = 30.0  # Hz
GYROSCOPE_RATE = 100.0  # Hz
BEGIN = 1.2  # s into the demo's motion: it looks left and right
BOOT = 7000.0  # s that the phone's clock is ahead
FRAMES = 8

# Written out here once more: the converter's own tables are what is tested.
OPTICAL_TO_PHONE = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

_SUBFRAMES = 6


def frame_times() -> np.ndarray:
    """(FRAMES + 1,) mid-exposures, s into the motion."""
    return BEGIN + np.arange(FRAMES + 1) / RATE


def gyroscope_times() -> np.ndarray:
    return BEGIN + np.arange(int(GYROSCOPE_RATE * (FRAMES + 1) / RATE)) / GYROSCOPE_RATE


@cache
def trajectory() -> motion.Trajectory:
    return motion.Trajectory(BEGIN + 1.0)


@cache
def pictures() -> list[np.ndarray]:
    """(192, 256, 3) uint8 BGR, one per frame but the first, which the phone's video does not show."""
    shutter = EXPOSURE * ((np.arange(_SUBFRAMES) + 0.5) / _SUBFRAMES - 0.5)
    return [
        photograph(render_blurred(room(), boxes(), CAMERA, trajectory().pose, time + shutter), seed=number)
        for number, time in enumerate(frame_times()[1:])
    ]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x, y, z, w."""
    turn = cv2.Rodrigues(rotation)[0][:, 0]
    angle = np.linalg.norm(turn)
    axis = turn / angle if angle else turn
    return np.r_[np.sin(angle / 2) * axis, np.cos(angle / 2)]


def write_csv(path: Path, names: str, rows: np.ndarray, decimals: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, f"%.{decimals}f", ", ", header=names, comments="")


def write_video(path: Path, images: list[np.ndarray]) -> None:
    """Without loss, so that what is compared is not a codec."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), RATE, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()


def write_stray_capture(folder: Path, *, depth: bool = False, exposure: bool = False) -> Path:
    """As the app writes it: Core Motion's axes for the gyroscope, a first pose without a picture, no exposure."""
    folder.mkdir(parents=True)
    write_video(folder / "rgb.mp4", pictures())
    np.savetxt(folder / "camera_matrix.csv", CAMERA.matrix, "%.6f", ", ")
    times = frame_times()
    poses = [trajectory().pose(time) for time in times]
    rows = [
        [BOOT + time, i, *pose.position, *quaternion(pose.rotation)]
        for i, (time, pose) in enumerate(zip(times, poses, strict=True))
    ]
    names = "timestamp, frame, x, y, z, qx, qy, qz, qw"
    if exposure:
        names, rows = names + ", exposure", [[*row, EXPOSURE] for row in rows]
    write_csv(folder / "odometry.csv", names, np.array(rows))
    times = gyroscope_times()
    rates = motion.angular_velocity(times) @ OPTICAL_TO_PHONE.T
    names = "timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z"
    write_csv(folder / "imu.csv", names, np.column_stack([BOOT + times, np.zeros((len(times), 3)), rates]))
    if depth:
        for name, image in (
            ("depth", np.full((48, 64), 2000, np.uint16)),
            ("confidence", np.full((48, 64), 2, np.uint8)),
        ):
            (folder / name).mkdir()
            image[:, :32] = 3000 if name == "depth" else 0
            for number in range(FRAMES + 1):
                cv2.imwrite(str(folder / name / f"{number:06d}.png"), image)
    return folder
