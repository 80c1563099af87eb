"""convert: captures and data sets in other layouts → recordings that evaluate and the node's replay read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.datasets import euroc, stray_scanner, tum, video
from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, mean_blur
from image_as_imu_ros.datasets.video_file import open_video
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import check_exposure
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.recording_writer import write_recording

DEFAULT_EXPOSURE = 0.01  # s, what phones and web cameras often take indoors


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: the source cannot be used, or the output exists."""
    args = _parser().parse_args(argv)
    if args.exposure is not None:
        check_exposure(args.exposure)
    capture = _open(args)
    frames = _Wanted(capture, args)
    write_recording(args.output, capture, frames, frames.default_exposure)
    _report(args, capture, frames)
    return 0


def _open(args: argparse.Namespace) -> Capture:
    source = Path(args.source)
    if not source.exists():
        raise InputError(f"{str(source)!r} does not exist")
    if args.layout == "stray":
        return stray_scanner.open_capture(source)
    if args.layout == "euroc":
        return euroc.open_capture(source, args.camera)
    if args.layout == "tum":
        return tum.open_capture(source, _camera(args, 640, 480) if args.fx else None)
    width, height = (int(open_video(source).get(property_)) for property_ in video.SIZE)
    rotation = rotation_of_axes(args.axes)
    return video.open_capture(
        source,
        _camera(args, width, height),
        args.gyroscope,
        rotation=rotation,
        time_unit=args.time_unit,
        offset=args.offset,
    )


def _camera(args: argparse.Namespace, width: int, height: int) -> Camera:
    return Camera(
        width,
        height,
        fx=args.fx,
        fy=args.fx if args.fy is None else args.fy,
        cx=(width - 1) / 2 if args.cx is None else args.cx,
        cy=(height - 1) / 2 if args.cy is None else args.cy,
        distortion_model="plumb_bob" if args.distortion else "",
        distortion=tuple(args.distortion),
    )


class _Wanted:
    """The frames of a capture that are asked for, resized and cropped.

    Attributes:
        default_exposure: of frames that do not say theirs, s.
        kept: how many there were so far.
        assumed: whether nobody said what the exposure was.
    """

    def __init__(self, capture: Capture, args: argparse.Namespace) -> None:
        self._capture, self._args = capture, args
        self._turning = capture.angular_velocity() if args.min_blur else None
        if args.min_blur and self._turning is None:
            raise InputError("--min-blur needs a gyroscope or poses in the capture")
        self.default_exposure = args.exposure or DEFAULT_EXPOSURE
        self.kept = 0
        self.assumed = False

    def __iter__(self) -> Iterator[CapturedFrame]:
        for frame in tqdm(self._capture.frames, "converting", self._capture.count, unit="frame", leave=False):
            camera = frame.camera
            if frame.image.shape[:2] != (camera.height, camera.width):
                raise InputError(
                    f"an image is {frame.image.shape[1]}×{frame.image.shape[0]} px, "
                    f"but its camera takes {camera.width}×{camera.height}"
                )
            exposure = self._args.exposure or frame.exposure or DEFAULT_EXPOSURE
            if self._turning is not None and not self._is_blurred(frame, exposure):
                continue
            self.assumed |= self._args.exposure is None and frame.exposure is None
            self.kept += 1
            frame = frame.resized(*self._args.resize) if self._args.resize else frame
            yield frame.cropped(*self._args.crop) if self._args.crop else frame
        if not self.kept:
            raise InputError(f"none of the {self._capture.count} frames is left: --min-blur is too much")

    def _is_blurred(self, frame: CapturedFrame, exposure: float) -> bool:
        _, angular = self._turning.at(np.array([frame.stamp]), exposure)
        return mean_blur(frame.camera, angular[0], exposure) >= self._args.min_blur


def _report(args: argparse.Namespace, capture: Capture, frames: _Wanted) -> None:
    if frames.assumed:
        print(
            f"The capture does not say its exposure time: {1e3 * frames.default_exposure:g} ms is assumed. "
            "Every velocity is wrong by the factor by which that is wrong; give --exposure if you know better"
        )
    ground_truth = [
        name for name, part in (("gyroscope", capture.gyroscope), ("poses", capture.poses)) if part is not None
    ]
    print(
        f"{frames.kept} of {capture.count} frames, "
        f"{' and '.join(ground_truth) if ground_truth else 'nothing to compare with'} → {args.output}\n"
        f"python -m image_as_imu_ros evaluate {args.output}"
    )


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 336x252")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="convert", description="Another layout → a recording (rosbag2, MCAP).")
    layouts = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    stray = layouts.add_parser("stray", help="a capture of the Stray Scanner app")
    video_file = layouts.add_parser("video", help="a video file, and a gyroscope's CSV")
    euroc_folder = layouts.add_parser("euroc", help="an EuRoC (ASL) sequence")
    tum_folder = layouts.add_parser("tum", help="a TUM RGB-D sequence")
    for layout in (stray, video_file, euroc_folder, tum_folder):
        layout.add_argument("source", metavar="SOURCE", help="file" if layout is video_file else "folder")
        layout.add_argument("output", metavar="OUTPUT", help="folder of the new recording")
        layout.add_argument(
            "--exposure",
            type=float,
            metavar="S",
            help=f"exposure time, s (default: what the capture says, else {DEFAULT_EXPOSURE:g})",
        )
        layout.add_argument("--resize", type=_size, metavar="WxH", help="size of the whole image, px")
        layout.add_argument("--crop", type=_size, metavar="WxH", help="keep the middle of it, px")
        layout.add_argument(
            "--min-blur",
            type=float,
            metavar="PX",
            help="keep only frames that the measured turn smeared by so much on average, px at 320 px image width",
        )
    euroc_folder.add_argument("--camera", default="cam0", help="which of its cameras (default: %(default)s)")
    video_file.add_argument("--gyroscope", type=Path, metavar="CSV", help="time, x, y, z per line, rad/s")
    video_file.add_argument("--time-unit", choices=video.TIME_UNITS, default="s", help="in the CSV (default: s)")
    video_file.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="gyroscope's time at the first frame (default: 0)"
    )
    video_file.add_argument(
        "--axes",
        default="x,y,z",
        metavar="X,Y,Z",
        help="the camera's x (right), y (down), z (forward) in the gyroscope's axes; phones: --axes=-y,-x,-z",
    )
    for layout, required in ((video_file, True), (tum_folder, False)):
        layout.add_argument("--fx", type=float, required=required, metavar="PX", help="focal length")
        layout.add_argument("--fy", type=float, metavar="PX", help="(default: fx)")
        layout.add_argument("--cx", type=float, metavar="PX", help="principal point (default: the middle)")
        layout.add_argument("--cy", type=float, metavar="PX", help="principal point (default: the middle)")
        layout.add_argument(
            "--distortion", type=float, nargs="+", default=[], metavar="K", help="OpenCV's k1 k2 p1 p2 [k3]"
        )
    return parser
