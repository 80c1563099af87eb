"""ONNX Runtime: the engine that runs everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.motion_field import MotionField, axial_from_signed


class OnnxRuntimeEngine:
    """Runs an ONNX model on the GPU if this ONNX Runtime has CUDA, else on the CPU. See `Engine`."""

    def __init__(self, model: Path, threads: int = 0) -> None:
        if not model.is_file():
            raise InputError(f"model file {str(model)!r} does not exist")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads must not spin: on a robot the other cores have work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        providers = [
            provider
            for provider in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if provider in onnxruntime.get_available_providers()
        ]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exception classes share no public base
            first_line = str(error).strip().splitlines()[0]
            raise InputError(f"model file {str(model)!r} cannot be loaded as ONNX: {first_line}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise InputError(
                f"model file {str(model)!r} is ONNX but has no {METADATA_KEY!r} metadata: "
                "it was not made for this project (export with python -m image_as_imu_training export)"
            )
        self.info = ModelInfo.from_json(metadata[METADATA_KEY])
        self.name = f"onnxruntime ({self._session.get_providers()[0].removesuffix('ExecutionProvider')})"
        self._check_signature(model)
        self._mean = 255 * np.array(self.info.mean, np.float32)[:, None, None]
        self._scale = 1 / (255 * np.array(self.info.std, np.float32)[:, None, None])
        self._outputs = ["flow", "spread", *(["depth"] if self.info.predicts_depth else [])]

    def _check_signature(self, model: Path) -> None:
        info = self.info
        height, width = info.height // info.stride, info.width // info.stride
        expected = {
            "image": [1, len(info.mean), info.height, info.width],
            "flow": [1, 2, height, width],
            "spread": [1, 1, height, width],
        }
        if info.predicts_depth:
            expected["depth"] = [1, 1, height, width]
        tensors = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {tensor.name: list(tensor.shape) for tensor in tensors}
        for name, shape in expected.items():
            if found.get(name) != shape:
                raise InputError(
                    f"model file {str(model)!r}: tensor {name!r} should have shape {shape} by its metadata, "
                    f"the file has {found.get(name, 'no such tensor')}"
                )

    def infer(self, image: np.ndarray) -> MotionField:
        """See `Engine.infer`."""
        planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        tensor = (planes.astype(np.float32) - self._mean) * self._scale
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, {"image": tensor[None]}), strict=True))
        flow = outputs["flow"][0]
        return MotionField(
            axial_flow=self.info.corrected(flow if self.info.flow == "axial" else axial_from_signed(flow)),
            spread=outputs["spread"][0, 0] * self.info.spread_scale,
            depth=outputs["depth"][0, 0] if self.info.predicts_depth else None,
            stride=self.info.stride,
            spread_across=self.info.spread_across,
        )

    def close(self) -> None:
        """See `Engine.close`."""
        del self._session
