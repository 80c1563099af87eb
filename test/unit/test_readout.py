"""Behind a rolling shutter, points are seen at the time of their row: what that makes of a motion is taken off it."""

import numpy as np
import pytest

from image_as_imu_ros.estimation.readout import without_readout
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
PIXELS = cell_centres(15, 20, 16)
MATRIX = MotionFieldMatrix.at(CAMERA, PIXELS)
DOWN = (2 * PIXELS[:, 1] + 1) / CAMERA.height - 1
RELIEF = 1.5 * np.exp(np.random.default_rng(0).uniform(0, 1, len(PIXELS)))
WALL = np.full(len(PIXELS), 1.5)
DT = 1 / 30


def seen(depth: np.ndarray, velocity: np.ndarray, middle: float, readout: float) -> np.ndarray:
    """Where points are seen (N, 2) px, each when its row is read; the middle row is at `middle`, s.

    They are at the pixels' rays at 0 s; the camera rotates with ω about itself, which travels straight on with v.
    """
    points = np.column_stack([CAMERA.rays(PIXELS), np.ones(len(PIXELS))]) * depth[:, None]
    pixels = PIXELS
    for _ in range(30):
        times = middle + readout * ((pixels[:, 1] + 0.5) / CAMERA.height - 0.5)
        local = so3.rotate(-times[:, None] * velocity[3:], points - times[:, None] * velocity[:3])
        pixels = CAMERA.project(local[:, :2] / local[:, 2:])
    return pixels


def fitted(depth: np.ndarray, velocity: np.ndarray, readout: float, *, moves: bool, sheared: bool) -> Velocity:
    """Velocity by least squares of how points move in DT, as if there were no readout."""
    before, after = (seen(depth, velocity, time, readout) for time in (-DT / 2, DT / 2))
    matrix = MotionFieldMatrix.at(CAMERA, (before + after) / 2)
    rows = [matrix.velocity_to_flow(depth)] if moves else [matrix.angular]
    if sheared:
        rows.append(((before + after)[:, 1, None, None] / 2 - 119.5) / CAMERA.height * matrix.angular)
    rows = np.concatenate(rows, 2).reshape(2 * len(PIXELS), -1)
    found = np.linalg.lstsq(rows, (after - before).ravel() / DT, rcond=None)[0]
    return Velocity(found[:3] if moves else np.zeros(3), found[3:6] if moves else found[:3], {})


def corrected(velocity: Velocity, depth, readout: float, *, measured: bool, sheared: bool = True) -> np.ndarray:
    options = {"sheared": sheared, "measured": measured}
    return without_readout(velocity, MATRIX, depth, DOWN, readout / CAMERA.height, **options).vector


@pytest.mark.parametrize("angular", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (2, 0, 2), (2, -1, 2), (-2, 1, 2)])
@pytest.mark.parametrize("sheared", [False, True])
def test_a_camera_that_nods_and_rolls_does_not_seem_to_roll_faster(angular, sheared):
    """Of 2 rad/s of both, a factor for all of the image left 0.07 to 0.1 rad/s of roll."""
    velocity, readout = np.array([0, 0, 0, *angular], float), 0.02
    options = {"moves": False, "sheared": sheared}
    global_shutter, apparent = (fitted(RELIEF, velocity, one, **options) for one in (0.0, readout))
    found = corrected(apparent, None, readout, measured=False, sheared=sheared)
    np.testing.assert_allclose(found, global_shutter.vector, atol=0.004)


@pytest.mark.parametrize(("depth", "limit"), [(RELIEF, 0.003), (WALL, 0.025)], ids=["relief", "wall"])
def test_with_measured_depth_v_and_the_roll_of_a_travelling_camera_are_those_of_a_global_shutter(depth, limit):
    """A factor for all of the image left 0.05 m/s of v_z and 0.022 rad/s of roll, before a wall 0.1 m/s of v_y."""
    readout, lacking = 0.02, []
    for seed in range(10):
        velocity = np.random.default_rng(seed).normal(size=6) * np.repeat([0.3, 1.0], 3)
        global_shutter, apparent = (fitted(depth, velocity, one, moves=True, sheared=True) for one in (0.0, readout))
        lacking.append(corrected(apparent, depth, readout, measured=True) - global_shutter.vector)
    rms = np.sqrt(np.square(lacking).mean(0))
    assert (rms[[0, 1, 2, 5]] < limit).all(), rms


def test_where_depth_is_a_networks_a_roll_is_right_and_v_keeps_its_direction():
    """What looks like a translation may be the shape of its map, so v is only as much slower as the image is."""
    velocity = np.array([0.3, -0.2, 0.4, 1.5, -0.5, 1.5])
    global_shutter, apparent = (fitted(RELIEF, velocity, one, moves=True, sheared=True) for one in (0.0, 0.02))
    found = corrected(apparent, RELIEF, 0.02, measured=False)
    assert abs(apparent.angular[2] - global_shutter.angular[2]) > 0.1
    assert abs(found[5] - global_shutter.angular[2]) < 0.01
    np.testing.assert_allclose(np.cross(found[:3], apparent.linear), 0, atol=1e-9)


@pytest.mark.parametrize("angular", [(3, 0, 0), (-3, 0, 0), (-8, 0, 0), (0, 3, 0), (2, 1, 1), (-4, 1, -1)])
def test_errors_of_what_is_found_are_those_that_errors_of_what_seems_lead_to(angular):
    """Seen moving up as it is read down, a nod is faster than it seems by s, and its error larger by s²."""

    def found(change):
        apparent = Velocity(np.zeros(3), np.array(angular) + change, {Term.DATA: np.eye(6)})
        return without_readout(apparent, MATRIX, None, DOWN, 0.03 / CAMERA.height, sheared=True, measured=False)

    step = 1e-4
    jacobian = np.stack([(found(step * axis).angular - found(-step * axis).angular) / (2 * step) for axis in np.eye(3)])
    covariance = found(0).covariance[3:, 3:]
    np.testing.assert_allclose(covariance, jacobian.T @ jacobian, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("rate", [40.0, 100.0, 300.0])
def test_a_nod_that_no_camera_makes_is_halved_at_most(rate):
    """As a blur says where its exposure is wrong: the rows would never pass the points."""
    apparent = Velocity(np.zeros(3), np.array([rate, 0, 0]), {})
    np.testing.assert_allclose(corrected(apparent, None, 0.02, measured=False)[3:], [rate / 2, 0, 0], atol=1e-9)


@pytest.mark.parametrize("angular", [(-60, 0, 0), (-300, 0, 0), (0, 0, 2000), (-500, 3000, 900)])
@pytest.mark.parametrize("sheared", [False, True])
def test_what_no_rolling_shutter_shows_is_as_uncertain_as_it_is_large(angular, sheared):
    """As the blur of a wrong exposure, or alignment over a wrong dt, says it: the corrections grew without bound."""
    apparent = Velocity(np.zeros(3), np.array(angular, float), {Term.DATA: np.eye(6)})
    found = without_readout(apparent, MATRIX, None, DOWN, 0.03 / CAMERA.height, sheared=sheared, measured=False)
    size = np.linalg.norm(angular)
    assert np.linalg.norm(found.angular) <= 2 * size
    assert np.sqrt(found.angular @ found.covariance[3:, 3:] @ found.angular) / np.linalg.norm(found.angular) >= size
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def test_where_no_depth_is_known_nothing_is_divided_by_it():
    apparent = Velocity(np.array([0.1, 0.0, 0.0]), np.array([1.0, 0.0, 1.0]), {})
    unknown = np.full(len(PIXELS), np.nan)
    assert np.isfinite(corrected(apparent, unknown, 0.02, measured=True)).all()
