"""Checkpoint → ONNX file that explains itself: calibrated, described, and checked against PyTorch."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_training.calibration import calibrate
from image_as_imu_training.checkpoint import load_network
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.metrics import predict
from image_as_imu_training.networks.blur_network import BlurNetwork
from image_as_imu_training.rendering.motion import MAX_BLUR_PX
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH, STRIDE

OPSET = 17
_OUTPUTS = ("flow", "spread", "depth")
_TOLERANCE_PX = 1e-3
_TRAINING = {
    "data": (
        "rendered from 301 photographs (CID22, CC BY-SA 4.0; CLIC, Unsplash licence; Kodak suite, free use; gb82, CC0)"
        " on tilted planes and from 160 frames of 7-Scenes redkitchen (research use) with invented motions"
    ),
    "recipe": "image_as_imu_training: render, train, export; see models/README.md",
}


def export(data: Path, checkpoint: Path, output: Path, version: str) -> None:
    """Calibrate a checkpoint on DATA/frames and write it as an ONNX file.

    Raises:
        InputError: checkpoint or data are missing, or the exported file disagrees with PyTorch by more than 1e-3 px.
    """
    network = load_network(checkpoint)
    frames = load(data / "frames")
    calibration = calibrate(frames, predict(network, frames))
    info = ModelInfo(
        name=output.stem,
        version=version,
        width=FRAME_WIDTH,
        height=FRAME_HEIGHT,
        stride=STRIDE,
        max_flow_px=MAX_BLUR_PX,
        **asdict(calibration),
        training=_TRAINING,
    )
    write_onnx(network, info, output)
    difference = disagreement(network, output, frames.image[:16])
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {calibration}")
    print(f"largest difference between PyTorch and ONNX Runtime: {difference:.1e} px")
    if not difference <= _TOLERANCE_PX:
        output.unlink()
        raise InputError(f"the exported file differs from PyTorch by {difference:.1e} px; it was removed")


def write_onnx(network: BlurNetwork, info: ModelInfo, output: Path) -> None:
    """Write `network` with fixed input size and with `info` as its metadata."""
    buffer = io.BytesIO()
    image = torch.zeros(1, 1, info.height, info.width)
    torch.onnx.export(
        network.eval(),
        (image,),
        buffer,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(_OUTPUTS),
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    onnx.checker.check_model(model, full_check=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, output)


@torch.no_grad()
def disagreement(network: BlurNetwork, model_file: Path, images: np.ndarray) -> float:
    """Largest difference of any output between PyTorch and ONNX Runtime, px (m for depth).

    Args:
        images: (N, H, W) uint8 of the model's input size. Noise and a uniform image are tried besides.
    """
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).integers(0, 256, images[:2].shape, np.uint8)
    worst = 0.0
    for picture in [*images, *noise, np.full_like(images[0], 128)]:
        image = picture[None, None].astype(np.float32) / 255
        exported = session.run(list(_OUTPUTS), {"image": image})
        expected = network(torch.from_numpy(image))
        for ours, theirs in zip(exported, expected, strict=True):
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    return worst
