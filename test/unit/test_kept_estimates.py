"""What is kept of a run: estimates as they were, in less than two kilobytes each."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest

from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.evaluation.kept_estimates import KeptEstimates, Results
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

LEFT_OUT = {"network_output", "fitted_flow"}


@pytest.fixture(scope="module")
def estimates(desk_rpy_3s) -> list[MotionEstimate]:
    """Of real frames: without a frame before, aligned, rejected."""
    estimator = MotionEstimator.from_model(resource(DEFAULT_MODEL), EstimatorConfig())
    with Recording(desk_rpy_3s) as recording:
        image = recording.image_topic()
        messages = list(islice(recording.frames(image, recording.camera_info_topic(image)), 5))
    frames = [Frame(one.decode_image("rgb"), one.stamp, one.camera(), Shutter(0.015)) for one in messages]
    found = [one for one in map(estimator.update, frames) if one is not None]
    assert found[0].alignment is None
    assert found[-1].measurement == Measurement.ALIGNED
    alignment = replace(found[-1].alignment, rejection=Rejection(Reason.NO_MATCH, "nothing like it"))  # type: ignore
    single = replace(found[-1], aligned=None, alignment=alignment, measured_depth_share=0.5).as_single()
    assert single is not None
    return [replace(one, seconds={"decode": 0.001, **one.seconds}) for one in (*found, single)]


def keep(estimates: list[MotionEstimate], *, known_sign: bool = False) -> KeptEstimates:
    kept = KeptEstimates(readout_time=0.0, known_sign=known_sign, exposure_given=True)
    for number, estimate in enumerate(estimates):
        kept.append(estimate, f"camera {number}")
    return kept


def same_velocity(one: Velocity, other: Velocity) -> bool:
    """Whether vectors and sums of terms are the same; the sum of all up to rounding, as the order differs."""
    apart = {Term.SIGN, Term.ACCELERATION}
    return (
        np.array_equal(one.vector, other.vector)
        and np.array_equal(one.covariance_without(apart), other.covariance_without(apart))
        and np.allclose(one.covariance, other.covariance, rtol=1e-12, atol=0)
    )


def test_an_estimate_is_as_it_was(estimates):
    kept = keep(estimates)
    for number, (was, result) in enumerate(zip(estimates, Results(kept, numbers=range(len(kept))), strict=True)):
        assert result.frame_id == f"camera {number}"
        assert result.rejection == ("nothing like it" if number == len(estimates) - 1 else "")
        for name in {field.name for field in fields(was)} - LEFT_OUT - {"alignment", "velocity", "single", "aligned"}:
            assert getattr(result.estimate, name) == getattr(was, name), name
            assert type(getattr(result.estimate, name)) is type(getattr(was, name)), name
        assert (result.estimate.aligned is None) == (was.aligned is None)
        for name in ("velocity", "single", *(["aligned"] if was.aligned else [])):
            assert same_velocity(getattr(was, name), getattr(result.estimate, name)), name


def test_a_known_sign_leaves_its_term_out_of_what_is_published(estimates):
    for known_sign in (False, True):
        results = Results(keep(estimates, known_sign=known_sign), MotionEstimate.as_single, range(len(estimates)))
        for result, was in zip(results, estimates, strict=True):
            expected = was.single.covariance_without({Term.SIGN} if known_sign else ())
            assert result.velocity.covariance == pytest.approx(expected, rel=1e-12, abs=1e-15)
            assert result.span == was.exposure


def test_a_measurement_has_the_frames_that_it_answers(estimates):
    kept = keep(estimates)
    aligned = Results(kept, MotionEstimate.as_aligned)
    for number, estimate in enumerate(estimates):
        aligned.offer(number, estimate)
    answered = [one for one in estimates if one.aligned is not None]
    assert [one.estimate.stamp for one in aligned] == [one.as_aligned().stamp for one in answered]  # type: ignore
    assert aligned[-1].estimate.stamp == aligned[len(answered) - 1].estimate.stamp == aligned[-1:][0].estimate.stamp
    assert [one.estimate.stamp for one in aligned.select([1])] == [aligned[1].estimate.stamp]
    with pytest.raises(IndexError):
        aligned[len(answered)]


def test_thousands_of_frames_take_less_than_two_kilobytes_each(estimates):
    count = 3000
    tracemalloc.start()
    try:
        kept = keep([])
        for _ in range(count):
            kept.append(estimates[-2], "camera")
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / count < 2048
