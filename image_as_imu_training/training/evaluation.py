"""What is measured while training: held-out rendered samples, and recordings through the runtime's own evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from image_as_imu_ros.engine import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.evaluation.metrics import metrics
from image_as_imu_ros.evaluation.run import run_recording, samples_of
from image_as_imu_ros.geometry.axial_flow import signed_from_axial
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import CameraMessages, Recording
from image_as_imu_training.metrics import Predictions, figures
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.training.axial_network import AxialNetwork, Outputs
from image_as_imu_training.training.data import Batch, RenderedSamples, first_samples
from image_as_imu_training.training.losses import Terms
from image_as_imu_training.training.recordings import fitted, identity, timing_of, topics_of
from image_as_imu_training.training.settings import RecordingSettings

_PICTURES = 4
_TRUE, _PREDICTED = (255, 225, 0), (30, 170, 255)  # cyan and amber, BGR, as in the runtime's overlay


class TorchEngine:
    """A network in training as an engine of the runtime, without calibration. Sees luminance only."""

    name = "torch"

    def __init__(self, network: AxialNetwork) -> None:
        self.info = ModelInfo("training", "0", FRAME_WIDTH, FRAME_HEIGHT, stride=network.network.stride)
        self._network = network

    @torch.no_grad()
    def infer(self, image: np.ndarray) -> NetworkOutput:
        """See `Engine.infer`."""
        tensor = torch.from_numpy(image)[None, None].to(self._network.mean.device).float() / 255
        flow, sigma, depth, depth_sigma = (output[0].float().cpu().numpy() for output in self._network(tensor))
        return NetworkOutput(flow, sigma, depth[0], depth_sigma[0], self.info.stride)

    def close(self) -> None:
        """Nothing to release."""


@torch.no_grad()
def rendered_figures(
    network: AxialNetwork, dataset: RenderedSamples, count: int, batch: int, terms_of: Callable[[Outputs, Batch], Terms]
) -> tuple[dict[str, float], np.ndarray]:
    """Figures of `metrics.figures` and mean loss terms over the first `count` samples; a picture of some of them."""
    count = min(count, len(dataset))
    outputs, terms = [], []
    for labelled in first_samples(dataset, count, batch):
        labelled = {name: value.to(network.mean.device) for name, value in labelled.items()}
        found = network(labelled["image"].float() / 255)
        terms.append({name: len(found[0]) * float(value) for name, value in terms_of(found, labelled).items()})
        outputs.append([output.float().cpu().numpy() for output in found])
    predictions = Predictions.of(outputs)
    samples = dataset.first(count)
    values = asdict(figures(samples, predictions))
    values |= {f"loss_{name}": sum(part[name] for part in terms) / count for name in terms[0]}
    pictures = zip(samples.image[:_PICTURES], predictions.flow, samples.flow, strict=False)
    return values, np.concatenate([draw_fields(*picture) for picture in pictures], axis=1)


class ValidationRecording:
    """A recording with ground truth, of which some frames are evaluated now and then.

    Attributes:
        name: of the recording. identities: of all its images.
    """

    def __init__(self, settings: RecordingSettings, frames: int) -> None:
        """Raises InputError: the recording cannot be read or has no truth."""
        self._path, self._frames = Path(settings.path).expanduser(), frames
        self._exposure = settings.exposure
        self._timing = timing_of(settings.exposure, settings.stamp_reference, settings.readout_time)
        self.name = self._path.resolve().stem
        with Recording(self._path) as recording:
            self._topics = topics_of(recording)
            self._ground_truth = read_ground_truth(recording, self._topics["truth"])
            messages = recording.messages(self._topics["image"])
            self.identities = {identity(message) for _, message in messages}

    def figures(self, network: AxialNetwork) -> tuple[dict[str, float], np.ndarray]:
        """Main figures of `evaluate --sign-resolution oracle`, and the most blurred frame with its streaks drawn (BGR).

        Raises:
            InputError: as `evaluate`.
        """
        engine, timing = TorchEngine(network), self._timing
        with _Subsampled(self._path, self._frames) as recording:
            if self._exposure is None:
                timing = fitted(timing, recording, self._topics, self._ground_truth, engine)
            options = EstimatorConfig(measurement="single", sign_resolution="axial")
            run = run_recording(recording, self._topics, engine, options, timing, self.name, known_sign=True)
        found = metrics(samples_of(run.results, self._ground_truth, "full"), timing.exposure, oracle=True)
        values = {}
        for group in ("all", "blurred"):
            part = found[group]
            values |= {f"{group}/axis_error_deg_{name}": value for name, value in part["axis_error_deg"].items()}
            values[f"{group}/magnitude_ratio"] = part["magnitude_ratio"]["median"]
            for kind in ("angular", "linear"):
                rmse = part[f"rmse_{kind}"] or (None, None, None)
                values |= {f"{group}/rmse_{kind}_{axis}": value for axis, value in zip("xyz", rmse, strict=True)}
        most_blurred = run.most_blurred.pictures[0]
        return {name: value for name, value in values.items() if value is not None}, most_blurred.overlay


class _Subsampled(Recording):
    """A recording of which about `frames` images are read, evenly spread."""

    def __init__(self, path: str | Path, frames: int) -> None:
        super().__init__(path)
        self._wanted = frames

    def frames(self, image_topic: str, info_topic: str, depth_topic: str | None = None) -> Iterator[CameraMessages]:
        """See `Recording.frames`."""
        every = max(1, -(-super().count(image_topic) // self._wanted))
        return islice(super().frames(image_topic, info_topic, depth_topic), 0, None, every)

    def count(self, topic: str) -> int:
        """See `Recording.count`."""
        return min(self._wanted, super().count(topic))


def draw_fields(image: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Streaks of two axial fields (2, h, w) px on an image (H, W) uint8: (H, W, 3) BGR, true cyan, predicted amber."""
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    rows, columns = predicted.shape[1:]
    centres = cell_centres(rows, columns, image.shape[1] // columns).reshape(rows, columns, 2)
    for field, colour, thickness in ((true, _TRUE, 2), (predicted, _PREDICTED, 1)):
        half = signed_from_axial(field.astype(np.float64)).transpose(1, 2, 0) / 2
        for centre, vector in zip(centres[1::3, 1::3].reshape(-1, 2), half[1::3, 1::3].reshape(-1, 2), strict=True):
            start, end = (np.round(centre + sign * vector).astype(int).tolist() for sign in (-1, 1))
            cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA)
    return canvas
