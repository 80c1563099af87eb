"""The demo's camera as a recording (rosbag2), to try `evaluate` and a node's replay on; needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, DepthImage, Gyroscope, Poses
from image_as_imu_ros.datasets.files import nanoseconds
from image_as_imu_ros.demo import motion
from image_as_imu_ros.demo.recording import CAMERA, EXPOSURE, Recording, frame_count, open_recording, rendered
from image_as_imu_ros.recordings.bag_writer import check_new
from image_as_imu_ros.recordings.recording_writer import write_recording

_START = 1_000_000_000  # ns; stamp of the first exposure's start, for a stamp of 0 means that there is none
_GROUND_TRUTH_RATE = 200.0  # Hz


def record(path: Path, seconds: float, depth: bool) -> int:
    """Write the first seconds of the demo: images stamped at mid-exposure, exposures, gyroscope, poses, twist.

    Args:
        depth: whether to write depth images, too.

    Returns:
        The number of frames.

    Raises:
        InputError: the folder exists or cannot be made.
    """
    check_new(path)
    frames = frame_count(seconds)
    recording = open_recording(rendered(seconds), frames)
    times = np.arange(round(seconds * _GROUND_TRUTH_RATE)) / _GROUND_TRUTH_RATE
    trajectory = motion.Trajectory(seconds)
    poses = [trajectory.pose(time) for time in times]
    stamps = _stamps(times)
    capture = Capture(
        frames=_captured(recording, depth),
        count=frames,
        lossless=False,
        gyroscope=Gyroscope(stamps, motion.angular_velocity(times)),
        poses=Poses(stamps, np.array([pose.rotation for pose in poses]), np.array([pose.position for pose in poses])),
    )
    write_recording(path, capture, capture.frames)
    return frames


def _captured(recording: Recording, depth: bool) -> Iterator[CapturedFrame]:
    depths = map(DepthImage, recording.depths()) if depth else repeat(None, len(recording))
    for stamp, image, measured in zip(_stamps(recording.times).tolist(), recording.frames, depths, strict=True):
        yield CapturedFrame(stamp, np.ascontiguousarray(image), CAMERA, EXPOSURE, measured)


def _stamps(times: np.ndarray) -> np.ndarray:
    return _START + nanoseconds(times)
