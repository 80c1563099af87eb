"""Rendered blur obeys its labels, and the material is split cleanly."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.camera import Camera  # noqa: E402
from image_as_imu_ros.errors import InputError  # noqa: E402
from image_as_imu_ros.motion_field import MotionFieldMatrix  # noqa: E402
from image_as_imu_ros.motion_field import axial_from_signed as runtime_axial  # noqa: E402
from image_as_imu_training.rendering.blur import render_blur  # noqa: E402
from image_as_imu_training.rendering.motion import (  # noqa: E402
    MAX_BLUR_PX,
    Motion,
    axial_from_signed,
    motion_field,
    random_motion,
    subframe_count,
)
from image_as_imu_training.rendering.scenes import PlaneScene, random_planes, random_rgbd  # noqa: E402
from image_as_imu_training.rendering.sensor import MARGIN, linear_from_srgb, photograph  # noqa: E402
from image_as_imu_training.rendering.views import Views, random_views  # noqa: E402
from image_as_imu_training.sources import split_photos, split_rgbd  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_material = pytest.mark.skipif(
    not (SHARED / "photos").is_dir(), reason="the training photographs are not beside this repository"
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plane_scenes(batch=64, seed=0):
    views = random_views(torch.linspace(120, 400, batch), 128, 128, generator(seed))
    texture = torch.rand(batch, 1, 256, 256, generator=generator(seed))
    return random_planes(texture, views, generator(seed)), views


def rgbd_scenes(batch=64, seed=0):
    rows = torch.linspace(0, 1, 336)[None, None, :, None].expand(batch, 1, 336, 448)
    scene, focal = random_rgbd(torch.rand(batch, 1, 336, 448), 0.3 + 0.5 * rows, 0.914, generator(seed))
    return scene, random_views(focal, 128, 128, generator(seed))


@pytest.mark.parametrize("scenes", [plane_scenes, rgbd_scenes])
def test_subframes_move_by_the_label(scenes):
    """Over a short central part of the exposure, texture moves through a pixel as the label says.

    A static texture point that passes pixel x at mid-exposure stands at x + f·t a little later; so the camera at
    time t sees, at pixel x + f·t, what was at x.
    """
    scene, views = scenes()
    rays = views.cell_rays()
    inverse_depth = scene.inverse_depth(rays)
    motion = random_motion(views, inverse_depth, generator())
    flow = motion_field(rays, inverse_depth, views.focal, motion.angular, motion.linear)
    time = 0.02

    def seen(sign):
        moved = rays.clone()
        moved[:, :2] += sign * time * flow / views.focal[:, None, None]
        return scene.texture_points(moved, *motion.pose(torch.tensor([sign * time])))[:, 0]

    # Texture coordinates per px, to turn the mismatch into px.
    step = rays.clone()
    step[:, 0] += 1 / views.focal[:, None]
    still = motion.pose(torch.zeros(1))
    per_px = (scene.texture_points(step, *still) - scene.texture_points(rays, *still))[:, 0].norm(dim=-1)
    mismatch = (seen(1) - seen(-1)).norm(dim=-1) / (2 * time * per_px)
    error = mismatch / (1 + flow.norm(dim=1))
    assert torch.quantile(error, 0.99) < 0.02


def test_whole_exposure_displacement_agrees_to_second_order():
    """Without acceleration the path over the exposure is the label but for terms of second order in the motion."""
    scene, views = plane_scenes()
    rays = views.cell_rays()
    inverse_depth = scene.inverse_depth(rays)
    for scale in (1.0, 0.5):
        full = random_motion(views, inverse_depth, generator())
        motion = Motion(full.angular * scale, full.linear * scale, torch.zeros_like(full.angular))
        rotation, position = motion.pose(torch.tensor([-0.5, 0.5]))
        points = (rays / inverse_depth[:, None])[:, None]
        in_camera = rotation.mT @ (points - position[..., None])
        pixels = views.focal[:, None, None, None] * in_camera[:, :, :2] / in_camera[:, :, 2:]
        label = motion_field(rays, inverse_depth, views.focal, motion.angular, motion.linear)
        length = label.norm(dim=1)
        error = ((pixels[:, 1] - pixels[:, 0]) - label).norm(dim=1) / length.clamp(min=0.5)
        assert torch.quantile(error, 0.95) < 0.15 * scale**2


def test_motion_field_is_the_runtimes():
    views = random_views(torch.tensor([200.0]), 32, 48, generator())
    rays = views.cell_rays()
    angular, linear, depth = torch.tensor([[0.1, -0.2, 0.3]]), torch.tensor([[0.2, 0.1, -0.3]]), 2.5
    flow = motion_field(rays, torch.full((1, rays.shape[2]), 1 / depth), views.focal, angular, linear)
    camera = Camera(48, 32, 200, 200, *views.principal_point[0].tolist())
    pixels = rays[0, :2].numpy().T * 200 + views.principal_point[0].numpy()
    matrix = MotionFieldMatrix.at(camera, pixels).velocity_to_flow(np.full(len(pixels), depth))
    expected = matrix @ np.concatenate([linear[0].numpy(), angular[0].numpy()])
    np.testing.assert_allclose(flow[0].numpy().T, expected, atol=1e-3)
    np.testing.assert_allclose(axial_from_signed(flow)[0].numpy(), runtime_axial(expected.T), atol=1e-3)


def test_a_point_becomes_a_streak_of_the_labelled_length():
    """A bright dot on a dark wall, camera panning: the streak is whole and as long as the flow."""
    texture = torch.zeros(1, 1, 256, 256)
    texture[..., 127:129, 127:129] = 1
    views = Views(torch.tensor([200.0]), torch.tensor([[63.5, 63.5]]), 128, 128)
    axes = torch.tensor([[[200 * 2 / 256, 0, 0], [0, 200 * 2 / 256, 0]]])
    scene = PlaneScene(texture, torch.tensor([[0.0, 0.0, 1.0]]), axes, torch.zeros(1, 2))
    motion = Motion(torch.tensor([[0.0, 0.15, 0.0]]), torch.zeros(1, 3), torch.zeros(1, 3))
    inverse_depth = scene.inverse_depth(views.cell_rays())
    count = int(subframe_count(views, motion, inverse_depth)[0])
    profile = render_blur(scene, views, motion, count)[0, 0].sum(0)
    lit = (profile > 0.5 * profile.max()).nonzero().flatten()
    assert len(lit) == pytest.approx(30, abs=2)
    assert len(lit) == lit[-1] - lit[0] + 1


def test_blur_spans_the_range_that_cameras_meet():
    scene, views = plane_scenes(batch=512)
    rays = views.cell_rays()
    inverse_depth = scene.inverse_depth(rays)
    motion = random_motion(views, inverse_depth, generator())
    blur = motion_field(rays, inverse_depth, views.focal, motion.angular, motion.linear).norm(dim=1)
    assert 0.05 < (blur.mean(1) < 1).float().mean() < 0.2
    assert blur.max() == pytest.approx(MAX_BLUR_PX, rel=0.2)
    assert (subframe_count(views, motion, inverse_depth) >= blur.amax(1)).all()


def test_photograph_has_network_scale_and_keeps_order_of_brightness():
    light = torch.linspace(0, 0.5, 64 + 2 * MARGIN).expand(4, 1, 64 + 2 * MARGIN, -1)
    pictures = photograph(light, generator(3))
    assert pictures.shape == (4, 64, 64)
    assert pictures.dtype == torch.uint8
    means = pictures.float().mean(1)
    assert (means[:, 48:].mean(1) > means[:, :16].mean(1)).all()


def test_srgb_decoding_meets_the_standard():
    assert linear_from_srgb(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)


@needs_material
def test_validation_material_is_never_trained_on():
    for training, validation in (split_photos(SHARED / "photos"), split_rgbd(SHARED / "rgbd" / "redkitchen")):
        assert not set(training) & set(validation)
        assert 0.05 < len(validation) / (len(training) + len(validation)) < 0.25


def test_missing_material_is_said_clearly(tmp_path):
    with pytest.raises(InputError, match="no photographs"):
        split_photos(tmp_path)
