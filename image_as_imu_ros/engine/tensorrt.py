"""TensorRT: the engine for NVIDIA GPUs and Jetson. TensorRT and PyCUDA are imported when one is made."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.engine import cuda
from image_as_imu_ros.engine.model_files import plans
from image_as_imu_ros.engine.model_files.build import build
from image_as_imu_ros.engine.model_files.plans import Plan
from image_as_imu_ros.engine.model_files.target import Target
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.engine.nvidia import tensorrt, tensorrt_logger
from image_as_imu_ros.engine.tensors import INPUT, Tensors
from image_as_imu_ros.errors import InputError

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """Runs a model's plan, which is built first where there is none. See `Engine`.

    All calls of a frame are queued on one stream, as one CUDA graph where that can be recorded. Nothing is
    allocated per frame on the GPU. Any thread may call, one at a time: each makes the GPU's context its own for
    the call.
    """

    def __init__(self, model: Path, precision: str = "auto", dla_core: int = -1) -> None:
        """Load the plan, build it first where there is none, and run it once.

        Raises:
            InputError: TensorRT, PyCUDA or a GPU is missing, or the model cannot be built or run.
        """
        self._runtime: Any = None
        self._plan: Any = None
        self._execution: Any = None
        self._stream: Any = None
        self._graph: cuda.Graph | None = None
        self._buffers: dict[str, cuda.Buffer] = {}
        target = Target.here(model, precision, dla_core)
        try:
            with cuda.current_context():
                self._load(target)
                self._warm_up()
        except cuda.errors() as error:
            self.close()
            raise InputError(f"engine tensorrt: {target.gpu.name} cannot run {model.name}: {error}") from None
        except BaseException:
            self.close()
            raise
        how = "CUDA graph" if self._graph else "no CUDA graph"
        self.name = f"tensorrt {target.tensorrt} ({target.gpu.name}, {target.precision}, {how})"

    def _load(self, target: Target) -> None:
        trt, logger = tensorrt(), tensorrt_logger()
        self._runtime = trt.Runtime(logger)
        if target.dla_core >= 0:
            self._runtime.DLA_core = target.dla_core
        self._plan, self.info = self._deserialise(target)
        self._tensors = Tensors(self.info)
        self._tensors.check(self._found_tensors(trt), f"plan {target.plan_file.name}")
        self._execution = self._plan.create_execution_context()
        if self._execution is None:
            raise InputError(f"TensorRT cannot prepare to run {target.plan_file.name}: {logger.last}")
        self._stream = cuda.new_stream()
        for name, shape in self._tensors.shapes.items():
            self._buffers[name] = cuda.Buffer(shape, target.gpu.integrated)
            if not self._execution.set_tensor_address(name, self._buffers[name].address):
                raise cuda.CudaError(f"TensorRT refuses the memory for {name!r}: {logger.last}")

    def _deserialise(self, target: Target) -> tuple[Any, ModelInfo]:
        """Read the plan (ICudaEngine) and its model's metadata; build it where it is missing or TensorRT refuses it."""

        def build_here() -> Plan:
            return build(target)

        stored = plans.load_or_build(target.plan_file, target.key, build_here)
        plan = self._runtime.deserialize_cuda_engine(stored.content)
        if plan is None:
            _log.warning("TensorRT refuses the stored plan %s: building it again", target.plan_file.name)
            stored = plans.rebuild(target.plan_file, target.key, build_here)
            plan = self._runtime.deserialize_cuda_engine(stored.content)
        if plan is None:
            raise InputError(f"TensorRT refuses the plan that it built: {tensorrt_logger().last}")
        return plan, stored.info

    def _found_tensors(self, trt: Any) -> dict[str, tuple[list[int], str]]:
        names = [self._plan.get_tensor_name(i) for i in range(self._plan.num_io_tensors)]
        return {
            name: (
                list(self._plan.get_tensor_shape(name)),
                np.dtype(trt.nptype(self._plan.get_tensor_dtype(name))).name,
            )
            for name in names
        }

    def _warm_up(self) -> None:
        """Run once, then record: TensorRT prepares itself in the first run, which therefore cannot be recorded."""
        self._buffers[INPUT].host[:] = 0
        self._enqueue()
        self._stream.synchronize()
        try:
            self._graph = cuda.Graph(self._stream, self._enqueue)
        except cuda.errors() as error:
            _log.info("no CUDA graph, each kernel is launched by itself: %s", error)

    def _enqueue(self) -> None:
        self._buffers[INPUT].upload(self._stream)
        if not self._execution.execute_async_v3(self._stream.handle):
            raise cuda.CudaError(f"TensorRT did not run: {tensorrt_logger().last}")
        for name in self._tensors.outputs:
            self._buffers[name].download(self._stream)

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Run the network, see `Engine.infer`."""
        self._tensors.write_image(image, self._buffers[INPUT].host)
        with cuda.current_context():
            if self._graph is None:
                self._enqueue()
            else:
                self._graph.launch()
            self._stream.synchronize()
        # The next frame overwrites the buffers.
        return self._tensors.network_output({name: self._buffers[name].host.copy() for name in self._tensors.outputs})

    def close(self) -> None:
        """Release the GPU, see `Engine.close`."""
        if self._runtime is None:
            return
        with cuda.current_context():
            if self._stream is not None:
                self._stream.synchronize()
            if self._graph is not None:
                self._graph.free()
            self._graph = None
            # TensorRT and PyCUDA free what nobody refers to any more, users before what they use.
            self._execution = None
            self._plan = None
            self._runtime = None
            for buffer in self._buffers.values():
                buffer.free()
            self._buffers = {}
            self._stream = None
