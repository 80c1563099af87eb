"""A regular period is followed through jitter, drops and late stamps, and nothing is followed where there is none."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from image_as_imu_ros.estimation.frame_times import FrameTime, FrameTimes, regular_stamps

PERIOD = 1 / 30  # s
JITTER = np.random.default_rng(0).normal(0, 0.001, 60)  # s


def followed(times: np.ndarray, jitter: float = 0.0, seed: int = 0) -> list[FrameTime]:
    """Stamp frames that were taken at `times`, s, with noise, and follow the stamps."""
    noise = np.random.default_rng(seed).normal(0, jitter, len(times))
    stamps = np.maximum.accumulate(np.round(1e9 * (10 + times + noise)).astype(np.int64) + np.arange(len(times)))
    frame_times = FrameTimes()
    return [frame_times.take(int(stamp)) for stamp in stamps]


def errors(taken: list[FrameTime], times: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the error of each dt, s, and its standard deviation."""
    for (earlier, now), true in zip(pairwise(taken), np.diff(times), strict=True):
        dt, std = now.since(earlier)
        yield dt - true, std


@pytest.mark.parametrize("jitter", [0.001, 0.003])
@pytest.mark.parametrize("dropped", [0.0, 0.2])
def test_a_period_is_known_far_better_than_the_stamps(jitter, dropped):
    times = PERIOD * np.cumsum(1 + (np.random.default_rng(1).random(240) < dropped))
    found = np.array(list(errors(followed(times, jitter), times)))[60:]
    assert np.sqrt(np.square(found[:, 0]).mean()) < 0.05 * jitter
    assert np.abs(found[:, 0] / found[:, 1]).max() < 5
    offsets = np.array([taken.header_stamp * 1e-9 + taken.offset for taken in followed(times, jitter)]) - 10 - times
    assert np.std(offsets[60:]) < 0.5 * jitter


def test_the_line_knows_the_present_as_well_as_it_says():
    times = PERIOD * np.arange(80)
    last = [one for one in (followed(times, 0.003, seed)[-1] for seed in range(200)) if one.period]
    errors = np.array([(one.header_stamp * 1e-9 + one.offset - 10 - times[-1]) / one.std for one in last])
    assert len(last) > 180
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(1, abs=0.2)


def test_a_few_stamps_do_not_tell_a_period_better_than_their_jitter():
    *_, earlier, now = followed(PERIOD * np.arange(20), 0.003)
    assert now.since(earlier)[1] == now.jitter == pytest.approx(0.003, rel=0.5)


def test_the_first_stamps_are_no_surer_than_their_jitter():
    times = PERIOD * np.arange(30)
    found = np.array([list(errors(followed(times, 0.003, seed), times)) for seed in range(40)])[:, 3:]
    assert np.square(found[..., 0]).mean() < 1.5 * np.square(found[..., 1]).mean()


@pytest.mark.parametrize("dropped", [0.0, 0.2])
def test_looking_ahead_too_stamps_are_put_where_the_period_has_them(dropped):
    times = PERIOD * np.cumsum(1 + (np.random.default_rng(1).random(240) < dropped))
    times[120:] += 5  # a pause
    stamps = np.round(1e9 * (10 + times + np.random.default_rng(0).normal(0, 0.003, len(times)))).astype(np.int64)
    error = 1e-9 * regular_stamps(stamps) - 10 - times
    assert np.sqrt(np.square(error).mean()) < 0.25 * 0.003
    few = stamps[:20]
    np.testing.assert_array_equal(regular_stamps(few), few)


def test_regular_stamps_stay_as_they_are():
    times = PERIOD * np.arange(90)
    for earlier, now in pairwise(followed(times)):
        assert now.correction == 0
        assert now.since(earlier)[0] == (now.header_stamp - earlier.header_stamp) * 1e-9


@pytest.mark.parametrize(
    "intervals",
    [
        pytest.param(PERIOD * np.random.default_rng(0).uniform(0.7, 1.3, 240), id="any rate"),
        pytest.param(PERIOD * (1 + 0.3 * np.sin(np.arange(240) / 30)), id="follows the exposure"),
        pytest.param(0.01 + np.random.default_rng(0).exponential(0.05, 240), id="triggers"),
    ],
)
def test_a_rate_that_varies_is_not_followed(intervals):
    times = np.cumsum(intervals)
    settled = followed(times)[60:]
    assert sum(taken.period > 0 for taken in settled) < 0.1 * len(settled)


@pytest.mark.parametrize("grid", [0.005, 0.010])
def test_stamps_rounded_to_a_grid_are_those_of_the_camera_and_not_of_a_faster_one(grid):
    """On a grid of 10 ms, a camera of 100 Hz that drops two or three frames of each four explains all."""
    times = PERIOD * np.arange(240)
    found = np.array(list(errors(followed(np.ceil(times / grid) * grid), times)))[60:]
    assert np.abs(found[:, 0]).max() < 0.01 * PERIOD


def test_another_rate_is_taken_over():
    times = np.cumsum(np.repeat([PERIOD, 2 * PERIOD, PERIOD], 80))
    found = np.array(list(errors(followed(times, 0.001), times)))
    assert np.abs(found[:, 0]).max() < 0.006
    assert np.abs(found[-10:, 0]).max() < 0.0005


def test_a_stamp_that_may_be_another_frames_is_not_sure():
    times = PERIOD * np.arange(100)
    late = times.copy()
    late[80] += 0.45 * PERIOD
    taken = followed(late, 0.001)
    assert taken[80].since(taken[79])[1] > 0.3 * PERIOD
    assert taken[81].since(taken[80])[1] > 0.3 * PERIOD
    assert taken[82].since(taken[81])[1] < 0.02 * PERIOD


@pytest.mark.parametrize("seed", range(4))
def test_nor_is_it_where_stamps_jitter_so_much_that_it_is_no_outlier(seed):
    late = PERIOD * np.arange(100)
    late[80] += 0.5 * PERIOD
    taken = followed(late, 0.003, seed)
    assert taken[81].since(taken[80])[1] > 0.3 * PERIOD


def test_a_stamp_as_late_as_the_next_frames_own_is_still_an_earlier_one():
    late = PERIOD * np.arange(100)
    late[80] += PERIOD
    answers = [followed(late, 0.001, seed)[80:82] for seed in range(8)]
    between = [now.since(earlier)[0] for earlier, now in answers if now.period]
    assert len(between) > 2
    np.testing.assert_allclose(between, PERIOD, rtol=1e-3)


def test_where_every_fifth_stamp_is_as_late_as_the_next_frames_own_nothing_is_followed():
    late = PERIOD * np.arange(180)
    late[3::5] += PERIOD
    assert not any(taken.period for taken in followed(late, 0.001)[60:])


def test_the_time_between_two_stamps_errs_by_both():
    dt, std = FrameTime(5_000_000_010, std=0.003).since(FrameTime(5_000_000_000, std=0.004))
    assert (dt, std) == (pytest.approx(1e-8), pytest.approx(0.005))


@pytest.mark.parametrize("back", [0.0, 0.5 * PERIOD, 10.0])
def test_a_stamp_that_is_not_later_than_the_last_starts_anew(back):
    """As of a frame that comes after one that was refused."""
    frame_times = FrameTimes()
    stamps = [round(1e9 * (10 + PERIOD * number + jitter)) for number, jitter in enumerate(JITTER)]
    assert [frame_times.take(stamp) for stamp in stamps][-1].period > 0
    anew = frame_times.take(stamps[-1] - round(1e9 * back))
    assert (anew.period, anew.std, anew.periods_since) == (0.0, 0.0, {})


def test_after_a_second_without_frames_everything_starts_anew():
    times = np.r_[PERIOD * np.arange(60), 5 + PERIOD * np.arange(3)]
    taken = followed(times, 0.001)
    assert taken[59].period > 0
    assert taken[60].period == 0
    assert taken[60].since(taken[59])[0] == pytest.approx(5 - 59 * PERIOD, abs=0.01)
