"""FP32 ONNX files of ours → FP16 and INT8 files, and what that costs on held-out frames."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from tqdm import tqdm

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.engine.tensors import INPUT, Tensors
from image_as_imu_ros.errors import InputError
from image_as_imu_training.metrics import Predictions, figures
from image_as_imu_training.samples import Samples

_HIGHEST_COST = 0.05  # of each error, relative
_COSTS = ("flow_error", "orientation_error_deg", "length_error")  # of `Figures`
_EVERY = 8  # every so many-th frame shows the ranges of activations, the others what the result is worth
_MOST_JUDGED = 128  # frames
_PERCENTILE = 99.99  # of activations are in range: the very largest would make the steps of all others coarse


def write_precision(source: Path, precision: str, frames: Samples) -> Path:
    """Write an FP32 model file in another precision beside it, as NAME_fp16.onnx or NAME_int8.onnx.

    Raises:
        InputError: fewer than two frames, the model has no hidden layers, or the result's errors on frames that it was
            not made with are more than 5 % larger than the FP32 model's; it is then removed.
    """
    if len(frames) < 2:
        raise InputError(f"{precision} needs at least two rendered frames, got {len(frames)}")
    output = source.with_name(f"{source.stem}_{precision}{source.suffix}")
    shows_range = np.arange(len(frames)) % _EVERY == 0
    if precision == "int8":
        write_int8(source, output, frames.image[shows_range])
    else:
        onnx.save(halved(onnx.load(source)), output)
    judged = np.flatnonzero(~shows_range)[:_MOST_JUDGED]
    try:
        _check_cost(source, output, frames[judged])
    except InputError:
        output.unlink()
        raise
    return output


def write_int8(source: Path, output: Path, images: np.ndarray) -> None:
    """Write a model whose hidden layers compute in INT8 (QDQ), for ONNX Runtime and TensorRT.

    Quantised is what feeds a ReLU: front ends and heads have none. TensorRT wants symmetric scales, also for
    activations, weights that are quantised in the graph, and no integer biases.

    Args:
        images: (N, height, width) uint8 that show the ranges of the activations.

    Raises:
        InputError: the model has no hidden layers.
    """
    model = onnx.load(source)
    layers = hidden_layers(model)
    if not layers:
        raise InputError(f"{source} has no hidden layers (convolutions that feed a ReLU) to quantise")
    logging.disable(logging.WARNING)  # about optional preprocessing that these graphs do not need
    try:
        with redirect_stdout(io.StringIO()):  # it tells its every step
            quantize_static(
                source,
                output,
                _Images(model, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                calibrate_method=CalibrationMethod.Percentile,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Relu"],  # no histograms of anything else
                nodes_to_quantize=layers,
                extra_options={
                    "CalibPercentile": _PERCENTILE,
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "AddQDQPairToWeight": True,
                    "QuantizeBias": False,
                },
            )
    finally:
        logging.disable(logging.NOTSET)
    model = onnx.load(output)
    _bypass_quantisation(model, layers)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, output)


def hidden_layers(model: onnx.ModelProto) -> list[str]:
    """Names of all convolutions that feed a ReLU, and of these ReLUs."""
    relus = {node.input[0]: node.name for node in model.graph.node if node.op_type == "Relu"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.output[0] in relus]
    return [name for node in convolutions for name in (node.name, relus[node.output[0]])]


class _Images(CalibrationDataReader):
    def __init__(self, model: onnx.ModelProto, images: np.ndarray) -> None:
        properties = {entry.key: entry.value for entry in model.metadata_props}
        self._tensors = Tensors(ModelInfo.from_json(properties[METADATA_KEY]))
        self._images = iter(tqdm(images, "ranges", unit="frame", leave=False))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, None behind the last."""
        image = next(self._images, None)
        if image is None:
            return None
        tensor = np.empty(self._tensors.shapes[INPUT], np.float32)
        self._tensors.write_image(image, tensor)
        return {INPUT: tensor}


def _bypass_quantisation(model: onnx.ModelProto, layers: list[str]) -> None:
    """Let all nodes but `layers` read the floats from before quantisation.

    They gain accuracy, and ONNX Runtime gains speed: it leaves a layer in FP32 if others read its quantised input.
    """
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.name in layers or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for index, name in enumerate(node.input):
            if name in made_by and made_by[name].op_type == "DequantizeLinear":
                quantised = made_by[name].input[0]
                node.input[index] = made_by[quantised].input[0]
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)
    for weight in [weight for weight in graph.initializer if weight.name not in read]:
        graph.initializer.remove(weight)


def _check_cost(source: Path, output: Path, frames: Samples) -> None:
    """Print the errors of both files on `frames`; raise InputError if those of `output` are more than 5 % larger."""
    before, after = (asdict(figures(frames, _predict(path, frames))) for path in (source, output))
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB; on {len(frames)} frames")
    for name in _COSTS:
        growth = after[name] / max(before[name], 1e-9) - 1
        print(f"  {name:22} {before[name]:.3f} → {after[name]:.3f} ({growth:+.1%})")
        if not growth <= _HIGHEST_COST:
            raise InputError(
                f"{output} would cost too much accuracy: {name} grows from {before[name]:.3f} to {after[name]:.3f}, "
                f"allowed are {_HIGHEST_COST:.0%}; it was removed"
            )


def _predict(model: Path, frames: Samples) -> Predictions:
    """Predict as the estimator would get it."""
    engine = load_engine(model, "onnxruntime")
    answers = [engine.infer(image) for image in tqdm(frames.image, model.stem, unit="frame", leave=False)]
    engine.close()
    depths = [(field.depth, field.depth_sigma) for field in answers]
    return Predictions(
        np.stack([field.axial_flow for field in answers]),
        np.stack([field.sigma for field in answers]),
        np.stack([depth for depth, _ in depths if depth is not None]),  # our networks all predict it
        np.stack([sigma for _, sigma in depths if sigma is not None]),
    )
