"""Data of stage `recordings`: frames of real recordings with the velocity that a gyroscope or motion capture saw.

`label` writes a folder per recording:

    NAME/recording.json   camera of the prepared frames, exposure time, where they came from
    NAME/labels.npz       stamp (N,) int64 ns and checksum (N,) of the image messages; velocity (N, 6) (v, ω) in the
                          optical frame, NaN where not known; noise (6,) standard deviation of the labels
    NAME/STAMP.png        the part of a frame that the network sees
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.datasets.gyroscope_file import too_fast
from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.evaluation.estimator_run import fitted_exposure
from image_as_imu_ros.evaluation.exposure import Shutters
from image_as_imu_ros.evaluation.ground_truth_fit import never_moves, own_output
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.messages.image_files import read_image_file, write_image_file
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.recordings.storage import recording_name
from image_as_imu_ros.recordings.topics import Topics
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.training.data import motion_field_matrix

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
        exposure: s; None to fit one to the ground truth, by what `model` (default: the shipped one) sees.
        stamp_reference, readout_time, …_topic: as the options of `evaluate`.

    Raises:
        InputError: the recording cannot be used, has no ground truth at any frame, or is labelled already.
    """
    folder = output / recording_name(recording)
    if folder.exists():
        raise InputError(f"{folder} exists already; remove it to label the recording again")
    shutter = Shutter(exposure, StampReference(stamp_reference), readout_time)
    with Recording(recording) as opened:
        topics = topics_of(opened, image_topic, camera_info_topic, ground_truth_topic)
        ground_truth = read_ground_truth(opened, str(topics.ground_truth))
        _refuse_unfit(opened, topics, ground_truth, shutter)
        if exposure is None:
            with closing(load_engine(model or resource(DEFAULT_MODEL))) as engine:
                shutter = with_exposure(shutter, opened, topics, ground_truth, engine)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            identities, velocities, camera = _write_frames(opened, topics, ground_truth, shutter, partial)
        except BaseException:  # Ctrl-C as well
            shutil.rmtree(partial, ignore_errors=True)
            raise
    seconds = shutter.exposure or 0.0
    noise = label_noise(ground_truth, seconds + readout_time)
    stamps, checksums = np.array(identities).T
    np.savez(partial / "labels.npz", stamp=stamps, checksum=checksums, velocity=velocities, noise=noise)
    about = {"source": recording.name, "topics": asdict(topics), "exposure": seconds, "camera": asdict(camera)}
    (partial / "recording.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    partial.rename(folder)
    known = "v and ω" if np.isfinite(velocities[:, :3]).any() else "ω"
    print(
        f"{folder}: {len(identities)} frames labelled with {known} of {topics.ground_truth}, "
        f"exposure {1e3 * seconds:.2f} ms"
    )
    print("noise of the labels, v [m/s] and ω [rad/s]: " + " ".join(f"{value:.3f}" for value in noise))


def _refuse_unfit(recording: Recording, topics: Topics, ground_truth: GroundTruth, shutter: Shutter) -> None:
    """Refuse what is no truth to learn from: what this package published itself, zeros, and rates in °/s."""
    exposure = shutter.exposure or 0.0
    stamps = [message.stamp for message in recording.frames(topics.image, topics.camera_info)]
    middles = np.array([shutter.mid_exposure(stamp, exposure) for stamp in stamps], np.int64)
    complaint = own_output((middles[1:] + middles[:-1]) // 2, ground_truth) or never_moves(ground_truth)
    if complaint := too_fast(ground_truth.angular) or complaint:
        raise InputError(f"ground truth topic {topics.ground_truth!r} cannot be learnt from: {complaint}")


def identity(image: Any) -> tuple[int, int]:
    """Return stamp, ns, and checksum of an image message: the same in every copy of a recording."""
    return stamp_to_nanoseconds(image.header.stamp), zlib.crc32(image.data)


def topics_of(recording: Recording, image: str | None, camera_info: str | None, ground_truth: str | None) -> Topics:
    """Find the topics to read, if not named. Raises InputError: one is missing or ambiguous, ground truth included."""
    image = recording.image_topic(image)
    found = recording.ground_truth_topic(ground_truth)
    if found is None:
        raise InputError(f"recording {str(recording.path)!r} has no topic that could be the ground truth")
    return Topics(image, recording.camera_info_topic(image, camera_info), ground_truth=found)


def with_exposure(
    shutter: Shutter, recording: Recording, topics: Topics, ground_truth: GroundTruth, engine: Engine
) -> Shutter:
    """Fit the exposure to the ground truth where it is not given. Raises InputError: too little of it, or of blur."""
    if shutter.exposure is not None:
        return shutter
    exposure = fitted_exposure(recording, topics, engine, EstimatorConfig(), Shutters(shutter), ground_truth)
    return replace(shutter, exposure=exposure)


def label_noise(ground_truth: GroundTruth, window: float) -> np.ndarray:
    """Estimate the (6,) standard deviation of (v, ω) averaged over a window, s; NaN where nothing is known.

    From fourth differences of the samples: motion hardly shows in them, independent noise does. The median
    is blind to interruptions.
    """
    values = np.concatenate([ground_truth.linear, ground_truth.angular], axis=1)
    differences = np.abs(np.diff(values, 4, axis=0)) if len(values) > 4 else np.zeros((1, 6))
    sigma = np.median(differences, axis=0) / _NORMAL_MEDIAN / np.sqrt(_FOURTH_DIFFERENCE)
    interval = np.median(np.diff(ground_truth.stamps)) * 1e-9
    return sigma / np.sqrt(max(1.0, window / interval))


def _write_frames(
    recording: Recording, topics: Topics, ground_truth: GroundTruth, shutter: Shutter, folder: Path
) -> tuple[list[tuple[int, int]], np.ndarray, Camera]:
    """Write the frames at which ω is known: their identities, velocities (N, 6), and the images' camera."""
    identities, velocities, camera, refused = [], [], None, Counter[str]()
    reasons: dict[str, str] = {}
    messages = recording.frames(topics.image, topics.camera_info)
    exposure = shutter.exposure or 0.0
    window = exposure + shutter.readout_time
    for message in tqdm(messages, "labelling", recording.count(topics.image), unit="frame", leave=False):
        try:
            linear, angular = ground_truth.at(np.array([shutter.mid_exposure(message.stamp, exposure)]), window)
            if not np.isfinite(angular).all():
                continue
            view = View.of(message.camera(), FRAME_WIDTH, FRAME_HEIGHT)
            image = view.prepare(message.decode_image("gray"), "gray")
        except InputError as error:
            # The same complaint about other numbers is the same reason.
            refused[reasons.setdefault(re.sub(r"\d+", "#", str(error)), str(error))] += 1
            continue
        if camera is not None and view.camera != camera:
            raise InputError(f"the camera's intrinsics change at frame {message.stamp}; split the recording there")
        camera = view.camera
        write_image_file(folder / f"{message.stamp}.png", image)
        identities.append(identity(message.image))
        velocities.append(np.concatenate([linear[0], angular[0]]))
    if camera is None:
        reason = next(iter(refused), "the true angular velocity of none is known")
        raise InputError(f"recording {str(recording.path)!r} has no frame to label: {reason}")
    for reason, count in refused.items():
        print(f"{count} frames left out: {reason}")
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
        """Read a folder. Raises InputError: it is damaged."""
        try:
            about = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
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

    image_size = (FRAME_HEIGHT, FRAME_WIDTH)

    def __init__(self, folder: Path, stride: int) -> None:
        """Read their labels. Raises InputError: there are none, or one is damaged."""
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
        image = read_image_file(path, cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise InputError(f"{path} is not a readable image; run `label` again")
        return {"image": image[None], "matrix": part.matrix, "motion": part.motion[number], "noise": part.noise}

    def weights(self) -> torch.Tensor:
        """Say how often to draw each (N,): all alike."""
        return torch.ones(len(self))

    def refuse(self, recording: str, identities: set[tuple[int, int]]) -> None:
        """Refuse a recording to validate on. Raises InputError: some of its images are among the frames."""
        for part in self._recordings:
            shared = identities.intersection(part.identities)
            if shared:
                raise InputError(
                    f"{recording} is to be validated on, but {len(shared)} of its frames are in {part.folder}: "
                    "take it out of the training data or out of validation.recordings"
                )
