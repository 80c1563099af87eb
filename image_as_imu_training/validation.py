"""Print a checkpoint's figures on samples of held-out photographs and RGB-D frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_training.calibration import calibrate
from image_as_imu_training.checkpoint import load_network
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.metrics import figures, predict
from image_as_imu_training.reliability import plot_reliability
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.training.axial_network import AxialNetwork
from image_as_imu_training.velocity_metrics import velocity_figures


def validate(data: Path, checkpoint: Path, reliability_diagram: Path | None) -> None:
    """Figures on crops and on whole frames, and the calibration that an export would store.

    Args:
        reliability_diagram: image to write, if given.

    Raises:
        InputError: checkpoint or samples cannot be read, or the diagram's name does not end in .png.
    """
    if reliability_diagram is not None and reliability_diagram.suffix != ".png":
        raise InputError(f"{reliability_diagram} cannot be written: its name must end in .png")
    network = AxialNetwork(load_network(checkpoint))
    frames = load(data / "frames")
    predictions = predict(network, frames)
    crops = load(data / "validation")
    calibration = calibrate(frames, predictions)
    info = ModelInfo("", "", FRAME_WIDTH, FRAME_HEIGHT, **asdict(calibration))
    for title, values in (
        ("crops 128×128", figures(crops, predict(network, crops))),
        ("frames 320×224", figures(frames, predictions)),
        ("velocity, solved from frames", velocity_figures(frames, predictions, info)),
        ("calibration", calibration),
    ):
        print(title)
        for name, value in asdict(values).items():
            print(f"  {name:22} {format(value, '.3f') if isinstance(value, float) else value}")
    if reliability_diagram is not None:
        plot_reliability(frames, predictions, info, reliability_diagram)
