"""convert: captures and data sets in other layouts → recordings that evaluate and the node's replay read."""

from __future__ import annotations

import argparse
from pathlib import Path

from image_as_imu_ros.datasets.gyroscope_file import TIME_UNITS
from image_as_imu_ros.geometry.camera import Intrinsics
from image_as_imu_ros.recordings.conversion import (
    DEFAULT_EXPOSURE,
    Conversion,
    Converted,
    Layout,
    convert,
)


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: the source cannot be used, or the output exists."""
    conversion = _parse(argv)
    _report(convert(conversion), conversion.output)
    return 0


def _report(converted: Converted, output: Path) -> None:
    if converted.assumed_exposure is not None:
        print(
            f"The capture does not say its exposure time: {1e3 * converted.assumed_exposure:g} ms is assumed. "
            "Every velocity is wrong by the factor by which that is wrong; give --exposure if you know better"
        )
    print(
        f"{converted.kept} of {converted.count} frames, "
        f"{' and '.join(converted.ground_truth) or 'nothing to compare with'} → {output}\n"
        f"python -m image_as_imu_ros evaluate {output}"
    )


def _parse(argv: list[str]) -> Conversion:
    options = vars(_parser().parse_args(argv))
    fx, *others = (options.pop(name, None) for name in ("fx", "fy", "cx", "cy", "distortion"))
    intrinsics = None
    if fx is not None:
        fy, cx, cy, distortion = others
        intrinsics = Intrinsics(fx, fy, cx, cy, tuple(distortion))
    return Conversion(**options | {"layout": Layout(options["layout"]), "intrinsics": intrinsics})


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 336x252")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="convert", description="Another layout → a recording (rosbag2, MCAP).")
    layouts = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    stray = layouts.add_parser(Layout.STRAY, help="a capture of the Stray Scanner app")
    video_file = layouts.add_parser(Layout.VIDEO, help="a video file, and a gyroscope's CSV")
    euroc_folder = layouts.add_parser(Layout.EUROC, help="an EuRoC (ASL) sequence")
    tum_folder = layouts.add_parser(Layout.TUM, help="a TUM RGB-D sequence")
    for layout in (stray, video_file, euroc_folder, tum_folder):
        _add_common(layout, "file" if layout is video_file else "folder")
    euroc_folder.add_argument("--camera", default="cam0", help="which of its cameras (default: %(default)s)")
    _add_gyroscope(video_file)
    _add_intrinsics(video_file, required=True)
    _add_intrinsics(tum_folder, required=False)
    return parser


def _add_common(layout: argparse.ArgumentParser, source: str) -> None:
    layout.add_argument("source", type=Path, metavar="SOURCE", help=source)
    layout.add_argument("output", type=Path, metavar="OUTPUT", help="folder of the new recording")
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
        help="keep only frames that the measured rotation smeared by so much on average, px at 320 px image width",
    )


def _add_gyroscope(video_file: argparse.ArgumentParser) -> None:
    video_file.add_argument(
        "--gyroscope",
        type=Path,
        metavar="CSV",
        help="text file of times and rates, rad/s; columns by their names, else time, x, y, z",
    )
    video_file.add_argument("--time-unit", choices=TIME_UNITS, default="s", help="in the CSV (default: s)")
    video_file.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="gyroscope's time at the first frame (default: 0)"
    )
    video_file.add_argument(
        "--axes",
        default="x,y,z",
        metavar="X,Y,Z",
        help="the camera's x (right), y (down), z (forward) in the gyroscope's axes; phones: --axes=-y,-x,-z",
    )


def _add_intrinsics(layout: argparse.ArgumentParser, *, required: bool) -> None:
    layout.add_argument("--fx", type=float, required=required, metavar="PX", help="focal length")
    layout.add_argument("--fy", type=float, metavar="PX", help="(default: fx)")
    layout.add_argument("--cx", type=float, metavar="PX", help="principal point (default: the middle)")
    layout.add_argument("--cy", type=float, metavar="PX", help="principal point (default: the middle)")
    layout.add_argument(
        "--distortion", type=float, nargs="+", default=[], metavar="K", help="OpenCV's k1 k2 p1 p2 [k3]"
    )
