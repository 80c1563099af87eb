"""Rendered frames are what the formulas say: pose, velocity, depth, displacement, readout, parts of the view."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from image_as_imu_ros.evaluation.envelope.cell import Cell, Motion
from image_as_imu_ros.evaluation.envelope.cells import HAND, TRAVEL, all_cells
from image_as_imu_ros.evaluation.envelope.motions import trajectory_of
from image_as_imu_ros.evaluation.envelope.renderer import (
    Exposure,
    render_depth,
    render_light,
    render_sharp,
    sub_frames,
)
from image_as_imu_ros.evaluation.envelope.rendering import EPOCH, render_cell, world_of
from image_as_imu_ros.evaluation.envelope.scenes import Place
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix

NOISELESS = {"electrons": 1e9, "read_noise": 0.0}
SMALL = replace(HAND, width=160, frames=3)
TIMES = np.linspace(0.1, 1.2, 7)
MOTIONS = [replace(HAND, motion=motion, speed=1.5, rotation=3.0) for motion in Motion]


@pytest.mark.parametrize("vibration", [0.0, 0.3])
@pytest.mark.parametrize("cell", MOTIONS, ids=lambda cell: cell.motion)
def test_the_velocity_is_the_derivative_of_the_pose(cell, vibration):
    trajectory = trajectory_of(replace(cell, vibration=vibration))
    step = 1e-6
    (before, here), (after, there) = trajectory.poses(TIMES - step), trajectory.poses(TIMES + step)
    rotations, _ = trajectory.poses(TIMES)
    angular = so3.log(before.transpose(0, 2, 1) @ after) / (2 * step)
    linear = np.einsum("nji,nj->ni", rotations, (there - here) / (2 * step))
    assert trajectory.velocity(TIMES) == pytest.approx(np.hstack([linear, angular]), abs=2e-4)


def test_the_mean_velocity_leads_from_pose_to_pose():
    trajectory = trajectory_of(MOTIONS[0])
    start, end = TIMES, TIMES + 0.1
    mean = trajectory.mean_velocity(start, end)
    (before, here), (after, there) = trajectory.poses(start), trajectory.poses(end)
    assert before @ so3.exp(0.1 * mean[:, 3:]) == pytest.approx(after)
    halfway = before @ so3.exp(0.05 * mean[:, 3:])
    assert here + 0.1 * np.einsum("nij,nj->ni", halfway, mean[:, :3]) == pytest.approx(there)
    fine = trajectory.mean_velocity(np.array([0.5 - 1e-4]), np.array([0.5 + 1e-4]))
    assert fine == pytest.approx(trajectory.velocity(np.array([0.5])), abs=1e-4)


@pytest.mark.parametrize("blur", [0.5, 8.0, 32.0])
def test_the_hand_blurs_as_much_as_asked_for(blur):
    cell = replace(HAND, blur=blur)
    times = np.linspace(0, cell.frames / cell.rate, 300)
    columns, rows = np.meshgrid(np.linspace(0, 319, 9), np.linspace(0, 239, 7))
    matrix = MotionFieldMatrix.at(cell.camera, np.stack([columns.ravel(), rows.ravel()], 1))
    flow = np.einsum("pij,tj->tpi", matrix.angular, trajectory_of(cell).velocity(times)[:, 3:])
    assert np.linalg.norm(flow, axis=2).mean() * cell.exposure == pytest.approx(blur, rel=0.2)


@pytest.mark.parametrize("place", list(Place))
def test_depth_is_where_rays_meet_the_nearest_plane(place):
    cell = replace(TRAVEL, place=place, distance={"street": 5.0, "room": 2.5}.get(place, 1.0), width=160)
    if place == Place.FENCE:
        cell = replace(cell, motion=Motion.SIDEWAYS)
    world, trajectory, camera = world_of(cell), trajectory_of(cell), cell.camera
    depth = render_depth(world, camera, trajectory, Exposure(0.3, 0.01))
    pixels = np.random.default_rng(0).integers((0, 0), (160, 120), (200, 2))
    (rotation,), (position,) = trajectory.poses(np.array([0.3]))
    rays = np.column_stack([camera.rays(pixels), np.ones(len(pixels))]) @ rotation.T
    nearest = np.full(len(pixels), np.inf)
    for face in world.faces:
        basis = np.column_stack([face.right, face.down])
        normal = np.cross(face.right, face.down)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = normal @ (face.corner - position) / (rays @ normal)
            share = (position + along[:, None] * rays - face.corner) @ np.linalg.pinv(basis).T
        hit = (along > 0.05) & (share >= 0).all(1) & (share <= 1).all(1)
        nearest[hit] = np.minimum(nearest, along)[hit]
    nearest[np.isinf(nearest)] = 0
    rendered = depth[pixels[:, 1], pixels[:, 0]]
    exact = np.isclose(rendered, nearest, rtol=1e-4)
    assert exact.mean() > 0.94, "edges cover half a pixel more"


@pytest.mark.parametrize(
    "cell",
    [HAND, TRAVEL, replace(TRAVEL, place=Place.STREET, distance=5.0, motion=Motion.SIDEWAYS, speed=5.0)],
    ids=["hand", "corridor", "street sideways"],
)
def test_points_move_from_image_to_image_as_the_motion_field_says(cell):
    cell = replace(cell, width=480)
    world, trajectory, camera = world_of(cell), trajectory_of(cell), cell.camera
    step, middle = (4e-3 if cell.motion == Motion.HAND_HELD else 8e-3), 0.3
    images, depths = [], []
    for time in (middle - step / 2, middle, middle + step / 2):
        (rotation,), (position,) = trajectory.poses(np.array([time]))
        light, inverse = render_sharp(world, camera, rotation, position, time)
        images.append(cv2.GaussianBlur((light >> 8).astype(np.uint8), (0, 0), 1.0))
        depths.append(1 / np.maximum(inverse, 1e-6))
    corners = cv2.goodFeaturesToTrack(images[0], 300, 0.02, 8)
    tracked, found, _ = cv2.calcOpticalFlowPyrLK(images[0], images[2], corners, None, winSize=(15, 15))
    before, after = (points[found.ravel() > 0, 0].astype(np.float64) for points in (corners, tracked))
    halfway = (before + after) / 2
    depth = depths[1][halfway[:, 1].round().astype(int) % 360, halfway[:, 0].round().astype(int) % 480]
    flow = MotionFieldMatrix.at(camera, halfway).flow(trajectory.velocity(np.array([middle]))[0], depth) * step
    assert np.median(np.linalg.norm(flow, axis=1)) > 0.5
    assert np.median(np.linalg.norm(after - before - flow, axis=1)) < 0.1


def test_sub_frames_are_half_a_pixel_apart_and_more_of_them_change_nothing(monkeypatch):
    world, trajectory, camera = world_of(SMALL), trajectory_of(SMALL), SMALL.camera
    exposure = Exposure(0.3, 0.02)
    count = sub_frames(world, camera, trajectory, exposure)
    speed = trajectory.velocity(np.array([0.3]))[0, 3:]
    assert count >= camera.fx * np.linalg.norm(speed[:2]) * 0.02 / 0.5
    light = render_light(world, camera, trajectory, exposure)
    monkeypatch.setattr("image_as_imu_ros.evaluation.envelope.renderer.LONGEST_STEP", 0.125)
    assert sub_frames(world, camera, trajectory, exposure) > 4 * (count - 1), "both are rounded up"
    finer = render_light(world, camera, trajectory, exposure)
    assert np.sqrt(np.square(light - finer).mean()) < 0.05 * light.std()


def test_every_row_of_a_rolling_shutter_has_a_time_of_its_own():
    cell = replace(SMALL, motion=Motion.CONSTANT_PAN, rotation=2.0)
    world, trajectory, camera = world_of(cell), trajectory_of(cell), cell.camera
    readout = 0.03
    rolling = Exposure(0.3, 0.01, readout)
    light = render_light(world, camera, trajectory, rolling)
    depth = render_depth(world, camera, trajectory, rolling)
    for row in (10, 59, 110):
        time = 0.3 + readout * (row / 119 - 0.5)
        own = Exposure(time, 0.01)
        expected = render_light(world, camera, trajectory, own)[row]
        other = render_light(world, camera, trajectory, Exposure(0.6 - time, 0.01))[row]
        error, far = (np.abs(light[row] - one).mean() for one in (expected, other))
        assert error < 0.02
        assert row == 59 or error < 0.4 * far
        assert np.isclose(depth[row], render_depth(world, camera, trajectory, own)[row], rtol=0.02).mean() > 0.9


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_what_is_fixed_to_the_camera_does_not_move(share):
    cell = replace(SMALL, fixed_share=share, **NOISELESS)
    frames = render_cell(cell).frames
    near = frames[0].depth < 0.36
    assert near.mean() == pytest.approx(share, abs=0.01)
    rows = np.arange(near.shape[0])[:, None] >= (1 - share) * near.shape[0]
    assert (near == rows).mean() > 0.99, "along the lower edge"
    fixed = cv2.erode(near.astype(np.uint8), np.ones((5, 5))) > 0
    first, last = frames[0].image.astype(int), frames[-1].image.astype(int)
    assert np.abs(first - last)[fixed].max() <= 1
    assert np.abs(first - last)[:50].mean() > 5


def test_what_moves_by_itself_covers_its_share():
    frames = render_cell(replace(SMALL, moving_share=0.4, **NOISELESS)).frames
    for frame in frames:
        assert (frame.depth < 0.65).mean() == pytest.approx(0.4, abs=0.03)
    near = [np.argwhere(frame.depth < 0.65).mean(0) for frame in frames]
    assert np.abs(near[0] - near[-1]).max() > 1


def test_frames_carry_the_ground_truth_of_their_time_and_stamps_their_jitter():
    rendered = render_cell(replace(SMALL, frames=30, jitter=0.005, motion=Motion.REST, width=64))
    late = np.array([(frame.stamp - EPOCH) * 1e-9 - frame.time for frame in rendered.frames])
    assert late.std() == pytest.approx(0.005, rel=0.5)
    moving = render_cell(SMALL)
    times = np.array([frame.time for frame in moving.frames])
    assert times == pytest.approx([1 / 30, 2 / 30, 3 / 30])
    assert np.array([f.velocity for f in moving.frames]) == pytest.approx(moving.trajectory.velocity(times))
    assert np.isnan(moving.frames[0].mean_velocity).all()
    assert moving.frames[1].mean_velocity == pytest.approx(moving.trajectory.mean_velocity(times[:1], times[1:2])[0])


def test_repeated_and_frozen_images_have_new_stamps():
    repeated = render_cell(replace(SMALL, frames=6, repeats=3, width=64)).frames
    assert [frame.repeated for frame in repeated] == [False, False, True] * 2
    assert (repeated[2].image == repeated[1].image).all()
    assert (repeated[3].image != repeated[2].image).any()
    frozen = render_cell(replace(SMALL, frames=6, frozen_from=3, width=64)).frames
    assert all((frame.image == frozen[2].image).all() for frame in frozen[3:])
    assert len({frame.stamp for frame in frozen}) == 6


def test_exposures_follow_one_another_and_dropped_frames_are_missing():
    stepped = render_cell(replace(SMALL, exposures=(0.002, 0.004, 0.003), width=64)).frames
    assert [frame.exposure for frame in stepped] == [0.002, 0.004, 0.003]
    assert 5 < len(render_cell(replace(SMALL, frames=20, drops=0.4, width=64)).frames) < 18


def test_depth_can_be_taken_away_from_the_estimator():
    rendered = render_cell(replace(SMALL, depth_share=0.03, width=64))
    for frame, given in zip(rendered.frames, rendered.inputs(measured_depth=True), strict=True):
        assert given.depth is not None
        assert (frame.depth > 0).all()
        assert (given.depth > 0).mean() == pytest.approx(0.03, abs=0.01)
        assert set(np.unique(given.depth)) <= {0, *np.unique(frame.depth)}


def test_a_cell_is_rendered_once(tmp_path, monkeypatch):
    cell = replace(SMALL, width=64)
    first = render_cell(cell, tmp_path)
    monkeypatch.setattr("image_as_imu_ros.evaluation.envelope.rendering._render", None)
    again = render_cell(cell, tmp_path)
    assert all(
        (a.image == b.image).all() and a.stamp == b.stamp for a, b in zip(first.frames, again.frames, strict=True)
    )
    assert (
        render_cell(replace(cell, value="same frames", depth_share=0.5), tmp_path).frames[0].stamp
        == first.frames[0].stamp
    )
    with pytest.raises(TypeError):
        render_cell(replace(cell, blur=4.0), tmp_path)


def different_paths() -> list[Cell]:
    """One cell of each place and path in it."""
    names = ("motion", "place", "distance", "speed", "rotation", "blur", "frames", "rate")
    return list({tuple(getattr(cell, name) for name in names): cell for cell in all_cells()}.values())


@pytest.mark.parametrize("cell", different_paths(), ids=lambda cell: cell.name)
def test_no_camera_leaves_its_place_or_runs_into_something(cell: Cell):
    """What stands in the way would fill the view, and is never nearer than a fifth of what the cell is about."""
    cell = replace(cell, fixed_share=0.0, moving_share=0.0)
    world, trajectory = world_of(cell), trajectory_of(cell)
    camera = cell.camera.resize(40, 30)
    for time in np.linspace(1 / cell.rate, (cell.frames + 1) / cell.rate, 8):
        (rotation,), (position,) = trajectory.poses(np.array([time]))
        _, inverse = render_sharp(world, camera, rotation, position, float(time))
        assert inverse.max() < 5.0 / min(cell.distance, 2.5)
        sky = 0.5 if cell.place == Place.STREET else 0.0
        assert (inverse == 0).mean() <= sky
