"""Re-measure the rows of v in models/README.md: render held-out frames of three seeds, solve, and print figures.

    python tools/check_velocity_sets.py --photos PHOTOS --rgbd 7scenes:RGBD

Seed 0 is what `render` and `validate` take by default, and what the weights are calibrated on. Seed 777 chose among
weights and constants. Seed 20261127 chose nothing. Rendering takes some 0.4 s per frame on one core; frames that are in
the output folder are kept. The calibration is that of the exported file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_training.__main__ import DATA
from image_as_imu_training.checkpoint import load_network
from image_as_imu_training.datasets.render import FRAME, Job, Part, Sources, render_part
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.metrics import predict
from image_as_imu_training.training.axial_network import AxialNetwork
from image_as_imu_training.velocity_metrics import velocity_figures

SETS = {0: 512, 777: 1024, 20261127: 512}  # seed → frames


def main() -> None:
    """Print one line per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of sharp photographs")
    parser.add_argument("--rgbd", action="append", default=[], metavar="LAYOUT:FOLDER", help="as in render")
    parser.add_argument("--output", type=Path, default=DATA.with_name("velocity_sets"), help="(default: %(default)s)")
    parser.add_argument("--model", type=Path, default=resource(DEFAULT_MODEL), help="(default: the shipped one)")
    parser.add_argument("--seeds", type=int, nargs="+", choices=SETS, default=list(SETS), help="(default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, "onnxruntime")
    calibration = engine.info
    engine.close()
    network = AxialNetwork(load_network(arguments.model.with_suffix(".safetensors")))
    sources = Sources((arguments.photos,), tuple(arguments.rgbd))
    for seed in arguments.seeds:
        job = Job(sources, arguments.output / str(seed), seed, "cpu")
        render_part(job, Part("frames", FRAME, held_out=True), SETS[seed], arguments.workers)
        frames = load(arguments.output / str(seed) / "frames")
        found = velocity_figures(frames, predict(network, frames), calibration)
        print(
            f"seed {seed}: RMSE of v relative to zero, true depth {found.with_true_depth:.3f}, own depth "
            f"{found.with_own_depth:.3f}, on {found.translations} of {len(frames)} frames"
        )


if __name__ == "__main__":
    main()
