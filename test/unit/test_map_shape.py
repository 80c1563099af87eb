"""Where the shape of a network's depth is wrong, its scale is believed less."""

import numpy as np
import pytest
from test_two_view import NETWORK, WALKING, scene, solved

from image_as_imu_ros.estimation.constants import STRUCTURE
from image_as_imu_ros.estimation.map_shape import MapShape


def after_frames(relief_of_map):
    """Ten frames of a scene that is flat from side to side, or 20 times as near on the left as on the right."""
    shape = MapShape()
    for seed in range(10):
        tracks, depth = scene(WALKING, seed=seed, relief=0.2)
        across = 2 * tracks.now[:, 0] / tracks.camera.width - 1
        fit = solved(tracks, depth * np.exp(relief_of_map * across), NETWORK)
        shape = shape.after(fit.shape_found, fit.shape_expected)
    return shape


def test_before_any_frame_the_scale_is_as_unsure_as_in_rooms():
    assert MapShape().scale_std == STRUCTURE.scale_std


def test_a_map_of_the_right_shape_stays_as_believed_as_before():
    shape = after_frames(0.0)
    assert shape.scale_std == STRUCTURE.scale_std
    assert not shape.foreign


def test_the_scale_of_a_map_of_a_foreign_shape_is_as_good_as_unknown():
    shape = after_frames(1.2)
    assert shape.scale_std == pytest.approx(STRUCTURE.foreign_scale_std, rel=0.2)
    assert shape.foreign


def test_frames_that_tell_nothing_of_the_shape_change_nothing():
    shape = MapShape(4.0, 5.0)
    assert STRUCTURE.scale_std < shape.scale_std < STRUCTURE.foreign_scale_std
    assert shape.after(0.0, 0.0).scale_std == pytest.approx(shape.scale_std)


def test_what_was_long_ago_is_forgotten():
    foreign = MapShape().after(20.0, 5.0)
    assert foreign.scale_std == STRUCTURE.foreign_scale_std
    for _ in range(100):
        foreign = foreign.after(0.2, 1.0)
    assert foreign.scale_std == STRUCTURE.scale_std
