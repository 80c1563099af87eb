"""A frame with its measured blur streaks and the fitted motion field drawn on it."""

from __future__ import annotations

import cv2
import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.geometry.axial_flow import signed_from_axial
from image_as_imu_ros.geometry.motion_field import cell_centres

_COLUMNS = 20  # streaks across the view, fewer where they would be closer than
_LEAST_SPACING = 14  # px of the picture
_LENGTH_SHARE = 0.35  # of a typical streak's length, the least spacing too
_BRIGHTNESS = 0.7  # of the frame under the drawing
_MEASURED = (30, 170, 255)  # amber, BGR
_FITTED = (255, 225, 0)  # cyan, BGR
_SUBPIXEL_BITS = 4


def draw_overlay(image: np.ndarray, estimate: MotionEstimate) -> np.ndarray:
    """Draw what was measured in a frame and what the estimated velocity makes of it.

    Amber: the measured streaks at their true length, without an arrow because blur has none; the less certain, the more
    they fade into the picture. Cyan: the fitted field; its arrowheads appear once the direction is known. Cells without
    visible blur show a dot.

    Args:
        image: (H, W) luminance or (H, W, 3) RGB, uint8, the image that `estimate` was made from.
        estimate: of this image.

    Returns:
        (H, W, 3) uint8, BGR as OpenCV writes and shows it.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    canvas = cv2.convertScaleAbs(bgr, alpha=_BRIGHTNESS)

    view, field = estimate.view, estimate.network_output
    rows, columns = field.axial_flow.shape[1:]
    shown = _shown_cells(field, view.width)
    to_source = np.array([view.width / view.camera.width, view.height / view.camera.height])
    centres = view.to_source(cell_centres(rows, columns, field.stride)[shown.ravel()])
    measured = signed_from_axial(field.axial_flow[:, shown]).T * to_source
    fitted = estimate.fitted_flow[:, shown].T * to_source
    confidence = _confidence(field.axial_flow[:, shown], field.sigma[:, shown])

    thin = max(1, round(view.width / 640))
    backgrounds = canvas[np.clip(centres[:, 1].astype(int), 0, canvas.shape[0] - 1), centres[:, 0].astype(int)]
    colours = backgrounds + confidence[:, None] * (np.array(_MEASURED) - backgrounds)
    for centre, flow, colour in zip(centres, measured, colours, strict=True):
        _line(canvas, centre - flow / 2, centre + flow / 2, colour, 3 * thin)
    for centre, flow in zip(centres, fitted, strict=True):
        _line(canvas, centre - flow / 2, centre + flow / 2, _FITTED, thin)
        if estimate.sign_resolved:
            _arrowhead(canvas, centre + flow / 2, flow, 5 * thin, thin)
    _write(canvas, _caption(estimate))
    return canvas


def _shown_cells(field: NetworkOutput, width: int) -> np.ndarray:
    """(h, w) bool: every few cells of a view `width` px wide, rows staggered, further apart for long streaks."""
    rows, columns = field.axial_flow.shape[1:]
    length = np.hypot(*field.axial_flow)
    typical = np.median(length[np.isfinite(length)]) if np.isfinite(length).any() else 0.0
    step = max(1, round(columns / min(_COLUMNS, width / _LEAST_SPACING)), round(_LENGTH_SHARE * typical / field.stride))
    shown = np.zeros((rows, columns), bool)
    shown[step // 2 :: 2 * step, step // 2 :: step] = True
    shown[step // 2 + step :: 2 * step, ::step] = True
    return shown & np.isfinite(field.axial_flow).all(0)


def _confidence(axial_flow: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(2, N) px each → (N,) 0…1: how far a streak stands out of the larger one of its own uncertainties."""
    return 1 / (1 + np.square(sigma.max(0) / (0.3 * np.hypot(*axial_flow) + 0.5)))


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple | np.ndarray, thickness: int) -> None:
    a, b = (tuple(np.round(point * 2**_SUBPIXEL_BITS).astype(int).tolist()) for point in (start, end))
    cv2.line(canvas, a, b, tuple(map(float, colour)), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _arrowhead(canvas: np.ndarray, tip: np.ndarray, flow: np.ndarray, size: float, thickness: int) -> None:
    length = np.hypot(*flow)
    if length < size:
        return
    back = -size / length * flow
    side = 0.5 * np.array([-back[1], back[0]])
    _line(canvas, tip, tip + back + side, _FITTED, thickness)
    _line(canvas, tip, tip + back - side, _FITTED, thickness)


def _caption(estimate: MotionEstimate) -> list[str]:
    """Parts of the caption, to be laid out in as few lines as fit. ASCII: OpenCV's fonts know no more."""
    x, y, z = estimate.velocity.angular
    sign_resolution = "direction known" if estimate.sign_resolved else "direction open (+/-)"
    return [f"turn {x:+.2f} {y:+.2f} {z:+.2f} rad/s", f"blur {estimate.mean_flow:.1f} px at 320", sign_resolution]


def _write(canvas: np.ndarray, parts: list[str]) -> None:
    """White on a dark strip along the bottom edge, scaled to the picture; one line, or one per part if it is narrow."""
    height, width = canvas.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    lines = ["   ".join(parts)] if width >= 480 else parts
    margin = max(2, width // 100)
    (unit_width, unit_height), _ = cv2.getTextSize(max(lines, key=len), font, 1.0, 1)
    scale = min(max(0.35, width / 1100), (width - 2 * margin) / unit_width)
    thickness = max(1, round(1.5 * scale))
    line_height = round(1.7 * unit_height * scale)
    top = max(0, height - line_height * len(lines) - margin)
    canvas[top:] //= 4
    for number, line in enumerate(lines):
        baseline = (margin, top + round((number + 0.8) * line_height))
        cv2.putText(canvas, line, baseline, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
