"""The demo's camera: a process that publishes a recording in real time, as a camera driver would.

`python -m image_as_imu_ros.demo.camera_publisher FILE FRAMES [depth]`. Once somebody listens, it says when its first
frame will be and starts. Stamps are starts of exposures; a frame leaves at the end of its exposure, its depth with it.
"""

from __future__ import annotations

import sys
import time
from array import array

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from image_as_imu_ros.demo.recording import CAMERA, EXPOSURE, RATE, open_recording

FIRST_FRAME = "first frame at {} ns"

_PATIENCE = 60.0  # s to wait for a listener
_SETTLING = 1.0  # s between the discovery of a listener and the first frame


def main(argv: list[str]) -> int:
    """Play a recording and return 0; 1 if nobody listens."""
    recording = open_recording(argv[0], int(argv[1]))
    depths = list(recording.depths()) if argv[2:] == ["depth"] else []
    rclpy.init(args=[])
    node = Node("demo_camera")
    images = node.create_publisher(Image, "image", qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
    depth_images = node.create_publisher(Image, "depth", qos_profile_sensor_data) if depths else None
    serialize_message(_image(recording.frames[0], 0))  # the first time takes tens of milliseconds
    deadline = time.monotonic() + _PATIENCE
    while not (images.get_subscription_count() and infos.get_subscription_count()):
        if time.monotonic() > deadline:
            print(f"nobody subscribed to the images within {_PATIENCE:g} s", file=sys.stderr)
            return 1
        time.sleep(0.05)
    start = time.time_ns() + round(_SETTLING * 1e9)
    print(FIRST_FRAME.format(start))
    for index, frame in enumerate(recording.frames):
        stamp = start + round(index / RATE * 1e9)
        image, info = _image(frame, stamp), _camera_info(stamp)
        time.sleep(max(0.0, (stamp - time.time_ns()) * 1e-9 + EXPOSURE))
        infos.publish(info)
        if depth_images is not None:
            depth_images.publish(_image(depths[index], stamp))
        images.publish(image)
    time.sleep(_SETTLING)  # leaving at once would take the last frames along
    rclpy.shutdown()
    return 0


def _image(frame: np.ndarray, stamp: int) -> Image:
    """Make a message of (H, W, 3) uint8 BGR, or (H, W) uint16 mm, and a header stamp, ns."""
    height, width = frame.shape[:2]
    encoding = "bgr8" if frame.ndim == 3 else "16UC1"
    message = Image(height=height, width=width, encoding=encoding, step=frame.strides[0])
    _stamp(message, stamp)
    data = array("B")
    data.frombytes(np.ascontiguousarray(frame).data.cast("B"))
    message.data = data
    return message


def _camera_info(stamp: int) -> CameraInfo:
    c = CAMERA
    message = CameraInfo(height=c.height, width=c.width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [c.fx, 0.0, c.cx, 0.0, c.fy, c.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [c.fx, 0.0, c.cx, 0.0, 0.0, c.fy, c.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    _stamp(message, stamp)
    return message


def _stamp(message: Image | CameraInfo, stamp: int) -> None:
    message.header.frame_id = "camera_optical_frame"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
