"""calibrate: camera and gyroscope, recorded together → axes, clock offset, readout time, focal length."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_as_imu_ros.commands.arguments import add_settings, settings_from
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.evaluation.calibration.calibrate import Calibration, CalibrationConfig, calibrate

_LEAST_RATE = 0.2  # rad/s RMS; rendered captures were rotated at 0.4 and more about every axis


@dataclass(frozen=True)
class Command:
    """What the command line asks for."""

    recording: Path
    config: CalibrationConfig


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: the recording cannot be used, or tells too little."""
    command = _parse(argv)
    print(_describe(calibrate(command.recording, command.config), command.config.stamp_reference))
    return 0


def _describe(found: Calibration, reference: StampReference) -> str:
    camera = math.sqrt(found.camera.fx * found.camera.fy)
    angles = " ".join(f"{sigma:.2f}" for sigma in np.degrees(found.rotation_sigma))
    axes = f"{found.axes}, askew by {found.askew_deg:.2f}°" if found.axes else "askew"
    rows = "; ".join(" ".join(f"{value:+.5f}" for value in row) for row in found.rotation)
    change = f"{found.focal_length / camera - 1:+.1%}"
    lines = []
    if found.complaint:
        lines.append(
            f"WARNING: these are no values of a camera: {found.complaint}. Is the video stabilised, rotated, or "
            "cropped otherwise than camera_info says, or is it another camera's gyroscope?"
        )
    lines += [
        f"axes            {axes} (the camera's x, y, z in the gyroscope's) ± {angles}° about x, y, z",
        f"                rotation from the gyroscope's axes: {rows}",
        f"bias            {_vector(found.bias)} ± {_vector(found.bias_sigma)} rad/s, in the gyroscope's axes",
        f"clock offset    {1e3 * found.offset:+.2f} ± {1e3 * found.offset_sigma:.2f} ms: by so much the gyroscope's "
        "clock is ahead of the images'",
        f"readout time    {1e3 * found.readout:.2f} ± {1e3 * found.readout_sigma:.2f} ms",
        f"focal length    {found.focal_length:.1f} ± {found.focal_sigma:.1f} px, {change} "
        "to that of camera_info, whose principal point is taken as it is",
        f"distortion      {found.radial:+.3f} ± {found.radial_sigma:.3f}: k1 of what camera_info leaves of it",
        f"residual        {found.residual:.2f} px over {found.tracks} corners, followed through {found.windows} "
        "windows of frames",
    ]
    if reference != StampReference.MIDDLE and not found.exposure_known:
        lines.append("The exposure time is not known, so half of it is in the clock offset: give --exposure")
    if found.jitter:
        lines.append(
            f"The images' stamps jitter by {1e3 * found.jitter:.1f} ms about a period of {1e3 * found.period:.2f} ms, "
            "which was followed: they are those of arrival, whose delay may be another one next time"
        )
    if found.least_rate < _LEAST_RATE:
        lines.append(
            f"WARNING: about one of its axes the camera rotated at {found.least_rate:.2f} rad/s only; below "
            f"{_LEAST_RATE} rad/s errors are larger than stated: rotate it faster, about all axes"
        )
    return "\n".join(lines)


def _vector(values: np.ndarray) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _parse(argv: list[str]) -> Command:
    parser = argparse.ArgumentParser(
        prog="calibrate",
        description="Axes, clock offset, readout time and focal length of a camera from its tracks and the gyroscope "
        "that was recorded with it: rotate both about all axes for some ten seconds, before something with texture.",
    )
    parser.add_argument("recording", type=Path, help="folder or file of a rosbag2 (sqlite3, MCAP), or ROS 1 bag")
    add_settings(parser, CalibrationConfig)
    args = parser.parse_args(argv)
    return Command(args.recording, settings_from(args, CalibrationConfig))
