"""A cell of the envelope: what is rendered, one property of which differs from a baseline."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.evaluation.envelope.scenes import Place
from image_as_imu_ros.evaluation.envelope.textures import Material
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.settings import TextEnum


class Motion(TextEnum):
    """How the camera moves."""

    HAND_HELD = "hand-held"
    """Rotated to and fro about all axes, so that the mean blur is `blur`."""
    CONSTANT_NOD = "constant nod"
    """Pitched at `rotation`, which is along the columns of the image."""
    CONSTANT_PAN = "constant pan"
    """Yawed at `rotation`, which is along the rows of the image."""
    FORWARD = "forward"
    SIDEWAYS = "sideways"
    WINDING = "winding"
    """Forward, looking and swaying from side to side."""
    WALKING = "walking"
    REST = "rest"


@dataclass(frozen=True)
class Cell:
    """What is rendered.

    Attributes:
        name: of the cell. sweep: the property that differs from the baseline, with its unit. value: of that property.
        motion, place: see there. distance: m, see `scenes.Setting`.
        speed: m/s, of those that travel. rotation: rad/s, of those that rotate constantly.
        blur: px at 320 px width, mean over image and time, of the hand-held ones.
        frames: how many. rate: Hz. exposure: s.
        exposures: s, one after the other for an equal share of the frames, instead of `exposure`.
        exposure_known: whether the estimator is given the exposure times.
        readout: s from the first row's start to the last row's.
        width: px; height is 3/4 of it. focal: in widths.
        material: of all surfaces; None for those usual in the place.
        electrons: at white, so that shot noise is 1/√electrons there. read_noise: electrons.
        brightness: mean of linear light, 1 is white. jpeg: quality; 0 for none.
        vibration: °, amplitude. vibration_rate: Hz.
        fixed_share, moving_share: of the frame, that goes with the camera, or moves before it by itself.
        jitter: s, standard deviation of the header stamps' errors.
        repeats: every `repeats`-th image is the one before again, under a new stamp; 0 for none.
        frozen_from: number of the first frame from which the stream repeats one image; 0 for none.
        drops: share of the frames that are missing.
        focal_jitter: relative change of the focal length from frame to frame.
        depth_share: of the pixels of the depth image that are known; not rendered, but taken away from the estimator.
        seed: of scene, noise, jitter and drops.
    """

    name: str
    sweep: str
    value: str
    motion: Motion = Motion.HAND_HELD
    place: Place = Place.ROOM
    distance: float = 2.5
    speed: float = 0.0
    rotation: float = 0.0
    blur: float = 8.0
    frames: int = 30
    rate: float = 30.0
    exposure: float = 0.015
    exposures: tuple[float, ...] = ()
    exposure_known: bool = True
    readout: float = 0.0
    width: int = 320
    focal: float = 0.85
    material: Material | None = None
    electrons: float = 10000.0
    read_noise: float = 15.0
    brightness: float = 0.2
    jpeg: int = 0
    vibration: float = 0.0
    vibration_rate: float = 100.0
    fixed_share: float = 0.0
    moving_share: float = 0.0
    jitter: float = 0.0
    repeats: int = 0
    frozen_from: int = 0
    drops: float = 0.0
    focal_jitter: float = 0.0
    depth_share: float = 1.0
    seed: int = 1

    @property
    def camera(self) -> Camera:
        """The camera, without distortion; the principal point is in the middle."""
        height = self.width * 3 // 4
        focal = self.focal * self.width
        return Camera(self.width, height, focal, focal, (self.width - 1) / 2, (height - 1) / 2)

    def exposure_of(self, number: int) -> float:
        """Return the exposure time of a frame, s."""
        return self.exposures[number * len(self.exposures) // self.frames] if self.exposures else self.exposure
