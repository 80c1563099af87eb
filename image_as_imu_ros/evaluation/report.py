"""report.html: an evaluation on one page that needs nothing but a browser."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from image_as_imu_ros.evaluation.evaluation import Evaluation
from image_as_imu_ros.evaluation.gallery import Picture
from image_as_imu_ros.evaluation.metrics import sign_agrees
from image_as_imu_ros.evaluation.tables import answers, number, rejections, summary, vector
from image_as_imu_ros.geometry.camera import Camera

_TEMPLATE = "report.html"
_PICTURE_WIDTH = 480  # px
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class _Plot:
    """A picture within the page: `source` is a data URI, `text` is for people who do not see it."""

    source: str
    text: str


@dataclass(frozen=True)
class _FramePicture:
    """An overlay and what belongs under it: s since the first frame, px, and (3,) rad/s; no truth, no error."""

    plot: _Plot
    seconds: float
    measurement: str
    blur: float
    angular: np.ndarray
    ground_truth: np.ndarray | None
    error: float


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.html beside the plots of an evaluation, which it takes into itself."""
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "rmse": vector, "vector": _vector}
    page = environment.get_template(_TEMPLATE).render(
        evaluation=evaluation,
        figures=evaluation.figures,
        duration=(evaluation.samples.stamps[-1] - evaluation.samples.stamps[0]) * 1e-9,
        has_ground_truth=bool(evaluation.samples.has_ground_truth.any()),
        has_linear=bool(np.isfinite(evaluation.samples.linear).any()),
        summary=summary(evaluation),
        answers=answers(evaluation.run),
        rejections=rejections(evaluation.run),
        unanswered=_unanswered(evaluation.figures),
        directions=_signs(evaluation),
        exposure_varies=_exposure_varies(evaluation),
        galleries=_galleries(evaluation),
        camera=_camera(evaluation.run.camera),
        plots=_Plots(folder),
    )
    (folder / _TEMPLATE).write_text(page, encoding="utf-8")


class _Plots:
    """The plots in a folder, by name: `plots("time_series", "…")`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, text: str) -> _Plot:
        return _Plot(_data_uri("png", (self._folder / f"{name}.png").read_bytes()), text)


def _unanswered(figures: dict) -> list[tuple[str, str, int]]:
    """(method, reason, number of frames) of what the compared methods did not answer."""
    rows = figures["baselines"]["rows"] if "baselines" in figures else []
    # A method may stand there twice, with two kinds of velocity.
    return list(dict.fromkeys((row["method"], *failure) for row in rows for failure in row["failures"].items()))


def _signs(evaluation: Evaluation) -> list[tuple[str, int, int, int, int]]:
    """Rows of (how the direction was decided, frames, right, wrong, not to be judged)."""
    decided = evaluation.decided
    aligned = np.array([result.measurement == "aligned" for result in evaluation.run.results])
    agrees = sign_agrees(decided)
    others = (
        "the frames before and after" if evaluation.settings["sign resolution"] == "centered" else "the frame before"
    )
    rows = []
    for name, chosen in (
        ("two aligned frames", aligned),
        (f"one frame, sign from {others}", ~aligned & decided.resolved),
        ("open: the likelier sign", ~aligned & ~decided.resolved),
    ):
        right, wrong = (agrees[chosen] == 1).sum(), (agrees[chosen] == 0).sum()
        rows.append((name, chosen.sum(), right, wrong, chosen.sum() - right - wrong))
    return rows


def _exposure_varies(evaluation: Evaluation) -> bool:
    """Whether there is more to say about the exposure than one number."""
    results = evaluation.run.results
    return len({result.exposure for result in results}) > 1 or any(result.measured_exposure for result in results)


def _galleries(evaluation: Evaluation) -> dict[str, list[_FramePicture]]:
    run = evaluation.run
    galleries = {
        "Most blurred": run.most_blurred,
        "Largest error of ω": run.worst,
        "Smallest error of ω, of blurred frames": run.best,
    }
    return {
        title: [_frame_picture(picture, evaluation) for picture in gallery.pictures]
        for title, gallery in galleries.items()
        if gallery.pictures
    }


def _frame_picture(picture: Picture, evaluation: Evaluation) -> _FramePicture:
    samples = evaluation.samples
    index = int(np.flatnonzero(samples.stamps == picture.stamp)[0])
    height, width = picture.overlay.shape[:2]
    if width > _PICTURE_WIDTH:
        size = (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width))
        small = cv2.resize(picture.overlay, size, interpolation=cv2.INTER_AREA)
    else:
        small = picture.overlay
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    angular, ground_truth = samples.angular[index], samples.true_angular[index]
    seconds = (picture.stamp - samples.stamps[0]) * 1e-9
    blur = float(samples.mean_flow[index])
    text = f"Frame at {seconds:.2f} s with {blur:.1f} px of blur: measured streaks in amber, the fitted field in cyan"
    return _FramePicture(
        plot=_Plot(_data_uri("jpeg", jpeg.tobytes()), text),
        seconds=seconds,
        measurement=evaluation.run.results[index].measurement,
        blur=blur,
        angular=angular,
        ground_truth=ground_truth if np.isfinite(ground_truth).all() else None,
        error=float(np.linalg.norm(angular - ground_truth)),
    )


def _camera(camera: Camera) -> str:
    size = f"{camera.width}×{camera.height} px"
    pinhole = f"fx {camera.fx:.1f}, fy {camera.fy:.1f}, cx {camera.cx:.1f}, cy {camera.cy:.1f} px"
    coefficients = " ".join(f"{value:.4g}" for value in camera.distortion)
    distortion = f"{camera.distortion_model} {coefficients}" if np.any(camera.distortion) else "no lens distortion"
    return f"{size}, {pinhole}, {distortion}"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _vector(values: np.ndarray, form: str) -> str:
    return " ".join(format(value, form) for value in values).replace("-", "−")
