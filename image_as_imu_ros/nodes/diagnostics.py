"""Counts what happens to images, and says in words whether all is well."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

_LOG_INTERVAL = 5.0  # s between two log lines about the same reason
_OVERWRITTEN_SHARE = 0.2  # of the images, above which the machine is too slow


@dataclass(frozen=True)
class Report:
    """One diagnostics status: whether it is a warning, one line for people, and details."""

    warning: bool
    message: str
    values: dict[str, str]


class Health:
    """What became of the images. Callbacks, the worker and the diagnostics timer use it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=300)
        self._why: dict[str, str] = {}
        self._logged: dict[str, float] = {}
        self._since = time.monotonic()

    def count(self, what: str) -> None:
        """One more of "received", "overwritten", "ambiguous", "not aligned", "exposure fallback", "without rate hint",
        or a measurement.
        """
        with self._lock:
            self._totals[what] += 1

    def published(self, latency: float) -> None:
        """An answer went out, `latency` s after its image came in."""
        with self._lock:
            self._totals["published"] += 1
            self._latencies.append(latency)

    def refused(self, reason: str, message: str) -> bool:
        """A frame, or a message beside it, could not be used. Returns whether to log it now."""
        with self._lock:
            self._totals[f"refused: {reason}"] += 1
            self._why[reason] = message
            now = time.monotonic()
            log = now - self._logged.get(reason, -_LOG_INTERVAL) >= _LOG_INTERVAL
            if log:
                self._logged[reason] = now
            return log

    def report(self, image_topic_state: str, problems: list[str], details: dict[str, str]) -> Report:
        """The state since the last report.

        Args:
            image_topic_state: said when no images arrive.
            problems: further ones that deserve a warning. details: further values.
        """
        with self._lock:
            now = time.monotonic()
            seconds, self._since = now - self._since, now
            totals, recent = self._totals.copy(), self._totals - self._reported
            self._reported = totals
            latencies = 1e3 * np.array(self._latencies)
            why = dict(self._why)
        problems = [*_problems(recent, why, image_topic_state), *problems]
        rate = recent["published"] / max(seconds, 1e-3)
        values = {"rate (Hz)": f"{rate:.1f}"}
        if len(latencies):
            p50, p95 = np.percentile(latencies, [50, 95])
            values |= {"latency p50 (ms)": f"{p50:.1f}", "latency p95 (ms)": f"{p95:.1f}"}
        values |= {what: str(totals[what]) for what in ("received", "published", "overwritten", "ambiguous")}
        values |= {what: str(count) for what, count in sorted(totals.items()) if what not in values}
        return Report(bool(problems), "; ".join(problems) or f"{rate:.1f} velocities per second", values | details)


def _problems(recent: Counter[str], why: dict[str, str], image_topic_state: str) -> list[str]:
    """What went wrong, by the counts since the last report."""
    problems = []
    if not recent["received"]:
        problems.append(f"no images arrive: {image_topic_state}")
    for reason, message in why.items():
        if count := recent[f"refused: {reason}"]:
            problems.append(f"{count} times {reason} refused: {message}")
    if recent["overwritten"] > _OVERWRITTEN_SHARE * recent["received"]:
        problems.append(
            f"{recent['overwritten']} of {recent['received']} images skipped: this machine is too slow for their rate"
        )
    if recent["ambiguous"] > recent["published"]:
        problems.append(f"{recent['ambiguous']} velocities not published: nothing tells which way the camera moved")
    if recent["not aligned"] > recent["published"]:
        problems.append(
            f"{recent['not aligned']} frames could not be aligned with the one before; measurement: auto would publish "
            "what their blur says"
        )
    if recent["exposure fallback"]:
        problems.append(
            f"{recent['exposure fallback']} images without a value on the topic exposure: exposure_time used"
        )
    if recent["without rate hint"]:
        problems.append(f"{recent['without rate hint']} images without a message on the topic rate_hint within 0.1 s")
    return problems
