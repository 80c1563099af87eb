"""Print a checkpoint's figures on samples of held-out photographs and RGB-D frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from image_as_imu_training.calibration import calibrate
from image_as_imu_training.checkpoint import load_network
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.metrics import figures, predict
from image_as_imu_training.training.axial_network import AxialNetwork


def validate(data: Path, checkpoint: Path) -> None:
    """Figures on crops and on whole frames, and the calibration that an export would store."""
    network = AxialNetwork(load_network(checkpoint))
    frames = load(data / "frames")
    predictions = predict(network, frames)
    crops = load(data / "validation")
    for title, values in (
        ("crops 128×128", figures(crops, predict(network, crops))),
        ("frames 320×224", figures(frames, predictions)),
        ("calibration", calibrate(frames, predictions)),
    ):
        print(title)
        for name, value in asdict(values).items():
            print(f"  {name:22} {value if isinstance(value, tuple) else format(value, '.3f')}")
