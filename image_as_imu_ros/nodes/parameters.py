"""The node's parameters: one table of names, defaults, ranges and meanings, and the checks of their values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.messages.exposure import EXPOSURE_UNITS
from image_as_imu_ros.nodes.exposure_sources import ExposureSource
from image_as_imu_ros.nodes.rate_hint import RateHintType
from image_as_imu_ros.settings import choices_of, default_of, setting, settings_of

_FORMER_NAMES = {"direction": "sign_resolution"}  # until 0.4


@dataclass(frozen=True)
class Settings(EstimatorConfig, EngineConfig):
    """Values of all parameters: those of the estimator, of the engine, and these.

    Raises:
        InputError: a value is outside its range or choices. The message is meant for whoever set it.
    """

    image_transport: str = setting(
        "raw", "type on the topic image: Image or CompressedImage", choices=("raw", "compressed"), read_only=True
    )
    depth_transport: str = setting(
        "none",
        "type on the topic depth, registered to the image: Image or CompressedImage; none: the network's depth is used",
        choices=("none", "raw", "compressed"),
        read_only=True,
    )
    exposure_source: ExposureSource = setting(
        ExposureSource.PARAMETER,
        "where each frame's exposure time comes from; estimate: from the images, starting at exposure_time",
        choices=ExposureSource,
        read_only=True,
    )
    exposure_unit: str = setting(
        "s", "unit of the values on the topic exposure", choices=tuple(EXPOSURE_UNITS), read_only=True
    )
    rate_hint_type: RateHintType = setting(
        RateHintType.NONE,
        "type on the topic rate_hint, another sensor's angular velocity, which helps to find the sign of motion: "
        "Imu, Odometry or TwistWithCovarianceStamped; none: no such topic",
        choices=RateHintType,
        read_only=True,
    )
    exposure_time: float = setting(
        0.0,
        "exposure time of one row, s; 0: not known, only frames with a value from the exposure topic are used",
        limits=(0.0, 1.0),
    )
    stamp_reference: StampReference = setting(
        StampReference.MIDDLE,
        "what the image's header stamp is: start, middle or end of the exposure",
        choices=StampReference,
    )
    readout_time: float = setting(
        0.0, "rolling shutter: from the first row's start to the last row's, s; 0: global shutter", limits=(0.0, 0.5)
    )
    rate_hint_axes: str = setting(
        "x,y,z",
        "the camera's x (right), y (down), z (forward) in that sensor's axes; "
        "-y,-z,x: a camera that looks forward, on a base whose x is forward and z up",
    )
    frame_id: str = setting(
        "", "the camera's optical frame, for the headers of what is published; empty: as the images say"
    )
    publish_unresolved: bool = setting(False, "publish also where the sign of motion is not known")
    diagnostics_period: float = setting(1.0, "between two diagnostics messages, s", limits=(0.1, 60.0), read_only=True)
    autostart: bool = setting(
        False, "configure and activate at start, if no launch file or lifecycle manager does that", read_only=True
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimate_exposure", self.exposure_source == ExposureSource.ESTIMATE)
        super().__post_init__()
        rotation_of_axes(self.rate_hint_axes)
        if self.exposure_source == ExposureSource.REALSENSE and self.exposure_unit not in ("us", "100us"):
            raise InputError(
                f"exposure_unit is {self.exposure_unit!r}, but RealSense cameras report '100us' (colour) or "
                "'us' (infrared, depth)"
            )

    @cached_property
    def estimator(self) -> EstimatorConfig:
        """The settings of the estimator among these."""
        return EstimatorConfig(**{one.name: getattr(self, one.name) for one in fields(EstimatorConfig)})


def declare_settings(node) -> Settings:
    """Declare all parameters on an rclpy node and read what launch files and command lines set.

    Raises:
        InputError: a value is of the wrong type or refused.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

    values = {}
    for parameter in settings_of(Settings):
        choices, limits = choices_of(parameter.metadata), parameter.metadata["limits"]
        descriptor = ParameterDescriptor(
            description=parameter.metadata["description"],
            read_only=parameter.metadata["read_only"],
            additional_constraints=f"one of: {', '.join(choices)}" if choices else "",
        )
        if limits and isinstance(parameter.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
        elif limits:
            descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=1)]
        try:
            values[parameter.name] = node.declare_parameter(parameter.name, default_of(parameter), descriptor).value
        except InvalidParameterTypeException as error:
            kind = type(parameter.default).__name__
            raise InputError(f"parameter {parameter.name} must be of type {kind}: {error}") from None
        except InvalidParameterValueException as error:
            raise InputError(str(error)) from None
    return Settings(**values)


def warn_of_former_names(node) -> None:
    """Warn of parameters that are set by a former name: ROS ignores, without a word, what no node declares."""
    from rcl_interfaces.msg import ParameterDescriptor

    for former, name in _FORMER_NAMES.items():
        given = node.declare_parameter(former, None, ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(former)
        if given is not None:
            node.get_logger().warning(f"parameter {former} has no effect: its name is now {name}")
