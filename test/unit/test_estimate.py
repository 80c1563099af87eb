"""What an estimate says of itself: when it is of, and which depth it rests on."""

from dataclasses import replace

import numpy as np
import pytest
from test_estimator import EXPOSURE, PERIOD, KnownMotion, panning_frames

from image_as_imu_ros.estimation.alignment import Alignment
from image_as_imu_ros.estimation.constants import SCENE_DEPTH
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.estimation.map_shape import MapShape
from image_as_imu_ros.estimation.travel import Travel

FOREIGN, USUAL = MapShape(20.0, 5.0), MapShape()


def second_estimate(shutter: Shutter) -> MotionEstimate:
    engine = KnownMotion()
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second = (replace(frame, shutter=shutter) for frame in panning_frames(2))
    estimator.update(first)
    estimate = estimator.update(second)
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("readout", [0.0, 0.010])
@pytest.mark.parametrize(("reference", "side"), [("start", 1), ("middle", 0), ("end", -1)])
def test_a_velocity_from_blur_is_of_mid_exposure_and_an_aligned_one_of_halfway_since_the_one_before(
    reference, side, readout
):
    estimate = second_estimate(Shutter(EXPOSURE, StampReference(reference), readout))
    mid_exposure = 2 * PERIOD + round(side * (EXPOSURE + readout) / 2 * 1e9)
    assert estimate.header_stamp == 2 * PERIOD
    single, aligned = estimate.as_single(), estimate.as_aligned()
    assert single is not None
    assert single.stamp == mid_exposure
    assert aligned is not None
    assert aligned.stamp == mid_exposure - PERIOD // 2


@pytest.mark.parametrize(
    ("share", "map_shape", "foreign"),
    [
        pytest.param(None, FOREIGN, True, id="the network's, of another place"),
        pytest.param(None, USUAL, False, id="the network's, of a room"),
        pytest.param(0.9 * SCENE_DEPTH.least_share, FOREIGN, True, id="measured so sparsely that it is the network's"),
        pytest.param(1.0, FOREIGN, False, id="measured"),
    ],
)
def test_v_rests_on_a_foreign_map_where_depth_is_a_networks_and_its_shape_is_wrong(share, map_shape, foreign):
    alignment = Alignment(None, 0.9, 1.0, None, Travel(0.3, 0.15, map_shape=map_shape))
    estimate = replace(second_estimate(Shutter(EXPOSURE)), alignment=alignment, measured_depth_share=share)
    assert estimate.depth_is_foreign == foreign
    assert not replace(estimate, alignment=None).depth_is_foreign


def test_the_hidden_share_is_that_of_the_cells_without_a_flow():
    estimate = second_estimate(Shutter(EXPOSURE))
    assert estimate.hidden_share == 0
    scene = np.ones(estimate.network_output.axial_flow.shape[1:], bool)
    scene[: len(scene) // 4] = False
    assert replace(estimate, network_output=estimate.network_output.within(scene)).hidden_share == pytest.approx(0.25)
