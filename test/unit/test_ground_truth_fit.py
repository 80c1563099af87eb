"""Ground truth in other axes, on another clock or in other units is found by a fit beside; what fits is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.evaluation.ground_truth_fit import fit_ground_truth, own_output
from image_as_imu_ros.evaluation.samples import Samples
from image_as_imu_ros.geometry.axes import rotation_of_axes

NOISE = 0.05  # rad/s
SPAN = 1 / 30  # s


def rates(times: np.ndarray, pan_only: bool = False) -> np.ndarray:
    """(N, 3) rad/s, like a hand's."""
    angular = np.column_stack([np.sin(7 * times + 1), 1.5 * np.sin(3 * times) + np.sin(11 * times), np.cos(5 * times)])
    return angular * [0, 1, 0] if pan_only else angular


def fit(axes: str = "x,y,z", offset: float = 0.0, scale: float = 1.0, pan_only: bool = False, count: int = 90):
    """`axes` are the camera's in the ground truth's, whose stamps are `offset` s late."""
    true_times = np.arange(-1, count / 30 + 1, 0.01)
    angular = scale * rates(true_times, pan_only) @ rotation_of_axes(axes)
    nothing = np.full_like(angular, np.nan)
    ground_truth = GroundTruth(np.rint(1e9 * (10 + true_times + offset)).astype(np.int64), nothing, angular, "")
    times = np.arange(count) / 30
    estimate = rates(times, pan_only) + np.random.default_rng(0).normal(0, NOISE, (count, 3))
    samples = Samples(
        stamps=np.rint(1e9 * (10 + times)).astype(np.int64),
        linear=np.full((count, 3), np.nan),
        angular=estimate,
        true_linear=np.full((count, 3), np.nan),
        true_angular=np.full((count, 3), np.nan),
        covariance=np.tile(np.eye(6), (count, 1, 1)),
        mean_flow=np.full(count, 8.0),
        resolved=np.ones(count, bool),
        held_back=np.zeros(count, bool),
        seconds=np.zeros(count),
    )
    return fit_ground_truth(samples, ground_truth, np.full(count, SPAN))


def test_what_fits_is_left_alone():
    assert fit().complaint == ""
    assert fit(offset=0.01).complaint == ""


@pytest.mark.parametrize("axes", ["-y,x,z", "-y,-x,-z", "x,-y,-z", "y,z,x"])
def test_other_axes_are_named(axes):
    found = fit(axes)
    assert found.axes == axes
    assert f"it fits with axes {axes} (" in found.complaint


@pytest.mark.parametrize(("offset", "said"), [(0.12, "120 ms earlier"), (-0.35, "350 ms later")])
def test_an_offset_of_the_clock_is_found_to_5_ms(offset, said):
    found = fit(offset=offset)
    assert found.offset_s == pytest.approx(offset, abs=0.005)
    assert said in found.complaint


def test_both_are_found_together():
    complaint = fit("-y,-x,-z", 0.08).complaint
    assert "axes -y,-x,-z" in complaint
    assert "80 ms earlier" in complaint


def test_about_one_axis_the_axes_are_found_up_to_a_rotation_about_it():
    assert fit("-y,x,z", pan_only=True).rotation_deg == pytest.approx(90, abs=3)
    assert fit(pan_only=True).complaint == ""


def test_degrees_are_found():
    assert "are its rates °/s?" in fit(scale=180 / np.pi).complaint


def test_a_few_frames_say_nothing():
    assert fit(count=15) is None


def test_what_the_node_published_is_no_ground_truth():
    """Stamped halfway between two images, up to the jitter of their stamps, a few not published."""
    rng = np.random.default_rng(0)
    halfway = 10**9 + np.arange(90) * 33_333_333
    published = (halfway + rng.normal(0, 1e5, 90).astype(np.int64))[rng.random(90) < 0.9]

    def said(stamps: np.ndarray) -> str:
        return own_output(halfway, GroundTruth(stamps, np.zeros((len(stamps), 3)), np.zeros((len(stamps), 3)), ""))

    assert "what this package published" in said(published)
    assert not said(halfway + 16_666_667), "poses of the images themselves"
    assert not said(10**9 + np.arange(3000) * 1_000_000), "a gyroscope of 1 kHz"
    assert not said(10**9 + np.arange(600) * 5_000_000)
