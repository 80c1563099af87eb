"""Settings of the estimator."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.settings import TextEnum, check_settings, setting


class Measurement(TextEnum):
    """What is measured: the velocity at mid-exposure, or the mean velocity since the previous frame."""

    SINGLE = "single"
    ALIGNED = "aligned"
    AUTO = "auto"


class MotionModel(TextEnum):
    """What is unknown: (v, ω), or ω alone."""

    FULL = "full"
    ROTATION = "rotation"


class SignResolution(TextEnum):
    """Which frames settle the sign of the motion that blur leaves open."""

    CAUSAL = "causal"
    CENTERED = "centered"
    AXIAL = "axial"


@dataclass(frozen=True)
class EstimatorConfig:
    """How velocities are estimated.

    Attributes:
        estimate_exposure: measure the exposure time from blur and alignment, starting from that of the first frame.

    Raises:
        InputError: a value is outside its range, or two contradict each other.
    """

    measurement: Measurement = setting(
        Measurement.AUTO,
        "single: velocity at mid-exposure from one frame's blur; aligned: mean velocity since the previous frame, "
        "stamped halfway; auto: aligned where it can be trusted, else single",
        choices=Measurement,
    )
    motion_model: MotionModel = setting(MotionModel.FULL, "full: ω and v; rotation: ω only", choices=MotionModel)
    sign_resolution: SignResolution = setting(
        SignResolution.CAUSAL,
        "how the sign of the motion is found: causal: from the previous frame; centered: from the next one too, one "
        "frame later; axial: not at all, the largest component of ω is published positive",
        choices=SignResolution,
    )
    linear_velocity_std: float = setting(
        0.3,
        "usual size of each component of the velocity of the point that the camera rotates about, m/s: what ω leans "
        "on where v and ω look alike; a third of it and ten times as much are expected, too",
        limits=(0.001, 100.0),
    )
    lever_arm: float = setting(
        0.15,
        "how far behind the camera that point lies, m: about 0.15 for a hand; on a robot that the camera looks ahead "
        "from, how far the camera is in front of the centre",
        limits=(-10.0, 10.0),
    )
    exposure_relative_error: float = setting(
        0.02, "standard deviation of the exposure time's relative error, widens the covariances", limits=(0.0, 1.0)
    )
    rate_hint_std: float = setting(
        0.5, "error of the rate hint per axis, its mounting and its age included, rad/s", limits=(0.001, 100.0)
    )
    mask: str = setting(
        "",
        "PNG as large as the images, black where they show what moves with the camera (arm, bumper, gimbal): left out",
        read_only=True,
    )
    estimate_exposure: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        if self.sign_resolution == SignResolution.AXIAL and (
            self.measurement == Measurement.ALIGNED or self.estimate_exposure
        ):
            asked = "an estimated exposure" if self.estimate_exposure else "measurement 'aligned'"
            raise InputError(f"{asked} needs the previous frame, which sign_resolution 'axial' does not look at")
