"""The crop and resize that the network sees keep geometry exact and take any image."""

import numpy as np
import pytest
from fields import camera
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.geometry.view import View


def view_of(width: int, height: int) -> View:
    return View.of(Camera(width, height, 0.8 * width, 0.8 * width, width / 2, height / 2), 320, 224)


@settings(max_examples=50, deadline=None)
@given(width=st.integers(16, 2500), height=st.integers(16, 2500), colour=st.booleans())
def test_any_size_and_aspect_fits_the_network(width, height, colour):
    view = view_of(width, height)
    assert 0 <= view.left <= view.left + view.width <= width
    assert 0 <= view.top <= view.top + view.height <= height
    assert view.width == width or view.height == height, "nothing is cropped that need not be"
    image = np.zeros((height, width, 3) if colour else (height, width), np.uint8)
    assert view.prepare(image, "gray").shape == (224, 320)
    assert view.prepare(image, "rgb").shape == (224, 320, 3)


@settings(max_examples=50, deadline=None)
@given(width=st.integers(100, 2500), height=st.integers(100, 2500), x=st.floats(0, 319), y=st.floats(0, 223))
def test_rays_of_the_view_are_rays_of_the_camera(width, height, x, y):
    view = view_of(width, height)
    pixel = np.array([[x, y]])
    np.testing.assert_allclose(view.camera.rays(pixel), view.source.rays(view.to_source(pixel)), atol=1e-9)


def test_a_vga_image_loses_16_rows_at_each_edge_and_is_halved():
    view = view_of(640, 480)
    assert (view.left, view.top, view.width, view.height) == (0, 16, 640, 448)
    image = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
    halved = image[16:464].reshape(224, 2, 320, 2).mean((1, 3))
    assert np.abs(view.prepare(image, "gray") - halved).max() <= 0.75
    assert view.px_at_320 == 1.0


def test_of_a_wide_image_the_sides_are_cut_off_and_all_rows_are_read():
    view = view_of(1000, 448)
    assert (view.width, view.height) == (640, 448)
    assert view.px_at_320 == 2 * 320 / 1000, "the full image counts, whose px are half of the network's"
    assert view.readout_of_crop(0.03) == 0.03


def test_a_rolling_shutter_reads_a_crop_sooner_than_the_full_image():
    assert view_of(640, 480).readout_of_crop(0.03) == pytest.approx(0.03 * 448 / 480)


def test_red_green_and_blue_weigh_as_luminance():
    image = np.zeros((480, 640, 3), np.uint8)
    image[..., 1] = 255
    assert view_of(640, 480).prepare(image, "gray")[0, 0] == 150  # 0.587 of 255


def test_an_image_of_another_size_than_its_camera_info_is_refused():
    with pytest.raises(InputError, match="320×240 px but its camera_info is for 640×480"):
        view_of(640, 480).prepare(np.zeros((240, 320), np.uint8), "gray")


@pytest.mark.parametrize("scale", [1, 2, 0.5])
def test_depth_of_another_resolution_is_sampled_where_the_cells_are(scale):
    view = view_of(640, 480)
    height, width = int(480 * scale), int(640 * scale)
    columns = np.tile((np.arange(width) + 0.5) / scale - 0.5, (height, 1)).astype(np.float32) + 10
    sampled = view.sample_depth(columns, 4)
    expected = view.to_source(cell_centres(56, 80, 4))[:, 0].reshape(56, 80) + 10
    assert np.abs(sampled - expected).max() < 0.501 / scale


def test_depth_is_that_of_the_pixel_nearest_to_a_cells_centre():
    view = view_of(352, 246)  # a scale at which centres lie anywhere between pixels
    columns = np.tile(np.arange(352.0), (246, 1)) + 1
    centres = view.to_source(cell_centres(56, 80, 4))[:, 0]
    assert np.abs(view.sample_depth(columns, 4).ravel() - 1 - centres).max() <= 0.5


def test_unknown_depth_is_nan_and_another_shape_is_refused():
    view = view_of(640, 480)
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, :320] = 0
    depth[:, 600:] = np.inf
    sampled = view.sample_depth(depth, 4)
    assert np.isnan(sampled[:, :40]).all()
    assert np.isnan(sampled[:, 76:]).all()
    assert (sampled[:, 41:74] == 2).all()
    with pytest.raises(InputError, match="another shape"):
        view.sample_depth(np.ones((480, 480), np.float32), 4)


def test_depths_that_no_sensor_measures_are_unknown():
    view = View.of(Camera(640, 480, 500, 500, 319.5, 239.5), 320, 224)
    depth = np.full((480, 640), 2.0, np.float32)
    depth[::2], depth[1::4, :320] = 1e-20, -1.0
    sampled = view.sample_depth(depth, 4)
    assert np.nanmin(sampled) == np.nanmax(sampled) == 2.0


def test_whole_metres_that_are_taken_for_mm_are_no_depth():
    depth = np.tile(np.linspace(1, 8, 640, dtype=np.uint16), (480, 1)) * np.float32(1e-3)
    assert np.isnan(view_of(640, 480).sample_depth(depth, 4)).all()


@pytest.mark.parametrize("scale", [1, 2, 0.5])
def test_sparse_depth_is_the_median_of_what_is_known_in_each_cell(scale):
    view, rng = view_of(640, 480), np.random.default_rng(1)
    height, width = int(480 * scale), int(640 * scale)
    depth = np.zeros((height, width), np.float32)
    seen = rng.random(depth.shape) < 0.03
    depth[seen] = rng.uniform(1, 5, seen.sum())
    sampled = view.sample_depth(depth, 8)
    known: dict[tuple[int, int], list[float]] = {}
    for i, j in np.argwhere(seen):
        x, y = (j + 0.5) / scale - view.left, (i + 0.5) / scale - view.top
        cell = int(y * 224 / view.height // 8), int(x * 320 / view.width // 8)
        known.setdefault(cell, []).append(depth[i, j])
    own_centre = 0
    for cell, value in np.ndenumerate(sampled):
        assert np.isnan(value) == (cell not in known)
        if cell in known:
            own_centre += value != np.sort(known[cell])[len(known[cell]) // 2]
            assert value in known[cell]
    assert own_centre < 0.1 * sampled.size


def test_an_already_fitting_image_passes_untouched():
    image = np.random.default_rng(0).integers(0, 256, (224, 320), dtype=np.uint8)
    np.testing.assert_array_equal(View.of(camera(), 320, 224).prepare(image, "gray"), image)
