"""Command line: python -m image_as_imu_training render | contact_sheet | label | train | validate | export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from image_as_imu_ros.commands import print_any_text
from image_as_imu_ros.commands.arguments import not_negative, positive
from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.resources import cache_path

DATA = cache_path("training")
_TRAIN = "Settings and their values are in image_as_imu_training/training/config; docs/training.md explains them."


def _device(name: str) -> str:
    """Check a torch device's name. Raises ArgumentTypeError: it is none that this machine has."""
    import torch

    try:
        torch.empty(1, device=name)
    except Exception as error:  # of its many backends, without a common base
        raise argparse.ArgumentTypeError(f"{name!r} cannot be used here: {first_line(error)}") from None
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="image_as_imu_training", description="Train the blur network offline.")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="photographs and RGB-D frames → blurred samples with labels")
    _add_sources(render)
    _add_amounts(render)

    sheet = commands.add_parser("contact_sheet", help="rendered samples with their labels drawn in, as one image")
    sheet.add_argument("part", type=Path, help="folder of shards, for example DATA/train")
    sheet.add_argument("--output", type=Path, required=True, help="image to write")
    sheet.add_argument("--samples", type=positive, default=24, help="evenly over the folder (default: %(default)s)")

    _add_label(commands.add_parser("label", help="recording with ground truth → frames with velocity labels"))

    train = commands.add_parser("train", help="samples → checkpoint", description=_TRAIN)
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for example stage=velocity steps=2000")

    validate = commands.add_parser("validate", help="checkpoint → figures on held-out samples")
    validate.add_argument("--data", type=Path, default=DATA, help="folder written by render (default: %(default)s)")
    validate.add_argument(
        "--checkpoint", type=Path, required=True, help="folder written by train, or weights file written by export"
    )
    validate.add_argument("--reliability-diagram", type=Path, metavar="PNG", help="image to write: sigmas and errors")

    _add_export(commands.add_parser("export", help="checkpoint → calibrated ONNX file that explains itself"))
    return parser


def _add_sources(render: argparse.ArgumentParser) -> None:
    render.add_argument(
        "--photos", type=Path, action="append", required=True, help="folder of sharp photographs; repeatable"
    )
    layouts = "LAYOUT is 7scenes, tum, stray or scannetpp; repeatable"
    render.add_argument(
        "--rgbd",
        action="append",
        default=[],
        metavar="LAYOUT:FOLDER",
        help=f"RGB-D frames to invent motions in ({layouts})",
    )
    render.add_argument(
        "--sequence",
        action="append",
        default=[],
        metavar="LAYOUT:FOLDER",
        help=f"RGB-D recordings to blur by their own motion ({layouts})",
    )
    render.add_argument(
        "--motions",
        type=Path,
        metavar="FOLDER",
        help="CSV files of recorded motions (t_ns; px,py,pz,qw,qx,qy,qz or wx,wy,wz) for half of the training samples",
    )
    render.add_argument(
        "--subframes",
        choices=["reprojection", "rife"],
        default="reprojection",
        help="what fills in between two frames of a recording (default: %(default)s)",
    )
    render.add_argument("--densify", choices=["promptda"], help="what makes the depth of recordings dense")


def _add_amounts(render: argparse.ArgumentParser) -> None:
    render.add_argument("--output", type=Path, default=DATA, help="folder for the shards (default: %(default)s)")
    render.add_argument(
        "--samples",
        type=not_negative,
        default=36_000,
        help="training crops, besides 1536 crops and 512 frames that are held out (default: %(default)s)",
    )
    render.add_argument(
        "--frames", type=not_negative, default=4_096, help="whole training frames (default: %(default)s)"
    )
    render.add_argument(
        "--room-share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the training samples, how many show rooms: near things before far ones (default: %(default)s)",
    )
    render.add_argument(
        "--rgbd-share",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="of the training samples, how many show RGB-D frames, if there are any (default: %(default)s)",
    )
    render.add_argument(
        "--parts-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the training samples, before how many something moves by itself or is fixed to the camera "
        "(default: %(default)s)",
    )
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--workers", type=positive, default=2, help="processes (default: %(default)s)")
    render.add_argument("--device", type=_device, default="cpu", help="torch device (default: %(default)s)")
    render.add_argument("--ray", action="store_true", help="render on a Ray cluster instead of in processes here")


def _add_label(label: argparse.ArgumentParser) -> None:
    label.add_argument("recording", type=Path, help="folder or file of a rosbag2 (sqlite3, MCAP), or ROS 1 bag")
    label.add_argument("--output", type=Path, required=True, help="folder to which the recording's own is added")
    exposure = label.add_mutually_exclusive_group(required=True)
    exposure.add_argument("--exposure", type=float, metavar="S", help="exposure time of all frames, s")
    exposure.add_argument(
        "--fit-exposure",
        dest="exposure",
        action="store_const",
        const=None,
        help="fit one exposure time to the ground truth",
    )
    label.add_argument("--model", type=Path, help="ONNX file that fits the exposure (default: the shipped one)")
    label.add_argument("--stamp-reference", choices=tuple(StampReference), default="middle", help="(default: middle)")
    label.add_argument("--readout-time", type=float, default=0.0, metavar="S", help="of a rolling shutter (default: 0)")
    for name in ("image", "camera-info", "ground-truth"):
        label.add_argument(f"--{name}-topic", metavar="TOPIC", help="(default: as in evaluate)")


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "--network",
        dest="network_name",
        choices=["blur", "segnext"],
        default="blur",
        help="segnext: the network of Image as an IMU, with its authors' weights (default: %(default)s)",
    )
    export.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="folder written by train, or weights file written by export; of segnext a .pth or .safetensors file",
    )
    export.add_argument(
        "--data",
        type=Path,
        help=f"folder written by render, to calibrate on (default: {DATA}; segnext: none, cautious values instead)",
    )
    export.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    export.add_argument(
        "--precision",
        nargs="+",
        choices=["fp16", "int8"],
        default=[],
        help="also write OUTPUT_fp16.onnx or OUTPUT_int8.onnx, beside the FP32 file",
    )
    export.add_argument("--version", required=True, help="version of the weights, as in 0.1.0")
    export.add_argument(
        "--trained-on",
        default="not said (--trained-on)",
        metavar="TEXT",
        help="material and its licences, kept in the file (default: %(default)s)",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, 2 after one line about an unusable input, or 128 + a signal that ended a training."""
    print_any_text()
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        if command == "render":
            from image_as_imu_training.datasets.render import render

            render(**options)
        elif command == "label":
            from image_as_imu_training.training.recordings import label

            label(**options)
        elif command == "contact_sheet":
            from image_as_imu_training.rendering.contact_sheet import write_contact_sheet

            write_contact_sheet(**options)
        elif command == "train":
            from image_as_imu_training.training.settings import read_settings
            from image_as_imu_training.training.train import train

            return train(read_settings(options["overrides"]))
        elif command == "validate":
            from image_as_imu_training.validation import validate

            validate(**options)
        else:
            from image_as_imu_training.export import export

            if options["data"] is None and options["network_name"] == "blur":
                options["data"] = DATA
            export(**options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # an output folder that cannot be written to, a full disk
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "image_as_imu_ros", "image_as_imu_training"):  # a mistake in here
            raise
        print(f"error: training needs the Python package {package}: pip install '.[train]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
