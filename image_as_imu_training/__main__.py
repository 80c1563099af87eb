"""Command line: python -m image_as_imu_training render | train | validate | export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from image_as_imu_ros.errors import InputError

DATA = Path.home() / ".cache" / "image_as_imu" / "training"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="image_as_imu_training", description="Train the blur network offline.")
    commands = parser.add_subparsers(dest="command", required=True)

    render = commands.add_parser("render", help="photographs and RGB-D frames → blurred samples with labels")
    render.add_argument("--photos", type=Path, required=True, help="folder of sharp JPEG photographs")
    render.add_argument("--rgbd", type=Path, required=True, help="folder of 7-Scenes style RGB-D frames")
    render.add_argument("--output", type=Path, default=DATA, help="folder for the shards (default: %(default)s)")
    render.add_argument("--samples", type=int, default=36_000, help="training crops (default: %(default)s)")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    render.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")

    train = commands.add_parser("train", help="samples → checkpoint")
    train.add_argument("--data", type=Path, default=DATA, help="folder written by render (default: %(default)s)")
    train.add_argument("--checkpoint", type=Path, required=True, help="file to write, and to resume from if there")
    train.add_argument("--minutes", type=float, default=78, help="length of the schedule (default: %(default)s)")
    train.add_argument("--batch", type=int, default=48)
    train.add_argument(
        "--learning-rate", dest="learning_rate_peak", type=float, default=1e-3, help="peak (default: %(default)s)"
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default=DEVICE, help="torch device (default: %(default)s)")

    validate = commands.add_parser("validate", help="checkpoint → figures on held-out samples")
    export = commands.add_parser("export", help="checkpoint → calibrated ONNX file that explains itself")
    for command in (validate, export):
        command.add_argument("--data", type=Path, default=DATA, help="folder written by render (default: %(default)s)")
        command.add_argument("--checkpoint", type=Path, required=True)
    export.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    export.add_argument("--version", required=True, help="version of the weights, as in 0.1.0")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, or 2 after printing one line about an input that cannot be used."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        if command == "render":
            from image_as_imu_training.dataset import render_dataset

            render_dataset(**options)
        elif command == "train":
            from image_as_imu_training.train import train

            train(**options)
        elif command == "validate":
            from image_as_imu_training.validation import validate

            validate(**options)
        else:
            from image_as_imu_training.export import export

            export(**options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
