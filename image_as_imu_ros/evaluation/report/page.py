"""report.html: an evaluation on one page that needs nothing but a browser."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from image_as_imu_ros.estimation.config import Measurement, SignResolution
from image_as_imu_ros.evaluation.estimator_run import exposures_of
from image_as_imu_ros.evaluation.evaluate import Evaluation
from image_as_imu_ros.evaluation.gallery import Exhibit
from image_as_imu_ros.evaluation.report.tables import answers, number, rejections, summary, vector
from image_as_imu_ros.evaluation.samples import sign_agrees
from image_as_imu_ros.geometry.camera import Camera

_TEMPLATE = "report.html"
_IMAGE_WIDTH = 480  # px
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class _Plot:
    """An image within the page: `source` is a data URI, `text` is for people who do not see it."""

    source: str
    text: str


@dataclass(frozen=True)
class _Card:
    """An overlay and what belongs under it: s since the first frame, px, (3,) rad/s; without ground truth no error."""

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
        loader=PackageLoader("image_as_imu_ros.evaluation.report", ""),
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
        signs=_signs(evaluation),
        exposure_varies=_exposure_varies(evaluation),
        galleries=_galleries(evaluation),
        camera=_camera(evaluation.run.camera),
        plots=_Plots(folder),
    )
    (folder / _TEMPLATE).write_text(page, encoding="utf-8", errors="backslashreplace")


class _Plots:
    """The plots in a folder, by name: `plots("time_series", "…")`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, text: str) -> _Plot:
        return _Plot(_data_uri("png", (self._folder / f"{name}.png").read_bytes()), text)


def _unanswered(figures: dict) -> list[tuple[str, str, int]]:
    """List (method, reason, number of frames) of what the compared methods did not answer."""
    rows = figures["baselines"]["rows"] if "baselines" in figures else []
    # A method may stand there twice, with two kinds of velocity.
    return list(dict.fromkeys((row["method"], *failure) for row in rows for failure in row["failures"].items()))


def _signs(evaluation: Evaluation) -> list[tuple[str, int, int, int, int]]:
    """Rows of (how the sign was decided, frames, right, wrong, not to be judged)."""
    decided = evaluation.decided
    aligned = np.array([result.estimate.measurement == Measurement.ALIGNED for result in evaluation.run.results])
    agrees = sign_agrees(decided)
    centered = evaluation.config.estimator.sign_resolution == SignResolution.CENTERED
    others = "the frames before and after" if centered else "the frame before"
    rows = []
    for name, chosen in (
        ("two aligned frames", aligned),
        (f"one frame, sign from {others}", ~aligned & decided.resolved),
        ("open: the likelier sign", ~aligned & ~decided.resolved),
    ):
        count, right, wrong = (int(mask.sum()) for mask in (chosen, agrees[chosen] == 1, agrees[chosen] == 0))
        rows.append((name, count, right, wrong, count - right - wrong))
    return rows


def _exposure_varies(evaluation: Evaluation) -> bool:
    """Whether there is more to say about the exposure than one number."""
    _, used, measured, _ = exposures_of(evaluation.run)
    return len(np.unique(used)) > 1 or bool(np.isfinite(measured).any())


def _galleries(evaluation: Evaluation) -> dict[str, list[_Card]]:
    run = evaluation.run
    galleries = {
        "Most blurred": run.most_blurred,
        "Largest error of ω": run.worst,
        "Smallest error of ω, of blurred frames": run.best,
    }
    return {
        title: [_card(exhibit, evaluation) for exhibit in gallery.exhibits]
        for title, gallery in galleries.items()
        if gallery.exhibits
    }


def _card(exhibit: Exhibit, evaluation: Evaluation) -> _Card:
    samples = evaluation.samples
    index = int(np.flatnonzero(samples.stamps == exhibit.stamp)[0])
    angular, ground_truth = samples.angular[index], samples.true_angular[index]
    seconds = (exhibit.stamp - samples.stamps[0]) * 1e-9
    blur = float(samples.mean_flow[index])
    text = f"Frame at {seconds:.2f} s with {blur:.1f} px of blur: measured streaks in amber, the fitted field in cyan"
    return _Card(
        plot=_Plot(_data_uri("jpeg", _jpeg(exhibit.overlay)), text),
        seconds=seconds,
        measurement=evaluation.run.results[index].estimate.measurement,
        blur=blur,
        angular=angular,
        ground_truth=ground_truth if np.isfinite(ground_truth).all() else None,
        error=float(np.linalg.norm(angular - ground_truth)),
    )


def _jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) BGR uint8, made smaller if it is large."""
    height, width = image.shape[:2]
    if width > _IMAGE_WIDTH:
        size = (_IMAGE_WIDTH, round(height * _IMAGE_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _camera(camera: Camera | None) -> str:
    if camera is None:
        return "–"
    size = f"{camera.width}×{camera.height} px"
    pinhole = f"fx {camera.fx:.1f}, fy {camera.fy:.1f}, cx {camera.cx:.1f}, cy {camera.cy:.1f} px"
    coefficients = " ".join(f"{value:.4g}" for value in camera.distortion)
    distortion = f"{camera.distortion_model} {coefficients}" if np.any(camera.distortion) else "no lens distortion"
    return f"{size}, {pinhole}, {distortion}"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _vector(values: np.ndarray, form: str) -> str:
    return " ".join(format(value, form) for value in values).replace("-", "−")
