"""What of the engine can be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.engine import ENGINES
from image_as_imu_ros.engine.model_files.precision import PRECISIONS
from image_as_imu_ros.settings import check_settings, setting


@dataclass(frozen=True)
class EngineConfig:
    """What runs which network.

    Raises:
        InputError: a value is outside its range.
    """

    model: str = setting("", "ONNX model file; empty for the shipped one", read_only=True)
    engine: str = setting("auto", "what runs the model", choices=ENGINES, read_only=True)
    precision: str = setting(
        "auto",
        "of the network's numbers: its files are NAME.onnx (fp32), NAME_fp16.onnx, NAME_int8.onnx; "
        "auto: as the model's name says, with TensorRT fp16",
        choices=PRECISIONS,
        read_only=True,
    )
    dla_core: int = setting(
        -1, "TensorRT on Jetson: deep learning accelerator to use; -1: none", limits=(-1, 3), read_only=True
    )
    threads: int = setting(0, "CPU threads of the network; 0 leaves it to the engine", limits=(0, 256), read_only=True)

    def __post_init__(self) -> None:
        check_settings(self)
