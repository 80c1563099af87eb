"""Tracks of a recording and its gyroscope → axes, clock offset, readout time and focal length, with how sure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.evaluation.baselines import klt
from image_as_imu_ros.evaluation.calibration.epipolar import (
    AXES,
    BIAS,
    COUNT,
    LOG_FOCAL,
    OFFSET,
    READOUT,
    Rates,
    Tracks,
)
from image_as_imu_ros.evaluation.calibration.solve import Solution, solve
from image_as_imu_ros.evaluation.exposure import Shutters
from image_as_imu_ros.evaluation.ground_truth_fit import best_offset, named_axes
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.settings import check_settings, setting

_TRACKING = klt.Settings(features=200, distance=12.0)
_FEWEST_PAIRS = 20
_LEAST_SECOND = 0.05  # rad/s RMS of ω about its second axis: less tells no axes
# Of the image's height, from the row that the stamp is about to the middle one: the first row, the middle, the last.
_ROWS = {StampReference.START: 0.5, StampReference.MIDDLE: 0.0, StampReference.END: -0.5}
_LEAST_CORRELATION = 0.5  # of |ω| by the images and by the gyroscope
_START_READOUT = 0.02  # s, a common one


@dataclass(frozen=True)
class CalibrationConfig:
    """What of a recording is used, and what its stamps mean.

    Raises:
        InputError: a value is outside its range.
    """

    image_topic: str = setting("", "Image or CompressedImage; empty: the only one")
    camera_info_topic: str = setting("", "CameraInfo; empty: the one beside the images")
    gyroscope_topic: str = setting("", "Imu; empty: the only one")
    exposure: float = setting(0.0, "exposure time of all frames, s; 0: as recorded, or unknown", limits=(0.0, 1.0))
    stamp_reference: StampReference = setting(
        StampReference.MIDDLE,
        "what the images' header stamps are: start, middle or end of the exposure",
        choices=StampReference,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Calibration:
    """What was found; each with its standard deviation.

    Attributes:
        rotation: (3, 3) from the gyroscope's axes to the camera's optical frame.
        axes: as `convert --axes` takes them; empty where the gyroscope sits askew. askew_deg: ° from these axes.
        rotation_sigma: (3,) rad about the camera's axes.
        bias, bias_sigma: (3,) rad/s, in the gyroscope's axes.
        offset: s by which the gyroscope's clock is ahead of the images'.
        readout: s, from the first row's start to the last row's.
        focal_length: px; camera: what the recording says.
        residual: px, robust standard deviation. tracks, pairs: numbers of them.
        exposure_known: whether stamps at the start or end of the exposure could be brought to its middle.
    """

    rotation: np.ndarray
    rotation_sigma: np.ndarray
    axes: str
    askew_deg: float
    bias: np.ndarray
    bias_sigma: np.ndarray
    offset: float
    offset_sigma: float
    readout: float
    readout_sigma: float
    focal_length: float
    focal_sigma: float
    camera: Camera
    residual: float
    tracks: int
    pairs: int
    exposure_known: bool


def calibrate(path: str | Path, config: CalibrationConfig) -> Calibration:
    """Calibrate camera and gyroscope from a recording of both; the camera must have been rotated about all axes.

    Raises:
        InputError: the recording cannot be used, or tells too little.
    """
    with Recording(path) as recording:
        topic = _gyroscope_topic(recording, config)
        samples = read_ground_truth(recording, topic)
        start = int(samples.stamps[0])
        rates = Rates((samples.stamps - start) * 1e-9, samples.angular)
        tracks, rotations, camera, known = _track(recording, config, start)
    offset, correlation = best_offset(
        rotations.stamps, rotations.angular, rotations.spans, samples, longest=float(rates.times[-1])
    )
    if not correlation > _LEAST_CORRELATION:
        raise InputError(
            f"the images' rotation and that on {topic!r} have little in common (correlation {correlation:.2f}): is it "
            "this camera's gyroscope, and was it rotated?"
        )
    true = samples.at(rotations.stamps + round(1e9 * offset), rotations.spans)[1]
    both = np.isfinite(true).all(1)
    if both.sum() < _FEWEST_PAIRS:
        raise InputError(f"only {both.sum()} pairs of frames rotate; {_FEWEST_PAIRS} are needed")
    second = np.sqrt(np.linalg.eigvalsh(true[both].T @ true[both])[1] / both.sum())
    if second < _LEAST_SECOND:
        raise InputError(
            f"the camera rotated about one axis only ({second:.3f} rad/s about others): rotate it about all"
        )
    parameters = np.zeros(COUNT)
    parameters[AXES] = so3.log(so3.between(true[both], rotations.angular[both]))
    parameters[OFFSET] = offset
    parameters[READOUT] = _START_READOUT
    inside = ((tracks.times + offset > 0) & (tracks.times + offset < rates.times[-1])).all(0)
    chosen = tracks.select(inside)
    return _calibration(chosen, solve(chosen, rates, parameters), camera, known)


def _calibration(tracks: Tracks, solution: Solution, camera: Camera, known: bool) -> Calibration:
    parameters, sigma = solution.parameters, solution.sigma
    rotation = so3.exp(parameters[AXES])
    axes, askew = named_axes(rotation)
    focal_length = tracks.focal_length * float(np.exp(parameters[LOG_FOCAL]))
    return Calibration(
        rotation=rotation,
        rotation_sigma=sigma[AXES],
        axes=axes,
        askew_deg=askew,
        bias=parameters[BIAS],
        bias_sigma=sigma[BIAS],
        offset=float(parameters[OFFSET]),
        offset_sigma=float(sigma[OFFSET]),
        readout=float(parameters[READOUT]),
        readout_sigma=float(sigma[READOUT]),
        focal_length=focal_length,
        focal_sigma=focal_length * float(sigma[LOG_FOCAL]),
        camera=camera,
        residual=solution.residual,
        tracks=len(tracks.pair),
        pairs=len(tracks.starts),
        exposure_known=known,
    )


@dataclass(frozen=True)
class _Rotations:
    """Rotations of the images alone: (N,) ns in the middle between two frames, (N, 3) rad/s, (N,) s."""

    stamps: np.ndarray
    angular: np.ndarray
    spans: np.ndarray


def _gyroscope_topic(recording: Recording, config: CalibrationConfig) -> str:
    imu = [topic for topic, kind in recording.topics.items() if kind == "sensor_msgs/msg/Imu"]
    if config.gyroscope_topic in imu:
        return config.gyroscope_topic
    if config.gyroscope_topic or len(imu) != 1:
        raise InputError(f"the gyroscope is one of {', '.join(imu) or 'no topics of type Imu'}: --gyroscope-topic")
    return imu[0]


def _shutters(recording: Recording, config: CalibrationConfig) -> tuple[Shutters, bool]:
    shared = Shutter(config.exposure or None, config.stamp_reference)
    topic = recording.exposure_topic("topic")
    if config.exposure or topic is None:
        return Shutters(shared), bool(config.exposure)
    return Shutters(shared, read_exposures(recording, topic, "topic", "s")), True


def _track(recording: Recording, config: CalibrationConfig, start: int) -> tuple[Tracks, _Rotations, Camera, bool]:
    """Track corners from frame to frame; `start`: ns that times are counted from."""
    image_topic = recording.image_topic(config.image_topic or None)
    info_topic = recording.camera_info_topic(image_topic, config.camera_info_topic or None)
    shutters, known = _shutters(recording, config)
    camera, before = None, None
    found: list[tuple[np.ndarray, ...]] = []
    rotations: list[tuple[int, np.ndarray, float]] = []
    messages = recording.frames(image_topic, info_topic)
    for message in tqdm(messages, "tracking", recording.count(image_topic), unit="frame", leave=False):
        camera = message.camera() if camera is None else camera
        try:
            image = message.decode_image("gray")
            shutter = shutters.of(message.stamp, message.frame_id)
        except InputError:
            before = None
            continue
        middle = shutter.mid_exposure(message.stamp, shutter.exposure or 0.0)
        if before is not None and middle > before[1]:
            pixels = klt.track(before[0], image, _TRACKING)
            rotation = klt.fit_rotation(camera, *pixels, _TRACKING) if len(pixels[0]) >= _TRACKING.fewest else None
            if rotation is not None:
                seconds = (middle - before[1]) * 1e-9
                rotations.append(((middle + before[1]) // 2, so3.log(rotation.T) / seconds, seconds))
                found.append(_pair(len(found), camera, pixels, ((before[1] - start) * 1e-9, (middle - start) * 1e-9)))
        before = image, middle
    if camera is None or len(found) < _FEWEST_PAIRS:
        raise InputError(f"corners could be tracked through {len(found)} pairs of frames; {_FEWEST_PAIRS} are needed")
    pair, rays, times, rows = (
        np.concatenate(parts, axis=axis) for axis, parts in zip((0, 1, 1, 1), zip(*found, strict=True), strict=True)
    )
    tracks = Tracks(pair, rays, times, rows + _ROWS[config.stamp_reference], float(np.sqrt(camera.fx * camera.fy)))
    stamps, angular, spans = zip(*rotations, strict=True)
    return tracks, _Rotations(np.array(stamps, np.int64), np.array(angular), np.array(spans)), camera, known


def _pair(
    number: int, camera: Camera, pixels: tuple[np.ndarray, np.ndarray], times: tuple[float, float]
) -> tuple[np.ndarray, ...]:
    rays = np.stack([camera.rays(one) for one in pixels])
    usable = np.asarray(np.isfinite(rays).all((0, 2)))
    threshold = _TRACKING.threshold / math.sqrt(camera.fx * camera.fy)
    before, now = rays[0, usable], rays[1, usable]
    essential, inliers = cv2.findEssentialMat(before, now, np.eye(3), cv2.USAC_MAGSAC, 0.999, threshold)
    if essential is not None:  # things that move by themselves do not fit it
        usable[usable] = inliers.ravel() > 0
    rows = np.stack([(one[usable, 1] + 0.5) / camera.height - 0.5 for one in pixels])
    count = int(usable.sum())
    return np.full(count, number), rays[:, usable], np.repeat(np.array(times)[:, None], count, 1), rows
