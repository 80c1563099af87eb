"""FP32, FP16, INT8: which model file holds them, and how TensorRT is brought to them.

The files of a model are named alike: `NAME.onnx` (FP32), `NAME_fp16.onnx`, `NAME_int8.onnx` (quantised, QDQ).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.settings import TextEnum


class Precision(TextEnum):
    """Numeric precision of a network; AUTO: see `choose_weights`."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


PRECISIONS = tuple(Precision)

_SUFFIXES = {Precision.FP32: "", Precision.FP16: "_fp16", Precision.INT8: "_int8"}
_FLAGS = {Precision.FP32: (), Precision.FP16: ("FP16",), Precision.INT8: ("INT8", "FP16")}


def choose_weights(model: Path, precision: str, *, tensorrt: bool, fast_int8: bool = False) -> tuple[Path, Precision]:
    """Choose the file of a model that serves a precision, and replace "auto" by the precision that it stands for.

    "auto" is what the file's name says; of a file without a suffix TensorRT makes FP16, ONNX Runtime runs it as it is,
    or the INT8 file beside it where that is fast.

    Args:
        model: any file of the model; the others are looked for beside it.
        precision: one of PRECISIONS.
        tensorrt: whether TensorRT will run it, which can make FP16 out of FP32 itself.
        fast_int8: whether a CPU will run it that multiplies INT8 much faster than FP32.

    Raises:
        InputError: no such precision, or the model has no file for it.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}, expected one of: {', '.join(PRECISIONS)}")
    named = next((p for p, suffix in _SUFFIXES.items() if suffix and model.stem.endswith(suffix)), Precision.FP32)
    chosen = Precision(precision)
    if chosen == Precision.AUTO:
        chosen = Precision.FP16 if tensorrt and named == Precision.FP32 else named
    stem = model.stem.removesuffix(_SUFFIXES[named])
    quantised = model.with_name(f"{stem}{_SUFFIXES[Precision.INT8]}{model.suffix}")
    if precision == Precision.AUTO and chosen == Precision.FP32 and fast_int8 and quantised.is_file():
        return quantised, Precision.INT8
    wanted = model.with_name(f"{stem}{_SUFFIXES[chosen]}{model.suffix}")
    if wanted == model or wanted.is_file():
        return wanted, chosen
    if chosen == Precision.FP16 and named == Precision.FP32 and tensorrt:
        return model, chosen
    raise InputError(
        f"precision {chosen} of {model.name} needs the file {str(wanted)!r}, which does not exist: choose another "
        "precision"
    )


@dataclass(frozen=True)
class Recipe:
    """How TensorRT is brought to a precision.

    Attributes:
        strongly_typed: every tensor keeps the type that the ONNX file gives it.
        flags: names of builder flags; TensorRT then chooses a type per layer.
        halve: the ONNX model's FP32 weights and tensors are made FP16 before TensorRT sees them.
    """

    strongly_typed: bool
    flags: tuple[str, ...] = ()
    halve: bool = False


def recipe(tensorrt_version: str, precision: Precision, *, quantised: bool, half: bool) -> Recipe:
    """Choose how this TensorRT builds a model in a precision.

    Precision flags are deprecated since TensorRT 10.12 and gone in 11; strongly typed networks exist since 10.0.
    https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x.html

    Args:
        tensorrt_version: "8.6.2", "10.3.0", …
        precision: any but AUTO.
        quantised: whether the ONNX file holds quantised weights (QDQ).
        half: whether it holds FP16 weights.

    Raises:
        InputError: the file cannot be had in this precision.
    """
    if quantised != (precision == Precision.INT8):
        holds = "holds" if quantised else "does not hold"
        raise InputError(f"precision is {precision}, but the model file {holds} quantised weights (QDQ)")
    if half and precision == Precision.FP32:
        raise InputError("precision is fp32, but the model file holds FP16 weights: give the file without _fp16")
    major, minor = (int(part) for part in tensorrt_version.split(".")[:2])
    if (major, minor) >= (10, 12) or (half and major >= 10):
        return Recipe(strongly_typed=True, halve=precision == Precision.FP16 and not half)
    return Recipe(strongly_typed=False, flags=_FLAGS[precision])
