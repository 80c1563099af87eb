"""estimate_image: one picture and its camera → velocity up to sign, and the picture with its streaks."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine import ENGINES, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter, check_exposure
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_STAMP = 1  # ns; a picture on its own has no time, a frame needs one


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: file, camera or exposure cannot be used."""
    args = _parser().parse_args(argv)
    check_exposure(args.exposure)
    with closing(load_engine(args.model or resource(DEFAULT_MODEL), args.engine)) as engine:
        estimator = MotionEstimator(engine, EstimatorConfig(motion_model=args.motion_model, sign_resolution="axial"))
        image = read_image(args.image, engine.info.colour)
        height, width = image.shape[:2]
        camera = Camera(
            width,
            height,
            fx=args.fx,
            fy=args.fx if args.fy is None else args.fy,
            cx=(width - 1) / 2 if args.cx is None else args.cx,
            cy=(height - 1) / 2 if args.cy is None else args.cy,
        )
        estimate = estimator.update(Frame(image, _STAMP, camera, Shutter(args.exposure)))
    if args.output:
        write_image(args.output, draw_overlay(image, estimate))
    print(json.dumps(as_dict(estimate)) if args.json else _describe(estimate, args.motion_model))
    return 0


def as_dict(estimate: MotionEstimate) -> dict:
    """The content of `--json`. The covariance, of (v, ω), includes the doubt about the sign."""
    return {
        "angular_velocity": estimate.velocity.angular.tolist(),
        "linear_velocity": estimate.velocity.linear.tolist(),
        "covariance": estimate.velocity.covariance.tolist(),
        "mean_flow_px": estimate.mean_flow,
        "resolved_direction": estimate.sign_resolved,
    }


def read_image(path: str | Path, colour: str) -> np.ndarray:
    """A picture as it is to be looked at: (H, W) uint8 for "gray", (H, W, 3) RGB for "rgb".

    Raises:
        InputError: there is no such file, or OpenCV cannot read it.
    """
    if not Path(path).is_file():
        raise InputError(f"image file {str(path)!r} does not exist")
    try:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if colour == "gray" else cv2.IMREAD_COLOR)
    except cv2.error as error:  # more pixels than OpenCV takes
        raise InputError(f"image file {str(path)!r} cannot be read: {error.err}") from None
    if image is None:
        raise InputError(f"image file {str(path)!r} cannot be read as a picture (JPEG, PNG, …)")
    return image if colour == "gray" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: str | Path, bgr: np.ndarray) -> None:
    """Raises InputError: the folder does not exist or OpenCV does not know the suffix."""
    try:
        written = cv2.imwrite(str(path), bgr)
    except cv2.error:
        written = False
    if not written:
        raise InputError(f"{str(path)!r} cannot be written: does its folder exist, and does it end in .png or .jpg?")


def _describe(estimate: MotionEstimate, motion_model: str) -> str:
    # Here a deviation tells how well the motion is known up to its sign.
    velocity = estimate.with_known_sign().velocity
    sigma = np.sqrt(np.diag(velocity.covariance))
    lines = [
        "angular velocity [rad/s]  " + _with_sigma(velocity.angular, sigma[3:]),
        "linear velocity  [m/s]    " + _with_sigma(velocity.linear, sigma[:3])
        if motion_model == "full"
        else "linear velocity           not estimated (--motion-model rotation)",
        f"mean blur                 {estimate.mean_flow:.1f} px at 320 px width",
        "x right, y down, z forward. One picture leaves the sign open: this velocity, or all of it reversed.",
    ]
    return "\n".join(lines)


def _with_sigma(values: np.ndarray, sigma: np.ndarray) -> str:
    return "   ".join(f"{axis} {value:+.3f} ± {s:.3f}" for axis, value, s in zip("xyz", values, sigma, strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="estimate_image", description="Velocity of the camera, up to sign, from the motion blur of one picture."
    )
    parser.add_argument("image", metavar="FILE", help="JPEG, PNG, …")
    parser.add_argument("--fx", type=float, required=True, metavar="PX", help="focal length, px of this picture")
    parser.add_argument("--fy", type=float, metavar="PX", help="(default: fx)")
    parser.add_argument("--cx", type=float, metavar="PX", help="principal point (default: the middle)")
    parser.add_argument("--cy", type=float, metavar="PX", help="principal point (default: the middle)")
    parser.add_argument("--exposure", type=float, required=True, metavar="S", help="exposure time, s")
    parser.add_argument("--motion-model", choices=tuple(MotionModel), default="full", help="(default: full)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", metavar="FILE", help="write the picture with its streaks and the fitted field")
    parser.add_argument("--model", help="ONNX file (default: the shipped one)")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    return parser
