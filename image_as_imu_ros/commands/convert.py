"""convert: captures and data sets in other layouts → recordings that evaluate and the node's replay read."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from image_as_imu_ros.datasets import tum
from image_as_imu_ros.datasets.gyroscope_file import TIME_UNITS
from image_as_imu_ros.geometry.camera import Intrinsics
from image_as_imu_ros.recordings.conversion import ASSUMED_EXPOSURE, Conversion, Converted, Layout, convert
from image_as_imu_ros.recordings.recording_writer import IMU_TOPIC


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: the source cannot be used, or the output exists."""
    conversion = _parse(argv)
    _report(convert(conversion), conversion.output)
    return 0


def _report(converted: Converted, output: Path) -> None:
    unknown = converted.unknown_exposures
    if unknown:
        of = "" if unknown == converted.kept else f" of {unknown} of the {converted.kept} frames"
        print(
            f"The capture does not say the exposure time{of}, nor does the recording; if you know it, give --exposure"
        )
    if converted.unreadable.count:
        print(f"{converted.unreadable.count} images left out, the first of them: {converted.unreadable.reason}")
    if converted.unreadable_depths.count:
        depths = converted.unreadable_depths
        print(f"{depths.count} frames without their depth, the first of them: {depths.reason}")
    if converted.depth_complaint:
        print(f"WARNING: {converted.depth_complaint}; if they count other units per metre, give --depth-scale")
    if converted.poses_complaint:
        print(f"WARNING: evaluate cannot use the poses: {converted.poses_complaint}; interpolate them")
    print(
        f"{converted.kept} of {converted.count} frames, "
        f"{' and '.join(converted.ground_truth) or 'nothing to compare with'} → {output}\n"
        f"python -m image_as_imu_ros {shlex.join(_evaluate(converted, output))}"
    )


def _evaluate(converted: Converted, output: Path) -> list[str]:
    """Write the command that evaluates the recording as it is."""
    words = ["evaluate", str(output)]
    if converted.unknown_exposures == converted.kept:
        words += ["--exposure", "estimate"]
    if converted.stamp_reference is not None:
        words += ["--stamp-reference", converted.stamp_reference]
    if converted.readout_time is not None:
        words += ["--readout-time", f"{converted.readout_time:.4g}"]
    if converted.poses_complaint and "gyroscope" in converted.ground_truth:
        words += ["--ground-truth-topic", IMU_TOPIC]
    if converted.with_depth:
        words += ["--depth-topic", "auto"]
    return words


def _parse(argv: list[str]) -> Conversion:
    options = vars(_parser().parse_args(argv))
    fx, *others = (options.pop(name, None) for name in ("fx", "fy", "cx", "cy", "distortion"))
    intrinsics = None
    if fx is not None:
        fy, cx, cy, distortion = others
        intrinsics = Intrinsics(fx, fy, cx, cy, tuple(distortion))
    options = {name: value for name, value in options.items() if value is not None}
    return Conversion(**options | {"layout": Layout(options["layout"]), "intrinsics": intrinsics})


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 336x252")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="convert", description="Another layout → a recording (rosbag2, MCAP).")
    layouts = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    kinds = {
        Layout.STRAY: ("folder", "a capture of the Stray Scanner app"),
        Layout.VIDEO: ("file", "a video file, and files of a gyroscope and of frames"),
        Layout.IMAGES: ("folder", "a folder of images, and files of a gyroscope and of frames"),
        Layout.GOPRO: ("file", "a video of a GoPro camera, HERO5 or later"),
        Layout.MARS: ("folder", "a capture of MARS logger"),
        Layout.OPENCAMERA: ("file", "a video of OpenCamera Sensors"),
        Layout.EUROC: ("folder", "an EuRoC (ASL) or TUM-VI sequence"),
        Layout.TUM: ("folder", "a TUM RGB-D sequence"),
        Layout.EVENTS: ("folder", "an event-camera sequence as text, whose frames are read"),
    }
    made = {}
    for layout, (source, summary) in kinds.items():
        made[layout] = layouts.add_parser(layout, help=summary)
        _add_common(made[layout], source)
    made[Layout.EUROC].add_argument("--camera", default="cam0", help="which of its cameras (default: %(default)s)")
    made[Layout.TUM].add_argument(
        "--depth-scale",
        type=float,
        default=tum.UNITS_PER_METRE,
        metavar="UNITS",
        help="of its depth images, units per metre: 1000 where they are in mm (default: %(default)g)",
    )
    for layout in (Layout.VIDEO, Layout.IMAGES):
        _add_files(made[layout])
    for layout in (Layout.VIDEO, Layout.IMAGES, Layout.GOPRO, Layout.MARS, Layout.OPENCAMERA):
        _add_axes(made[layout])
    for layout in (Layout.VIDEO, Layout.IMAGES, Layout.TUM, Layout.GOPRO, Layout.MARS, Layout.OPENCAMERA):
        _add_intrinsics(made[layout], required=layout in (Layout.GOPRO, Layout.OPENCAMERA))
    return parser


def _add_common(layout: argparse.ArgumentParser, source: str) -> None:
    layout.add_argument("source", type=Path, metavar="SOURCE", help=source)
    layout.add_argument("output", type=Path, metavar="OUTPUT", help="folder of the new recording")
    layout.add_argument(
        "--exposure",
        type=float,
        metavar="S",
        help="exposure time of all frames, s (default: what the capture says)",
    )
    layout.add_argument("--resize", type=_size, metavar="WxH", help="size of the whole image, px")
    layout.add_argument("--crop", type=_size, metavar="WxH", help="keep the middle of it, px")
    layout.add_argument(
        "--min-blur",
        type=float,
        metavar="PX",
        help="keep only frames with at least this mean blur by the measured rotation, px at 320 px image width; "
        f"an unknown exposure is taken to be {1e3 * ASSUMED_EXPOSURE:g} ms",
    )


def _add_files(layout: argparse.ArgumentParser) -> None:
    layout.add_argument(
        "--gyroscope",
        type=Path,
        metavar="CSV",
        help="text file of times and rates, rad/s; columns by their names, else time, x, y, z",
    )
    layout.add_argument(
        "--frames",
        type=Path,
        metavar="CSV",
        help="a row per frame, columns by their names: time, file, exposure, fx, fy, readout time",
    )
    layout.add_argument("--time-unit", choices=TIME_UNITS, default="s", help="in these files (default: s)")
    layout.add_argument(
        "--offset",
        type=float,
        default=0.0,
        metavar="S",
        help="the gyroscope's time at the first frame or, with --frames, how far its clock is ahead (default: 0)",
    )


def _add_axes(layout: argparse.ArgumentParser) -> None:
    layout.add_argument(
        "--axes",
        metavar="X,Y,Z",
        help="the camera's x (right), y (down), z (forward) in the gyroscope's axes; phones: --axes=-y,-x,-z "
        "(default: for the loggers of phones that, else the same axes)",
    )


def _add_intrinsics(layout: argparse.ArgumentParser, *, required: bool) -> None:
    layout.add_argument("--fx", type=float, required=required, metavar="PX", help="focal length")
    layout.add_argument("--fy", type=float, metavar="PX", help="(default: fx)")
    layout.add_argument("--cx", type=float, metavar="PX", help="principal point (default: the middle)")
    layout.add_argument("--cy", type=float, metavar="PX", help="principal point (default: the middle)")
    layout.add_argument(
        "--distortion", type=float, nargs="+", default=[], metavar="K", help="OpenCV's k1 k2 p1 p2 [k3]"
    )
