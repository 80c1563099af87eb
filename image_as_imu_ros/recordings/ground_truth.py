"""What really happened: velocities of the camera from a gyroscope, a twist, an odometry or a pose topic."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from image_as_imu_ros.datasets.capture import Poses
from image_as_imu_ros.datasets.ground_truth import GroundTruth, too_rare
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.messages.stamps import RESTART
from image_as_imu_ros.recordings.recording import Recording

_LARGEST = 1e8  # rad/s, m/s or m: fields that nobody filled in hold whatever was in memory


def read_ground_truth(recording: Recording, topic: str) -> GroundTruth:
    """Read a topic of one of `recording.GROUND_TRUTH_TYPES`.

    Twists, odometries (their twist) and gyroscopes are taken as velocities of the camera in its optical frame; poses as
    those of the optical frame in a fixed one. Nothing is rotated.

    Raises:
        InputError: the topic holds fewer than two usable samples, they are too far apart, or its time starts again.
    """
    messages = (message for _, message in recording.messages(topic))
    if "Pose" in recording.topics[topic]:
        poses = _poses(messages)
        ground_truth, complaint = poses.velocities(), too_rare(poses.stamps)
    else:
        ground_truth = _from_velocities(messages)
        complaint = too_rare(ground_truth.stamps)
    if complaint:
        raise InputError(f"ground truth topic {topic!r} is of no use: {complaint}")
    if len(ground_truth.stamps) < 2:
        count = len(ground_truth.stamps)
        raise InputError(f"ground truth topic {topic!r} has {count} usable samples; at least 2 are needed")
    return ground_truth


def _from_velocities(messages: Iterable[Any]) -> GroundTruth:
    samples, frame_id = [], ""
    for message in messages:
        if hasattr(message, "angular_velocity"):
            if message.angular_velocity_covariance[0] == -1:  # it measures none (REP 145)
                continue
            linear, angular = [np.nan] * 3, _vector(message.angular_velocity)
        else:
            # TwistWithCovarianceStamped and Odometry hold a TwistWithCovariance.
            twist = getattr(message.twist, "twist", message.twist)
            linear, angular = _vector(twist.linear), _vector(twist.angular)
        frame_id = getattr(message, "child_frame_id", message.header.frame_id)
        samples.append((stamp_to_nanoseconds(message.header.stamp), [*linear, *angular]))
    stamps, values = _ascending(samples, 6)
    linear_known = np.isfinite(values[:, :3]).all(1)
    usable = np.isfinite(values[:, 3:]).all(1) & (linear_known | ~linear_known.any())
    return GroundTruth(stamps[usable], values[usable, :3], values[usable, 3:], frame_id)


def _poses(messages: Iterable[Any]) -> Poses:
    samples = []
    for message in messages:
        # PoseWithCovarianceStamped holds a PoseWithCovariance.
        pose = getattr(message.pose, "pose", message.pose)
        q = pose.orientation
        samples.append((stamp_to_nanoseconds(message.header.stamp), [*_vector(pose.position), q.w, q.x, q.y, q.z]))
    stamps, poses = _ascending(samples, 7)
    usable = np.isfinite(poses).all(1)
    return Poses.of(stamps[usable], poses[usable, 3:], poses[usable, :3])


def _ascending(samples: list[tuple[int, list[float]]], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort samples by their stamps, without repetitions: (N,) ns, (N, columns), NaN where no number can be right.

    Raises:
        InputError: there are two of many times, as time starts again.
    """
    stamps = np.array([stamp for stamp, _ in samples], np.int64)
    restarts = np.flatnonzero(np.diff(stamps) < -RESTART) + 1
    for before, after in pairwise(np.split(stamps, restarts)):
        if before.min() < after.max() and after.min() < before.max():
            raise InputError(
                f"the ground truth's stamps jump back by {1e-9 * (before[-1] - after[0]):.1f} s: time starts again, so "
                "that one stamp means two times; evaluate a recording of one part alone"
            )
    values = np.array([value for _, value in samples], np.float64).reshape(-1, columns)
    values[~(np.abs(values) < _LARGEST)] = np.nan
    stamps, first = np.unique(stamps, return_index=True)
    return stamps, values[first]


def _vector(xyz: Any) -> list[float]:
    return [xyz.x, xyz.y, xyz.z]
