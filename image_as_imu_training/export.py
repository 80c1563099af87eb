"""Checkpoint → ONNX file that explains itself: calibrated, described, and checked against PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from torch.jit._trace import TracerWarning

from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.engine.tensors import INPUT, Tensors
from image_as_imu_ros.errors import InputError
from image_as_imu_training.calibration import UNCALIBRATED, calibrate, length_curve
from image_as_imu_training.checkpoint import load_network, read_state, save_weights
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.metrics import Predictions, explained_variance, predict
from image_as_imu_training.published_weights import load_segnext
from image_as_imu_training.quantization import write_precision
from image_as_imu_training.rendering.motion import MAX_BLUR_PX
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.samples import Samples
from image_as_imu_training.training.axial_network import AxialNetwork

OPSET = 17
_OUTPUTS = ("flow", "sigma", "depth", "depth_sigma")
# Where noise drowns an image, logs of little power differ by 4e-3 px; a wrong graph is off by px.
_TOLERANCE_PX = 1e-2
# Share of the variance of flow that must be explained. Of 16 rendered frames, 0.8.0 explains 84 %, and weights as
# they are initialised less than a constant answer does.
_LEAST_EXPLAINED = 0.1
_RECIPE = "image_as_imu_training: render, train, export"
_PUBLISHED = {
    "data": "published by the authors of Image as an IMU (Chen & Clark 2025): ScanNet++ renderings, real recordings",
    "recipe": "github.com/jerredchen/image-as-an-imu; converted by image_as_imu_training export",
}


def export(
    data: Path | None,
    checkpoint: Path,
    output: Path,
    version: str,
    network_name: str = "blur",
    precision: Sequence[str] = (),
    trained_on: str = "not said (--trained-on)",
) -> None:
    """Calibrate a checkpoint on DATA/frames and write it as an ONNX file.

    Args:
        data: folder written by render; None for cautious values in place of a calibration.
        checkpoint: folder written by train, or weights file; of the network "segnext" the file that its authors
            published. Our own network's weights are also written as a weights file, beside `output`.
        precision: "fp16", "int8" or both: files to write besides, see `write_precision`.
        trained_on: what our own network's weights are made of, with its licences, as the file shall say it.

    Raises:
        InputError: checkpoint or data are missing, the network reads nothing, the exported file's `disagreement` with
            PyTorch is more than 0.01 px, or another precision costs too much accuracy.
    """
    if output.suffix != ".onnx":  # the weights are written beside it
        raise InputError(f"--output is {str(output)!r}, expected a name that ends in .onnx")
    output.parent.mkdir(parents=True, exist_ok=True)
    if precision and data is None:
        raise InputError(f"precision {precision[0]} needs rendered frames to measure what it costs; give their --data")
    published = network_name == "segnext"
    network = load_segnext(checkpoint) if published else load_network(checkpoint)
    if data is None:
        images, calibration = np.zeros((1, FRAME_HEIGHT, FRAME_WIDTH), np.uint8), UNCALIBRATED
        print("without rendered frames (--data) it is not known how much the network reads")
    else:
        frames = load(data / "frames")
        predictions = predict(AxialNetwork(network), frames)
        print(check_that_it_reads(frames, predictions))
        images, calibration = frames.image[:16], calibrate(frames, predictions)
    info = ModelInfo(
        name=output.stem,
        version=version,
        width=FRAME_WIDTH,
        height=FRAME_HEIGHT,
        colour=network.colour,
        mean=network.mean,
        std=network.std,
        stride=network.stride,
        flow=network.flow,
        max_flow_px=MAX_BLUR_PX,
        **asdict(calibration),
        training=_PUBLISHED if published else {"data": trained_on, "recipe": _RECIPE},
    )
    write_onnx(network, info, output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {calibration}")
    _check_agreement(network, output, images)
    if not published:
        save_weights(network, read_state(checkpoint)["network"], output.with_suffix(".safetensors"))
    for wanted in precision:
        write_precision(output, wanted, frames)


def _check_agreement(network: torch.nn.Module, output: Path, images: np.ndarray) -> None:
    """Print the `disagreement` of a file with PyTorch. Raises InputError: it is large; the file is then removed."""
    difference = disagreement(network, output, images)
    print(f"largest difference between PyTorch and ONNX Runtime: {difference:.1e} px")
    if not difference <= _TOLERANCE_PX:
        output.unlink()
        raise InputError(f"the exported file differs from PyTorch by {difference:.1e} px; it was removed")


def check_that_it_reads(frames: Samples, predictions: Predictions) -> str:
    """Say in a sentence how much of the held-out frames' flow a network reads, lengths corrected as an export does.

    Raises:
        InputError: next to nothing.
    """
    corrected = ModelInfo("", "", 1, 1, length_curve=length_curve(frames, predictions))
    explained = explained_variance(frames, corrected.corrected(predictions.flow.swapaxes(0, 1)).swapaxes(0, 1))
    figures = f"its flow explains {100 * max(0.0, explained):.0f} % of the variance in {len(frames)} held-out frames"
    if not explained >= _LEAST_EXPLAINED:
        raise InputError(
            f"the network reads nothing: {figures}, and a constant answer 0 %. It is not worth exporting: train it on, "
            "and see by `validate` how it gets on"
        )
    return f"the network reads blur: {figures}"


def write_onnx(network: torch.nn.Module, info: ModelInfo, output: Path) -> None:
    """Write `network` with fixed input size and with `info` as its metadata."""
    image = torch.zeros(1, len(info.mean), info.height, info.width)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "exported.onnx"
        warnings.simplefilter("ignore", TracerWarning)  # about sizes that are taken for fixed: they are
        torch.onnx.export(
            network.eval(),
            (image,),
            path,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(_OUTPUTS),
            dynamo=False,
        )
        model = _simplified(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    onnx.checker.check_model(model, full_check=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, output)


def _simplified(model: Path) -> onnx.ModelProto:
    """Compute constants and merge normalisations into convolutions, as ONNX Runtime does it."""
    options = onnxruntime.SessionOptions()
    # Standard operators only, and nothing that depends on this machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(model.with_name("simplified.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    simplified = onnx.load(options.optimized_model_filepath)
    del simplified.opset_import[:]  # ONNX Runtime lists all operator sets that it knows
    simplified.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return simplified


@torch.no_grad()
def disagreement(network: torch.nn.Module, model_file: Path, images: np.ndarray) -> float:
    """Find the largest difference of any output between PyTorch and ONNX Runtime, px (m for depth).

    That of values beyond 10 px counts in proportion: single precision rounds relatively.

    Args:
        images: (N, H, W) uint8 of the model's input size. Noise and a uniform image are tried besides.
    """
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    tensors = Tensors(ModelInfo.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY]))
    image = np.zeros(tensors.shapes[INPUT], np.float32)
    noise = np.random.default_rng(0).integers(0, 256, images[:2].shape, np.uint8)
    worst = 0.0
    for shown in [*images, *noise, np.full_like(images[0], 128)]:
        tensors.write_image(shown, image)
        exported = session.run(list(_OUTPUTS), {INPUT: image})
        expected = network(torch.from_numpy(image))
        for ours, theirs in zip(exported, expected, strict=True):
            theirs = theirs.numpy()
            worst = max(worst, float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs) / 10)).max()))
    return worst
