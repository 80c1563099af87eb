"""build_engine: ONNX model → the TensorRT plan that the node loads."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.commands.arguments import add_settings, settings_from
from image_as_imu_ros.engine import cuda
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.engine.model_files import plans
from image_as_imu_ros.engine.model_files.build import build
from image_as_imu_ros.engine.model_files.target import Target
from image_as_imu_ros.resources import DEFAULT_MODEL, resource


@dataclass(frozen=True)
class Command:
    """What the command line asks for; workspace, bytes, is None for TensorRT's own choice."""

    config: EngineConfig
    workspace: int | None


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: something is missing here, or the model cannot be built."""
    command = _parse(argv)
    config = command.config
    target = Target.here(Path(config.model or resource(DEFAULT_MODEL)), config.precision, config.dla_core)
    with cuda.current_context():
        plan = plans.rebuild(target.plan_file, target.key, lambda: build(target, command.workspace))
    print(f"{target.plan_file}: {len(plan.content) / 1e6:.1f} MB, {target.precision}, in {plan.build['seconds']} s")
    print(f"for TensorRT {target.tensorrt} on {target.gpu.name}; nodes with engine tensorrt or auto find it there")
    return 0


def _parse(argv: list[str]) -> Command:
    args = _parser().parse_args(argv)
    return Command(settings_from(args, EngineConfig), None if args.workspace is None else args.workspace * 2**20)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="build_engine", description="Build the TensorRT plan that the node loads, so that it starts quickly."
    )
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="ONNX file (default: the shipped one)")
    parser.add_argument(
        "--workspace", type=int, metavar="MIB", help="most memory for a layer while it runs (default: TensorRT's)"
    )
    add_settings(parser, EngineConfig, leave_out={"model", "engine", "threads"})
    return parser
