"""What a TensorRT plan is made for: a model file, a precision, and the TensorRT and GPU of this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from image_as_imu_ros.engine import cuda
from image_as_imu_ros.engine.model_files import plans
from image_as_imu_ros.engine.model_files.plans import PlanKey
from image_as_imu_ros.engine.model_files.precision import Precision, choose_weights
from image_as_imu_ros.engine.nvidia import tensorrt
from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.resources import cache_folder


@dataclass(frozen=True)
class Target:
    """A model file and the TensorRT and GPU that a plan of it is for.

    Attributes:
        model: ONNX file. content: its bytes.
        precision: any but AUTO.
        dla_core: deep learning accelerator that runs what it can, −1 for none. The GPU runs the rest.
        tensorrt: version.
    """

    model: Path
    content: bytes
    precision: Precision
    dla_core: int
    tensorrt: str
    gpu: cuda.Gpu

    @classmethod
    def here(cls, model: Path, wanted_precision: str, dla_core: int) -> Target:
        """Describe this machine.

        Raises:
            InputError: TensorRT, PyCUDA or a GPU is missing here, or the model file is.
        """
        missing = what_is_missing()
        if missing:
            raise InputError(f"engine tensorrt cannot be used here: {'; '.join(missing)}")
        model, chosen = choose_weights(model, wanted_precision, tensorrt=True)
        if not model.is_file():
            raise InputError(f"model file {str(model)!r} does not exist")
        return cls(model, model.read_bytes(), chosen, dla_core, tensorrt().__version__, cuda.Gpu.first())

    @cached_property
    def key(self) -> PlanKey:
        """All that a plan of it depends on."""
        return PlanKey(
            model=hashlib.sha256(self.content).hexdigest(),
            precision=self.precision,
            dla=self.dla_core >= 0,
            tensorrt=self.tensorrt,
            gpu=self.gpu.name,
            compute_capability=self.gpu.compute_capability,
            multiprocessors=self.gpu.multiprocessors,
        )

    @property
    def plan_file(self) -> Path:
        """Where its plan is kept."""
        return plans.plan_file(self.model, self.key)

    @property
    def timing_cache_file(self) -> Path:
        """Where layers' times are kept; measured once per GPU and TensorRT version, so the next model builds faster."""
        gpu = f"{self.gpu.name}-{self.gpu.multiprocessors}".replace(" ", "_").replace("/", "_")
        return cache_folder("plans") / f"timing-{self.tensorrt}-{gpu}.cache"


def what_is_missing() -> list[str]:
    """List what this machine lacks to run TensorRT, a phrase each; empty if nothing."""
    missing = []
    for module, name in (("tensorrt", "TensorRT's Python package"), ("pycuda.driver", "PyCUDA")):
        try:
            import_module(module)
        except Exception as error:  # a library that they load can be missing too, each says so in its own words
            missing.append(f"no {name} ({first_line(error)})")
    gpu = cuda.why_no_gpu()
    return [*missing, gpu] if gpu else missing
