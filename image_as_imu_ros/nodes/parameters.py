"""The node's parameters: one table of names, defaults, ranges and meanings, and the checks of their values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property

from image_as_imu_ros.engine import ENGINES
from image_as_imu_ros.engine.model_files.precision import PRECISIONS
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_solver import MOTION_MODELS
from image_as_imu_ros.estimation.estimator import MEASUREMENTS, Options
from image_as_imu_ros.estimation.frame import STAMP_REFERENCES
from image_as_imu_ros.estimation.sign import SIGN_RESOLUTIONS
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.messages.exposure import EXPOSURE_UNITS
from image_as_imu_ros.nodes.exposure_sources import EXPOSURE_SOURCES
from image_as_imu_ros.nodes.rate_hint import RATE_HINTS


def _parameter(default, description: str, *, choices=(), limits=None, read_only: bool = False):
    """A field of Settings. `choices` for text, `limits` (lowest, highest) for numbers."""
    metadata = {"description": description, "choices": tuple(choices), "limits": limits, "read_only": read_only}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters; each field is a parameter of the same name.

    Raises:
        InputError: a value is outside its range or choices. The message is meant for whoever set it.
    """

    model: str = _parameter("", "ONNX model file; empty for the shipped one", read_only=True)
    engine: str = _parameter("auto", "what runs the model", choices=ENGINES, read_only=True)
    precision: str = _parameter(
        "auto",
        "of the network's numbers: its files are NAME.onnx (fp32), NAME_fp16.onnx, NAME_int8.onnx; "
        "auto: as the model's name says, with TensorRT fp16",
        choices=PRECISIONS,
        read_only=True,
    )
    dla_core: int = _parameter(
        -1, "TensorRT on Jetson: deep learning accelerator to use; -1: none", limits=(-1, 3), read_only=True
    )
    threads: int = _parameter(
        0, "CPU threads of the network; 0 leaves it to the engine", limits=(0, 256), read_only=True
    )
    image_transport: str = _parameter(
        "raw", "type on the topic image: Image or CompressedImage", choices=("raw", "compressed"), read_only=True
    )
    depth_transport: str = _parameter(
        "none",
        "type on the topic depth, registered to the image: Image or CompressedImage; none: the network's depth is used",
        choices=("none", "raw", "compressed"),
        read_only=True,
    )
    exposure_source: str = _parameter(
        "parameter",
        "where each frame's exposure time comes from; estimate: from the images, starting at exposure_time",
        choices=EXPOSURE_SOURCES,
        read_only=True,
    )
    exposure_unit: str = _parameter(
        "s", "unit of the values on the topic exposure", choices=tuple(EXPOSURE_UNITS), read_only=True
    )
    rate_hint_type: str = _parameter(
        "none",
        "type on the topic rate_hint, another sensor's angular velocity, which helps to find the sign of motion: "
        "Imu, Odometry or TwistWithCovarianceStamped; none: no such topic",
        choices=RATE_HINTS,
        read_only=True,
    )
    exposure_time: float = _parameter(
        0.0,
        "exposure time of one row, s; 0: not known, then only frames with a value from the exposure topic are used",
        limits=(0.0, 1.0),
    )
    exposure_relative_error: float = _parameter(
        0.02, "standard deviation of the exposure time's relative error, widens the covariances", limits=(0.0, 1.0)
    )
    stamp_reference: str = _parameter(
        "middle", "what the image's stamp means: start, middle or end of the exposure", choices=STAMP_REFERENCES
    )
    readout_time: float = _parameter(
        0.0, "rolling shutter: from the first row's start to the last row's, s; 0: global shutter", limits=(0.0, 0.5)
    )
    measurement: str = _parameter(
        "auto",
        "single: velocity at mid-exposure from one frame's blur; aligned: mean velocity since the previous frame, "
        "stamped halfway; auto: aligned where it can be trusted, else single",
        choices=MEASUREMENTS,
    )
    motion_model: str = _parameter("full", "full: ω and v; rotation: ω only", choices=MOTION_MODELS)
    sign_resolution: str = _parameter(
        "causal",
        "how the sign of motion is found: from the previous frame; centered: from the next one too, one frame later; "
        "axial: not at all, the largest component of ω is published positive",
        choices=SIGN_RESOLUTIONS,
    )
    rate_hint_axes: str = _parameter(
        "x,y,z",
        "the camera's x (right), y (down), z (forward) in that sensor's axes; "
        "-y,-z,x: a camera that looks forward, on a base whose x is forward and z up",
    )
    rate_hint_std: float = _parameter(
        0.5, "error of that sensor per axis, its mounting and its age included, rad/s", limits=(0.001, 100.0)
    )
    linear_velocity_std: float = _parameter(
        0.3,
        "expected size of each component of the velocity of the point that the camera is turned about, m/s: a prior "
        "that keeps the solution stable",
        limits=(0.001, 100.0),
    )
    lever_arm: float = _parameter(
        0.15,
        "how far behind the camera that point lies, m; on a robot that the camera looks ahead from, how far the camera "
        "is in front of the centre",
        limits=(-10.0, 10.0),
    )
    publish_unresolved: bool = _parameter(False, "publish also where the sign of motion is not known")
    diagnostics_period: float = _parameter(
        1.0, "between two diagnostics messages, s", limits=(0.1, 60.0), read_only=True
    )
    autostart: bool = _parameter(
        False, "configure and activate at start, where no launch file or lifecycle manager does", read_only=True
    )

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, choices, limits = getattr(self, parameter.name), *map(parameter.metadata.get, ("choices", "limits"))
            if choices and value not in choices:
                raise InputError(f"{parameter.name} is {value!r}, expected one of: {', '.join(choices)}")
            if limits and not (math.isfinite(value) and limits[0] <= value <= limits[1]):
                raise InputError(f"{parameter.name} is {value}, expected {limits[0]:g} to {limits[1]:g}")
        rotation_of_axes(self.rate_hint_axes)
        if self.exposure_source == "realsense" and self.exposure_unit not in ("us", "100us"):
            raise InputError(
                f"exposure_unit is {self.exposure_unit!r}, but RealSense cameras report '100us' (colour) or "
                "'us' (infrared, depth)"
            )

    @cached_property
    def options(self) -> Options:
        """What of this concerns the estimator."""
        return Options(
            measurement=self.measurement,
            motion_model=self.motion_model,
            sign_resolution=self.sign_resolution,
            linear_prior_std=self.linear_velocity_std,
            lever_arm=self.lever_arm,
            exposure_log_std=self.exposure_relative_error,
            estimate_exposure=self.exposure_source == "estimate",
            rate_hint_std=self.rate_hint_std,
        )


def declare_settings(node) -> Settings:
    """Declare all parameters on an rclpy node and read what launch files and command lines set.

    Raises:
        InputError: a value is of the wrong type or refused.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

    values = {}
    for parameter in fields(Settings):
        description, choices, limits, read_only = parameter.metadata.values()
        descriptor = ParameterDescriptor(
            description=description,
            read_only=read_only,
            additional_constraints=f"one of: {', '.join(choices)}" if choices else "",
        )
        if limits and isinstance(parameter.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
        elif limits:
            descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=1)]
        try:
            values[parameter.name] = node.declare_parameter(parameter.name, parameter.default, descriptor).value
        except InvalidParameterTypeException as error:
            kind = type(parameter.default).__name__
            raise InputError(f"parameter {parameter.name} must be of type {kind}: {error}") from None
        except InvalidParameterValueException as error:
            raise InputError(str(error)) from None
    return Settings(**values)
