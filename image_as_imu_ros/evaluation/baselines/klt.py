"""klt: corners tracked from frame to frame, and the rotation that explains how they moved.

The two models of a pair of views, a rotation about the camera's centre and an essential matrix, are both fitted
robustly; the one that explains the tracks better for its number of parameters is taken (GRIC, Torr 1998). The length of
a translation does not follow from two views, so there is no linear velocity.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import NO_PIECE, Motion
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera

_NEW: Any = None  # OpenCV makes the array; its stubs do not know that


@dataclass(frozen=True)
class Settings:
    """Of tracking and fitting.

    Attributes:
        features: most corners per frame. quality, distance: of `cv2.goodFeaturesToTrack`; the distance in px.
        window: side of the patch that is tracked, px. levels: of the pyramid above the image.
        back_and_forth: px within which a corner tracked forth and back must return.
        noise: standard deviation of a track, px. threshold: px from which a track does not fit a model.
        fewest: tracks that a model needs.
    """

    features: int = 1000
    quality: float = 0.01
    distance: float = 8.0
    window: int = 21
    levels: int = 4
    back_and_forth: float = 1.0
    noise: float = 1.0
    threshold: float = 2.0
    fewest: int = 15


def settings() -> Settings:
    """Return the defaults: OpenCV is always there."""
    return Settings()


def run(frames: Frames, settings: Settings) -> Motion:
    """Find the rotation from each frame to the next, at full resolution."""
    angular = np.full((len(frames), 3), np.nan)
    failures: Counter[str] = Counter()
    started = time.perf_counter()
    before = None
    images = tqdm(frames.images("gray"), "klt", len(frames), unit="frame", mininterval=0.5, leave=False)
    for i, image in enumerate(images):
        if i > 0 and (image is None or before is None):
            failures["image cannot be decoded"] += 1
        elif image is not None and before is not None:
            tracks = track(before, image, settings)
            rotation = None
            if len(tracks[0]) < settings.fewest:
                failures[f"fewer than {settings.fewest} corners could be tracked"] += 1
            elif (rotation := fit_rotation(frames.camera, *tracks, settings)) is None:
                failures["the tracks agree on no motion"] += 1
            else:
                # Points rotate against the camera.
                angular[i] = so3.log(rotation.T) / ((frames.times[i] - frames.times[i - 1]) * 1e-9)
        before = image
    seconds = (time.perf_counter() - started) / len(frames)
    piece = np.where(np.isfinite(angular).all(1), 0, NO_PIECE)
    return Motion(angular, np.full_like(angular, np.nan), piece, seconds, dict(failures))


def track(before: np.ndarray, now: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Track corners of one (H, W) uint8 image into the next: where they are in both, (M, 2) px each.

    Pyramidal Lucas–Kanade, there and back again (Kalal et al. 2010).
    """
    corners = cv2.goodFeaturesToTrack(before, settings.features, settings.quality, settings.distance)
    if corners is None:
        return np.empty((0, 2)), np.empty((0, 2))
    window = (settings.window, settings.window)
    forth, found, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, _NEW, winSize=window, maxLevel=settings.levels)
    back, found_again, _ = cv2.calcOpticalFlowPyrLK(now, before, forth, _NEW, winSize=window, maxLevel=settings.levels)
    kept = np.logical_and(found, found_again).ravel()
    kept &= np.linalg.norm(back - corners, axis=2).ravel() < settings.back_and_forth
    return corners[kept, 0].astype(np.float64), forth[kept, 0].astype(np.float64)


def fit_rotation(camera: Camera, before: np.ndarray, now: np.ndarray, settings: Settings) -> np.ndarray | None:
    """Fit the rotation (3, 3) that carries the rays of one view into those of the next; None if the tracks fit none.

    Args:
        before, now: (M, 2) px, the same points in two images.
    """
    before, now = camera.rays(before), camera.rays(now)
    known = np.isfinite(before).all(1) & np.isfinite(now).all(1)
    before, now = before[known], now[known]
    if len(before) < settings.fewest:
        return None
    pixel = 1 / math.sqrt(camera.fx * camera.fy)
    models = (_rotating(before, now, settings, pixel), _moving(before, now, settings, pixel))
    fitting = [model for model in models if model is not None]
    return min(fitting, key=lambda model: model[0])[1] if fitting else None


def _rotating(before: np.ndarray, now: np.ndarray, settings: Settings, pixel: float) -> tuple[float, np.ndarray] | None:
    """(GRIC, rotation) of a camera that only rotates."""
    _, inliers = cv2.findHomography(before, now, cv2.USAC_MAGSAC, settings.threshold * pixel)
    if inliers is None:
        return None
    inliers = inliers.ravel().astype(bool)
    rotation, squared_error = np.eye(3), np.full(len(before), np.inf)
    for _ in range(5):  # from the plane that MAGSAC found to what fits a rotation
        if inliers.sum() < settings.fewest:
            return None
        rotation = so3.between(_unit_rays(before[inliers]), _unit_rays(now[inliers]))
        rotated = cv2.convertPointsToHomogeneous(before)[:, 0] @ rotation.T
        squared_error = np.square(rotated[:, :2] / rotated[:, 2:] - now).sum(1) / 2
        inliers = (squared_error < (settings.threshold * pixel) ** 2) & (rotated[:, 2] > 0)
    if inliers.sum() < settings.fewest:
        return None
    return _gric(squared_error / (settings.noise * pixel) ** 2, dimensions=2, parameters=3), rotation


def _moving(before: np.ndarray, now: np.ndarray, settings: Settings, pixel: float) -> tuple[float, np.ndarray] | None:
    """(GRIC, rotation) of a camera that rotates and moves."""
    threshold = settings.threshold * pixel
    essential, inliers = cv2.findEssentialMat(before, now, np.eye(3), cv2.USAC_MAGSAC, 0.999, threshold)
    if essential is None or essential.shape != (3, 3) or inliers.sum() < settings.fewest:
        return None
    # The second one is 180° about the baseline away from it, which nobody can follow from frame to frame.
    rotation = max(cv2.decomposeEssentialMat(essential)[:2], key=np.trace)
    line_now = cv2.convertPointsToHomogeneous(before)[:, 0] @ essential.T
    line_before = cv2.convertPointsToHomogeneous(now)[:, 0] @ essential
    product = np.einsum("ni,ni->n", cv2.convertPointsToHomogeneous(now)[:, 0], line_now)
    slope = np.square(line_now[:, :2]).sum(1) + np.square(line_before[:, :2]).sum(1)
    squared_error = np.square(product) / np.maximum(slope, 1e-300)  # Sampson's distance
    return _gric(squared_error / (settings.noise * pixel) ** 2, dimensions=3, parameters=5), rotation


def _unit_rays(rays: np.ndarray) -> np.ndarray:
    """(M, 2) normalised image coordinates → (M, 3)."""
    rays = cv2.convertPointsToHomogeneous(rays)[:, 0]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _gric(squared_error: np.ndarray, *, dimensions: int, parameters: int) -> float:
    """Geometric robust information criterion (Torr 1998) of a model of two views; less is better.

    Args:
        squared_error: (M,) in units of the noise.
        dimensions: of the model's manifold in the four coordinates of a pair of points.
    """
    coordinates, count = 4, len(squared_error)
    cost = np.minimum(squared_error, 2 * (coordinates - dimensions)).sum()
    return cost + math.log(coordinates) * dimensions * count + math.log(coordinates * count) * parameters
