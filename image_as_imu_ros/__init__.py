"""Camera velocity from motion blur: one blurred frame in, angular and linear velocity out.

estimator = MotionEstimator.from_model("models/blur_imu_small.onnx")
estimate = estimator.update(Frame(image, stamp, camera, Shutter(exposure=0.01)))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from image_as_imu_ros.errors import InputError
    from image_as_imu_ros.estimation.config import EstimatorConfig
    from image_as_imu_ros.estimation.estimate import MotionEstimate
    from image_as_imu_ros.estimation.estimator import MotionEstimator
    from image_as_imu_ros.estimation.frame import Frame, Shutter
    from image_as_imu_ros.estimation.inferred_frame import InferredFrame
    from image_as_imu_ros.estimation.velocity import Velocity
    from image_as_imu_ros.geometry.camera import Camera

    __version__: str

__all__ = [
    "Camera",
    "EstimatorConfig",
    "Frame",
    "InferredFrame",
    "InputError",
    "MotionEstimate",
    "MotionEstimator",
    "Shutter",
    "Velocity",
    "__version__",
]

# Imported when first asked for: commands must set NumPy's threads before NumPy is imported.
_HOMES = {
    "Camera": "geometry.camera",
    "EstimatorConfig": "estimation.config",
    "Frame": "estimation.frame",
    "InferredFrame": "estimation.inferred_frame",
    "InputError": "errors",
    "MotionEstimate": "estimation.estimate",
    "MotionEstimator": "estimation.estimator",
    "Shutter": "estimation.frame",
    "Velocity": "estimation.velocity",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("image_as_imu_ros")
        except PackageNotFoundError:  # a source tree that is not installed
            return "unknown"
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
