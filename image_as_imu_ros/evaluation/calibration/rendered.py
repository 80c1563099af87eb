"""Rendered captures of a camera in a hand and its gyroscope, with all that `calibrate` is to find known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Gyroscope
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.evaluation.envelope.cell import Cell
from image_as_imu_ros.evaluation.envelope.renderer import Exposure, render_light, with_focal
from image_as_imu_ros.evaluation.envelope.rendering import EPOCH, world_of
from image_as_imu_ros.evaluation.envelope.sensor import photograph
from image_as_imu_ros.evaluation.envelope.trajectory import Trajectory, Wave
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.recording_writer import write_recording

_GYROSCOPE_RATE = 200.0  # Hz
_GYROSCOPE_NOISE = 0.005  # rad/s per sample, of phones' MEMS
_BIAS = 0.01  # rad/s, standard deviation per axis
_ASKEW = np.radians(3.0)  # by which the gyroscope is mounted beside AXES
_FOCAL_ERROR = 0.05  # most that camera_info is off by, relative
AXES = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the camera's in the gyroscope's: -y,x,z
_FREQUENCIES = (0.4, 2.2)  # Hz of a hand's gestures
_PARTS = 3  # sinusoids per axis
_REACH = 0.06  # m RMS that a hand moves along each axis
_SWAYS = (0.2, 1.2)  # Hz, of that
_BEFORE, _AFTER = 0.3, 0.4  # s by which the gyroscope is recorded longer than the images


@dataclass(frozen=True)
class RenderedCapture:
    """What is rendered, and what is to be found.

    Attributes:
        seed: of motion, scene, noise, the gyroscope's mounting and bias, and what camera_info is off by.
        readout, exposure: s. offset: s by which the gyroscope's clock is ahead. stamp_reference: of the images.
        angular: rad/s RMS about each of the camera's axes. seconds: duration. rate: Hz of the frames.
        width: px; height is 3/4 of it. distance: m of the room's walls. stamp_noise: s.
    """

    seed: int
    readout: float = 0.02
    exposure: float = 0.008
    offset: float = 0.0
    stamp_reference: StampReference = StampReference.MIDDLE
    angular: tuple[float, float, float] = (0.7, 0.7, 0.7)
    seconds: float = 6.0
    rate: float = 30.0
    width: int = 320
    distance: float = 2.5
    stamp_noise: float = 0.0

    @cached_property
    def cell(self) -> Cell:
        """The envelope's, which knows scene, sensor and lens."""
        frames = round(self.seconds * self.rate)
        return Cell(
            "capture", "", "", frames=frames, exposure=self.exposure, readout=self.readout, rate=self.rate,
            width=self.width, distance=self.distance, seed=self.seed,
        )  # fmt: skip

    @property
    def camera(self) -> Camera:
        """The true one."""
        return self.cell.camera

    @property
    def stated(self) -> Camera:
        """What camera_info says."""
        factor = 1 + _FOCAL_ERROR * self._drawn(4).uniform(-1, 1)
        return with_focal(self.camera, factor * self.camera.fx)

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) from the gyroscope's axes to the camera's."""
        axis = self._drawn(5).normal(size=3)
        return so3.exp(_ASKEW * axis / np.linalg.norm(axis)) @ AXES

    @property
    def bias(self) -> np.ndarray:
        """(3,) rad/s."""
        return self._drawn(6).normal(0, _BIAS, 3)

    @cached_property
    def trajectory(self) -> Trajectory:
        """A hand's: sinusoids at random, scaled to `angular`."""
        rng = self._drawn(7)
        gestures = [_gesture(rng, _FREQUENCIES) for _ in range(3)]
        times = np.linspace(0, self.seconds, 400)
        scales = np.full(3, 0.1)
        for _ in range(6):  # pitch, yaw and roll are about the camera's axes only where they are small
            pitch, yaw, roll = (gesture.scaled(scale) for gesture, scale in zip(gestures, scales, strict=True))
            moving = Trajectory(pitch=pitch, yaw=yaw, roll=roll)
            scales = scales * self.angular / np.sqrt(np.square(moving.velocity(times)[:, 3:]).mean(0))
        x, y, z = (_gesture(rng, _SWAYS) for _ in range(3))
        moves = (wave.scaled(_REACH / float(np.std(wave(times)))) for wave in (x, y, z))
        return replace(moving, **dict(zip("xyz", moves, strict=True)))

    def frames(self) -> Iterator[CapturedFrame]:
        """Render the frames one by one, as their sensor gives them."""
        cv2.setNumThreads(1)
        rng, world, gain = self._drawn(2), world_of(self.cell), 0.0
        late = self._drawn(9).normal(0, self.stamp_noise, self.cell.frames)
        for number in range(self.cell.frames):
            time = _BEFORE + (number + 1) / self.rate
            light = render_light(world, self.camera, self.trajectory, Exposure(time, self.exposure, self.readout))
            gain = gain or self.cell.brightness / float(light.mean())
            image = photograph(
                gain * light, rng, electrons=self.cell.electrons, read_noise=self.cell.read_noise, jpeg=0
            )
            yield CapturedFrame(self._stamp(time + late[number]), image, self.stated, self.exposure)

    def gyroscope(self) -> Gyroscope:
        """Measure the rotation, askew, with bias and noise, on a clock of its own."""
        times = np.arange(0, _BEFORE + self.seconds + _AFTER, 1 / _GYROSCOPE_RATE)
        noise = self._drawn(8).normal(0, _GYROSCOPE_NOISE, (len(times), 3))
        angular = self.trajectory.velocity(times)[:, 3:] @ self.rotation + self.bias + noise
        return Gyroscope(EPOCH + np.round(1e9 * (times + self.offset)).astype(np.int64), angular)

    def write(self, path: Path) -> None:
        """Render a recording into a new folder.

        Raises:
            InputError: the folder exists or cannot be made.
        """
        capture = Capture(self.frames(), self.cell.frames, lossless=False, gyroscope=self.gyroscope())
        write_recording(path, capture, capture.frames)

    def _drawn(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])

    def _stamp(self, middle: float) -> int:
        shutter = Shutter(self.exposure, self.stamp_reference, self.readout)
        moved = shutter.mid_exposure(0, self.exposure)
        return EPOCH + round(1e9 * middle) - moved


def _gesture(rng: np.random.Generator, frequencies: tuple[float, float]) -> Wave:
    """Add sinusoids of about the same velocity each."""
    hertz, phases = rng.uniform(*frequencies, _PARTS), rng.uniform(0, 2 * np.pi, _PARTS)
    strengths = rng.uniform(0.5, 1.5, _PARTS) / hertz
    return Wave(parts=tuple(zip(strengths.tolist(), hertz.tolist(), phases.tolist(), strict=True)))


def drawn(seed: int) -> RenderedCapture:
    """Draw what a capture is like: 6 s at 30 Hz, 320 px wide, at 0.4 to 1.1 rad/s about each axis."""
    rng = np.random.default_rng([seed, 99])
    return RenderedCapture(
        seed,
        readout=float(rng.choice([0.0, 0.01, 0.02, 0.03])),
        exposure=float(rng.choice([0.005, 0.008, 0.012, 0.016])),
        offset=round(float(rng.uniform(-0.02, 0.02)), 4),
        stamp_reference=tuple(StampReference)[seed % 3],
        angular=tuple(rng.uniform(0.4, 1.1, 3).round(2).tolist()),
        distance=float(rng.choice([1.5, 2.5, 4.0])),
    )
