"""benchmark: engines on this machine: time per stage, memory, agreement, over a shaken camera before a wall."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context

from image_as_imu_ros.commands.arguments import add_settings, settings_from
from image_as_imu_ros.engine import ENGINES
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.evaluation.benchmarks.engines import BenchmarkConfig, Publishing, benchmark, comparison, report

_PUBLISHER = "image_as_imu_ros.nodes.benchmark_publisher"  # by name: commands do not import nodes, nor need ROS


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: the model cannot be used, or an option is out of range."""
    configs = _parse(argv)
    publishing = _publishing()
    results = []
    for config in configs:
        # In a process of its own, for the memory to be its own.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            results.append(process.submit(benchmark, config, publishing).result())
        print(report(results[-1]) + "\n")
    if len(results) > 1:
        print(comparison(results))
    return 0


def _publishing() -> Publishing | None:
    """Find what publishes estimates as the node does; None where rclpy cannot be imported."""
    with suppress(ImportError):
        return import_module(_PUBLISHER).publishing
    return None


def _parse(argv: list[str]) -> list[BenchmarkConfig]:
    """Read the command line: how to measure each engine."""
    args = _parser().parse_args(argv)
    return [
        settings_from(args, BenchmarkConfig, engine=settings_from(args, EngineConfig, engine=engine))
        for engine in args.engines or ["auto"]
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmark", description="Time per stage, memory and agreement of engines on this machine."
    )
    parser.add_argument(
        "--engine",
        dest="engines",
        action="append",
        choices=ENGINES,
        help="give it several times to compare (default: auto)",
    )
    add_settings(parser, EngineConfig, leave_out={"engine"})
    add_settings(parser, BenchmarkConfig)
    return parser
