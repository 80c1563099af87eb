"""Settings of the engine: which model it runs, on what, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.engine.model_files.precision import Precision
from image_as_imu_ros.settings import TextEnum, check_settings, setting


class EngineName(TextEnum):
    """What runs a network: ONNX Runtime on the CPU or a GPU, TensorRT, or the fastest of them that works here."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_CUDA = "onnxruntime_cuda"
    ONNXRUNTIME_TENSORRT = "onnxruntime_tensorrt"
    TENSORRT = "tensorrt"


@dataclass(frozen=True)
class EngineConfig:
    """Which network is run, and how.

    Raises:
        InputError: a value is outside its range.
    """

    model: str = setting("", "ONNX model file; empty for the shipped one", read_only=True)
    engine: EngineName = setting(EngineName.AUTO, "what runs the model", choices=EngineName, read_only=True)
    precision: Precision = setting(
        Precision.AUTO,
        "of the network's numbers: its files are NAME.onnx (fp32), NAME_fp16.onnx, NAME_int8.onnx; "
        "auto: as the model's name says, with TensorRT fp16, in the node on a CPU with VNNI int8",
        choices=Precision,
        read_only=True,
    )
    dla_core: int = setting(
        -1, "TensorRT on Jetson: deep learning accelerator to use; -1: none", limits=(-1, 3), read_only=True
    )
    threads: int = setting(
        0,
        "CPU threads of the network; 0: one per physical core, in the node but one core",
        limits=(0, 256),
        read_only=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)
