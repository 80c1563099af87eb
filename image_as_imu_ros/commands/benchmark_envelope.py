"""benchmark_envelope: rendered motions, one property swept at a time → table and plots of where estimates hold."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.commands.arguments import add_settings, positive, settings_from
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.evaluation.config import UNUSED
from image_as_imu_ros.evaluation.envelope.cell import Cell
from image_as_imu_ros.evaluation.envelope.cells import chosen_cells
from image_as_imu_ros.evaluation.envelope.plots import plot_envelope
from image_as_imu_ros.evaluation.envelope.sweep import DEPTHS, SweepConfig, run_cells
from image_as_imu_ros.evaluation.envelope.table import markdown, summary, write_csv
from image_as_imu_ros.evaluation.report.files import make_folder, writing_into


@dataclass(frozen=True)
class Command:
    """What the command line asks for; nothing to run if the cells are only to be listed."""

    cells: tuple[Cell, ...]
    output: Path
    config: SweepConfig
    list_only: bool


def main(argv: list[str]) -> int:
    """Run the command. Raises InputError: no cell has such a name, or an option is out of range."""
    command = _parse(argv)
    if command.list_only:
        for cell in command.cells:
            print(f"{cell.name:24}{cell.sweep}: {cell.value}")
        return 0
    output = make_folder(command.output)
    found = {}
    for answers in run_cells(command.cells, command.config):
        found[answers[0].cell.name] = answers
        rows = "\n".join(markdown(answers).splitlines()[2:])
        print(f"{rows} {len(found)}/{len(command.cells)}", flush=True)
        # Written again and again, so that nothing is lost when somebody stops it.
        ordered = [one for cell in command.cells if cell.name in found for one in found[cell.name]]
        with writing_into(output):
            write_csv(output / "envelope.csv", ordered)
            (output / "envelope.md").write_text(f"{markdown(ordered)}\n{summary(ordered)}", encoding="utf-8")
    with writing_into(output):
        plot_envelope(ordered, output / "plots")
    print(f"\n{markdown(ordered)}\n{summary(ordered)}\nenvelope.md, envelope.csv and plots in {output}")
    return 0


def _parse(argv: list[str]) -> Command:
    parser = argparse.ArgumentParser(
        prog="benchmark_envelope",
        description="Render a moving camera, vary one property at a time, and compare estimates with what was true.",
    )
    parser.add_argument(
        "cells", nargs="*", metavar="CELL", help='names, or patterns such as "corridor*" (default: all; see --list)'
    )
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    parser.add_argument(
        "--depth", choices=DEPTHS, help="what the estimator is given: exact depth, or none (default: both in turn)"
    )
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("output/envelope"))
    parser.add_argument(
        "--frames", type=Path, metavar="DIR", help="folder in which rendered frames are kept (default: OUTPUT/frames)"
    )
    add_settings(parser, EngineConfig)
    add_settings(parser, EstimatorConfig, leave_out=UNUSED)
    args = parser.parse_args(argv)
    config = SweepConfig(
        frames=args.frames or args.output / "frames",
        estimator=settings_from(args, EstimatorConfig),
        engine=settings_from(args, EngineConfig),
        depths=(args.depth,) if args.depth else DEPTHS,
        workers=args.workers,
    )
    return Command(chosen_cells(args.cells), args.output, config, args.list)
