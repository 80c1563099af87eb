"""What is measured while training: held-out rendered samples, and recordings through the runtime's own evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from image_as_imu_ros.engine import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, SignResolution
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.evaluation.estimator_run import run_recording
from image_as_imu_ros.evaluation.exposure import Shutters
from image_as_imu_ros.evaluation.metrics import metrics
from image_as_imu_ros.evaluation.samples import samples_of
from image_as_imu_ros.geometry.axial_flow import signed_from_axial
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import CameraMessages, Recording
from image_as_imu_ros.recordings.storage import recording_name
from image_as_imu_training.metrics import Predictions, figures
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.training.axial_network import AxialNetwork, Outputs
from image_as_imu_training.training.data import Batch, RenderedSamples, first_samples
from image_as_imu_training.training.losses import Terms
from image_as_imu_training.training.recordings import identity, topics_of, with_exposure
from image_as_imu_training.training.settings import RecordingSettings

_SHOWN = 4
_TRUE, _PREDICTED = (255, 225, 0), (30, 170, 255)  # cyan and amber, BGR, as in the runtime's overlay


class TorchEngine:
    """A network in training as an engine of the runtime, without calibration. Sees luminance only."""

    name = "torch"

    def __init__(self, network: AxialNetwork) -> None:
        self.info = ModelInfo("training", "0", FRAME_WIDTH, FRAME_HEIGHT, stride=network.network.stride)
        self._network = network

    @torch.no_grad()
    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Predict one image: see `Engine.infer`."""
        tensor = torch.from_numpy(image)[None, None].to(self._network.mean.device).float() / 255
        flow, sigma, depth, depth_sigma = (output[0].float().cpu().numpy() for output in self._network(tensor))
        return NetworkOutput(flow, sigma, depth[0], depth_sigma[0], self.info.stride)

    def close(self) -> None:
        """Release nothing."""


@torch.no_grad()
def rendered_figures(
    network: AxialNetwork, dataset: RenderedSamples, count: int, batch: int, terms_of: Callable[[Outputs, Batch], Terms]
) -> tuple[dict[str, float], np.ndarray]:
    """Compute `metrics.figures` and mean loss terms over the first `count` samples, and draw some of them."""
    count = min(count, len(dataset))
    outputs, terms = [], []
    batches = first_samples(dataset, count, batch)
    for labelled in tqdm(batches, "validate", -(-count // batch), unit="batch", leave=False):
        labelled = {name: value.to(network.mean.device) for name, value in labelled.items()}
        found = network(labelled["image"].float() / 255)
        terms.append({name: len(found[0]) * float(value) for name, value in terms_of(found, labelled).items()})
        outputs.append([output.float().cpu().numpy() for output in found])
    predictions = Predictions.of(outputs)
    samples = dataset.first(count)
    values = asdict(figures(samples, predictions))
    values |= {f"loss_{name}": sum(part[name] for part in terms) / count for name in terms[0]}
    shown = zip(samples.image[:_SHOWN], predictions.flow, samples.flow, strict=False)
    return values, np.concatenate([draw_fields(*fields) for fields in shown], axis=1)


class ValidationRecording:
    """A recording with ground truth, of which some frames are evaluated now and then.

    Attributes:
        name: of the recording. identities: of all its images.
    """

    def __init__(self, settings: RecordingSettings, frames: int) -> None:
        """Find the ground truth. Raises InputError: the recording cannot be read or has none."""
        self._path, self._frames = Path(settings.path).expanduser(), frames
        self._shutter = Shutter(settings.exposure, StampReference(settings.stamp_reference), settings.readout_time)
        self.name = recording_name(self._path)
        with Recording(self._path) as recording:
            self._topics = topics_of(recording, None, None, None)
            self._ground_truth = read_ground_truth(recording, str(self._topics.ground_truth))
            messages = recording.messages(self._topics.image)
            self.identities = {identity(message) for _, message in messages}

    def figures(self, network: AxialNetwork) -> tuple[dict[str, float], np.ndarray]:
        """Run `evaluate --sign-resolution oracle`: main figures, and the most blurred frame with streaks drawn (BGR).

        Raises:
            InputError: as `evaluate`.
        """
        engine = TorchEngine(network)
        with _Subsampled(self._path, self._frames) as recording:
            shutter = with_exposure(self._shutter, recording, self._topics, self._ground_truth, engine)
            config = EstimatorConfig(measurement=Measurement.SINGLE, sign_resolution=SignResolution.AXIAL)
            shutters = Shutters(shutter)
            run = run_recording(recording, self._topics, engine, config, shutters, self.name, known_sign=True)
        samples = samples_of(run.results, self._ground_truth, config.motion_model, mean=True)
        found = metrics(samples, shutter.exposure, oracle=True)
        values = {}
        for group in ("all", "blurred"):
            part = found[group]
            values |= {f"{group}/axis_error_deg_{name}": value for name, value in part["axis_error_deg"].items()}
            values[f"{group}/magnitude_ratio"] = part["magnitude_ratio"]["median"]
            for kind in ("angular", "linear"):
                rmse = part[f"rmse_{kind}"] or (None, None, None)
                values |= {f"{group}/rmse_{kind}_{axis}": value for axis, value in zip("xyz", rmse, strict=True)}
        most_blurred = run.most_blurred.exhibits[0]
        return {name: value for name, value in values.items() if value is not None}, most_blurred.overlay


class _Subsampled(Recording):
    """A recording of which about `frames` images are read, at equal distances."""

    def __init__(self, path: str | Path, frames: int) -> None:
        super().__init__(path)
        self._wanted = frames

    def frames(self, image_topic: str, info_topic: str, depth_topic: str | None = None) -> Iterator[CameraMessages]:
        """Read some of the frames: see `Recording.frames`."""
        every = max(1, -(-super().count(image_topic) // self._wanted))
        return islice(super().frames(image_topic, info_topic, depth_topic), 0, None, every)

    def count(self, topic: str) -> int:
        """Count messages: see `Recording.count`."""
        return min(self._wanted, super().count(topic))


def draw_fields(image: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Draw streaks of two axial fields (2, h, w) px on an image (H, W): (H, W, 3) BGR, true cyan, predicted amber."""
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    rows, columns = predicted.shape[1:]
    centres = cell_centres(rows, columns, image.shape[1] // columns).reshape(rows, columns, 2)
    for field, colour, thickness in ((true, _TRUE, 2), (predicted, _PREDICTED, 1)):
        half = signed_from_axial(field.astype(np.float64)).transpose(1, 2, 0) / 2
        for centre, vector in zip(centres[1::3, 1::3].reshape(-1, 2), half[1::3, 1::3].reshape(-1, 2), strict=True):
            start, end = (np.round(centre + sign * vector).astype(int).tolist() for sign in (-1, 1))
            cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA)
    return canvas
