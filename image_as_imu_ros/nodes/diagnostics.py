"""What becomes of the images, counted, and said in words for /diagnostics."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.alignment import Alignment
from image_as_imu_ros.estimation.constants import ESTIMATOR, SCENE_DEPTH
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.messages.stamps import DEPTH_TOLERANCE
from image_as_imu_ros.nodes.frames import DEPTH_WAIT

_LOG_INTERVAL = 5.0  # s between two log lines about the same reason
_RECENT = 5.0  # s for which an estimate says something about now
_NO_IMAGES = 2.5  # s without any, before which a camera with few of them has not fallen silent
_OVERWRITTEN_SHARE = 0.2  # of the images, above which the machine cannot keep up


@dataclass(frozen=True)
class Report:
    """One diagnostics status: whether it is a warning, one line for people, and details.

    With `error` it is more than a warning: nothing is published.
    """

    warning: bool
    message: str
    values: dict[str, str]
    error: bool = False


class LastEstimate:
    """An estimate and when it was made: after a while it says nothing about now."""

    def __init__(self, estimate: MotionEstimate | None = None) -> None:
        self._estimate = estimate
        self._made = time.monotonic()

    def recent(self, period: float) -> MotionEstimate | None:
        """Return the estimate, unless there is none or it is old.

        Args:
            period: between two diagnostics messages, s.
        """
        return self._estimate if time.monotonic() - self._made < max(_RECENT, 2 * period) else None


class Health:
    """What became of the images. Callbacks, the pipeline and the diagnostics timer use it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=300)
        self._why: dict[str, str] = {}
        self._logged: dict[str, float] = {}
        self._since = self._last_image = time.monotonic()

    def count(self, what: str) -> None:
        """Count one more event.

        Events are "received", "overwritten", "ambiguous", "not aligned", "exposure fallback", "without rate hint",
        "without depth", "depth too sparse", "foreign depth", "exposure being measured", "exposure too uncertain",
        "camera changed", "camera frame changed", "waiting for NAME", where that may still be on its way, and
        "single" and "aligned" for what was published.
        """
        with self._lock:
            self._totals[what] += 1
            if what == "received":
                self._last_image = time.monotonic()

    def published(self, latency: float) -> None:
        """Count an estimate that was published `latency` s after its image came in."""
        with self._lock:
            self._totals["published"] += 1
            self._latencies.append(latency)

    def refused(self, reason: str, message: str) -> bool:
        """Count a frame, or a message beside it, that could not be used, and tell whether to log it now."""
        with self._lock:
            self._totals[f"refused: {reason}"] += 1
            self._why[reason] = message
            now = time.monotonic()
            log = now - self._logged.get(reason, -_LOG_INTERVAL) >= _LOG_INTERVAL
            if log:
                self._logged[reason] = now
            return log

    def report(self, image_topic_state: str, problems: list[str], details: dict[str, str]) -> Report:
        """Sum up what happened since the last report.

        Args:
            image_topic_state: said when no images arrive.
            problems: further ones that deserve a warning.
            details: further values.
        """
        with self._lock:
            now = time.monotonic()
            seconds, self._since = now - self._since, now
            totals, recent = self._totals.copy(), self._totals - self._reported
            self._reported = totals
            latencies = 1e3 * np.array(self._latencies)
            why = dict(self._why)
            silent = now - self._last_image > _NO_IMAGES
        no_images = [f"no images arrive: {image_topic_state}"] if silent else []
        problems = [*no_images, *_problems(recent, why), *problems]
        rate = recent["published"] / max(seconds, 1e-3)
        values = {"rate (Hz)": f"{rate:.1f}"}
        if len(latencies):
            p50, p95 = np.percentile(latencies, [50, 95])
            values |= {"latency p50 (ms)": f"{p50:.1f}", "latency p95 (ms)": f"{p95:.1f}"}
        values |= {what: str(totals[what]) for what in ("received", "published", "overwritten", "ambiguous")}
        values |= {what: str(count) for what, count in sorted(totals.items()) if what not in values}
        return Report(bool(problems), "; ".join(problems) or f"{rate:.1f} velocities per second", values | details)


def _problems(recent: Counter[str], why: dict[str, str]) -> list[str]:
    """Say what went wrong, by the counts since the last report."""
    problems = []
    for reason, message in why.items():
        if count := recent[f"refused: {reason}"]:
            problems.append(f"{count} times {reason} refused: {message}")
    if recent["overwritten"] > _OVERWRITTEN_SHARE * recent["received"]:
        problems.append(
            f"{recent['overwritten']} of {recent['received']} images skipped: this machine cannot keep up with them"
        )
    if recent["ambiguous"] > recent["published"]:
        problems.append(f"{recent['ambiguous']} velocities not published: the sign of their motion is not known")
    if recent["not aligned"] > recent["published"]:
        problems.append(
            f"{recent['not aligned']} frames could not be aligned with the one before; measurement: auto would publish "
            "the velocity that their blur shows"
        )
    if recent["exposure being measured"] > recent["published"]:
        problems.append(
            f"{recent['exposure being measured']} images without a velocity while the exposure time is being measured: "
            "move the camera, or give a first guess as exposure_time"
        )
    if recent["exposure too uncertain"] > recent["published"]:
        problems.append(
            f"{recent['exposure too uncertain']} images without a velocity from their blur: their exposure time is too "
            f"uncertain (exposure_relative_error above {ESTIMATOR.known_log_std:g}, or a blur that no camera makes in "
            "it); give it as exposure_time, or set exposure_source: estimate"
        )
    if recent["camera changed"] > 1:
        problems.append(
            f"camera_info changed {recent['camera changed']} times to that of another camera: earlier frames do not "
            "count then; do several publish on it?"
        )
    if recent["camera frame changed"] > 1:
        problems.append(
            f"the images' frame_id changed {recent['camera frame changed']} times: earlier frames do not count then; "
            "do several cameras publish on the topic image?"
        )
    if recent["exposure fallback"]:
        problems.append(
            f"{recent['exposure fallback']} images without a value on the topic exposure: exposure_time used"
        )
    if recent["without depth"] > recent["received"] / 2:
        problems.append(
            f"{recent['without depth']} images without a depth image within {1e-6 * DEPTH_TOLERANCE:.0f} ms of their "
            f"stamp, at the latest {1e3 * DEPTH_WAIT:.0f} ms after they came: the network's depth is used"
        )
    if recent["depth too sparse"]:
        problems.append(
            f"{recent['depth too sparse']} depth images show less than {SCENE_DEPTH.least_share:.0%} of the view: the "
            "network's depth is used"
        )
    if recent["foreign depth"] > recent["published"] / 2:
        problems.append(
            "the scene has not the shape that the network sees: without a depth image linear velocity may be several "
            "times too small or too large"
        )
    if recent["without rate hint"]:
        problems.append(f"{recent['without rate hint']} images without a message on the topic rate_hint within 0.1 s")
    return problems


def estimate_details(estimate: MotionEstimate | None) -> dict[str, str]:
    """Describe the last estimate by names and values; nothing before the first."""
    if estimate is None:
        return {}
    sign = "resolved" if estimate.sign_resolved else "unresolved"
    details = {
        "measurement": estimate.measurement,
        "exposure (s)": f"{estimate.exposure:.4g}",
        "exposure relative error": f"{estimate.exposure_log_std:.0%}",
        "sign": f"{sign} (probability {estimate.sign_probability:.3f})",
        "mean blur (px at 320 px width)": f"{estimate.mean_flow:.1f}",
        "residual": f"{estimate.residual:.2f}",
        "inliers": f"{estimate.inliers:.2f}",
        "log-likelihood ratio of spectra": f"{estimate.log_likelihood_ratio:.0f}",
    }
    if estimate.hidden_share:
        details["view left out"] = f"{estimate.hidden_share:.0%} (masked, or found to move with the camera)"
    contradiction = estimate.velocity.terms.get(Term.CONTRADICTION)
    if contradiction is not None and contradiction.any():
        difference = math.sqrt(np.trace(contradiction[3:, 3:]) / 2)
        details["blur contradicts alignment (rad/s)"] = f"{difference:.2f} (vibration? part of the view on the camera?)"
    if (measured := estimate.measured_exposure) is not None:
        details["exposure by blur (s)"] = f"{measured.seconds:.4g} ± {measured.log_std:.0%}"
    return details


def alignment_state(alignment: Alignment | None) -> dict[str, str]:
    """Describe the alignment of the last two frames; nothing where there is none."""
    if alignment is None:
        return {}
    accepted = f"accepted (similarity {alignment.similarity:.2f})"
    if alignment.parts_move:
        accepted += ", by the larger part of the scene: a nearer or farther one moves by itself"
    return {"alignment": alignment.rejection.message if alignment.rejection else accepted}
