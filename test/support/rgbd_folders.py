"""Tiny RGB-D recordings of a known scene along a known path, in the layouts that are published."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera

CAMERA = Camera(64, 48, 60.0, 60.0, 31.0, 24.0)
WALL = np.array([0.05, -0.03, 0.5])  # WALL·X = 1 for its points X, m, in the world's axes
LINEAR = np.array([0.3, -0.1, 0.2])  # m/s, in the world's axes
ANGULAR = np.array([0.2, 0.6, -0.3])  # rad/s, in the camera's axes
START = 1000.0  # s
ARKIT_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])  # the axes of one camera: y up, z backward


def pose_at(stamp: float) -> np.ndarray:
    """(4, 4) camera-to-world on a path of constant velocity."""
    pose = np.eye(4)
    pose[:3, :3] = so3.exp(np.array([0.1, -0.2, 0.05])) @ so3.exp((stamp - START) * ANGULAR)
    pose[:3, 3] = (stamp - START) * LINEAR
    return pose


def see(camera: Camera, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a camera sees of the wall, which has smooth stripes: 8-bit gray (h, w) and depth (h, w) m."""
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = camera.rays(np.column_stack([x.ravel(), y.ravel()]))
    rays = np.column_stack([rays, np.ones(len(rays))]) @ pose[:3, :3].T
    depth = (1 - pose[:3, 3] @ WALL) / (rays @ WALL)
    u, v, _ = (rays * depth[:, None] + pose[:3, 3]).T
    gray = 128 + 50 * np.sin(12 * u + 4 * v) + 50 * np.sin(10 * v - 2 * u)
    return gray.reshape(y.shape).round().astype(np.uint8), depth.reshape(y.shape)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) → x, y, z, w."""
    return np.roll(so3.quaternion_from_matrix(rotation), -1)


def depth_units(depth: np.ndarray, units: int = 1000, unknown: int = 0) -> np.ndarray:
    """16-bit depth whose top-left corner is unknown."""
    values = (depth * units).round().astype(np.uint16)
    values[:5, :5] = unknown
    return values


def write_image(file: Path, image: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)


def write_video(file: Path, images: list[np.ndarray]) -> None:
    """Gray images without loss, at 60 Hz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"FFV1"), 60, images[0].shape[::-1])
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    writer.release()


def write_seven_scenes(folder: Path, numbers: Sequence[int], suffix: str = "png") -> None:
    """Frames of the given numbers, taken at 30 Hz from START on."""
    for number in numbers:
        gray, depth = see(CAMERA, pose_at(START + number / 30))
        write_image(folder / f"frame-{number:06d}.color.{suffix}", gray)
        write_image(folder / f"frame-{number:06d}.depth.png", depth_units(depth, unknown=65535))
        np.savetxt(folder / f"frame-{number:06d}.pose.txt", pose_at(START + number / 30))
    np.savetxt(folder / "camera-intrinsics.txt", CAMERA.matrix)


def write_tum(folder: Path, stamps: Sequence[float], camera: Camera = CAMERA, depth_delay: float = 0.011) -> None:
    """Depth images come a little after the colour images; the motion capture runs at its own times."""
    lists = {"rgb": ["# color images", "# timestamp filename"], "depth": ["# depth maps"], "groundtruth": ["# poses"]}
    for stamp in stamps:
        gray, depth = see(camera, pose_at(stamp))
        write_image(folder / f"rgb/{stamp:.6f}.png", gray)
        write_image(folder / f"depth/{stamp + depth_delay:.6f}.png", depth_units(depth, 5000))
        lists["rgb"].append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
        lists["depth"].append(f"{stamp + depth_delay:.6f} depth/{stamp + depth_delay:.6f}.png")
    for stamp in np.arange(stamps[0] - 0.037, stamps[-1] + 0.05, 0.01):
        pose = pose_at(stamp)
        words = (stamp, *pose[:3, 3], *quaternion(pose[:3, :3]))
        lists["groundtruth"].append(" ".join(f"{word:.9f}" for word in words))
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    if camera is CAMERA:
        np.savetxt(folder / "camera-intrinsics.txt", camera.matrix)


def write_stray(folder: Path, stamps: Sequence[float]) -> None:
    """As the app does: ARKit's camera axes, rotated by 180° about x before the quaternion is written."""
    rows = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    images = []
    for i, stamp in enumerate(stamps):
        pose = pose_at(stamp)
        arkit = pose[:3, :3] @ ARKIT_FROM_OPENCV
        written = arkit @ so3.exp(np.array([np.pi, 0, 0]))
        words = ", ".join(f"{word:.9f}" for word in (*pose[:3, 3], *quaternion(written)))
        rows.append(f"{stamp:.6f}, {i:06d}, {words}")
        gray, depth = see(CAMERA, pose)
        images.append(gray)
        write_image(folder / f"depth/{i:06d}.png", depth_units(depth))
        write_image(folder / f"confidence/{i:06d}.png", np.full(depth.shape, 2, np.uint8))
    (folder / "odometry.csv").write_text("\n".join(rows) + "\n")
    np.savetxt(folder / "camera_matrix.csv", CAMERA.matrix, delimiter=", ")
    write_video(folder / "rgb.mp4", images)


def write_scannetpp(scene: Path, stamps: Sequence[float], colmap: Sequence[int] = ()) -> None:
    """A video, extracted depth images, and COLMAP poses of the frames whose numbers are given."""
    folder = scene / "iphone"
    images, entries = [], {}
    lines = ["# Image list with two lines of data per image:"]
    for i, stamp in enumerate(stamps):
        gray, depth = see(CAMERA, pose_at(stamp))
        images.append(gray)
        write_image(folder / f"depth/frame_{i:06d}.png", depth_units(depth))
        entries[f"frame_{i:06d}"] = {"timestamp": stamp, "aligned_pose": pose_at(stamp).tolist()}
    for i in colmap:
        world_to_camera = np.linalg.inv(pose_at(stamps[i]))
        x, y, z, w = quaternion(world_to_camera[:3, :3])
        lines += [" ".join(map(str, (i + 1, w, x, y, z, *world_to_camera[:3, 3], 1, f"frame_{i:06d}.jpg"))), ""]
    write_video(folder / "rgb.mkv", images)
    (folder / "pose_intrinsic_imu.json").write_text(json.dumps(entries))
    (folder / "colmap").mkdir()
    (folder / "colmap" / "images.txt").write_text("\n".join(lines) + "\n")
    camera = f"1 OPENCV 64 48 {CAMERA.fx} {CAMERA.fy} {CAMERA.cx + 0.5} {CAMERA.cy + 0.5} 0 0 0 0"
    (folder / "colmap" / "cameras.txt").write_text(f"# Camera list\n{camera}\n")


def deflated(values: np.ndarray) -> bytes:
    """A raw DEFLATE stream, as in depth.bin."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(values.tobytes()) + compressor.flush()
