"""Pixels, rays and intrinsics agree through distortion, crop and resize."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera

LENSES = {
    "none": ("", ()),
    "plumb_bob": ("plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "rational": ("rational_polynomial", (0.5, -0.2, 0.001, -0.0005, 0.02, 0.8, -0.15, 0.03)),
    "fisheye": ("equidistant", (-0.013, 0.02, -0.01, 0.002)),
}
pixel = st.tuples(st.floats(0, 639), st.floats(0, 479))


def camera(lens: str) -> Camera:
    model, coefficients = LENSES[lens]
    return Camera(640, 480, 517.3, 516.5, 318.6, 255.3, model, coefficients)


@pytest.mark.parametrize("lens", LENSES)
@settings(deadline=None)
@given(point=pixel)
def test_a_ray_projects_back_to_its_pixel(lens, point):
    rays = camera(lens).rays(np.array([point]))
    np.testing.assert_allclose(camera(lens).project(rays), [point], atol=1e-3)


def test_opencv_5_has_one_function_for_what_4_has_two(monkeypatch):
    """The newest OpenCV is what pip brings without a distribution's: undistortPoints, which takes criteria there."""
    pixels = np.array([[20.0, 30.0], [600.0, 400.0]])
    expected = camera("plumb_bob").rays(pixels)
    if hasattr(cv2, "undistortPointsIter"):
        monkeypatch.setattr(cv2, "undistortPoints", cv2.undistortPointsIter)
        monkeypatch.delattr(cv2, "undistortPointsIter")
    np.testing.assert_array_equal(camera("plumb_bob").rays(pixels), expected)


@pytest.mark.parametrize("lens", LENSES)
@settings(deadline=None, max_examples=50)
@given(
    point=pixel,
    left=st.integers(0, 100),
    top=st.integers(0, 100),
    width=st.integers(20, 2000),
    height=st.integers(20, 2000),
)
def test_crop_and_resize_keep_the_rays(lens, point, left, top, width, height):
    """The same scene point is on the same ray, whatever was done to the image."""
    original = camera(lens)
    changed = original.crop(left, top, 500, 350).resize(width, height)
    moved = (np.array([point]) - (left, top) + 0.5) * (width / 500, height / 350) - 0.5
    np.testing.assert_allclose(changed.rays(moved), original.rays(np.array([point])), atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_the_jacobian_is_the_derivative_of_the_projection(lens):
    rays = np.random.default_rng(0).uniform(-0.4, 0.4, (50, 2))
    step = np.random.default_rng(1).normal(size=(50, 2)) * 1e-6
    moved = camera(lens).project(rays + step) - camera(lens).project(rays)
    predicted = np.einsum("nij,nj->ni", camera(lens).projection_jacobian(rays), step)
    np.testing.assert_allclose(moved, predicted, atol=1e-7)


@pytest.mark.parametrize("lens", LENSES)
def test_no_points_have_no_rays(lens):
    none = np.empty((0, 2))
    assert camera(lens).rays(none).shape == camera(lens).project(none).shape == (0, 2)


def test_corners_that_a_lens_model_cannot_reach_have_no_ray():
    folded = Camera(640, 480, 300, 300, 320, 240, "plumb_bob", (-0.5, 0.0, 0.0, 0.0))
    rays = folded.rays(np.array([[0.0, 0.0], [320.0, 240.0]]))
    assert np.isnan(rays[0]).all()
    np.testing.assert_allclose(rays[1], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fx": 0.0}, "positive"),
        ({"fy": -500.0}, "positive"),
        ({"fx": float("nan")}, "not finite"),
        ({"cx": float("inf")}, "not finite"),
        ({"width": 0}, "0×480"),
        ({"height": 100_000}, "640×100000"),
        ({"distortion_model": "kannala", "distortion": (0.1,)}, "'kannala' is not supported"),
        ({"distortion_model": "plumb_bob", "distortion": (0.1, 0.2, 0.3)}, "coefficients, got 3"),
        ({"distortion_model": "plumb_bob", "distortion": (0.1, float("nan"), 0, 0, 0)}, "not finite"),
    ],
)
def test_impossible_intrinsics_are_refused_with_the_value(changes, message):
    good = {"width": 640, "height": 480, "fx": 500.0, "fy": 500.0, "cx": 320.0, "cy": 240.0}
    with pytest.raises(InputError, match=message):
        Camera(**(good | changes))


@pytest.mark.parametrize(
    ("intrinsics", "reason"),
    [
        ((5e6, 500, 320, 240), "less than a twentieth of a degree"),
        ((500, 500, -6.7e16, 240), "off the axis"),
        ((500, 500, 320, 9000), "off the axis"),
    ],
)
def test_intrinsics_that_no_camera_has_are_refused(intrinsics, reason):
    with pytest.raises(InputError, match=reason):
        Camera(640, 480, *intrinsics)
    Camera(640, 480, 500, 500, -2000, 3000)  # of a region far from the middle of a large sensor


def test_places_in_an_image_go_from_its_left_and_upper_edge_to_its_right_and_lower_one():
    edges = np.array([[-0.5, -0.5], [319.5, 239.5], [639.5, 479.5]])  # a pixel's number is its middle's
    np.testing.assert_allclose(camera("none").place(edges), [[-1, -1], [0, 0], [1, 1]])


@pytest.mark.parametrize("changed", ["fx", "fy", "cx", "cy"])
def test_a_camera_resembles_another_one_while_focal_lengths_and_centre_are_near(changed):
    known = camera("none")
    size = {"fx": known.fx, "fy": known.fy, "cx": known.width, "cy": known.height}[changed]
    for change, resembles in ((0.009, True), (0.011, False), (-0.009, True), (-0.011, False)):
        other = replace(known, **{changed: getattr(known, changed) + change * size})
        assert known.resembles(other, 0.01) == resembles
    assert not known.resembles(camera("plumb_bob"), 0.01)
    assert not known.resembles(replace(known, height=479), 0.01)


def test_the_largest_move_is_that_of_the_corner_that_moves_most():
    known = camera("none")
    nearer = replace(known, fx=1.01 * known.fx, cy=known.cy + 2)
    assert known.largest_move(nearer) == pytest.approx(0.01 * (639 - known.cx))  # of x, on the right
    assert known.largest_move(replace(known, cy=known.cy - 4)) == pytest.approx(4)
