"""estimate_image: one image and its camera → velocity up to sign, and the image with its streaks."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_as_imu_ros.commands.arguments import add_settings, settings_from
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.evaluation.single_image.estimate import ImageConfig, check_image_file, estimate_image, write_image
from image_as_imu_ros.evaluation.single_image.exif import settle
from image_as_imu_ros.geometry.camera import Intrinsics

_NEED_OTHER_FRAMES = {"measurement", "sign_resolution", "rate_hint_std"}


@dataclass(frozen=True)
class Command:
    """What the command line asks for; `output` is None where no overlay is wanted. `notes` are about EXIF."""

    image: Path
    config: ImageConfig
    json: bool
    output: Path | None
    notes: tuple[str, ...]


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: file, camera or exposure cannot be used."""
    command = _parse(argv)
    for note in command.notes:
        print(note, file=sys.stderr)
    image, estimate = estimate_image(command.image, command.config)
    if command.output:
        write_image(command.output, draw_overlay(image, estimate))
    motion_model = command.config.estimator.motion_model
    print(json.dumps(as_dict(estimate)) if command.json else _describe(estimate, motion_model))
    return 0


def as_dict(estimate: MotionEstimate) -> dict:
    """Return the content of `--json`. The covariance, of (v, ω), includes the error of the sign."""
    return {
        "angular_velocity": estimate.velocity.angular.tolist(),
        "linear_velocity": estimate.velocity.linear.tolist(),
        "covariance": estimate.velocity.covariance.tolist(),
        "mean_flow_px": estimate.mean_flow,
        "resolved_direction": estimate.sign_resolved,
    }


def _describe(estimate: MotionEstimate, motion_model: MotionModel) -> str:
    # Here a standard deviation says how well the motion is known up to its sign.
    velocity = estimate.with_known_sign().velocity
    sigma = np.sqrt(np.diag(velocity.covariance))
    lines = [
        "angular velocity [rad/s]  " + _with_sigma(velocity.angular, sigma[3:]),
        "linear velocity  [m/s]    " + _with_sigma(velocity.linear, sigma[:3])
        if motion_model == MotionModel.FULL
        else "linear velocity           not estimated (--motion-model rotation)",
        f"mean blur                 {estimate.mean_flow:.1f} px at 320 px width",
        "x right, y down, z forward. One image leaves the sign open: this velocity, or all of it reversed.",
    ]
    return "\n".join(lines)


def _with_sigma(values: np.ndarray, sigma: np.ndarray) -> str:
    return "   ".join(f"{axis} {value:+.3f} ± {s:.3f}" for axis, value, s in zip("xyz", values, sigma, strict=True))


def _parse(argv: list[str]) -> Command:
    args = _parser().parse_args(argv)
    check_image_file(args.image)
    settled = settle(args.image, args.fx, args.exposure)
    config = ImageConfig(
        intrinsics=Intrinsics(settled.fx, args.fy, args.cx, args.cy),
        exposure=settled.exposure,
        estimator=settings_from(args, EstimatorConfig),
        engine=settings_from(args, EngineConfig),
    )
    return Command(args.image, config, args.json, args.output, settled.notes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="estimate_image", description="Velocity of the camera, up to sign, from the motion blur of one image."
    )
    parser.add_argument("image", type=Path, metavar="FILE", help="JPEG, PNG, …")
    parser.add_argument("--fx", type=float, metavar="PX", help="focal length, px of this image (default: EXIF's)")
    parser.add_argument("--fy", type=float, metavar="PX", help="(default: fx)")
    parser.add_argument("--cx", type=float, metavar="PX", help="principal point (default: the middle)")
    parser.add_argument("--cy", type=float, metavar="PX", help="principal point (default: the middle)")
    parser.add_argument("--exposure", type=float, metavar="S", help="exposure time, s (default: EXIF's)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the image with its streaks and the fitted field"
    )
    add_settings(parser, EstimatorConfig, leave_out=_NEED_OTHER_FRAMES)
    add_settings(parser, EngineConfig)
    return parser
