"""The estimates of a run, kept in less than two kilobytes per frame, so that recordings of hours fit in memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.alignment import Alignment
from image_as_imu_ros.estimation.config import Measurement
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.exposure_check import reason_to_hold_back
from image_as_imu_ros.estimation.rejection import Rejection
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.view import View

STAGES = ("decode", "prepare", "network", "solve", "align", "sign")

_BLOCK = 256  # rows that are allocated at a time
_WHOLE = ("stamp", "header_stamp", "mid_exposure")
_NUMBERS = (
    *("sign_probability", "dt", "mean_flow", "residual", "inliers", "log_likelihood_ratio"),
    *("exposure", "exposure_log_std"),
)
_VELOCITY = [("vector", float, 6), ("summed", float, (6, 6)), ("apart", float, (6, 6))]
_ROW = np.dtype(
    [
        *((name, np.int64) for name in _WHOLE),
        *((name, float) for name in _NUMBERS),
        ("measured_exposure", float, 2),
        ("measured_depth_share", float),
        ("alignment", float, 2),
        ("seconds", float, len(STAGES)),
        ("is_aligned", bool),
        ("sign_resolved", bool),
        ("single", _VELOCITY),
        ("aligned", _VELOCITY),
    ]
)
_TERM_APART = {"single": Term.SIGN, "aligned": Term.ACCELERATION}
_NO_FLOW = np.empty((2, 0, 0))
_NO_CELLS = NetworkOutput(np.empty((2, 0, 0)), np.empty((2, 0, 0)), None, None, 1)


@dataclass(frozen=True)
class Result:
    """One answer of the estimator, and the frame that it belongs to.

    Attributes:
        estimate: of a run over a recording, without what takes memory, see `KeptEstimates`.
        frame_id: of the image's header.
        span: s over which the velocity is a mean: between two frames, or the time in which one gathered light.
        known_sign: whether its sign will be taken from the ground truth.
        exposure_given: whether its exposure came from outside, not from the images.
    """

    estimate: MotionEstimate
    frame_id: str
    span: float
    known_sign: bool
    exposure_given: bool

    @cached_property
    def _signed(self) -> MotionEstimate:
        return self.estimate.with_known_sign() if self.known_sign else self.estimate

    @property
    def velocity(self) -> Velocity:
        """As it is published: if the sign is known, its covariance holds no error of the sign."""
        return self._signed.velocity

    @property
    def held_back(self) -> bool:
        """Whether the node would hold this one back because the images contradict its exposure."""
        return bool(reason_to_hold_back(self.estimate, given=self.exposure_given))

    @property
    def published(self) -> bool:
        """Whether the node would publish this one."""
        return not (self._signed.ambiguous or self.held_back)

    @property
    def rejection(self) -> str:
        """Why the frame could not be aligned; empty if it could, or if it was not tried."""
        alignment = self.estimate.alignment
        return alignment.rejection.message if alignment and alignment.rejection else ""


def span_of(estimate: MotionEstimate, readout_time: float) -> float:
    """Return the time, s, over which a velocity is a mean."""
    single = estimate.measurement == Measurement.SINGLE
    return estimate.exposure + readout_time if single else estimate.dt


@dataclass
class KeptEstimates:
    """Estimates in rows of numbers, of which each is made again when it is asked for.

    Left out are fields and the aligner's state. Of a velocity's covariance the terms that are asked for later stay
    apart, the others are summed.

    Attributes:
        readout_time: s. known_sign, exposure_given: see `Result`.
    """

    readout_time: float
    known_sign: bool
    exposure_given: bool
    _rows: list[np.ndarray] = field(default_factory=list)
    _frames: list[tuple[str, View]] = field(default_factory=list)
    _rejections: dict[int, Rejection] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, estimate: MotionEstimate, frame_id: str) -> None:
        """Keep what there is to keep of an estimate, and the frame_id of its image."""
        number = len(self)
        if number % _BLOCK == 0:
            self._rows.append(np.zeros(_BLOCK, _ROW))
        row = self._rows[-1][number % _BLOCK]
        for name in (*_WHOLE, *_NUMBERS, "sign_resolved"):
            row[name] = getattr(estimate, name)
        measured, share, alignment = estimate.measured_exposure, estimate.measured_depth_share, estimate.alignment
        row["measured_exposure"] = (measured.seconds, measured.log_std) if measured else np.nan
        row["measured_depth_share"] = np.nan if share is None else share
        row["alignment"] = (alignment.similarity, alignment.overlap) if alignment else np.nan
        row["seconds"] = [estimate.seconds.get(stage, 0.0) for stage in STAGES]
        row["is_aligned"] = estimate.measurement == Measurement.ALIGNED
        for name, term in _TERM_APART.items():
            _write_velocity(row[name], getattr(estimate, name), term)
        frame = (frame_id, estimate.view)
        # Mostly the same as of the frame before: kept once.
        self._frames.append(self._frames[-1] if self._frames and self._frames[-1] == frame else frame)
        if alignment and alignment.rejection:
            self._rejections[number] = alignment.rejection

    def result(self, number: int, choose: Callable[[MotionEstimate], MotionEstimate | None]) -> Result:
        """Restore an estimate; `choose` picks its measurement, and must not return None."""
        estimate = choose(self._estimate(number))
        assert estimate is not None
        span = span_of(estimate, self.readout_time)
        return Result(estimate, self._frames[number][0], span, self.known_sign, self.exposure_given)

    def _estimate(self, number: int) -> MotionEstimate:
        row = self._rows[number // _BLOCK][number % _BLOCK]
        single, aligned = (_read_velocity(row[name], term) for name, term in _TERM_APART.items())
        assert single is not None
        seconds, log_std = row["measured_exposure"].tolist()
        similarity, overlap = row["alignment"].tolist()
        rejection, share = self._rejections.get(number), float(row["measured_depth_share"])
        is_aligned = bool(row["is_aligned"])
        return MotionEstimate(
            measurement=Measurement.ALIGNED if is_aligned else Measurement.SINGLE,
            velocity=aligned if is_aligned and aligned is not None else single,
            sign_resolved=bool(row["sign_resolved"]),
            single=single,
            alignment=None if np.isnan(similarity) else Alignment(None, similarity, overlap, rejection),
            aligned=aligned,
            measured_exposure=None if np.isnan(seconds) else MeasuredExposure(seconds, log_std),
            network_output=_NO_CELLS,
            measured_depth_share=None if np.isnan(share) else share,
            fitted_flow=_NO_FLOW,
            view=self._frames[number][1],
            seconds=dict(zip(STAGES, row["seconds"].tolist(), strict=True)),
            **{name: row[name].item() for name in (*_WHOLE, *_NUMBERS)},
        )


def _as_answered(estimate: MotionEstimate) -> MotionEstimate:
    return estimate


class Results(Sequence[Result]):
    """Some of the kept estimates, in the order of recording, all with one measurement."""

    def __init__(
        self,
        kept: KeptEstimates,
        choose: Callable[[MotionEstimate], MotionEstimate | None] = _as_answered,
        numbers: Iterable[int] = (),
    ) -> None:
        self._kept, self._choose, self._numbers = kept, choose, array("q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        """Make a result, or take part of them."""
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        return self._kept.result(self._numbers[index], self._choose)

    def select(self, indices: Iterable[int]) -> Results:
        """Take those at some indices."""
        return Results(self._kept, self._choose, (self._numbers[index] for index in indices))

    def offer(self, number: int, estimate: MotionEstimate) -> None:
        """Add the estimate that was kept under this number, if its frame has this measurement."""
        if self._choose(estimate) is not None:
            self._numbers.append(number)


def _write_velocity(row: np.void, velocity: Velocity | None, apart: Term) -> None:
    if velocity is None:
        row["vector"] = np.nan
        return
    row["vector"] = velocity.vector
    row["summed"] = velocity.covariance_without({apart})
    row["apart"] = velocity.terms.get(apart, np.nan)


def _read_velocity(row: np.void, apart: Term) -> Velocity | None:
    vector = row["vector"]
    if np.isnan(vector[0]):
        return None
    terms = {Term.DATA: row["summed"]}
    if not np.isnan(row["apart"][0, 0]):
        terms[apart] = row["apart"]
    return Velocity(vector[:3], vector[3:], terms)
