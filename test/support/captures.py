"""Captures of a known motion in layouts that `convert` reads: a shaken camera in the demo's room, rendered small."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from image_as_imu_ros.demo import motion
from image_as_imu_ros.demo.renderer import render_blurred
from image_as_imu_ros.demo.room import boxes, room
from image_as_imu_ros.demo.sensor import photograph
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera

CAMERA = Camera(256, 192, 192.0, 192.0, 127.5, 95.5)
EXPOSURE = 0.016
RATE = 30.0  # Hz
GYROSCOPE_RATE = 100.0  # Hz
BEGIN = 1.2  # s into the demo's motion: it looks left and right
BOOT = 7000.0  # s that the phone's time is ahead
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
    return np.roll(so3.quaternion_from_matrix(rotation), -1)


def nanoseconds(times: np.ndarray) -> np.ndarray:
    return np.round(times * 1e9).astype(np.int64)


def booted(times: np.ndarray) -> np.ndarray:
    """Stamps (N,) ns on the phone's clock of times, s into the motion."""
    return nanoseconds(BOOT + np.asarray(times))


def phone_rates(times: np.ndarray) -> np.ndarray:
    """(N, 3) rad/s in the phone's axes."""
    return motion.angular_velocity(times) @ OPTICAL_TO_PHONE.T


def write_rows(path: Path, head: str, rows: list, separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [head] if head else []
    path.write_text("\n".join([*lines, *(separator.join(map(str, row)) for row in rows)]) + "\n")


def write_csv(path: Path, names: str, rows: np.ndarray, decimals: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, f"%.{decimals}f", ", ", header=names, comments="")


def write_video(path: Path, images: list[np.ndarray]) -> None:
    """Without loss, so that what is compared is not a codec."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), RATE, (width, height))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video without loss")
    for image in images:
        writer.write(image)
    writer.release()


def write_stray_capture(folder: Path, *, depth: bool = False, exposure: bool = False) -> Path:
    """As the app writes it: Core Motion's axes for the gyroscope, a first pose without an image, no exposure."""
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
    names = "timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z"
    write_csv(folder / "imu.csv", names, np.column_stack([BOOT + times, np.zeros((len(times), 3)), phone_rates(times)]))
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


def write_video_and_gyroscope(video: Path, gyroscope: Path, *, offset: float = 0.0, unit: float = 1.0) -> None:
    """A phone's: its own axes, and times in units of so many s, at `offset` s when the video begins."""
    write_video(video, pictures())
    times = gyroscope_times()
    seconds = times - frame_times()[1] + offset
    write_csv(gyroscope, "t,x,y,z", np.column_stack([seconds / unit, phone_rates(times)]))


def write_euroc_sequence(folder: Path) -> Path:
    """Camera and IMU sit askew in the body, and the gyroscope has a bias that the ground truth knows."""
    root = folder / "mav0"
    camera_to_body, imu_to_body = np.eye(4), np.eye(4)
    camera_to_body[:3, :3], camera_to_body[:3, 3] = so3.exp(np.array([0.3, -1.2, 0.5])), (0.1, -0.2, 0.05)
    imu_to_body[:3, :3] = so3.exp(np.array([-0.7, 0.2, 1.1]))
    bias, times = np.array([0.05, -0.03, 0.08]), gyroscope_times()
    stamps = booted(times)
    (root / "cam0" / "data").mkdir(parents=True)
    for stamp, picture in zip(booted(frame_times()[1:]).tolist(), pictures(), strict=True):
        cv2.imwrite(str(root / "cam0" / "data" / f"{stamp}.png"), cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    files = sorted((root / "cam0" / "data").iterdir())
    listing = "\r\n".join(["#timestamp [ns],filename", *(f"{file.stem},{file.name}" for file in files)])
    (root / "cam0" / "data.csv").write_text(listing + "\r\n")
    (root / "cam0" / "sensor.yaml").write_text(
        f"T_BS:\n  cols: 4\n  rows: 4\n  data: {camera_to_body.ravel().tolist()}\nresolution: [256, 192]\n"
        "intrinsics: [192.0, 192.0, 127.5, 95.5]\ndistortion_model: radial-tangential\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 1.7e-05]\n"
    )
    (root / "imu0").mkdir()
    transform = f"T_BS:\n  cols: 4\n  rows: 4\n  data: {imu_to_body.ravel().tolist()}\n"
    (root / "imu0" / "sensor.yaml").write_text(transform)
    rates = motion.angular_velocity(times) @ (imu_to_body[:3, :3].T @ camera_to_body[:3, :3]).T + bias
    _write_states(root / "imu0" / "data.csv", stamps, np.column_stack([rates, np.zeros((len(times), 3))]))
    states = []
    for time in times:
        pose = trajectory().pose(time)
        body = pose.rotation @ camera_to_body[:3, :3].T
        x, y, z, w = quaternion(body)
        states.append([*(pose.position - body @ camera_to_body[:3, 3]), w, x, y, z, 0, 0, 0, *bias, 0, 0, 0])
    _write_states(root / "state_groundtruth_estimate0" / "data.csv", stamps, np.array(states))
    return folder


def _write_states(path: Path, stamps: np.ndarray, values: np.ndarray) -> None:
    rows = [[stamp, *(f"{v:.12f}" for v in row)] for stamp, row in zip(stamps, values, strict=True)]
    write_rows(path, "#timestamp [ns],...", rows)


def write_tum_sequence(folder: Path) -> Path:
    """Three frames, 1 s apart, of a camera that rotates at ω_y = 0.5 rad/s; depth, 2 m, for the first."""
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    lists = {"rgb.txt": ["# colour images"], "depth.txt": ["# depth"], "groundtruth.txt": ["# poses"]}
    for i in range(3):
        stamp = f"13050312{i:02}.175304"
        cv2.imwrite(str(folder / "rgb" / f"{stamp}.png"), np.full((480, 640, 3), (10, 20, 200), np.uint8))
        lists["rgb.txt"].append(f"{stamp} rgb/{stamp}.png")
    cv2.imwrite(str(folder / "depth" / "0.png"), np.full((480, 640), 10_000, np.uint16))
    lists["depth.txt"].append("1305031200.180000 depth/0.png")
    for step in range(201):
        rotation = quaternion(so3.exp(np.array([0, 0.01 * step * 0.5, 0])))
        lists["groundtruth.txt"].append(f"{1305031200 + 0.01 * step:.6f} 0 0 0 " + " ".join(map(str, rotation)))
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def write_mars_capture(folder: Path) -> Path:
    """As MARS logger for Android writes it; of the camera's frames, the first two did not get into the video."""
    folder.mkdir()
    write_video(folder / "movie.mp4", pictures())
    times = frame_times()[1:]
    stamps = booted(np.r_[times[0] - 2 / RATE, times[0] - 1 / RATE, times]).tolist()
    head = "Timestamp[nanosec],fx[px],fy[px],Frame No.,Exposure time[nanosec],Sensor frame duration[nanosec],"
    head += "Frame readout time[nanosec],ISO,Focal length,Focus distance,AF mode,Unix time[nanosec]"
    rows = [
        [s, 192 + 0.1 * i, 193, i, 16_000_000 + 1000 * i, 33333333, 21_700_000, 100, 4.38, 0.1, 1, 1_600 * s]
        for i, s in enumerate(stamps)
    ]
    write_rows(folder / "movie_metadata.csv", head, rows)
    write_rows(folder / "frame_timestamps.txt", "", [[stamp] for stamp in stamps[2:]])
    head = "Timestamp[nanosec],gx[rad/s],gy[rad/s],gz[rad/s],ax[m/s^2],ay[m/s^2],az[m/s^2],Unix time[nanosec]"
    times = gyroscope_times()
    rows = [
        [stamp, *rates, 0, 0, 9.8, 1_600 * stamp]
        for stamp, rates in zip(booted(times).tolist(), phone_rates(times).tolist(), strict=True)
    ]
    write_rows(folder / "gyro_accel.csv", head, rows)
    return folder


def write_images_and_table(folder: Path) -> Path:
    """A folder of images, and frames.csv beside it."""
    folder.mkdir()
    for number, image in enumerate(pictures()):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    stamps = booted(frame_times()[1:]).tolist()
    rows = [[stamp, f"{number}.png", EXPOSURE] for number, stamp in enumerate(stamps)]
    write_rows(folder.parent / "frames.csv", "timestamp_ns,file,exposure", rows)
    return folder
