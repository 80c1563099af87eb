"""What a model file says about itself. Stored as one JSON text in the ONNX file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from image_as_imu_ros.errors import InputError

METADATA_KEY = "image_as_imu"
FORMAT = 3


@dataclass(frozen=True)
class ModelInfo:
    """Everything the runtime needs to know about a model; no second file repeats it.

    The network maps `image` (1, channels, height, width) float32, = (pixel / 255 − mean) / std, to `flow`
    (1, 2, h, w) px over the exposure, `sigma` (1, 2, h, w) px of q along itself and across, and, if `predicts_depth`,
    `depth` (1, 1, h, w) m and `depth_sigma` (1, 1, h, w) of its logarithm, with h = height / stride.

    Attributes:
        name, version: of the weights.
        width, height: of the input image, px.
        colour: "gray" (one channel, luminance) or "rgb".
        mean, std: normalisation, one value per channel, for pixels scaled to 0…1.
        stride: input px per output cell.
        flow: "axial" (q, see NetworkOutput) or "signed" (f).
        predicts_depth: whether there are outputs `depth` and `depth_sigma`.
        max_flow_px: longest blur the model was trained on, px; longer ones are read too short.
        length_curve: calibration; pairs (predicted, true) of streak lengths, px, ascending; lengths are corrected by
            linear interpolation between them, beyond the last by its ratio. Empty: lengths are right as they are.
        sigma_scale: calibration; the predicted sigmas along q and across times these are one standard deviation.
        depth_sigma_scale: calibration; the predicted sigma of depth, its root mean square over a frame, times this is
            one standard deviation of the log of the depth's scale, which is wrong for the frame as a whole.
        flow_smoothing: calibration; `NetworkOutput.smoothing` of its predictions, px.
        correlated_cells: calibration; how many cells share one independent error (≥ 1; more than there are, where the
            sigmas are too small besides).
        flow_log_std: calibration; standard deviation of the log of blur length that a whole frame shares: reading all
            streaks of a frame too long or too short does not average out.
        typical_relative_sigma: calibration; the `NetworkOutput.relative_sigma` of frames for which the two above hold.
            Shared errors grow in proportion to it. None: they are the same in all frames.
        training: free text for people: data, licences, recipe.
    """

    name: str
    version: str
    width: int
    height: int
    colour: str = "gray"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    stride: int = 4
    flow: str = "axial"
    predicts_depth: bool = True
    max_flow_px: float = 80.0
    length_curve: tuple[tuple[float, float], ...] = ()
    sigma_scale: tuple[float, float] = (1.0, 1.0)
    depth_sigma_scale: float = 1.0
    flow_smoothing: float = 0.0
    correlated_cells: float = 1.0
    flow_log_std: float = 0.05
    typical_relative_sigma: float | None = None
    training: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        channels = {"gray": 1, "rgb": 3}.get(self.colour)
        curve = np.array([(0.0, 0.0), *self.length_curve])
        problems = [
            (channels is None, f"colour is {self.colour!r}, expected 'gray' or 'rgb'"),
            (self.flow not in ("axial", "signed"), f"flow is {self.flow!r}, expected 'axial' or 'signed'"),
            (
                len(self.mean) != channels or len(self.std) != channels,
                "mean and std need one value per channel",
            ),
            (min(self.width, self.height, self.stride) < 1, "width, height and stride must be positive"),
            (
                len(self.sigma_scale) != 2,
                f"sigma_scale needs a value for errors along and one for errors across, it is {self.sigma_scale}",
            ),
            (
                min(*self.sigma_scale, self.depth_sigma_scale, self.typical_relative_sigma or 1.0) <= 0
                or self.correlated_cells < 1
                or self.flow_smoothing < 0,
                "calibration must be positive, flow_smoothing may be 0",
            ),
            (
                not (np.diff(curve[:, 0]) > 0).all() or not (np.diff(curve[:, 1]) >= 0).all(),
                f"length_curve must ascend from zero, it is {self.length_curve}",
            ),
        ]
        for wrong, message in problems:
            if wrong:
                raise InputError(f"model metadata: {message}")

    def corrected(self, axial_flow: np.ndarray) -> np.ndarray:
        """Correct the length of axial flow (2, …) px, as the network predicts it, by `length_curve`."""
        if not self.length_curve:
            return axial_flow
        length = np.hypot(axial_flow[0], axial_flow[1])
        predicted, true = np.array([(0.0, 0.0), *self.length_curve]).T
        beyond = length * (true[-1] / predicted[-1])
        corrected = np.where(length <= predicted[-1], np.interp(length, predicted, true), beyond)
        return axial_flow * (corrected / np.maximum(length, 1e-6)).astype(axial_flow.dtype)

    def to_json(self) -> str:
        """Write the metadata of a model file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def of_model(cls, model: Path, metadata: Mapping[str, str]) -> ModelInfo:
        """Read it from the metadata, by key, of an ONNX file.

        Raises:
            InputError: there is none, or as `from_json`.
        """
        if METADATA_KEY not in metadata:
            raise InputError(
                f"model file {str(model)!r} is ONNX but has no {METADATA_KEY!r} metadata: "
                "it was not made for this project (export with python -m image_as_imu_training export)"
            )
        return cls.from_json(metadata[METADATA_KEY])

    @classmethod
    def from_json(cls, text: str) -> ModelInfo:
        """Parse the metadata of a model file.

        Raises:
            InputError: not JSON, another format version, or fields that are missing, unknown or of a wrong type.
        """
        try:
            values = json.loads(text)
            version = values.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"model metadata is not readable: {error}") from None
        if version != FORMAT:
            raise InputError(f"model metadata has format {version!r}, this program reads {FORMAT}; update one of them")
        unknown = values.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f"model metadata has unknown fields: {', '.join(sorted(unknown))}")
        try:
            values |= {key: tuple(values[key]) for key in ("mean", "std", "sigma_scale") if key in values}
            values["length_curve"] = tuple((float(p), float(t)) for p, t in values.get("length_curve", ()))
            return cls(**values)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"model metadata is incomplete: {error}") from None
