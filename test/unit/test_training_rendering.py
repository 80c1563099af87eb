"""Rendered blur obeys its labels, and the material is split cleanly."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.geometry import so3 as runtime_so3
from image_as_imu_ros.geometry.axial_flow import axial_from_signed as runtime_axial
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.datasets.invented_motion import Mixture, render_invented_motion
from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.rgbd_textures import RgbdTextures
from image_as_imu_training.rendering import so3
from image_as_imu_training.rendering.blur import render_blur
from image_as_imu_training.rendering.motion import (
    KNOTS,
    MAX_BLUR_PX,
    Motion,
    axial_from_signed,
    motion_field,
    random_motion,
    rolling_motion_field,
    subframe_count,
)
from image_as_imu_training.rendering.moving_parts import random_parts
from image_as_imu_training.rendering.planes import PlaneScene, random_planes
from image_as_imu_training.rendering.rgbd import random_rgbd
from image_as_imu_training.rendering.rooms import TEXTURES, random_rooms
from image_as_imu_training.rendering.sensor import MARGIN, linear_from_srgb, photograph
from image_as_imu_training.rendering.views import Views, random_views


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_textures(*shape):
    """Random hills about 30 texels wide."""
    coarse = torch.rand(int(np.prod(shape[:-2])), 1, shape[-2] // 16, shape[-1] // 16, generator=generator(5))
    fine = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bicubic", align_corners=False)
    return fine.view(shape)


def plane_scenes(batch=64):
    views = random_views(torch.linspace(120, 400, batch), torch.linspace(-0.05, 0.25, batch), 128, 128, generator())
    return random_planes(smooth_textures(batch, 1, 256, 256), views, generator()), views


def rgbd_scenes(batch=64):
    rows = torch.linspace(0, 1, 336)[None, None, :, None].expand(batch, 1, 336, 448)
    known, focal = torch.ones_like(rows, dtype=torch.bool), torch.full((batch,), 0.914)
    scene, focal = random_rgbd(smooth_textures(batch, 1, 336, 448), 0.3 + 0.5 * rows, known, focal, generator())
    return scene, random_views(focal, torch.zeros(batch), 128, 128, generator())


def room_scenes(batch=64):
    views = random_views(torch.linspace(120, 400, batch), torch.linspace(-0.05, 0.25, batch), 128, 128, generator())
    return random_rooms(smooth_textures(batch, TEXTURES, 256, 256), views, generator()), views


@pytest.mark.parametrize("scenes", [plane_scenes, rgbd_scenes, room_scenes])
def test_light_moves_by_the_label(scenes):
    """What pixel x sees at mid-exposure of its row, pixel x + f·t sees at time t: lens and shutter included."""
    scene, views = scenes()
    cells = views.cells()
    rows = views.rows(cells)
    motion = random_motion(views, scene.inverse_depth(views.rays(cells)), generator())
    inverse_depth = scene.inverse_depth(motion.rotated(views.rays(cells), rows))
    flow = rolling_motion_field(views, cells, inverse_depth, motion)
    constant = Motion(motion.angular, motion.linear, torch.zeros_like(motion.angular), motion.readout)
    flow = torch.where(
        motion.readout[:, None, None] > 0, rolling_motion_field(views, cells, inverse_depth, constant), flow
    )
    time = 0.01

    def seen(displacement, at):
        """(B, 2, N) px from the cells, at a time: (B, N)."""
        rays = torch.cat([views[i : i + 1].rays(cells + displacement[i]) for i in map(torch.tensor, range(len(flow)))])
        return scene.light(constant.rotated(rays, rows), *constant.pose(torch.tensor([at])))[:, 0]

    one_px = torch.eye(2)[:, :, None]
    unmoved = torch.zeros_like(flow)
    gradient = torch.stack([seen(unmoved + axis, 0.0) - seen(unmoved - axis, 0.0) for axis in one_px]).norm(dim=0) / 2
    mismatch = (seen(flow * time, time) - seen(-flow * time, -time)).abs() / (2 * time * gradient.clamp(min=1e-3))
    error = mismatch / (1 + flow.norm(dim=1))
    assert torch.quantile(error, 0.9) < 0.05


def test_rotations_are_the_runtimes():
    vectors = np.random.default_rng(0).normal(size=(4, 3, 50)) * np.geomspace(1e-6, 2, 50)
    points = np.random.default_rng(1).normal(size=(4, 3, 50))
    matrices = runtime_so3.exp(vectors.transpose(0, 2, 1))
    found = so3.exp(torch.from_numpy(vectors.transpose(0, 2, 1)))
    np.testing.assert_allclose(found, matrices, atol=1e-11)
    expected = np.einsum("bnij,bjn->bin", matrices, points)
    found = so3.rotate(torch.from_numpy(vectors), torch.from_numpy(points))
    np.testing.assert_allclose(found, expected, atol=1e-8)  # angles below 1e-9 rad count as that


def test_rooms_close_the_view_and_hide_what_lies_behind():
    """Every ray hits something, no further than the room's walls; most views see several depths."""
    scene, views = room_scenes()
    rays = views.rays(views.cells())
    depth = 1 / scene.inverse_depth(rays)
    assert depth.min() > 0.05
    assert depth.max() < 15
    assert ((depth.amax(1) / depth.amin(1)) > 1.5).float().mean() > 0.5
    position = torch.tensor([0.02, 0.0, 0.0]).expand(len(depth), 1, 3)
    light = scene.light(rays, torch.eye(3).expand(len(depth), 1, 3, 3), position)
    assert light.isfinite().all()


class HalfKnown:
    """Two cameras before a wall 2 m away: whose left half nobody measured, and whose right half is infinitely far."""

    def draw(self, count, _):
        inverse_depth = torch.full((count, 1, 336, 448), 0.5)
        inverse_depth[..., 224:] = 1e-4
        known = torch.ones(count, 1, 336, 448, dtype=torch.bool)
        known[..., :224] = False
        focal = torch.tensor([0.6, 1.2]).repeat(count // 2)
        return RgbdTextures(smooth_textures(count, 1, 336, 448), inverse_depth, known, focal)


def test_depth_that_nobody_measured_has_no_label_and_what_is_far_is_far():
    samples = render_invented_motion(
        Photos([]), HalfKnown(), 8, (224, 320), generator(), mixture=Mixture(rooms=0, rgbd=1)
    )
    depth = samples.depth.astype(np.float32)
    assert np.isnan(depth[:, 14, :10]).all()  # the middle row; the cameras are rolled by up to 20°
    np.testing.assert_allclose(depth[:, 14, 30:], 1e4, rtol=0.01)
    assert np.isfinite(samples.flow).all()  # what an unknown pixel was rendered by
    assert np.isfinite(samples.motion).all(1).any()


def test_a_scene_seen_by_its_own_camera_has_its_focal_length():
    samples = render_invented_motion(
        Photos([]), HalfKnown(), 8, (224, 320), generator(), mixture=Mixture(rooms=0, rgbd=1)
    )
    zoom = samples.camera[:, 0] / (320 * np.tile([0.6, 1.2], 4))
    assert (zoom >= 1).all()
    assert (zoom <= 1.3).all()


def test_rays_of_a_bent_lens_move_as_its_jacobian_says():
    views = random_views(torch.full((5,), 200.0), torch.linspace(-0.05, 0.25, 5), 64, 64, generator())
    cells = views.cells()
    step = torch.tensor([[0.3], [-0.2]])
    change = (views.rays(cells + step) - views.rays(cells - step))[:, :2] / 2
    torch.testing.assert_close(views.pixel_motion(cells, change), step.expand(5, 2, 64), atol=2e-3, rtol=0)


def test_whole_exposure_displacement_agrees_to_second_order():
    """Without acceleration the path over the exposure is the label but for terms of second order in the motion."""
    scene, views = plane_scenes()
    views = Views(views.focal, views.principal_point, torch.zeros_like(views.focal), 128, 128)
    cells = views.cells()
    rays = views.rays(cells)
    inverse_depth = scene.inverse_depth(rays)
    for scale in (1.0, 0.5):
        full = random_motion(views, inverse_depth, generator())
        zero = torch.zeros_like(full.angular)
        motion = Motion(full.angular * scale, full.linear * scale, zero, zero[:, 0])
        rotation, position = motion.pose(torch.tensor([-0.5, 0.5]))
        points = (rays / inverse_depth[:, None])[:, None]
        in_camera = rotation.mT @ (points - position[..., None])
        pixels = views.focal[:, None, None, None] * in_camera[:, :, :2] / in_camera[:, :, 2:]
        label = motion_field(views, cells, inverse_depth, motion.angular, motion.linear)
        length = label.norm(dim=1)
        error = ((pixels[:, 1] - pixels[:, 0]) - label).norm(dim=1) / length.clamp(min=0.5)
        assert torch.quantile(error, 0.95) < 0.15 * scale**2


def test_motion_field_is_the_runtimes():
    views = random_views(torch.tensor([200.0]), torch.zeros(1), 32, 48, generator())
    cells = views.cells()
    angular, linear, depth = torch.tensor([[0.1, -0.2, 0.3]]), torch.tensor([[0.2, 0.1, -0.3]]), 2.5
    flow = motion_field(views, cells, torch.full((1, cells.shape[1]), 1 / depth), angular, linear)
    camera = Camera(48, 32, 200, 200, *views.principal_point[0].tolist())
    matrix = MotionFieldMatrix.at(camera, cells.numpy().T).velocity_to_flow(np.full(cells.shape[1], depth))
    expected = matrix @ np.concatenate([linear[0].numpy(), angular[0].numpy()])
    np.testing.assert_allclose(flow[0].numpy().T, expected, atol=1e-3)
    np.testing.assert_allclose(axial_from_signed(flow)[0].numpy(), runtime_axial(expected.T), atol=1e-3)


def panned_profile(readout=0.0):
    """A bright dot on a dark wall, camera panning by 30 px: how the image's columns are lit, and the sub-frames."""
    texture = torch.zeros(1, 1, 256, 256)
    texture[..., 127:129, 127:129] = 1
    views = Views(torch.tensor([200.0]), torch.tensor([[63.5, 63.5]]), torch.zeros(1), 128, 128)
    axes = torch.tensor([[[200 * 2 / 256, 0, 0], [0, 200 * 2 / 256, 0]]])
    scene = PlaneScene(texture, torch.tensor([[0.0, 0.0, 1.0]]), axes, torch.tensor([[0.0, 0.25]]))
    motion = Motion(torch.tensor([[0.0, 0.15, 0.0]]), torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([readout]))
    count = int(subframe_count(views, motion, scene.inverse_depth(views.rays(views.cells())))[0])
    return render_blur(scene, views, motion, count)[0][0, 0].sum(0)


def panned_dot(readout=0.0):
    """Which columns `panned_profile` lights."""
    profile = panned_profile(readout)
    return (profile > 0.5 * profile.max()).nonzero().flatten()


def test_a_point_becomes_a_whole_streak_of_the_labelled_length():
    lit = panned_dot()
    assert len(lit) == pytest.approx(30, abs=2)
    assert len(lit) == lit[-1] - lit[0] + 1


def test_a_rolling_shutter_displaces_the_streak_by_its_rows_delay_and_keeps_its_length():
    """The dot lies 32 of 224 rows above the middle: those rows are read 1/7 of the readout earlier."""
    of_global, rolling = panned_dot(), panned_dot(readout=2.0)
    assert len(rolling) == pytest.approx(len(of_global), abs=1)
    assert (rolling.float().mean() - of_global.float().mean()).item() == pytest.approx(30 * 2 * 32 / 224, abs=1)


def test_paths_end_where_the_mean_velocity_leads_and_what_is_recorded_keeps_its_shape():
    scene, views = plane_scenes(batch=256)
    inverse_depth = scene.inverse_depth(views.rays(views.cells()))
    times = torch.linspace(-0.5, 0.5, KNOTS)
    path = torch.zeros(256, KNOTS, 6)
    path[..., 1] = 0.1 * times + 0.03 * times**2 * 4  # a pan that speeds up
    motion = random_motion(views, inverse_depth, generator(), path)
    assert not motion.deviation[:, KNOTS // 2].any()
    torch.testing.assert_close(motion.deviation[:, 0], motion.deviation[:, -1], rtol=0, atol=1e-6)
    recorded = (motion.linear == 0).all(1)
    assert 0.4 < recorded.float().mean() < 0.6
    assert not motion.readout[recorded].any()
    calm = recorded & (motion.angular[:, [0, 2]] == 0).all(1) & (motion.angular[:, 1] > 0)
    assert calm.sum() > 50
    ratio = motion.deviation[calm, 0, 1] / motion.angular[calm, 1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.3), rtol=1e-3, atol=0)
    rotation, _ = motion.pose(torch.tensor([0.25]))
    turned = torch.from_numpy(runtime_so3.log(rotation[calm, 0].double().numpy()))[:, 1] / motion.angular[calm, 1]
    torch.testing.assert_close(turned.float(), torch.full_like(ratio, 0.25 + 0.3 * 0.25), rtol=2e-3, atol=0)


def test_a_part_that_is_fixed_to_the_camera_stays_sharp_and_one_that_moves_hides_more():
    views = random_views(torch.full((16,), 200.0), torch.zeros(16), 224, 320, generator())
    textures, readout = smooth_textures(16, 1, 256, 256), torch.zeros(16)
    parts = random_parts(textures, views, readout, generator(1))
    rays = views.rays(views.pixels())
    light, covered = parts.seen(rays, torch.tensor([-0.5, 0.0, 0.5]))
    share = covered[:, 1].mean(1)
    assert share.amin() > 0.08
    assert share.amax() < 0.45
    fixed = (parts.motion.angular == 0).all(1)
    assert 0 < fixed.sum() < 12
    torch.testing.assert_close(light[fixed, 0], light[fixed, 2])
    torch.testing.assert_close(covered[fixed, 0], covered[fixed, 2])
    ever = covered[~fixed].amax(1).mean(1)
    assert (ever >= covered[~fixed, 1].mean(1) - 1e-4).all()
    assert (ever.mean() - covered[~fixed, 1].mean()) > 0.02


def test_cells_before_which_something_moves_have_no_depth_and_the_others_are_as_without():
    photos = Photos([(255 * smooth_textures(1, 1, 400, 400)[0, 0]).byte()])
    samples = render_invented_motion(
        photos, None, 8, (224, 320), generator(), mixture=Mixture(rooms=1, rgbd=0, parts=0.6)
    )
    shares = samples.moving.mean((1, 2))
    assert 0 < (shares > 0).sum() < 8
    assert shares[shares > 0].min() > 0.05
    assert np.isnan(samples.depth[samples.moving]).all()
    assert np.isfinite(samples.depth[~samples.moving]).all()
    assert np.isfinite(samples.flow).all()


def test_blur_spans_the_range_that_cameras_meet():
    scene, views = plane_scenes(batch=512)
    inverse_depth = scene.inverse_depth(views.rays(views.cells()))
    motion = random_motion(views, inverse_depth, generator())
    blur = motion_field(views, views.cells(), inverse_depth, motion.angular, motion.linear).norm(dim=1)
    assert 0.05 < (blur.mean(1) < 1).float().mean() < 0.2
    assert blur.max() == pytest.approx(MAX_BLUR_PX, rel=0.2)
    assert (subframe_count(views, motion, inverse_depth) >= 1.5 * blur.amax(1)).all()


def test_photograph_has_network_scale_and_keeps_order_of_brightness():
    light = torch.linspace(0, 0.5, 64 + 2 * MARGIN).expand(4, 1, 64 + 2 * MARGIN, -1)
    images = photograph(light, generator(3))
    assert images.shape == (4, 64, 64)
    assert images.dtype == torch.uint8
    means = images.float().mean(1)
    assert (means[:, 48:].mean(1) > means[:, :16].mean(1)).all()


def test_srgb_decoding_meets_the_standard():
    assert linear_from_srgb(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)


def test_a_rotation_that_speeds_up_follows_the_laws_of_motion():
    """About z by ω·t + ½·α·t²; a row that is read at τ sees the scene rotated so far."""
    rate, speeding_up, readout = 0.3, 0.4, 2.0
    z, zero = torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3)
    motion = Motion(rate * z, zero, speeding_up * z, torch.tensor([readout]))
    times = torch.tensor([-0.5, 0.0, 0.25])
    angle = rate * times + 0.5 * speeding_up * times**2
    torch.testing.assert_close(motion.pose(times)[0][0, :, 1, 0], angle.sin())
    rays = torch.tensor([1.0, 0.0, 1.0])[None, :, None].expand(1, 3, 3)
    seen = motion.rotated(rays, times[None] / readout)
    torch.testing.assert_close(seen[0], torch.stack([angle.cos(), angle.sin(), torch.ones(3)]))


def test_the_label_of_a_rolling_shutter_is_each_rows_velocity_at_its_own_time():
    """By differences in time of where the camera, rotated so far and rotating so fast, sees a point that stays."""
    views = Views(torch.tensor([200.0]), torch.tensor([[159.5, 111.5]]), torch.zeros(1), 224, 320)
    cells, depth, readout = views.cells(), 2.0, 1.5
    axis = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    angular, speeding_up = 0.2 * axis, 0.15 * axis  # one axis, so that rotations follow each other as numbers do
    linear = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    time = (views.rows(cells)[0] * readout).double()[:, None]
    rays = views.rays(cells)[0].T.double()

    def rotation(at: torch.Tensor) -> torch.Tensor:
        return so3.exp(angular * at + 0.5 * speeding_up * at**2)

    points = (rotation(time) @ (depth * rays)[..., None])[..., 0]

    def pixels(later: float) -> torch.Tensor:
        seen = (rotation(time + later).mT @ (points - later * linear)[..., None])[..., 0]
        return 200 * seen[:, :2] / seen[:, 2:]

    step = 1e-4
    expected = (pixels(step) - pixels(-step)) / (2 * step)
    motion = Motion(*(part.float()[None] for part in (angular, linear, speeding_up)), torch.tensor([readout]))
    label = rolling_motion_field(views, cells, torch.full((1, cells.shape[1]), 1 / depth), motion)
    torch.testing.assert_close(label[0].T.double(), expected, atol=2e-3, rtol=1e-4)


def test_pixels_of_a_strongly_bent_lens_move_as_their_rays_do_up_to_the_corners():
    focal, centre, bent = 120.0, torch.tensor([159.5, 111.5], dtype=torch.float64), 0.25
    views = Views(torch.tensor([focal]).double(), centre[None], torch.tensor([bent]).double(), 224, 320)
    pixels = views.cells().double()
    x, y = (pixels - centre[:, None]) / focal
    common = 1 + bent * (x * x + y * y)
    wanted = torch.tensor([0.7, -0.4], dtype=torch.float64)
    change = torch.stack(
        [
            (common + 2 * bent * x * x) * wanted[0] + 2 * bent * x * y * wanted[1],
            2 * bent * x * y * wanted[0] + (common + 2 * bent * y * y) * wanted[1],
        ]
    )
    moved = views.pixel_motion(pixels, change[None] / focal)
    torch.testing.assert_close(moved[0], wanted[:, None].expand_as(moved[0]))


def test_a_streak_lies_about_where_its_point_is_at_mid_exposure():
    """The dot of `panned_dot` is straight ahead then: between columns 63 and 64."""
    lit = panned_profile()
    centre = (lit * torch.arange(128)).sum() / lit.sum()
    assert centre.item() == pytest.approx(63.5, abs=0.05)


def test_a_velocity_is_told_where_it_explains_the_flow_and_only_there():
    """Bent lenses and rolling shutters have none; of all other samples camera, depth and velocity give the flow."""
    photos = Photos([torch.randint(256, (200, 200), generator=generator(), dtype=torch.uint8)])
    samples = render_invented_motion(photos, None, 32, (64, 64), generator())
    told = np.isfinite(samples.motion).all(1)
    assert 4 < told.sum() < 24
    for index in np.flatnonzero(told):
        focal, cx, cy = samples.camera[index]
        camera = Camera(64, 64, float(focal), float(focal), float(cx), float(cy))
        flow = MotionFieldMatrix.at(camera, cell_centres(8, 8, 8)).flow(
            samples.motion[index].astype(float), samples.depth[index].astype(float).ravel()
        )
        expected = runtime_axial(flow.T.reshape(2, 8, 8))
        np.testing.assert_allclose(samples.flow[index], expected, atol=0.01 + 0.01 * np.abs(expected).max())


def test_what_moves_by_itself_is_labelled_where_it_hides_the_scene(monkeypatch):
    """In the cell two down and one right, whatever margin is rendered for the sensor; a tenth of a cell is enough."""
    hidden = torch.zeros(1, 1, 64 + 2 * MARGIN, 64 + 2 * MARGIN)
    hidden[..., MARGIN + 16 : MARGIN + 24, MARGIN + 8 : MARGIN + 16] = 0.11
    hidden[..., MARGIN + 40 : MARGIN + 48, MARGIN + 8 : MARGIN + 16] = 0.09
    monkeypatch.setattr("image_as_imu_training.datasets.invented_motion.render_blur", lambda *_: (hidden + 0.3, hidden))
    photos = Photos([torch.full((64, 64), 100, dtype=torch.uint8)])
    samples = render_invented_motion(photos, None, 1, (64, 64), generator(), mixture=Mixture(0, 0, 1))
    assert np.argwhere(samples.moving[0]).tolist() == [[2, 1]]
    assert np.argwhere(np.isnan(samples.depth[0])).tolist() == [[2, 1]]


def test_sub_frames_are_as_dense_as_the_fastest_moment_of_a_path_needs():
    """A camera of 200 px that swings 3 times by 5 px: up to 2π·3·5 px per exposure, 1.5 sub-frames per px."""
    views = Views(torch.tensor([200.0]), torch.tensor([[63.5, 63.5]]), torch.zeros(1), 128, 128)
    zero = torch.zeros(1, 3)
    path = torch.zeros(1, KNOTS, 6)
    path[0, :, 0] = 5 / 200 * torch.sin(2 * np.pi * 3 * torch.linspace(-0.5, 0.5, KNOTS))
    inverse_depth = torch.ones(1, 256)
    still = int(subframe_count(views, Motion(zero, zero, zero, torch.zeros(1)), inverse_depth)[0])
    swinging = int(subframe_count(views, Motion(zero, zero, zero, torch.zeros(1), path), inverse_depth)[0])
    # Knots are 1/32 apart: a chord of the sine is a little slower than the sine, and knots count as 33.
    assert swinging - still == pytest.approx(1.5 * 2 * np.pi * 3 * 5, rel=0.05)


def test_cameras_before_rgbd_frames_are_zoomed_by_up_to_three_tenths():
    frame = torch.ones(300, 1, 4, 4)
    _, focal = random_rgbd(frame, frame, frame.bool(), torch.full((300,), 0.8), generator())
    zoom = focal / (320 * 0.8)
    assert 1 <= zoom.min() < 1.02 < 1.28 < zoom.max() <= 1.3


def test_the_photographs_of_a_room_do_not_show_in_each_other():
    """One in four is white, the others black: nothing is between but a face's own white, at least 0.5."""
    views = random_views(torch.full((8,), 150.0), torch.zeros(8), 64, 64, generator())
    textures = torch.zeros(8, TEXTURES, 4, 4)
    textures[:, 1] = 1
    scene = random_rooms(textures, views, generator())
    light = scene.light(views.rays(views.pixels()), torch.eye(3).expand(8, 1, 3, 3), torch.zeros(8, 1, 3))
    grey = (light > 1e-4) & (light < 0.4999)
    assert (light >= 0.4999).any()
    assert not grey.any()
