"""sensor_msgs/CameraInfo → Camera, and what in it cannot be right. Works on rclpy's messages and rosbags' alike."""

from __future__ import annotations

import re
from typing import Any

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera, lens_model


def camera_from_info(message: Any) -> Camera:
    """Read from a sensor_msgs/CameraInfo the camera of its images, binning and region of interest applied.

    Raises:
        InputError: not calibrated, not finite, not in px, an unknown lens model, or a region outside the sensor.
    """
    k = message.k if hasattr(message, "k") else message.K
    d = message.d if hasattr(message, "d") else message.D
    camera = Camera(
        width=int(message.width),
        height=int(message.height),
        fx=float(k[0]),
        fy=float(k[4]),
        cx=float(k[2]),
        cy=float(k[5]),
        distortion_model=message.distortion_model,
        distortion=tuple(map(float, d)),
    )
    if camera.cx == camera.cy == 0:
        raise InputError(
            "camera_info's principal point is cx=0, cy=0, the corner of the image: K was not filled in completely; "
            f"without a calibration write the middle, {(camera.width - 1) / 2:g} and {(camera.height - 1) / 2:g}"
        )
    roi = message.roi
    width, height = int(roi.width) or camera.width, int(roi.height) or camera.height
    left, top = int(roi.x_offset), int(roi.y_offset)
    if left + width > camera.width or top + height > camera.height:
        raise InputError(
            f"camera_info's region of interest, {width}×{height} at ({left}, {top}), "
            f"is not inside its {camera.width}×{camera.height} image"
        )
    across, down = max(1, message.binning_x), max(1, message.binning_y)
    used = camera.crop(left, top, width - width % across, height - height % down)
    return used.resize(used.width // across, used.height // down)


def tf_frame(frame_id: str) -> str:
    """Name a frame as tf2 does: ROS 1 and its bags begin names with "/", with which tf2 knows none."""
    return frame_id.lstrip("/")


def other_frames(images: str, camera_info: str, depth: str) -> list[str]:
    """Say which of what belongs to images is in another frame than these, by the frame_ids; "" where there is none."""
    images, camera_info, depth = map(tf_frame, (images, camera_info, depth))
    problems = []
    if images and depth not in ("", images):
        problems.append(
            f"the depth images are in the frame {depth!r}, the images in {images!r}: depth that is not registered to "
            "the images makes velocities wrong; take the driver's aligned depth"
        )
    if images and camera_info not in ("", images):
        problems.append(
            f"camera_info is of the frame {camera_info!r}, the images of {images!r}: with another camera's intrinsics "
            "all velocities are wrong; take the camera_info of this very stream"
        )
    return problems


def camera_info_problems(message: Any, image_topic: str) -> list[str]:
    """List what is odd in a CameraInfo that `camera_from_info` takes.

    Args:
        image_topic: name of the topic that the images come on.
    """
    camera = camera_from_info(message)
    problems = []
    if not (0 <= camera.cx < camera.width and 0 <= camera.cy < camera.height):
        problems.append(
            f"camera_info's principal point ({camera.cx:g}, {camera.cy:g}) is outside the {camera.width}×"
            f"{camera.height} image: is it the calibration of this stream, at this size?"
        )
    if camera.distortion and re.search("[/_]rect", image_topic):
        problems.append(
            f"images on {image_topic} are rectified by their name, but camera_info has lens distortion D, which would "
            "be taken off twice: use the raw images, or a camera_info with the rectified K and D = 0"
        )
    fisheye = lens_model(message.distortion_model) == "equidistant"  # of which D = 0 is no pinhole
    if fisheye and not camera.distortion and not re.search("[/_]rect", image_topic):
        problems.append(
            f"camera_info's lens model is {message.distortion_model} with D = 0, which is taken for rectified images, "
            "as image_geometry does: where they are not, of a lens with r = f·θ, give a D of 1e-9, 0, 0, 0"
        )
    return problems
