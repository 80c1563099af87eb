"""What is computed once per camera, and what a frame's velocities become at the end."""

from dataclasses import replace

import numpy as np
import pytest

from image_as_imu_ros.estimation.constants import ESTIMATOR
from image_as_imu_ros.estimation.observation import Geometry
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.camera import Camera


@pytest.mark.parametrize("size", [0.5, 1, 4])
def test_a_change_of_the_camera_that_moves_pixels_of_the_network_too_little_is_none(size):
    """Measured in the network's pixels, whatever the size of the images."""
    camera = Camera(320, 224, 260.0, 260.0, 159.5, 111.5).resize(round(320 * size), round(224 * size))
    geometry = Geometry.of(camera, 320, 224, 8)
    for change, holds in ((0.9, True), (1.1, False)):
        moved = replace(camera, cx=camera.cx + change * size * ESTIMATOR.unseen_change)
        assert geometry.holds_for(moved) == holds
    assert not geometry.holds_for(replace(camera, width=camera.width - 1))


@pytest.mark.parametrize(
    "camera",
    [
        pytest.param(Camera(320, 224, 260.0, 260.0, 159.5, 111.5), id="as the network's input"),
        pytest.param(Camera(640, 480, 520.0, 520.0, 319.5, 239.5), id="twice as large, cut above and below"),
        pytest.param(Camera(1280, 400, 520.0, 520.0, 639.5, 199.5), id="cut at the sides"),
    ],
)
def test_a_readout_is_that_of_the_full_images_rows(camera):
    """A nod looks faster by 1 / (1 − f_y·T/H), with f_y and H of the full image."""
    rate, readout = 2.0, 0.03
    factor = 1 / (1 - rate * camera.fy * readout / camera.height)
    apparent = Velocity(np.zeros(3), np.array([factor * rate, 0, 0]), {})
    unknown = SceneDepth(None, False, 0.0, None)
    geometry = Geometry.of(camera, 320, 224, 8)
    found = geometry.without_readout(apparent, unknown, readout, sheared=False, measured=False)
    assert abs(factor - 1) > 0.06
    np.testing.assert_allclose(found.angular, [rate, 0, 0], atol=0.01 * rate)
