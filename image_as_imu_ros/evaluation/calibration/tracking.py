"""Corners followed through windows of successive frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_FEATURES = 200  # most corners of a window
_QUALITY = 0.01  # of `cv2.goodFeaturesToTrack`
_DISTANCE = 8.0  # px between two
_SIDE = 21  # px of the patch that is tracked
_LEVELS = 3  # of the pyramid above the image
_BACK_AND_FORTH = 0.3  # px within which a corner tracked forth and back must return
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 0.001)


def follow(
    images: Sequence[np.ndarray], reference: int, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the corners of one of K (H, W) uint8 images through all: (P, K, 2) px, (P, K) whether seen, and `_pulls`.

    Every patch is compared with that of the reference, so that no error accumulates from frame to frame.

    Args:
        mask: (H, W) uint8, 0 where no corners are wanted; None for corners everywhere.
    """
    corners = cv2.goodFeaturesToTrack(images[reference], _FEATURES, _QUALITY, _DISTANCE, mask=mask)
    if corners is None:
        return np.empty((0, len(images), 2)), np.zeros((0, len(images)), bool), np.empty((0, 2, 2, 2))
    corners = corners[:, 0]
    pixels = np.zeros((len(corners), len(images), 2))
    seen = np.zeros(pixels.shape[:2], bool)
    pixels[:, reference], seen[:, reference] = corners, True
    for side in (-1, 1):
        k, last = reference + side, corners
        before = last
        while 0 <= k < len(images):
            guess = np.ascontiguousarray(2 * last - before if k != reference + side else last, np.float32)
            found, good = _track(images[reference], images[k], corners, guess)
            pixels[:, k] = found
            seen[:, k] = good & seen[:, k - side]
            before, last = last, np.where(seen[:, k, None], found, guess).astype(np.float32)
            k += side
    return pixels, seen, _pulls(images[reference], corners)


def _track(
    before: np.ndarray, now: np.ndarray, corners: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    options = {"winSize": (_SIDE, _SIDE), "maxLevel": _LEVELS, "criteria": _CRITERIA}
    forth, there, _ = cv2.calcOpticalFlowPyrLK(
        before, now, corners, guess.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **options
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        now, before, forth, corners.copy(), flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **options
    )
    good = (there.ravel() > 0) & (again.ravel() > 0) & (np.linalg.norm(back - corners, axis=1) < _BACK_AND_FORTH)
    return forth.astype(np.float64), good


def _pulls(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Compute by how much a translation that is fitted to a deformed patch is off, (P, 2, 2, 2) px per deformation.

    A patch that is deformed by M moves by M·x at x from the corner. Of the gradients g the least squares translation
    is (Σ g·gᵀ)⁻¹·Σ g·gᵀ·M·x, where nothing of it should be: [:, a, i, j] is its component a by M_ij.
    """
    gx, gy = (cv2.Scharr(image, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    half = _SIDE // 2
    columns, rows = np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1))
    centre = np.round(corners).astype(int)
    u, v = centre[:, 0, None, None] + columns, centre[:, 1, None, None] + rows
    inside = (u >= 0) & (v >= 0) & (u < image.shape[1]) & (v < image.shape[0])
    u, v = np.clip(u, 0, image.shape[1] - 1), np.clip(v, 0, image.shape[0] - 1)
    gradients = np.stack([gx[v, u], gy[v, u]], -1).astype(np.float64) * inside[..., None]
    gradients = gradients.reshape(len(corners), -1, 2)
    offsets = np.stack([u, v], -1).reshape(len(corners), -1, 2) - corners[:, None]
    tensor = gradients.swapaxes(1, 2) @ gradients
    moment = np.einsum("pnb,pni,pnj->pbij", gradients, gradients, offsets)
    solved = np.linalg.solve(tensor + 1e-6 * np.eye(2), moment.reshape(-1, 2, 4))
    return solved.reshape(-1, 2, 2, 2)
