"""Which depth a frame is computed with: a sensor's where it shows enough, else the network's, at the sensor's scale."""

import numpy as np
import pytest
from fields import COLUMNS, ROWS, camera, field_of, matrix_of, rough_depth

from image_as_imu_ros.estimation.constants import SCENE_DEPTH
from image_as_imu_ros.estimation.scene_depth import SceneDepth

DEPTH = rough_depth(np.random.default_rng(0))
OUTPUT = field_of(matrix_of(camera()), np.ones(6), 0.01, DEPTH, depth_sigma=0.3)
CELLS = ROWS * COLUMNS


def known(count: int, factor: float) -> np.ndarray:
    """Depth that is measured in `count` cells, `factor` times as far as the network has it."""
    measured = np.full(CELLS, np.nan)
    measured[:count] = factor * DEPTH.ravel()[:count]
    return measured.reshape(DEPTH.shape)


def test_where_enough_is_measured_that_alone_counts():
    measured = known(round(1.1 * SCENE_DEPTH.least_share * CELLS), 3.0)
    scene = SceneDepth.of(OUTPUT, measured)
    np.testing.assert_array_equal(scene.depth, measured)
    assert scene.measured
    assert scene.log_std == 0


@pytest.mark.parametrize(
    ("count", "scale"), [(0, 1.0), (SCENE_DEPTH.least_cells - 1, 1.0), (SCENE_DEPTH.least_cells, 3.0)]
)
def test_where_little_is_measured_it_gives_the_networks_depth_its_scale(count, scale):
    scene = SceneDepth.of(OUTPUT, known(count, 3.0))
    np.testing.assert_allclose(scene.depth, scale * DEPTH)
    assert not scene.measured
    assert scene.log_std == OUTPUT.depth_log_std > 0
    assert scene.share == count / CELLS


@pytest.mark.parametrize("measured", [None, known(CELLS, 1.0)], ids=["a network's", "measured"])
def test_what_moves_with_the_camera_has_no_depth_of_the_scene(measured):
    scene_cells = np.ones(DEPTH.shape, bool)
    scene_cells[ROWS // 2 :] = False
    depth = SceneDepth.of(OUTPUT.within(scene_cells), measured).depth
    np.testing.assert_array_equal(np.isfinite(depth), scene_cells)
