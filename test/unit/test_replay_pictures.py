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
    assert [picture.score for picture in kept.pictures] == [9, 7, 5, 3]


def test_of_neighbours_the_higher_one_is_kept():
    assert [picture.score for picture in gallery([(3, 0), (9, 0.5), (8, 0.9), (1, 2)]).pictures] == [9, 1]


def test_a_score_that_is_not_known_is_none():
    assert not gallery([(float("nan"), 0)]).pictures


def test_nothing_is_drawn_that_is_not_kept():
    kept = gallery([(score, 2 * score) for score in (9, 8, 7, 6)])
    kept.offer(5, 100 * SECOND, lambda: 1 / 0)


@given(st.lists(st.tuples(scores, st.floats(0, 20))))
def test_pictures_are_few_apart_ordered_and_hold_the_best_of_all(offers):
    pictures = gallery(offers).pictures
    stamps = sorted(picture.stamp for picture in pictures)
    assert len(pictures) <= 4
    assert all(later - earlier >= SECOND for earlier, later in pairwise(stamps))
    assert [picture.score for picture in pictures] == sorted((picture.score for picture in pictures), reverse=True)
    assert max((picture.score for picture in pictures), default=0) == max((score for score, _ in offers), default=0)
