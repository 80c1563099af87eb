"""A covariance covers what leaving out a third of the scene does to the answer, beyond chance."""

import numpy as np
import pytest
from test_two_view import SECONDS, SENSOR, scene, solved

from image_as_imu_ros.estimation.alignment.jackknife import parts_of, widened_by_parts
from image_as_imu_ros.estimation.constants import ALIGNMENT

COUNT = 300
HAND = np.array([0.1, -0.05, 0.1, 0.8, -1.0, 0.4])


def line(seed, pulled=0.0):
    """A line y = a + b·x fitted to noise of 1, and to points whose nearest third is `pulled` off.

    Returns:
        (a, b), and its covariance before and after.
    """
    random = np.random.default_rng(seed)
    x, inverse_depth = random.uniform(-1, 1, (2, COUNT))
    rows = np.stack([np.ones(COUNT), x])
    values = random.standard_normal(COUNT) + pulled * (inverse_depth > 1 / 3)
    normal, weights = rows @ rows.T, np.ones(COUNT)
    solution = np.linalg.solve(normal, rows @ values)
    places = np.stack([inverse_depth, x, random.uniform(-1, 1, COUNT)])
    covariance = np.linalg.inv(normal)
    errors = values - solution @ rows
    return solution, covariance, widened_by_parts(covariance, normal, rows, weights, errors, parts_of(places))


def test_what_the_data_bear_out_hardly_changes():
    solutions, before, after = (np.array(each) for each in zip(*(line(seed) for seed in range(400)), strict=True))
    was, now = (
        np.mean(np.einsum("ni,nij,nj->n", solutions, np.linalg.inv(each), solutions)) / 2 for each in (before, after)
    )
    assert was == pytest.approx(1, abs=0.15)
    assert 0.8 < now < was


def test_it_covers_what_a_part_that_disagrees_does_to_the_answer():
    solutions, before, after = (np.array(each) for each in zip(*(line(seed, 3.0) for seed in range(50)), strict=True))
    # A third of the points is off by 3, and so the constant by 1.
    assert np.mean(np.square(solutions[:, 0]) / before[:, 0, 0]) > 100
    assert np.mean(np.square(solutions[:, 0]) / after[:, 0, 0]) < 5


def test_a_mean_is_widened_by_the_variance_of_the_means_without_each_part():
    """Of three parts, one lies 2 above the mean and two 1 below: without them it moves by 1, ½ and ½; ⅔ of Σδ² is 1."""
    values, places = np.repeat([2.0, -1.0, -1.0], COUNT // 3), np.ones((3, COUNT))
    places[1] = np.arange(COUNT)
    rows, covariance = np.ones((1, COUNT)), np.eye(1) / COUNT
    found = widened_by_parts(covariance, rows @ rows.T, rows, np.ones(COUNT), values, parts_of(places))
    assert found[0, 0] == pytest.approx((1 + COUNT * 1.0 - ALIGNMENT.parts_by_chance) / COUNT)


def test_points_that_are_all_equally_far_are_no_parts():
    rows, weights = np.ones((1, COUNT)), np.ones(COUNT)
    errors = np.tile([1.0, -1.0], COUNT // 2)
    unchanged = widened_by_parts(np.eye(1), rows @ rows.T, rows, weights, errors, parts_of(np.ones((1, COUNT))))
    np.testing.assert_allclose(unchanged, np.eye(1))


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_near_points_that_move_by_themselves_leave_an_honest_velocity(share):
    """They alone are near enough to tell the translation, and are taken for the scene."""
    squared = []
    for seed in range(20):
        tracks, depth = scene(HAND, seed=seed, relief=0.2)
        near = tracks.now[:, 0] < share * tracks.camera.width
        depth[near] /= 3.0  # where the point is seen before, is what a point of thrice the inverse depth does not do
        motion = solved(tracks, depth, SENSOR)
        error = motion.motion[:3] - HAND[:3] * SECONDS
        squared.append(error @ np.linalg.solve(motion.covariance[:3, :3], error))
    assert np.mean(squared) < 6
