"""Settings of an evaluation: one definition for the command line, for lists of recordings and for Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, replace
from pathlib import Path
from typing import Any

from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, SignResolution
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES, EXPOSURE_UNITS
from image_as_imu_ros.settings import TextEnum, check_settings, setting, settings_of

ORACLE = "oracle"
"""A value of `sign_resolution` beside those of the estimator: the sign of the ground truth."""

UNUSED = frozenset({"rate_hint_std"})
"""Settings of the estimator without effect here: recordings are evaluated without another sensor's rate."""


class ExposureSource(TextEnum):
    """Where exposure times come from, if they are not given."""

    TOPIC = "topic"
    REALSENSE = "realsense"
    CAMERA_ROS = "camera_ros"
    FLIR = "flir"
    DEPTHAI = "depthai"
    ESTIMATE = "estimate"
    FIT = "fit"


_SECONDS = "s"


@dataclass(frozen=True)
class EvaluationConfig:
    """How a recording is evaluated.

    Attributes:
        estimator, engine: settings of these. `estimator.estimate_exposure` follows from `exposure`.
        exposure: time that one row integrates light, s, of all frames; or where that of each comes from. ESTIMATE:
            measured from blur and alignment. FIT: one for all, fitted to the ground truth.
        oracle: whether the sign of each estimate is that of the ground truth.
        baselines: names of other systems to compare with.

    Raises:
        InputError: a value is outside its range, or two contradict each other.
    """

    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    exposure: float | ExposureSource = ExposureSource.TOPIC
    oracle: bool = False
    baselines: tuple[str, ...] = ()
    exposure_topic: str = setting("", "topic of each frame's exposure; empty: the only one")
    exposure_unit: str = setting(_SECONDS, "unit of the values on the exposure topic", choices=tuple(EXPOSURE_UNITS))
    stamp_reference: StampReference = setting(
        StampReference.MIDDLE,
        "what the images' header stamps are: start, middle or end of the exposure",
        choices=StampReference,
    )
    readout_time: float = setting(0.0, "rolling shutter: from the first row's start to the last row's, s; 0: global")
    every: int = setting(1, "take only every Nth frame", limits=(1, 100_000))
    ground_truth_std: float = setting(
        0.0,
        "standard deviation of the true ω's noise, rad/s, added to the covariances that errors are compared with",
        limits=(0.0, 1000.0),
    )
    image_topic: str = setting("", "Image or CompressedImage; empty: the only one")
    camera_info_topic: str = setting("", "CameraInfo; empty: the one beside the images")
    depth_topic: str = setting("", "measured depth, or auto to find it; empty: the network's depth")
    ground_truth_topic: str = setting("", "Twist, Odometry, Pose or Imu; empty: the first kind there is")

    def __post_init__(self) -> None:
        check_settings(self)
        _ = self.shutter  # checks exposure and readout time
        if self.exposure_topic and self.exposure not in EXPOSURE_TYPES:
            raise InputError(f"exposure_topic is of no use where the exposure is {self.exposure}: leave it out")
        if self.exposure_unit != _SECONDS and self.exposure not in EXPOSURE_TYPES:
            raise InputError(
                f"exposure_unit is of values on an exposure topic; where the exposure is {self.exposure}, it is in s"
            )
        estimated = self.exposure == ExposureSource.ESTIMATE
        object.__setattr__(self, "estimator", replace(self.estimator, estimate_exposure=estimated))

    @property
    def shutter(self) -> Shutter:
        """How all frames were exposed, as far as it is given; its exposure is None where that is not."""
        given = None if isinstance(self.exposure, ExposureSource) else self.exposure
        return Shutter(given, self.stamp_reference, self.readout_time)


_PARTS = (EvaluationConfig, EngineConfig, EstimatorConfig)


def setting_names() -> tuple[str, ...]:
    """List the names of all settings: those of `config_from_settings`."""
    return ("exposure", "baselines", *(option.name for part in _PARTS for option in _used(part)))


def config_from_settings(values: Mapping[str, Any]) -> EvaluationConfig:
    """Make a config from settings by name, whose values are texts or numbers.

    `exposure` is a number, s, or one of `ExposureSource`; `sign_resolution` may be "oracle"; `baselines` is a list.

    Raises:
        InputError: a value is of the wrong type or outside its range. Names are not checked.
    """
    values = dict(values)
    oracle = values.get("sign_resolution") == ORACLE
    if oracle:
        del values["sign_resolution"]
    own, engine, estimator = (
        {option.name: _typed(option, values[option.name]) for option in _used(part) if option.name in values}
        for part in _PARTS
    )
    return EvaluationConfig(
        estimator=EstimatorConfig(**estimator),
        engine=EngineConfig(**engine),
        exposure=exposure_from_text(values.get("exposure", ExposureSource.TOPIC)),
        oracle=oracle,
        baselines=tuple(map(str, values.get("baselines", ()))),
        **own,
    )


def exposure_from_text(value: str | float) -> float | ExposureSource:
    """Read an exposure: s, or the name of where it comes from.

    Raises:
        InputError: it is neither.
    """
    if value in tuple(ExposureSource):
        return ExposureSource(value)
    with suppress(TypeError, ValueError):  # a list, another text
        if not isinstance(value, bool):  # YAML's yes
            return float(value)
    raise InputError(f"exposure is {value!r}, expected a time in s or one of: {', '.join(ExposureSource)}")


def _used(kind: type) -> list[Field]:
    """List the settings of a dataclass that an evaluation has."""
    return [option for option in settings_of(kind) if option.name not in UNUSED]


def _typed(option: Field, value: Any) -> Any:
    """Convert a value that a person wrote to the setting's type."""
    if isinstance(option.default, str):
        return str(value)
    whole = isinstance(option.default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InputError(f"{option.name} is {value!r}, expected a {'whole ' if whole else ''}number")
    return type(option.default)(value)


def command_line(recording: str | Path, config: EvaluationConfig) -> str:
    """Write the command that evaluates a recording in this way; settings at their defaults are left out."""
    words = ["evaluate", str(recording)]
    if config.exposure == ExposureSource.FIT:
        words.append("--fit-exposure")
    elif config.exposure != ExposureSource.TOPIC:
        words += ["--exposure", str(config.exposure)]
    if config.oracle:
        words += ["--sign-resolution", ORACLE]
    for part in (config, config.engine, config.estimator):
        for option in _used(type(part)):
            if (value := getattr(part, option.name)) != option.default:
                words += [f"--{option.name.replace('_', '-')}", str(value)]
    words += [word for name in config.baselines for word in ("--baseline", name)]
    return shlex.join(words)


def sign_resolutions() -> tuple[str, ...]:
    """List what `sign_resolution` may be in an evaluation."""
    return *SignResolution, ORACLE
