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
        "numeric precision of the network, whose files are NAME.onnx (fp32), NAME_fp16.onnx, NAME_int8.onnx; "
        "auto: as the name of the model's file says, but fp16 with TensorRT, and int8 in the node on a CPU with VNNI",
        choices=Precision,
        read_only=True,
    )
    dla_core: int = setting(
        -1, "TensorRT on Jetson: deep learning accelerator to use; -1: none", limits=(-1, 3), read_only=True
    )
    threads: int = setting(
        0,
        "CPU threads of the network; 0: one per physical core, in the node one fewer",
        limits=(0, 256),
        read_only=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)
