"""Stage 3's data: frames of real recordings with the velocity that a gyroscope or motion capture saw.

`label` writes a folder per recording:

    NAME/recording.json   camera of the prepared frames, exposure time, where they came from
    NAME/labels.npz       stamp (N,) int64 ns and checksum (N,) of the image messages; velocity (N, 6) (v, ω) in the
                          optical frame, NaN where not known; noise (6,) standard deviation of the labels
    NAME/STAMP.png        the part of a frame that the network sees
"""

from __future__ import annotations

import json
import shutil
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.frame import StampReference, check_exposure
from image_as_imu_ros.evaluation.run import Timing, fit_exposure, run_recording, samples_of
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.training.data import motion_field_matrix

_FIRST_EXPOSURE = 0.02  # s, the guess that a fit starts from
_NORMAL_MEDIAN = 0.6745  # median of |x| of a standard normal variable
_FOURTH_DIFFERENCE = 70.0  # its variance, for independent samples of variance one: 1 + 16 + 36 + 16 + 1


def label(
    recording: Path,
    output: Path,
    exposure: float | None,
    stamp_reference: str,
    readout_time: float,
    image_topic: str | None,
    camera_info_topic: str | None,
    ground_truth_topic: str | None,
    model: Path | None,
) -> None:
    """Turn a recording with ground truth into OUTPUT/NAME.

    Args:
        exposure: s; None to fit one to the truth, by what `model` (default: the shipped one) sees.
        stamp_reference, readout_time, …_topic: as the options of `evaluate`.

    Raises:
        InputError: the recording cannot be used, has no truth at any frame, or is labelled already.
    """
    folder = output / recording.resolve().stem
    if folder.exists():
        raise InputError(f"{folder} exists already; remove it to label the recording again")
    timing = timing_of(exposure, stamp_reference, readout_time)
    with Recording(recording) as opened:
        topics = topics_of(opened, image_topic, camera_info_topic, ground_truth_topic)
        ground_truth = read_ground_truth(opened, topics["truth"])
        if exposure is None:
            with closing(load_engine(model or resource(DEFAULT_MODEL))) as engine:
                timing = fitted(timing, opened, topics, ground_truth, engine)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        identities, velocities, camera = _write_frames(opened, topics, ground_truth, timing, partial)
    noise = label_noise(ground_truth, timing.exposure + readout_time)
    stamps, checksums = np.array(identities).T
    np.savez(partial / "labels.npz", stamp=stamps, checksum=checksums, velocity=velocities, noise=noise)
    about = {"source": recording.name, "topics": topics, "exposure": timing.exposure, "camera": asdict(camera)}
    (partial / "recording.json").write_text(json.dumps(about, indent=1) + "\n")
    partial.rename(folder)
    known = "v and ω" if np.isfinite(velocities[:, :3]).any() else "ω"
    print(f"{folder}: {len(identities)} frames labelled with {known}, exposure {1e3 * timing.exposure:.2f} ms")
    print("noise of the labels, v [m/s] and ω [rad/s]: " + " ".join(f"{value:.3f}" for value in noise))


def timing_of(exposure: float | None, stamp_reference: str, readout_time: float) -> Timing:
    """The timing of a recording whose exposure, s, is known or, if None, to be fitted from a first guess.

    Raises:
        InputError: a value is out of range.
    """
    if exposure is not None:
        check_exposure(exposure)
    if not 0 <= readout_time <= 1:
        raise InputError(f"readout time is {readout_time} s; expected 0 to 1 s (check the unit)")
    if stamp_reference not in tuple(StampReference):
        raise InputError(f"stamp_reference is {stamp_reference!r}, expected one of: {', '.join(tuple(StampReference))}")
    return Timing(_FIRST_EXPOSURE if exposure is None else exposure, stamp_reference, readout_time)


def identity(image: Any) -> tuple[int, int]:
    """Stamp, ns, and checksum of an image message: the same in every copy of a recording."""
    return stamp_to_nanoseconds(image.header.stamp), zlib.crc32(image.data)


def topics_of(
    recording: Recording, image: str | None = None, camera_info: str | None = None, ground_truth: str | None = None
) -> dict[str, str | None]:
    """The topics to read, by name or found. Raises InputError: a topic is missing or ambiguous, truth included."""
    image = recording.image_topic(image)
    found = recording.ground_truth_topic(ground_truth)
    if found is None:
        raise InputError(f"recording {str(recording.path)!r} has no topic that could be the truth")
    info = recording.camera_info_topic(image, camera_info)
    return {"image": image, "camera_info": info, "depth": None, "truth": found}


def fitted(timing: Timing, recording: Recording, topics: dict, ground_truth: GroundTruth, engine: Engine) -> Timing:
    """The timing with the exposure, s, that fits the truth best. Raises InputError: too little blur or truth."""
    options = EstimatorConfig(measurement="single", sign_resolution="axial")
    run = run_recording(recording, topics, engine, options, timing, "fitting the exposure")
    exposure = fit_exposure(samples_of(run.results, ground_truth, "full"), timing.exposure)
    return Timing(exposure, timing.stamp_reference, timing.readout_time)


def label_noise(ground_truth: GroundTruth, window: float) -> np.ndarray:
    """(6,) standard deviation of (v, ω) averaged over a window, s; NaN where nothing is known.

    From fourth differences of the truth's samples: motion hardly shows in them, independent noise does. The median
    is blind to gaps.
    """
    values = np.concatenate([ground_truth.linear, ground_truth.angular], axis=1)
    differences = np.abs(np.diff(values, 4, axis=0)) if len(values) > 4 else np.zeros((1, 6))
    sigma = np.median(differences, axis=0) / _NORMAL_MEDIAN / np.sqrt(_FOURTH_DIFFERENCE)
    interval = np.median(np.diff(ground_truth.stamps)) * 1e-9
    return sigma / np.sqrt(max(1.0, window / interval))


def _write_frames(
    recording: Recording, topics: dict, ground_truth: GroundTruth, timing: Timing, folder: Path
) -> tuple[list[tuple[int, int]], np.ndarray, Camera]:
    """Write the frames at which ω is known: their identities, velocities (N, 6), and the camera of the pictures."""
    identities, velocities, camera = [], [], None
    messages = recording.frames(topics["image"], topics["camera_info"])
    window = timing.exposure + timing.readout_time
    for message in tqdm(messages, "labelling", recording.count(topics["image"]), unit="frame", leave=False):
        try:
            linear, angular = ground_truth.at(np.array([timing.mid_exposure(message.stamp)]), window)
            if not np.isfinite(angular).all():
                continue
            view = View.of(message.camera(), FRAME_WIDTH, FRAME_HEIGHT)
            picture = view.prepare(message.decode_image("gray"), "gray")
        except InputError as error:
            tqdm.write(f"frame {message.stamp} left out: {error}")
            continue
        if camera is not None and view.camera != camera:
            raise InputError(f"the camera's intrinsics change at frame {message.stamp}; split the recording there")
        camera = view.camera
        cv2.imwrite(str(folder / f"{message.stamp}.png"), picture)
        identities.append(identity(message.image))
        velocities.append(np.concatenate([linear[0], angular[0]]))
    if camera is None:
        raise InputError(f"recording {str(recording.path)!r} has no frame whose true angular velocity is known")
    return identities, np.array(velocities), camera


@dataclass(frozen=True)
class _Labelled:
    """One labelled recording: see the module. matrix (2, 6, h, w); motion (N, 6) and noise (6,) per exposure."""

    folder: Path
    identities: list[tuple[int, int]]
    matrix: np.ndarray
    motion: np.ndarray
    noise: np.ndarray

    @classmethod
    def read(cls, folder: Path, stride: int) -> _Labelled:
        try:
            about = json.loads((folder / "recording.json").read_text())
            labels = np.load(folder / "labels.npz", allow_pickle=False)
            camera = Camera(**about["camera"] | {"distortion": tuple(about["camera"]["distortion"])})
            motion, noise = (about["exposure"] * labels[name].astype(np.float32) for name in ("velocity", "noise"))
            identities = list(zip(labels["stamp"].tolist(), labels["checksum"].tolist(), strict=True))
            return cls(folder, identities, motion_field_matrix(camera, stride), motion, noise)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} is not a labelled recording: {error}; run `label` again") from None


class LabelledFrames(Dataset):
    """Frames of all recordings that `label` wrote into a folder.

    Each is a dict of image (1, H, W) uint8; matrix (2, 6, h, w), the motion field matrix for a depth of 1 m; motion
    (6,) = (v, ω) per exposure, NaN where not known; noise (6,), its standard deviation.
    """

    def __init__(self, folder: Path, stride: int) -> None:
        """Raises InputError: there are none, or one is damaged."""
        found = sorted(path.parent for path in folder.glob("*/recording.json") if path.parent.suffix != ".partial")
        if not found:
            raise InputError(f"no labelled recordings in {folder}; run `label` first")
        self._recordings = [_Labelled.read(path, stride) for path in found]
        self._frames = [(part, number) for part in self._recordings for number in range(len(part.motion))]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        part, number = self._frames[index]
        path = part.folder / f"{part.identities[number][0]}.png"
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise InputError(f"{path} is not a readable image; run `label` again")
        return {"image": image[None], "matrix": part.matrix, "motion": part.motion[number], "noise": part.noise}

    def weights(self) -> torch.Tensor:
        """(N,) how often to draw each: all alike."""
        return torch.ones(len(self))

    def refuse(self, recording: str, identities: set[tuple[int, int]]) -> None:
        """Raises InputError if images of a recording that is to be validated on are among the frames."""
        for part in self._recordings:
            shared = identities.intersection(part.identities)
            if shared:
                raise InputError(
                    f"{recording} is to be validated on, but {len(shared)} of its frames are in {part.folder}: "
                    "take it out of the training data or out of validation.recordings"
                )
