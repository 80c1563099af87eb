"""Tracks of a recording and its gyroscope → axes, clock offset, readout time and focal length, with how sure."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.estimation.frame_times import regular_stamps
from image_as_imu_ros.estimation.scene_mask import check_mask_size, read_mask
from image_as_imu_ros.evaluation.baselines import klt
from image_as_imu_ros.evaluation.calibration.bundle import (
    AXES,
    BIAS,
    COUNT,
    LOG_FOCAL,
    OFFSET,
    RADIAL,
    READOUT,
    Window,
)
from image_as_imu_ros.evaluation.calibration.rates import Rates
from image_as_imu_ros.evaluation.calibration.solve import Solution, solve
from image_as_imu_ros.evaluation.calibration.tracking import follow
from image_as_imu_ros.evaluation.exposure import Shutters
from image_as_imu_ros.evaluation.ground_truth_fit import TOO_FAST, best_offset, named_axes
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.view import check_image_size
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.settings import check_settings, setting

_FRAMES = 9  # of a window: corners stay in view for some 0.3 s
_LEAST_SPACING = 0.02  # s between frames that are used: faster ones see the same again
_FEWEST_SIGHTINGS = 3  # of a corner
_FEWEST_TRACKS = 15  # of a window
_FEWEST_PAIRS = 20
_LEAST_SECOND = 0.05  # rad/s RMS of ω about its second axis: less tells no axes
# Of the image's height, from the row that the stamp is about to the middle one: the first row, the middle, the last.
_ROWS = {StampReference.START: 0.5, StampReference.MIDDLE: 0.0, StampReference.END: -0.5}
_LEAST_CORRELATION = 0.5  # of |ω| by the images and by the gyroscope
_REWEIGHTINGS = 10
_LEAST_LEFT = 1e-3  # rad/s
_START_READOUT = 0.02  # s, a common one
# What no camera has, or no lens: with more, something else has moved the images, as stabilisation does.
_SIGMAS = 3.0
_LARGEST_RADIAL = 0.5  # k1 of what camera_info leaves: barrels of action cameras have about -0.3
_LARGEST_RATIO = 1.5  # of the focal length to that of camera_info, or the reverse: guesses from a data sheet are nearer
_MARGIN = 0.05  # s by which the gyroscope must have been recorded longer than a window

_log = logging.getLogger(__name__)


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
    mask: str = setting(
        "",
        "PNG as large as the images, black where they show what is not static: the robot itself, traffic; empty: none",
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
        focal_length: px. radial: distortion k₁ that `camera`, what the recording says, leaves.
        residual: px, robust standard deviation. tracks, windows: numbers of them.
        least_rate: rad/s RMS about the axis that the camera rotated least about.
        period: s from frame to frame. jitter: s, standard deviation of the images' stamps about it; 0 if they keep it.
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
    radial: float
    radial_sigma: float
    camera: Camera
    residual: float
    tracks: int
    windows: int
    least_rate: float
    exposure_known: bool
    period: float
    jitter: float

    @property
    def complaint(self) -> str:
        """Say which of these values no camera has; empty if none."""
        reasons = []
        readout = f"a readout time of {1e3 * self.readout:.2f} ± {1e3 * self.readout_sigma:.2f} ms"
        if self.readout < -_SIGMAS * self.readout_sigma:
            reasons.append(f"{readout}, which is negative")
        if self.readout > self.period + _SIGMAS * self.readout_sigma:
            reasons.append(f"{readout}, which is longer than from frame to frame, {1e3 * self.period:.1f} ms")
        if abs(self.radial) > _LARGEST_RADIAL:
            reasons.append(
                f"a distortion k1 of {self.radial:+.2f} ± {self.radial_sigma:.2f} beyond that of camera_info"
            )
        stated = math.sqrt(self.camera.fx * self.camera.fy)
        if abs(math.log(self.focal_length / stated)) > math.log(_LARGEST_RATIO):
            reasons.append(f"a focal length of {self.focal_length:.0f} px, where camera_info has {stated:.0f} px")
        return ", and ".join(reasons)


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
        windows, rotations, camera, known, frame_times = _track(recording, config, start)
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
    scale = float(np.median(np.linalg.norm(true[both], axis=1) / np.linalg.norm(rotations.angular[both], axis=1)))
    if scale > TOO_FAST:
        raise InputError(f"the rates on {topic!r} are {scale:.0f} times as fast as the images move: are they °/s?")
    least, second, _ = np.sqrt(np.maximum(np.linalg.eigvalsh(true[both].T @ true[both]), 0) / both.sum())
    if second < _LEAST_SECOND:
        raise InputError(
            f"the camera rotated about one axis only ({second:.3f} rad/s about others): rotate it about all"
        )
    parameters = np.zeros(COUNT)
    parameters[AXES] = so3.log(_axes(true[both], rotations.angular[both]))
    parameters[OFFSET] = offset
    parameters[READOUT] = _START_READOUT
    inside = [
        window
        for window in windows
        if window.times[0] + offset > _MARGIN and window.times[-1] + offset < rates.times[-1] - _MARGIN
    ]
    if not inside:
        raise InputError(f"the gyroscope on {topic!r} was not recorded during the images")
    return _calibration(inside, solve(inside, rates, parameters), camera, float(least), known, frame_times)


def _calibration(
    windows: list[Window], solution: Solution, camera: Camera, least: float, known: bool, frame_times: _FrameTimes
) -> Calibration:
    parameters, sigma = solution.parameters, solution.sigma
    rotation = so3.exp(parameters[AXES])
    axes, askew = named_axes(rotation)
    focal_length = windows[0].focal_length * float(np.exp(parameters[LOG_FOCAL]))
    return Calibration(
        rotation=rotation,
        rotation_sigma=sigma[AXES],
        axes=axes,
        askew_deg=askew,
        bias=parameters[BIAS],
        bias_sigma=sigma[BIAS],
        offset=float(parameters[OFFSET]),
        offset_sigma=math.hypot(sigma[OFFSET], frame_times.jitter),
        readout=float(parameters[READOUT]),
        readout_sigma=float(sigma[READOUT]),
        focal_length=focal_length,
        focal_sigma=focal_length * float(sigma[LOG_FOCAL]),
        radial=float(parameters[RADIAL]),
        radial_sigma=float(sigma[RADIAL]),
        camera=camera,
        residual=solution.residual,
        tracks=sum(len(window.seen) for window in windows),
        windows=len(windows),
        least_rate=least,
        exposure_known=known,
        period=frame_times.period,
        jitter=frame_times.jitter,
    )


def _axes(gyroscope: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Fit the rotation (3, 3) between angular velocities (N, 3), rad/s, of which some by the images are far off."""
    weights = np.ones(len(images))
    rotation = np.eye(3)
    for _ in range(_REWEIGHTINGS):
        rotation = so3.between(weights[:, None] * gyroscope, images)
        left = np.linalg.norm(images - gyroscope @ rotation.T, axis=1)
        weights = 1 / np.square(np.maximum(left, max(float(np.median(left)), _LEAST_LEFT)))
    return rotation


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
        raise InputError(
            f"choose the gyroscope's topic with --gyroscope-topic; of type Imu there are: {', '.join(imu) or 'none'}"
        )
    return imu[0]


def _shutters(recording: Recording, config: CalibrationConfig) -> tuple[Shutters, bool]:
    shared = Shutter(config.exposure or None, config.stamp_reference)
    topic = recording.exposure_topic("topic")
    if config.exposure or topic is None:
        return Shutters(shared), bool(config.exposure)
    return Shutters(shared, read_exposures(recording, topic, "topic", "s")), True


def _track(
    recording: Recording, config: CalibrationConfig, start: int
) -> tuple[list[Window], _Rotations, Camera, bool, _FrameTimes]:
    """Follow corners through windows of frames, each beginning where the last ends; `start`: ns, time 0."""
    image_topic = recording.image_topic(config.image_topic or None)
    info_topic = recording.camera_info_topic(image_topic, config.camera_info_topic or None)
    shutters, known = _shutters(recording, config)
    camera, mask = None, read_mask(config.mask).astype(np.uint8) if config.mask else None
    windows: list[Window] = []
    rotations: list[tuple[int, np.ndarray, float]] = []
    images: list[np.ndarray] = []
    middles: list[int] = []
    refused: list[str] = []
    frame_times = _frame_times(recording, image_topic, info_topic)
    messages = recording.frames(image_topic, info_topic)
    for message in tqdm(messages, "tracking", recording.count(image_topic), unit="frame", leave=False):
        try:
            camera = message.camera() if camera is None else camera
            shutter = shutters.of(message.stamp, message.frame_id)
            middle = shutter.mid_exposure(frame_times.regular[message.stamp], shutter.exposure or 0.0)
            if middles and 0 < middle - middles[-1] < 1e9 * _LEAST_SPACING:
                continue
            image = message.decode_image("gray")
            check_image_size(image, camera)
        except InputError as error:
            refused.append(str(error))
            images, middles = [], []
            continue
        if mask is not None:
            check_mask_size(mask, image.shape[1], image.shape[0])
        if middles and middle <= middles[-1]:
            images, middles = [], []
        images.append(image)
        middles.append(middle)
        if len(images) == _FRAMES:
            times = (np.array(middles) - start) * 1e-9
            pixels, seen, pulls = follow(images, _FRAMES // 2, mask)
            rotations += _rotations(camera, pixels, seen, middles)
            windows += _window(camera, (pixels, seen, pulls), times, config.stamp_reference)
            images, middles = images[-1:], middles[-1:]
    if camera is None or len(rotations) < _FEWEST_PAIRS or not windows:
        reason = f"; {len(refused)} frames were not used, the first: {refused[0]}" if refused else ""
        raise InputError(
            f"corners could be tracked through {len(rotations)} pairs of frames; {_FEWEST_PAIRS} are needed{reason}"
        )
    if refused:
        _log.warning("%d frames were not used, the first: %s", len(refused), refused[0])
    stamps, angular, spans = zip(*rotations, strict=True)
    found = _Rotations(np.array(stamps, np.int64), np.array(angular), np.array(spans))
    return windows, found, camera, known, frame_times


@dataclass(frozen=True)
class _FrameTimes:
    """When frames were taken: header stamp → where the camera's period has it, ns; that period and the jitter, s."""

    regular: dict[int, int]
    period: float
    jitter: float


def _frame_times(recording: Recording, image_topic: str, info_topic: str) -> _FrameTimes:
    """Read the stamps of all frames. Those that jitter would be taken for motion between the frames, and for readout.

    They are mostly those of arrival: the mean delay is no better known than how it varies, and adds to the offset.
    """
    stamps = np.unique([message.stamp for message in recording.frames(image_topic, info_topic)]).astype(np.int64)
    if len(stamps) < 2:
        return _FrameTimes(dict(zip(stamps.tolist(), stamps.tolist(), strict=True)), 0.0, 0.0)
    regular = regular_stamps(stamps)
    return _FrameTimes(
        dict(zip(stamps.tolist(), regular.tolist(), strict=True)),
        1e-9 * float(np.median(np.diff(stamps))),
        1e-9 * float(np.std(regular - stamps)),
    )


def _rotations(
    camera: Camera, pixels: np.ndarray, seen: np.ndarray, middles: list[int]
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Fit what the images alone say from frame to frame: ns, rad/s, s."""
    for k in range(len(middles) - 1):
        both = seen[:, k] & seen[:, k + 1]
        rotation = klt.fit_rotation(camera, pixels[both, k], pixels[both, k + 1], klt.settings())
        if rotation is not None:
            seconds = (middles[k + 1] - middles[k]) * 1e-9
            yield (middles[k] + middles[k + 1]) // 2, so3.log(rotation.T) / seconds, seconds


def _window(
    camera: Camera, tracks: tuple[np.ndarray, np.ndarray, np.ndarray], times: np.ndarray, reference: StampReference
) -> Iterator[Window]:
    """Yield a window where there are enough tracks in it."""
    pixels, seen, pulls = tracks
    rays = camera.rays(pixels.reshape(-1, 2)).reshape(pixels.shape)
    seen = seen & np.isfinite(rays).all(-1)
    middle = len(times) // 2
    kept = (seen.sum(1) >= _FEWEST_SIGHTINGS) & seen[:, middle]
    if kept.sum() < _FEWEST_TRACKS:
        return
    rows = pixels[kept, :, 1] / (camera.height - 1) - 0.5 + _ROWS[reference]
    yield Window(
        rays=np.nan_to_num(rays[kept]),
        seen=seen[kept],
        rows=rows,
        times=times,
        pulls=pulls[kept],
        height=camera.height,
        reference=middle,
        focal_length=float(np.sqrt(camera.fx * camera.fy)),
    )
