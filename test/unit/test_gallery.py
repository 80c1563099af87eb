"""Which overlays of a run are kept."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from image_as_imu_ros.evaluation.gallery import Gallery

SECOND = 1_000_000_000
scores = st.floats(0, 100, allow_nan=False)


def gallery(offers: list[tuple[float, float]]) -> Gallery:
    """Offers are (score, s)."""
    kept = Gallery()
    for score, seconds in offers:
        kept.offer(score, round(seconds * SECOND), lambda: np.zeros((1, 1, 3), np.uint8))
    return kept


def test_the_highest_scores_are_kept_the_highest_first():
    kept = gallery([(3, 0), (9, 2), (1, 4), (7, 6), (5, 8), (2, 10)])
    assert [exhibit.score for exhibit in kept.exhibits] == [9, 7, 5, 3]


def test_of_neighbours_the_higher_one_is_kept():
    assert [exhibit.score for exhibit in gallery([(3, 0), (9, 0.5), (8, 0.9), (1, 2)]).exhibits] == [9, 1]


def test_a_score_that_is_not_known_is_none():
    assert not gallery([(float("nan"), 0)]).exhibits


def test_nothing_is_drawn_that_is_not_kept():
    kept = gallery([(score, 2 * score) for score in (9, 8, 7, 6)])
    kept.offer(5, 100 * SECOND, lambda: 1 / 0)


@given(st.lists(st.tuples(scores, st.floats(0, 20))))
def test_exhibits_are_few_apart_ordered_and_hold_the_best_of_all(offers):
    exhibits = gallery(offers).exhibits
    stamps = sorted(exhibit.stamp for exhibit in exhibits)
    assert len(exhibits) <= 4
    assert all(later - earlier >= SECOND for earlier, later in pairwise(stamps))
    assert [exhibit.score for exhibit in exhibits] == sorted((exhibit.score for exhibit in exhibits), reverse=True)
    assert max((exhibit.score for exhibit in exhibits), default=0) == max((score for score, _ in offers), default=0)
