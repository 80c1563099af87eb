"""Axes, clock offset, readout time and focal length are found from tracks and a gyroscope, with how sure they are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import replay_bags as bags

from image_as_imu_ros.commands.calibrate import main as calibrate_command
from image_as_imu_ros.datasets.capture import Gyroscope
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.evaluation.calibration import bundle
from image_as_imu_ros.evaluation.calibration.bundle import (
    COUNT,
    Reduced,
    Scene,
    Window,
    linearise,
    moved,
    residuals,
    start_of,
    undeformed,
)
from image_as_imu_ros.evaluation.calibration.calibrate import Calibration, CalibrationConfig, calibrate
from image_as_imu_ros.evaluation.calibration.rates import Rates
from image_as_imu_ros.evaluation.calibration.rendered import RenderedCapture
from image_as_imu_ros.evaluation.calibration.solve import jackknife, solve
from image_as_imu_ros.evaluation.calibration.tracking import follow
from image_as_imu_ros.geometry import so3

CAPTURE = RenderedCapture(3, readout=0.02, offset=0.004)
FRAMES, REFERENCE, POINTS = 9, 4, 80
NOISE = 0.1  # px


def seen(points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, K, 2) and rows, as shares, at which points (N, 3) are seen in frames at times (K,)."""
    camera = CAPTURE.camera
    rows = np.zeros((len(points), len(times)))
    pixels = np.zeros((*rows.shape, 2))
    for _ in range(4):  # a row is exposed when it is read, and what it shows depends on that
        rotation, position = CAPTURE.trajectory.poses((times + CAPTURE.readout * rows).ravel())
        apart = points[:, None] - position.reshape(*rows.shape, 3)
        local = np.einsum("nkji,nkj->nki", rotation.reshape(*rows.shape, 3, 3), apart)
        pixels = local[..., :2] / local[..., 2:] * camera.fx + (camera.cx, camera.cy)
        rows = pixels[..., 1] / (camera.height - 1) - 0.5
    return pixels, rows


def window(start: float, rng: np.random.Generator) -> Window:
    """Points between 1 and 6 m, as a camera of the believed focal length would have them."""
    camera, times = CAPTURE.camera, start + np.arange(FRAMES) / 30
    (rotation,), (position,) = CAPTURE.trajectory.poses(times[[REFERENCE]])
    rays = camera.rays(rng.uniform([10, 10], [camera.width - 10, camera.height - 10], (POINTS, 2)))
    local = np.column_stack([rays, np.ones(POINTS)]) * rng.uniform(1, 6, POINTS)[:, None]
    pixels, rows = seen(local @ rotation.T + position, times)
    pixels += rng.normal(0, NOISE, pixels.shape)
    inside = np.asarray(((pixels > 0) & (pixels < (camera.width, camera.height))).all(-1))
    inside[:, REFERENCE] = True
    return Window(
        rays=(pixels - (camera.cx, camera.cy)) / CAPTURE.stated.fx,
        seen=inside,
        rows=rows,
        times=times,
        pulls=np.zeros((POINTS, 2, 2, 2)),
        height=camera.height,
        reference=REFERENCE,
        focal_length=CAPTURE.stated.fx,
    )


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    rng = np.random.default_rng(0)
    return [window(start, rng) for start in np.arange(0.3, 4.0, 0.3)]


@pytest.fixture(scope="module")
def rates() -> Rates:
    gyroscope = CAPTURE.gyroscope()
    return Rates((gyroscope.stamps - gyroscope.stamps[0]) * 1e-9 + CAPTURE.offset, gyroscope.angular)


TRUE = np.r_[
    so3.log(CAPTURE.rotation),
    CAPTURE.bias,
    CAPTURE.offset,
    CAPTURE.readout,
    np.log(CAPTURE.camera.fx / CAPTURE.stated.fx),
    0.0,
]


def start() -> np.ndarray:
    parameters = np.zeros(COUNT)
    parameters[bundle.AXES] = TRUE[bundle.AXES] + 0.03
    parameters[bundle.READOUT] = 0.01
    return parameters


def test_derivatives_are_those_of_the_errors(windows, rates):
    one = windows[0]
    rng = np.random.default_rng(1)
    begun = start_of(one, rates, TRUE)
    positions = rng.normal(0, 0.02, (FRAMES, 3))
    positions[REFERENCE] = 0
    scene = Scene(begun.unit_rays, rng.uniform(0.5, 1.5, POINTS), positions)
    linear = linearise(one, scene, rates, TRUE)
    bent = TRUE + 0.05 * np.eye(COUNT)[bundle.RADIAL]
    by_parameters = linearise(one, scene, rates, bent).by_parameters
    for i, step in enumerate(1e-6 * np.eye(COUNT)):
        there, back = (residuals(one, scene, rates, moved(bent, sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(by_parameters[..., i], (there - back) / 2e-6, atol=0.05)
    for i, (k, axis) in enumerate((k, axis) for k in range(FRAMES) if k != REFERENCE for axis in range(3)):
        step = np.zeros((FRAMES, 3))
        step[k, axis] = 1e-6
        shifted = replace(scene, positions=positions + step)
        difference = (residuals(one, shifted, rates, TRUE) - linear.error) / 1e-6
        np.testing.assert_allclose(linear.by_positions[..., i], difference, atol=0.05)


@pytest.mark.parametrize("moving", [0.0, 0.15])
def test_all_are_found_and_their_standard_deviations_hold(windows, rates, moving):
    """A share of the tracks is on things that move by themselves, by some pixels per frame."""
    rng = np.random.default_rng(2)
    strayed = []
    for one in windows:
        stray = rng.random(POINTS) < moving
        velocity = rng.normal(0, 0.004, (POINTS, 1, 2)) * stray[:, None, None]
        strayed.append(replace(one, rays=one.rays + velocity * (np.arange(FRAMES) - REFERENCE)[:, None]))
    found = solve(strayed, rates, start())
    error = found.parameters - TRUE
    error[bundle.AXES] = so3.log(so3.exp(found.parameters[bundle.AXES]) @ CAPTURE.rotation.T)
    assert np.degrees(np.abs(error[bundle.AXES])).max() < 0.2
    assert abs(error[bundle.OFFSET]) < 0.1e-3
    assert abs(error[bundle.READOUT]) < 0.1e-3
    assert abs(error[bundle.LOG_FOCAL]) < 0.002
    assert (np.abs(error) < 4 * found.sigma).all()
    assert found.residual == pytest.approx(NOISE, rel=0.3)


@pytest.mark.parametrize(("groups", "ratio"), [(200, 0.22), (10, 1.0)])
def test_errors_that_successive_windows_share_are_in_the_jackknife_over_groups(groups, ratio):
    """Windows that each measure the parameters with a variance of 1, in runs of twenty that err alike."""
    rng = np.random.default_rng(4)
    variances, errors = [], []
    for _ in range(50):
        measured = np.repeat(rng.normal(size=(10, COUNT)), 20, axis=0)
        nothing = (np.empty(0), np.empty(0))
        windows = [Reduced(np.eye(COUNT), -one, nothing, nothing) for one in measured]
        variances.append(jackknife(windows, groups))
        errors.append(measured.mean(0))
    assert np.sqrt(np.mean(variances) / np.var(errors)) == pytest.approx(ratio, rel=0.3)


def test_of_one_window_nothing_is_sure(windows):
    assert np.isinf(jackknife([Reduced(np.eye(COUNT), np.ones(COUNT), (), ())], 1)).all()


def test_a_lens_that_bends_more_than_camera_info_says_is_no_longer_readout(windows, rates):
    bent = [replace(one, rays=one.rays * (1 + 0.05 * np.square(one.rays).sum(-1, keepdims=True))) for one in windows]
    found = solve(bent, rates, start()).parameters
    assert found[bundle.RADIAL] == pytest.approx(0.05, abs=0.01)
    assert abs(found[bundle.READOUT] - CAPTURE.readout) < 0.1e-3


def test_what_deforms_a_patch_is_taken_from_its_track(windows, rates):
    """A track that follows a point 3 px beside its corner is brought back to the corner."""
    one = windows[1]
    camera, beside = CAPTURE.camera, np.array([3.0, 0.0])
    pixels = one.rays * CAPTURE.stated.fx + (camera.cx, camera.cy)
    scene = start_of(one, rates, TRUE)
    linear = linearise(one, scene, rates, TRUE)
    pulls = np.zeros((POINTS, 2, 2, 2))
    pulls[:, 0, 0], pulls[:, 1, 1] = beside, beside  # M·beside
    taken = one.rays - undeformed(replace(one, pulls=pulls), linear, TRUE).rays
    assert np.abs(taken[:, REFERENCE]).max() < 1e-9
    # The same by seeing the point beside it: 3 px further in the reference, wherever that is elsewhere.
    rays = camera.rays(pixels[:, REFERENCE]), camera.rays(pixels[:, REFERENCE] + beside)
    (rotation,), (position,) = CAPTURE.trajectory.poses(one.times[[REFERENCE]])
    views = [seen(np.column_stack([ray, np.ones(POINTS)]) * 1e3 @ rotation.T + position, one.times)[0] for ray in rays]
    moved_by = (views[1] - views[0]) - (views[1] - views[0])[:, [REFERENCE]]
    error = (taken * CAPTURE.stated.fx - moved_by)[one.seen]
    assert np.sqrt(np.mean(np.square(error))) < 0.2 * np.sqrt(np.mean(np.square(moved_by[one.seen])))


def test_a_corner_is_followed_to_where_it_is():
    rng = np.random.default_rng(3)
    world = rng.integers(0, 255, (40, 50)).astype(np.uint8)
    large = cv2.resize(world, (500, 400), interpolation=cv2.INTER_CUBIC)
    shifts = np.array([[-6.0, 2.5], [-3.0, 1.25], [0.0, 0.0], [3.5, -1.0], [7.0, -2.0]])
    images = [cv2.warpAffine(large, np.array([[1, 0, x], [0, 1, y]]), (500, 400))[50:-50, 50:-50] for x, y in shifts]
    pixels, found, _ = follow(images, 2)
    assert found[:, 2].all()
    assert found.mean() > 0.8
    error = (pixels - pixels[:, [2]] - shifts)[found]
    assert np.abs(np.median(error, 0)).max() < 0.02
    assert np.median(np.abs(error)) < 0.05


def test_no_corner_is_followed_that_the_mask_hides():
    image = np.random.default_rng(3).integers(0, 255, (120, 160)).astype(np.uint8)
    mask = np.full(image.shape, 1, np.uint8)
    mask[:, 100:] = 0
    pixels, _, _ = follow([image] * 3, 1, mask)
    assert len(pixels) > 20
    assert (pixels[:, 1, 0] < 100).all()


def test_a_mask_of_another_size_is_refused(rendered, tmp_path):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((10, 10), 255, np.uint8))
    capture = tmp_path / "capture"
    rendered[0].write(capture)
    with pytest.raises(InputError, match="10×10 px but the images are 240×"):
        calibrate(capture, CalibrationConfig(mask=str(path)))


def test_rates_in_degrees_are_refused(rendered, tmp_path, monkeypatch):
    """They were calibrated, to a focal length of 0 px."""
    capture, measured = rendered[0], RenderedCapture.gyroscope

    def in_degrees(self) -> Gyroscope:
        right = measured(self)
        return replace(right, angular=np.degrees(right.angular))

    monkeypatch.setattr(RenderedCapture, "gyroscope", in_degrees)
    capture.write(tmp_path / "capture")
    with pytest.raises(InputError, match=r"are 5\d times as fast as the images move: are they °/s"):
        calibrate(tmp_path / "capture", CalibrationConfig(stamp_reference=capture.stamp_reference))


def test_why_frames_are_not_used_is_said(tmp_path):
    stamps = bags.frame_stamps(bags.COUNT)
    exposures = [bags.exposure(stamp, 0.01) for stamp in stamps]
    exposures[4].point.x = 15.0  # ms
    images = [bags.image_message(stamp, i) for i, stamp in enumerate(stamps)]
    images[7].data = images[7].data[:20]
    topics = {"/camera/exposure": exposures, "/camera/image_raw/compressed": images}
    path = bags.moving_camera(tmp_path / "bag", ground_truth="imu", **topics)
    with pytest.raises(InputError, match=r"are needed; 2 frames were not used, the first: exposure time is 15\.0 s"):
        calibrate(path, CalibrationConfig())


def test_a_camera_info_of_another_size_is_refused(rendered, tmp_path, monkeypatch):
    capture = rendered[0]
    monkeypatch.setattr(RenderedCapture, "stated", capture.camera.resize(120, 90))
    capture.write(tmp_path / "capture")
    with pytest.raises(InputError, match="px but its camera_info is for 120×90"):
        calibrate(tmp_path / "capture", CalibrationConfig(stamp_reference=capture.stamp_reference))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> tuple[RenderedCapture, Calibration]:
    """Two seconds of a rolling shutter, 2 to 4 px of blur."""
    capture = RenderedCapture(
        2, readout=0.02, exposure=0.006, offset=-0.007, angular=(0.8, 0.9, 0.8), seconds=2.2, width=240
    )
    path = tmp_path_factory.mktemp("capture") / "rendered"
    capture.write(path)
    return capture, calibrate(path, CalibrationConfig(stamp_reference=capture.stamp_reference))


def test_a_rendered_capture_is_calibrated(rendered):
    capture, found = rendered
    assert found.axes == "-y,x,z"
    assert abs(found.offset - capture.offset) < 1e-3
    assert abs(found.readout - capture.readout) < 1e-3
    assert found.focal_length == pytest.approx(capture.camera.fx, rel=0.01)
    assert np.degrees(np.linalg.norm(so3.log(found.rotation @ capture.rotation.T))) < 1


def test_a_rendered_captures_standard_deviations_hold(rendered):
    capture, found = rendered
    assert abs(found.offset - capture.offset) < 3 * found.offset_sigma
    assert abs(found.readout - capture.readout) < 3 * found.readout_sigma
    assert abs(found.focal_length - capture.camera.fx) < 3 * found.focal_sigma
    askew = so3.log(found.rotation @ capture.rotation.T)
    assert (np.abs(askew) < 3 * found.rotation_sigma).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"readout": -0.0001}, ""),  # a global shutter
        ({"readout": -0.0017, "readout_sigma": 0.0002}, "-1.70 ± 0.20 ms, which is negative"),
        ({"readout": 0.0334}, ""),
        ({"readout": 0.036}, "which is longer than from frame to frame, 33.3 ms"),
        ({"radial": 0.98}, "a distortion k1 of +0.98"),
        ({"radial": -0.3}, ""),
        ({"focal_length": 500.0}, "a focal length of 500 px"),
    ],
)
def test_values_that_no_camera_has_are_said_to_be_none(rendered, changes, said):
    found = replace(rendered[1], readout_sigma=1e-4)
    complaint = replace(found, **changes).complaint
    assert said in complaint
    assert bool(complaint) == bool(said)


def test_the_command_says_it_before_the_values(rendered, monkeypatch, capsys):
    nonsense = replace(rendered[1], radial=1.1)
    monkeypatch.setattr("image_as_imu_ros.commands.calibrate.calibrate", lambda *_: nonsense)
    assert calibrate_command(["recording"]) == 0
    assert capsys.readouterr().out.startswith("WARNING: these are no values of a camera: a distortion k1 of +1.10")


def test_stamps_that_jitter_are_no_readout(tmp_path):
    capture = RenderedCapture(
        2, readout=0.02, exposure=0.006, angular=(0.8, 0.9, 0.8), seconds=2.2, width=240, stamp_noise=0.003
    )
    capture.write(tmp_path / "rendered")
    found = calibrate(tmp_path / "rendered", CalibrationConfig(stamp_reference=capture.stamp_reference))
    assert abs(found.readout - capture.readout) < 0.5e-3
    assert found.jitter == pytest.approx(0.003, rel=0.3)
    assert found.offset_sigma > found.jitter


def test_a_phone_in_a_car_comes_out_as_its_makers_say(recorded):
    """Fitted by its authors to static buildings alone: 30.6 ms of readout; focal lengths 574 to 559, sure to 2 %."""
    found = calibrate(recorded("phone_drive"), CalibrationConfig(stamp_reference=StampReference.START))
    assert found.axes == "x,y,z"
    assert found.askew_deg < 2
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.readout == pytest.approx(0.0306, abs=1e-3)
    assert 559 * 0.99 < found.focal_length < 574.4 * 1.01


def test_without_dashboard_and_traffic_its_focal_length_is_the_published_one(recorded, tmp_path):
    """By static buildings alone, as its authors: 573.85 px, sure to 2 %. They show too little to tell the axes by."""
    mask = np.zeros((600, 800), np.uint8)
    mask[:400, 330:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    config = CalibrationConfig(stamp_reference=StampReference.START, mask=str(tmp_path / "mask.png"))
    found = calibrate(recorded("phone_drive"), config)
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.readout == pytest.approx(0.0306, abs=1e-3)
    assert found.focal_length == pytest.approx(573.85, rel=0.02)
