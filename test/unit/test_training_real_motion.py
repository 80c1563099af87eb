"""Frames blurred by real motion carry the labels of that motion."""

import numpy as np
import pytest
import rgbd_folders as folders

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axial_flow import axial_from_signed as runtime_axial
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.datasets import reprojection
from image_as_imu_training.datasets.layouts import find_recordings
from image_as_imu_training.datasets.real_motion import Exposure, RealMotion, trusted_steps
from image_as_imu_training.datasets.rgbd import RgbdSequence, find_jumps, linear_luminance

CPU = torch.device("cpu")
CAMERA = Camera(168, 126, 155.0, 155.0, 82.0, 63.0)


def walk(rate: float = 60, unknown: slice = slice(0, 0), reverses: bool = False) -> RgbdSequence:
    """The known path before the known wall, seven frames. Of each depth image, the `unknown` rows are missing."""
    stamps = folders.START + np.arange(7) / rate
    places = stamps if not reverses else stamps[[0, 1, 2, 3, 3, 2, 2]]
    poses = np.array([folders.pose_at(place) for place in places])

    def read(i: int):
        gray, depth = folders.see(CAMERA, poses[i])
        depth[unknown] = np.nan
        return np.repeat(gray[..., None], 3, axis=2), depth.astype(np.float32), CAMERA

    return RgbdSequence(stamps, poses, find_jumps(stamps, poses), read)


REAL = RealMotion([], reprojection.subframes)
HALF = 1.5 / 60  # s


@pytest.fixture(scope="module")
def exposure() -> Exposure:
    return REAL.expose(walk(), 3, HALF, CPU)


def test_the_label_is_the_velocity_of_the_path(exposure):
    pose = folders.pose_at(folders.START + 3 / 60)
    np.testing.assert_allclose(exposure.angular, 2 * HALF * folders.ANGULAR, rtol=1e-6)
    np.testing.assert_allclose(exposure.linear, 2 * HALF * pose[:3, :3].T @ folders.LINEAR, rtol=1e-6)
    depth = folders.see(exposure.camera, pose)[1]
    np.testing.assert_allclose(exposure.depth, depth, rtol=0.01)


def test_the_image_is_what_the_camera_saw_during_the_exposure(exposure):
    middle = folders.START + 3 / 60

    def light(stamp: float) -> np.ndarray:
        gray = folders.see(exposure.camera, folders.pose_at(stamp))[0]
        return linear_luminance(np.repeat(gray[..., None], 3, axis=2))

    expected = np.mean([light(stamp) for stamp in middle + HALF * np.linspace(-1, 1, 41)], axis=0)
    inner = np.s_[14:-14, 14:-14]
    assert np.abs(exposure.light.numpy() - expected)[inner].max() < 0.01
    assert np.abs(light(middle) - expected)[inner].max() > 0.03


def test_samples_are_crops_of_the_exposure_with_the_runtimes_motion_field(tmp_path):
    folders.write_seven_scenes(tmp_path, range(4))
    real = RealMotion(find_recordings(f"7scenes:{tmp_path}", held_out=False), reprojection.subframes)
    samples, sources = real.render(5, (64, 96), torch.Generator().manual_seed(3), CPU)
    again, _ = real.render(5, (64, 96), torch.Generator().manual_seed(3), CPU)
    assert sources == [f"7scenes:{tmp_path.name}"] * 5
    assert samples.image.shape == (5, 64, 96)
    for i in range(5):
        np.testing.assert_array_equal(samples.image[i], again.image[i])
        focal, cx, cy = samples.camera[i]
        matrix = MotionFieldMatrix.at(Camera(96, 64, focal, focal, cx, cy), cell_centres(8, 12, 8))
        known = np.isfinite(samples.depth[i])
        assert known.mean() > 0.9
        flow = matrix.flow(samples.motion[i], np.nan_to_num(samples.depth[i].astype(float), nan=2.0).ravel())
        expected = runtime_axial(flow.T).reshape(2, 8, 12)
        np.testing.assert_allclose(samples.flow[i][:, known], expected[:, known], atol=0.1)
    assert samples.depth_known.all()


def test_unknown_depth_is_no_label():
    exposure = REAL.expose(walk(unknown=slice(0, 60)), 3, 1 / 60, CPU)
    assert np.isnan(exposure.depth[:110]).all()
    assert np.isfinite(exposure.depth[130:]).all()
    assert exposure.light.isfinite().all()


@pytest.mark.parametrize(
    ("sequence", "half"),
    [
        (walk(), 0.001),
        (walk(rate=10), 0.29),
        (walk(unknown=slice(0, 100)), 2 / 60),
        (walk(reverses=True), 2.5 / 60),
    ],
    ids=["hardly blurred", "blurred too far", "depth mostly unknown", "there and back"],
)
def test_exposures_that_teach_nothing_are_not_used(sequence, half):
    assert REAL.expose(sequence, 3, half, CPU) is None


def test_exposures_never_cross_a_jump():
    jumps = np.zeros(19, bool)
    jumps[[4, 12]] = True
    assert trusted_steps(jumps).tolist() == [0, 1, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 2, 1, 0]
    assert trusted_steps(np.zeros(30, bool)).max() == 6


def test_a_recording_without_motion_is_said_clearly(tmp_path):
    folders.write_seven_scenes(tmp_path, range(10))
    for file in tmp_path.glob("*.pose.txt"):
        np.savetxt(file, np.eye(4))
    real = RealMotion(find_recordings(f"7scenes:{tmp_path}", held_out=False), reprojection.subframes)
    with pytest.raises(InputError, match="mean blur of 1 to 40 px"):
        real.render(1, (64, 96), torch.Generator().manual_seed(0), CPU)
