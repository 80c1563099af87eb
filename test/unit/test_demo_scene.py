"""The demo's recording is what it says: poses, images and blur follow from the known velocities."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from image_as_imu_ros.demo import motion, recording, sample
from image_as_imu_ros.demo.recording import CAMERA, EXPOSURE
from image_as_imu_ros.demo.renderer import Face, Solid, render, render_blurred, render_depth
from image_as_imu_ros.demo.room import HALF_SIZE, boxes, room
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix
from image_as_imu_ros.recordings.exposures import read_exposures
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording as BagRecording

NOTHING = Solid(())
FAST = [1.1, 2.75, 4.3, 6.0, 7.1, 8.6]  # s, in the middle of a swing each


@pytest.fixture(scope="module")
def trajectory() -> motion.Trajectory:
    return motion.Trajectory(motion.LONGEST)


def plain(colour: int) -> np.ndarray:
    return np.full((64, 64, 3), colour, np.uint16)


def painted(solid: Solid, colours: list[int]) -> Solid:
    """Paint each face of a solid in one colour."""
    faces = zip(solid.faces, colours, strict=True)
    return Solid(tuple(Face(face.corner, face.right, face.down, plain(colour)) for face, colour in faces))


def dot_before(pose: motion.Pose, pixel: tuple[float, float], depth: float) -> Solid:
    """Build a soft bright dot, seen by a camera at a pose at a pixel and depth."""
    size = 0.12 * depth
    y, x = np.mgrid[:64, :64] - 31.5
    light = 65535 * np.exp(-(x**2 + y**2) / (2 * 4.0**2))
    texture = np.repeat(light[..., None], 3, axis=2).astype(np.uint16)
    centre = depth * np.append(CAMERA.rays(np.array([pixel]))[0], 1.0)
    corner = pose.rotation @ (centre - (size / 2, size / 2, 0)) + pose.position
    return Solid((Face(corner, pose.rotation[:, 0] * size, pose.rotation[:, 1] * size, texture),))


def centroid(image: np.ndarray) -> np.ndarray:
    """Compute the light's centre (x, y), px."""
    light = image[..., 0].astype(np.float64)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


def predicted_velocity(time: float, pixel: tuple[float, float], depth: float) -> np.ndarray:
    """Compute (2,) px/s by the motion-field matrix from the true velocity."""
    velocity = np.concatenate([motion.linear_velocity([time])[0], motion.angular_velocity([time])[0]])
    return MotionFieldMatrix.at(CAMERA, np.array([pixel])).velocity_to_flow(np.array([depth]))[0] @ velocity


@pytest.mark.parametrize("time", FAST)
def test_poses_change_by_the_true_velocities(trajectory, time):
    step = 1e-3
    before, after = trajectory.pose(time - step / 2), trajectory.pose(time + step / 2)
    rotation = cv2.Rodrigues(before.rotation.T @ after.rotation)[0][:, 0] / step
    translation = trajectory.pose(time).rotation.T @ (after.position - before.position) / step
    np.testing.assert_allclose(rotation, motion.angular_velocity([time])[0], atol=1e-3)
    np.testing.assert_allclose(translation, motion.linear_velocity([time])[0], atol=1e-3)


def test_the_camera_stays_inside_the_room_and_away_from_everything(trajectory):
    positions = np.array([trajectory.pose(time).position for time in np.arange(0, motion.LONGEST, 0.02)])
    assert (HALF_SIZE - np.abs(positions)).min() > 1.0
    for box in boxes():
        for face in box.faces:
            u, v = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9))
            points = face.corner + u[..., None] * face.right + v[..., None] * face.down
            assert np.linalg.norm(points.reshape(-1, 1, 3) - positions, axis=2).min() > 0.9


def test_the_camera_rotates_fast_about_every_axis_and_also_rests():
    times = np.arange(0, motion.LONGEST, 1 / recording.RATE)
    angular, linear = motion.angular_velocity(times), motion.linear_velocity(times)
    assert (np.abs(angular).max(0) > 2.5).all()
    assert (np.linalg.norm(angular, axis=1) < 0.5).mean() > 0.2
    assert 0.5 < np.linalg.norm(linear, axis=1).max() < 1.3


@pytest.mark.parametrize("time", FAST)
@pytest.mark.parametrize(("pixel", "depth"), [((319.5, 239.5), 2.0), ((110.0, 380.0), 1.2), ((540.0, 90.0), 3.0)])
def test_a_point_moves_as_the_motion_field_says(trajectory, time, pixel, depth):
    dot, step = dot_before(trajectory.pose(time), pixel, depth), 2e-3
    before, after = (
        centroid(render(NOTHING, [dot], CAMERA, trajectory.pose(moment), {})) for moment in (time - step, time + step)
    )
    expected = 2 * step * predicted_velocity(time, pixel, depth)
    np.testing.assert_allclose(after - before, expected, atol=0.03 + 0.01 * np.linalg.norm(expected))


@pytest.mark.parametrize("frame", [33, 132, 213, 258])
def test_a_streak_is_as_long_as_the_motion_field_says(trajectory, frame):
    pixel, depth = (120.0, 360.0), 1.5
    times = recording.subframe_times(frame)
    middle = times.mean()
    dot = dot_before(trajectory.pose(middle), pixel, depth)
    blurred = render_blurred(NOTHING, [dot], CAMERA, trajectory.pose, times)[..., 0]
    sharp = render(NOTHING, [dot], CAMERA, trajectory.pose(middle), {})[..., 0]
    flow = EXPOSURE * predicted_velocity(middle, pixel, depth)
    length = np.linalg.norm(flow)
    assert length > 10

    y, x = np.mgrid[: CAMERA.height, : CAMERA.width]
    along = ((x - pixel[0]) * flow[0] + (y - pixel[1]) * flow[1]) / length

    def variance(image: np.ndarray) -> float:
        weight = image / image.sum(dtype=np.float64)
        return (weight * along**2).sum() - (weight * along).sum() ** 2

    # A uniform streak of length L adds L²/12 to the variance along it.
    assert np.sqrt(12 * (variance(blurred) - variance(sharp))) == pytest.approx(length, rel=0.03)


@pytest.mark.parametrize("frame", [33, 132, 213, 258])
def test_streaks_are_whole_because_nothing_jumps_by_more_than_a_pixel(frame):
    times = recording.subframe_times(frame)
    corners = [(x, y) for x in (0.0, 639.0) for y in (0.0, 479.0)]
    fastest = max(np.linalg.norm(predicted_velocity(times.mean(), corner, 1.0)) for corner in corners)
    assert (times[1] - times[0]) * fastest < 1.2
    assert times[-1] - times[0] + times[1] - times[0] == pytest.approx(EXPOSURE)


@pytest.mark.parametrize("time", [0.0, *FAST])
def test_every_pixel_shows_the_wall_that_its_ray_hits(trajectory, time):
    colours = [1000, 2000, 3000, 4000, 5000, 6000]
    shell, pose = painted(room(), colours), trajectory.pose(time)
    x, y = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    rays = CAMERA.rays(np.stack([x.ravel(), y.ravel()], axis=1))
    rays = np.column_stack([rays, np.ones(len(rays))]) @ pose.rotation.T
    distances = np.stack(
        [(face.corner - pose.position) @ face.normal / np.maximum(rays @ face.normal, 1e-9) for face in shell.faces]
    )
    expected = np.array(colours)[np.argmin(distances, axis=0)].reshape(x.shape)
    image = render(shell, [], CAMERA, pose, {})
    wrong = image[..., 0] != expected
    # Only along the edges between walls, where a polygon includes the pixels that it touches.
    assert wrong.mean() < 0.01
    assert not cv2.erode(wrong.astype(np.uint8), np.ones((3, 3), np.uint8)).any()


def test_a_near_box_hides_a_far_one():
    def screen(z: float, colour: int) -> Solid:
        return Solid((Face(np.array([-1.0, -1.0, z]), np.array([2.0, 0, 0]), np.array([0, 2.0, 0]), plain(colour)),))

    pose = motion.Pose(np.eye(3), np.zeros(3))
    near, far = screen(1.0, 500), screen(2.0, 900)
    for things in ([near, far], [far, near]):
        assert (render(NOTHING, things, CAMERA, pose, {})[240, 320] == 500).all()


def test_what_is_behind_the_camera_is_not_painted():
    behind = Face(np.array([-5.0, -5.0, -1.0]), np.array([10.0, 0, 0]), np.array([0, 10.0, 0]), plain(9))
    reversed_face = Face(behind.corner + behind.right, -behind.right, behind.down, plain(9))
    image = render(NOTHING, [Solid((behind, reversed_face))], CAMERA, motion.Pose(np.eye(3), np.zeros(3)), {})
    assert not image.any()


def test_a_rendered_recording_is_kept_and_rendered_again_only_when_it_is_too_short(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = recording.rendered(0.1)
    first = recording.open_recording(path, 3)
    assert path.is_relative_to(tmp_path)
    assert first.frames.shape == (3, 480, 640, 3)
    assert first.frames.mean() > 30
    np.testing.assert_allclose(first.times, np.arange(3) / 30 + EXPOSURE / 2)

    rendered_at = path.stat().st_mtime_ns
    assert recording.rendered(0.1).stat().st_mtime_ns == rendered_at

    longer = recording.open_recording(recording.rendered(0.2), 6)
    np.testing.assert_array_equal(longer.frames[:3], first.frames)
    assert [file.name for file in Path(path.parent).iterdir()] == [path.name]


@pytest.mark.parametrize("time", FAST)
def test_depth_is_where_rays_meet_the_first_face(trajectory, time):
    pose = trajectory.pose(time)
    solids = [room(), *boxes()]
    depth = render_depth(solids[0], solids[1:], CAMERA, pose)
    for pixel in np.random.default_rng(0).integers((5, 5), (CAMERA.width - 5, CAMERA.height - 5), (40, 2)):
        ray = pose.rotation @ np.append(CAMERA.rays(pixel[None].astype(float))[0], 1.0)
        found = min(meetings(solids, pose.position, ray))
        around = depth[pixel[1] - 1 : pixel[1] + 2, pixel[0] - 1 : pixel[0] + 2]
        if np.ptp(around) < 0.1:  # not at an edge
            assert depth[pixel[1], pixel[0]] == pytest.approx(found, rel=1e-4)


def meetings(solids: list[Solid], position: np.ndarray, ray: np.ndarray) -> list[float]:
    """Find how many rays from a position each face that it meets is away."""
    found = []
    for face in (face for solid in solids for face in solid.faces if face.is_seen_from(position)):
        right, down, distance = np.linalg.solve(np.column_stack([face.right, face.down, -ray]), position - face.corner)
        if 0 <= right <= 1 and 0 <= down <= 1 and distance > 0:
            found.append(distance)
    return found


def test_the_demo_can_be_recorded_with_its_exact_ground_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sample.record(tmp_path / "recording", 0.4, depth=True) == 12
    with BagRecording(tmp_path / "recording") as bag:
        topic = bag.image_topic()
        frames = list(bag.frames(topic, bag.camera_info_topic(topic), bag.depth_topic("auto")))
        ground_truth = read_ground_truth(bag, "/ground_truth/twist")
        exposures = read_exposures(bag, "/camera/exposure", "topic", "s")
    assert len(frames) == 12
    assert exposures.seconds == pytest.approx([EXPOSURE] * 12)
    depth = frames[5].decode_depth()
    assert 0.3 < np.median(depth) < 4
    linear, angular = ground_truth.at(np.array([frame.stamp for frame in frames[1:-1]]), 1e-3)
    times = np.arange(1, 11) / 30 + EXPOSURE / 2
    np.testing.assert_allclose(angular, motion.angular_velocity(times), atol=0.01)
    np.testing.assert_allclose(linear, motion.linear_velocity(times), atol=0.01)
