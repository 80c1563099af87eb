"""Pinhole camera with lens distortion: pixels ↔ rays, and exact intrinsics through crop and resize.

Pixel coordinates follow OpenCV and ROS: (0, 0) is the *centre* of the top-left pixel. The optical frame is
x right, y down, z forward (REP-103).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError

# CameraInfo.distortion_model → how many coefficients OpenCV takes. "rational_polynomial" may carry thin-prism
# and tilt terms, hence up to 14.
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_OTHER_NAMES = {"fisheye": "equidistant", "equi": "equidistant", "radtan": "plumb_bob"}  # drivers', Kalibr's
_SHORTEST_FOCAL_LENGTH = 0.05  # of the shorter side: 169° of view without distortion; no lens has less
_LONGEST_FOCAL_LENGTH = 1000.0  # of the longer side: 0.06° of view; telescopes have more
_LARGEST_TANGENT = 10.0  # of the angle off the axis: 84°, where a centre beside a cropped image can still lie
MAX_SIDE = 16384  # px; no camera has more, and a damaged message may claim any size


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one image stream.

    Attributes:
        width, height: image size, px.
        fx, fy, cx, cy: focal lengths and principal point, px.
        distortion_model: "plumb_bob" ("radtan"), "rational_polynomial", "equidistant" ("fisheye", "equi"), or "" for
            none.
        distortion: coefficients in OpenCV's order; all zero or empty means none. Further zeros at
            the end do no harm.

    Raises:
        InputError: a value is not finite, a size or focal length is not positive or not in px, the principal point is
            far away, or the distortion is unknown.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise InputError(f"camera size is {self.width}×{self.height}; expected 1 to {MAX_SIDE} px a side")
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(value) for value in (*intrinsics, *self.distortion)):
            raise InputError(f"camera intrinsics are not finite: fx, fy, cx, cy = {intrinsics}, D = {self.distortion}")
        if self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"focal lengths are fx={self.fx:g}, fy={self.fy:g}; they must be positive (is the camera calibrated?)"
            )
        if min(self.fx, self.fy) < _SHORTEST_FOCAL_LENGTH * min(self.width, self.height):
            raise InputError(
                f"focal lengths are fx={self.fx:g}, fy={self.fy:g}, which cannot be px of a {self.width}×{self.height} "
                "image (normalised? mm?): give them in px"
            )
        if max(self.fx, self.fy) > _LONGEST_FOCAL_LENGTH * max(self.width, self.height):
            raise InputError(
                f"focal lengths are fx={self.fx:g}, fy={self.fy:g}: a {self.width}×{self.height} image would see less "
                "than a twentieth of a degree"
            )
        beside = max(-self.cx, self.cx - self.width) / self.fx, max(-self.cy, self.cy - self.height) / self.fy
        if max(beside) > _LARGEST_TANGENT:
            raise InputError(
                f"principal point ({self.cx:g}, {self.cy:g}) is so far from the {self.width}×{self.height} image that "
                "all of it would be more than 84° off the axis"
            )
        self._settle_distortion()

    def _settle_distortion(self) -> None:
        """Bring the distortion to one of OpenCV's models and its number of coefficients, or to none."""
        if not any(self.distortion):
            object.__setattr__(self, "distortion_model", "")
            object.__setattr__(self, "distortion", ())
            return
        model = lens_model(self.distortion_model)
        if model not in _COEFFICIENTS:
            raise InputError(
                f"distortion model {self.distortion_model!r} is not supported; known: {', '.join(_COEFFICIENTS)}"
            )
        counts, given = _COEFFICIENTS[model], len(self.distortion)
        used = max(i for i, coefficient in enumerate(self.distortion) if coefficient) + 1
        count = given if given in counts else next((count for count in counts if used <= count), None)
        if count is None or given < counts[0]:
            raise InputError(f"{model} takes {' or '.join(map(str, counts))} coefficients, got {given}")
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", (*self.distortion, *(0.0,) * count)[:count])

    def resembles(self, other: Camera, log_change: float) -> bool:
        """Tell whether another camera is of this size and lens model, and its focal lengths and centre are near.

        Args:
            log_change: relative change of the focal lengths, and of the image's size the centre may move by.
        """
        if (self.width, self.height, self.distortion_model) != (other.width, other.height, other.distortion_model):
            return False
        changes = (
            math.log(other.fx / self.fx),
            math.log(other.fy / self.fy),
            (other.cx - self.cx) / self.width,
            (other.cy - self.cy) / self.height,
        )
        return max(map(abs, changes)) < log_change

    def largest_move(self, other: Camera) -> float:
        """Measure how far another camera of this size sees the rays through corners and edges of the image, px."""
        x, y = np.meshgrid([0, (self.width - 1) / 2, self.width - 1], [0, (self.height - 1) / 2, self.height - 1])
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        rays = self.rays(pixels)
        seen = np.isfinite(rays).all(1)
        return float(np.abs(other.project(rays[seen]) - pixels[seen]).max(initial=0.0))

    @cached_property
    def matrix(self) -> np.ndarray:
        """(3, 3) float64 intrinsic matrix K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def place(self, pixels: np.ndarray) -> np.ndarray:
        """Return where pixels (N, 2) lie in the image: (N, 2) from −1 to 1 across and down, edge to edge."""
        return (2 * pixels + 1) / (self.width, self.height) - 1

    def crop(self, left: int, top: int, width: int, height: int) -> Camera:
        """Return the camera of the sub-image that starts at pixel (left, top)."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def resize(self, width: int, height: int) -> Camera:
        """Return the camera of the image resampled to width × height (pixel areas map onto pixel areas)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Undistort pixels to the rays through them.

        Args:
            pixels: (N, 2) pixel coordinates.

        Returns:
            (N, 2) float64 normalised image coordinates (x/z, y/z). NaN where the lens model cannot be inverted
            (a strongly distorted corner): projecting the ray back misses the pixel by more than 0.1 px.
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        if not self.distortion or not len(pixels):  # OpenCV refuses no points at all
            return (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        points, coefficients = pixels[:, None, :], np.array(self.distortion)
        if self.distortion_model == "equidistant":
            rays = cv2.fisheye.undistortPoints(points, self.matrix, coefficients)[:, 0]
        else:
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)
            undistort: Any = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # since OpenCV 5 they are one
            # The matrices would rectify and project again: these are rays.
            rays = undistort(points, self.matrix, coefficients, R=np.eye(3), P=np.eye(3), criteria=criteria)[:, 0]
        missed = ~(np.linalg.norm(self.project(rays) - pixels, axis=1) < 0.1)
        rays[missed] = np.nan
        return rays

    def project(self, rays: np.ndarray) -> np.ndarray:
        """Project rays with distortion: (N, 2) normalised coordinates → (N, 2) float64 px."""
        rays = np.asarray(rays, dtype=np.float64)
        if not self.distortion or not len(rays):
            return rays * (self.fx, self.fy) + (self.cx, self.cy)
        coefficients, zero = np.array(self.distortion), np.zeros(3)
        if self.distortion_model == "equidistant":
            return cv2.fisheye.distortPoints(rays[:, None, :], self.matrix, coefficients)[:, 0]
        points = np.column_stack([rays, np.ones(len(rays))])[:, None, :]
        return cv2.projectPoints(points, zero, zero, self.matrix, coefficients)[0][:, 0]

    def projection_jacobian(self, rays: np.ndarray) -> np.ndarray:
        """Differentiate pixel by ray at (N, 2) rays: (N, 2, 2) px. diag(fx, fy) without distortion."""
        rays = np.asarray(rays, dtype=np.float64)
        if not self.distortion:
            return np.broadcast_to(np.diag([self.fx, self.fy]), (len(rays), 2, 2)).copy()
        step = 1e-5
        columns = [
            (self.project(rays + offset) - self.project(rays - offset)) / (2 * step)
            for offset in (np.array([step, 0.0]), np.array([0.0, step]))
        ]
        return np.stack(columns, axis=-1)


@dataclass(frozen=True)
class Intrinsics:
    """Intrinsics as people write them, px, for images of any size.

    Attributes:
        fy: None for fx. cx, cy: None for the middle. distortion: OpenCV's k1 k2 p1 p2 [k3].
    """

    fx: float
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    distortion: tuple[float, ...] = ()

    def camera(self, width: int, height: int) -> Camera:
        """Return the camera of images of this size.

        Raises:
            InputError: a value is not finite or not positive.
        """
        return Camera(
            width,
            height,
            fx=self.fx,
            fy=self.fx if self.fy is None else self.fy,
            cx=(width - 1) / 2 if self.cx is None else self.cx,
            cy=(height - 1) / 2 if self.cy is None else self.cy,
            distortion_model="plumb_bob" if self.distortion else "",
            distortion=self.distortion,
        )


def lens_model(name: str) -> str:
    """Return ROS's name of a distortion model that has others."""
    return _OTHER_NAMES.get(name, name)
