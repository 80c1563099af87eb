"""benchmark_recordings: a list of recordings → one table of errors per sequence and method, and a report of each."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.commands.arguments import positive
from image_as_imu_ros.evaluation.benchmarks.recordings import benchmark_recordings, read_list
from image_as_imu_ros.evaluation.benchmarks.recordings_table import Sequence, markdown
from image_as_imu_ros.evaluation.config import command_line
from image_as_imu_ros.evaluation.report.files import make_folder


@dataclass(frozen=True)
class Command:
    """What the command line asks for; `workers` processes do it."""

    list: Path
    output: Path
    workers: int


def main(argv: list[str]) -> int:
    """Run the command; 1 if a recording could not be evaluated. Raises InputError: the list cannot be used."""
    command = _parse(argv)
    listed = read_list(command.list)
    sequences: dict[str, Sequence] = {}
    started = 0
    for recording, sequence in benchmark_recordings(listed, make_folder(command.output), command.workers):
        if sequence is None:
            started += 1
            print(f"{started}/{len(listed)} {recording.name}: {command_line(recording.path, recording.config)}")
            continue
        if sequence.failure:
            print(f"{recording.name}: {sequence.failure}", file=sys.stderr)
        sequences[recording.name] = sequence
    table = markdown([sequences[recording.name] for recording in listed])
    print(f"\n{table}\ntable.md, table.tex and a report of each recording in {command.output}")
    return int(any(sequence.failure for sequence in sequences.values()))


def _parse(argv: list[str]) -> Command:
    parser = argparse.ArgumentParser(
        prog="benchmark_recordings",
        description="Evaluate a list of recordings: errors per axis, sequence and method as Markdown and LaTeX.",
    )
    parser.add_argument("list", type=Path, metavar="LIST", help="YAML file, see docs/evaluate.md")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the results (default: output/LIST)")
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="recordings to evaluate at a time (default: 1)"
    )
    args = parser.parse_args(argv)
    return Command(args.list, args.output or Path("output") / args.list.stem, args.workers)
