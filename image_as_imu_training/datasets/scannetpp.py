"""iPhone recordings of ScanNet++ (Yeshwanth et al. 2023): SCENE/iphone/ with video, depth, ARKit and COLMAP poses.

Poses are ARKit's, aligned with the scene (`aligned_pose`: camera-to-world, OpenCV axes), at the video's rate. COLMAP's
are exact, but there are some for about every tenth frame only: where the two disagree about how the camera moved,
ARKit has jumped.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import lz4.block
import numpy as np

from image_as_imu_ros.datasets.capture import DepthImage
from image_as_imu_ros.datasets.files import read_depth
from image_as_imu_ros.datasets.video_file import Video
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.rgbd import (
    RgbdSequence,
    find_jumps,
    mean_motion,
    pose_matrices,
    read_colour,
    rgb,
)

MARKER = "iphone/pose_intrinsic_imu.json"
VALIDATION_SCENES = frozenset((Path(__file__).parent / "scannetpp_validation.txt").read_text(encoding="utf-8").split())
_DEPTH_SHAPE = (192, 256)
# ARKit and COLMAP may differ by this much plus a share of the motion: m and rad.
_DISAGREEMENT, _DISAGREEMENT_SHARE = np.array([0.02, 0.02]), 0.1


def read(scene: Path) -> RgbdSequence:
    """Read the frames of one scene that have a pose, a colour image and a depth image."""
    folder = scene / "iphone"
    entries = json.loads((folder / "pose_intrinsic_imu.json").read_text(encoding="utf-8"))
    entries = {_number(name): entry for name, entry in entries.items() if "aligned_pose" in entry}
    colour_numbers, read_image = _open_colour(folder)
    depth_numbers, read_depth_map = _open_depth(folder)
    numbers = sorted(entries.keys() & colour_numbers & depth_numbers)
    if not numbers:
        raise InputError(f"{folder}: no frame has a pose, a colour image and a depth image")
    camera = _read_camera(folder / "colmap" / "cameras.txt")
    stamps = np.array([entries[number]["timestamp"] for number in numbers], np.float64)
    poses = np.array([entries[number]["aligned_pose"] for number in numbers], np.float64)
    jumps = find_jumps(stamps, poses) | _disagreement(numbers, poses, _read_colmap(folder / "colmap" / "images.txt"))

    def read_frame(i: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        image = read_image(numbers[i])
        return image, read_depth_map(numbers[i]), camera.resize(*image.shape[1::-1])

    return RgbdSequence(stamps, poses, jumps, read_frame)


def _number(name: str) -> int:
    return int(Path(name).stem.removeprefix("frame_"))


def _open_colour(folder: Path) -> tuple[set[int], Callable[[int], np.ndarray]]:
    """List which frames there are, and how to read one: from extracted images, else from the video."""
    if (folder / "rgb").is_dir():
        files = {_number(path.name): path for path in (folder / "rgb").glob("frame_*.jpg")}
        return set(files), lambda number: read_colour(files[number])
    video = Video(folder / "rgb.mkv" if (folder / "rgb.mkv").exists() else folder / "rgb.mp4")
    return set(range(len(video))), lambda number: rgb(video[number])


def _open_depth(folder: Path) -> tuple[set[int], Callable[[int], np.ndarray]]:
    """Do the same for depth, (192, 256) float32 m: from extracted images in mm, else from depth.bin."""
    if (folder / "depth").is_dir():
        files = {_number(path.name): path for path in (folder / "depth").glob("frame_*.png")}
        return set(files), lambda number: read_depth(files[number]).metres()
    try:
        data = np.memmap(folder / "depth.bin", np.uint8, "r")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no depth/, and depth.bin is missing or empty") from error
    frames = _compressed_frames(data)
    if frames is None:  # one raw DEFLATE stream of float32 m
        whole = np.frombuffer(zlib.decompress(data.data, -zlib.MAX_WBITS), np.float32).reshape(-1, *_DEPTH_SHAPE)
        millimetres = (whole * 1000).astype(np.uint16)
        return set(range(len(millimetres))), lambda number: DepthImage(millimetres[number]).metres()
    return set(range(len(frames))), lambda number: _decompress(frames[number])


def _compressed_frames(data: np.ndarray) -> list[np.ndarray] | None:
    """Split a depth.bin whose frames stand one by one, each after its size; None if it is not such a file."""
    frames, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4].tobytes(), "little")
        frames.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return frames if position == len(data) else None


def _decompress(frame: np.ndarray) -> np.ndarray:
    """Decode one frame: LZ4 blocks hold uint16 mm, raw DEFLATE streams float32 m."""
    try:
        return np.frombuffer(zlib.decompress(frame.data, -zlib.MAX_WBITS), np.float32).reshape(_DEPTH_SHAPE)
    except (zlib.error, ValueError):
        values = lz4.block.decompress(frame.tobytes(), uncompressed_size=2 * _DEPTH_SHAPE[0] * _DEPTH_SHAPE[1])
        return DepthImage(np.frombuffer(values, np.uint16).reshape(_DEPTH_SHAPE)).metres()


def _disagreement(numbers: list[int], poses: np.ndarray, colmap: dict[int, np.ndarray]) -> np.ndarray:
    """Find steps between COLMAP's frames over which the poses move otherwise than COLMAP's: (N − 1,) bool."""
    jumps = np.zeros(len(numbers) - 1, bool)
    known = [i for i, number in enumerate(numbers) if number in colmap]
    for first, second in pairwise(known):
        expected = np.array(mean_motion(colmap[numbers[first]], colmap[numbers[second]], colmap[numbers[first]]))
        difference = np.array(mean_motion(poses[first], poses[second], poses[first])) - expected
        allowed = _DISAGREEMENT + _DISAGREEMENT_SHARE * np.linalg.norm(expected, axis=1)
        jumps[first:second] = (np.linalg.norm(difference, axis=1) > allowed).any()
    return jumps


def _read_colmap(path: Path) -> dict[int, np.ndarray]:
    """Read camera-to-world poses by frame number. Each has two lines, the second with its 2-D points, if any."""
    lines = (
        [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        if path.exists()
        else []
    )
    images = [line.split() for line in lines[::2] if line.strip()]
    values = np.array([words[1:8] for words in images], np.float64).reshape(-1, 7)
    poses = pose_matrices(values[:, 4:7], so3.rotation_matrices(values[:, :4]))
    return {_number(words[9]): np.linalg.inv(pose) for words, pose in zip(images, poses, strict=True)}


def _read_camera(path: Path) -> Camera:
    """Read the iPhone's camera. COLMAP counts pixels from the image's corner, Camera from a pixel's centre."""
    try:
        line = next(
            line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")
        )
    except (OSError, StopIteration) as error:
        raise InputError(f"{path} is missing or empty") from error
    _, model, width, height, *parameters = line.split()
    if model not in ("OPENCV", "PINHOLE"):
        raise InputError(f"{path}: camera model {model} is not supported; ScanNet++ has OPENCV")
    fx, fy, cx, cy, *distortion = map(float, parameters)
    return Camera(int(width), int(height), fx, fy, cx - 0.5, cy - 0.5, "plumb_bob", tuple(distortion))
