"""What stays still while the camera turns moves with it, and is hidden after some frames; nothing else is."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from test_alignment import ALIGNER

from image_as_imu_ros import EstimatorConfig, Frame, MotionEstimator, Shutter
from image_as_imu_ros.estimation import fixed_parts
from image_as_imu_ros.estimation.constants import FIXED_PARTS
from image_as_imu_ros.estimation.fixed_parts import FixedParts
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

LEVEL = ALIGNER.levels[0]
WIDTH, HEIGHT = LEVEL.camera.width, LEVEL.camera.height
SHAPE = ALIGNER.scene.shape
RATES = [
    np.array(rate) for rate in ((0, 0.03, 0), (0.02, 0.02, 0), (-0.03, 0, 0.02), (0, -0.04, 0.01), (0.03, -0.01, 0))
]
LOWER = np.zeros((HEIGHT, WIDTH), bool)
LOWER[3 * HEIGHT // 4 :] = True


def texture(seed: int, coarseness: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), coarseness), None, 0, 255, cv2.NORM_MINMAX)


def turned(image: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The image before a rotation (3,) rad of the camera."""
    homography = LEVEL.camera.matrix @ so3.exp(rotation) @ np.linalg.inv(LEVEL.camera.matrix)
    return cv2.warpPerspective(image, homography, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def learnt(fixed: np.ndarray, rotations=RATES, scene: float = 2.0) -> FixedParts:
    """After one pair of frames per rotation: of the scene, and where `fixed` of a part that moves with the camera."""
    parts = FixedParts.unknown(*SHAPE)
    random = np.random.default_rng(0)
    for number, rotation in enumerate(rotations):
        image, part = texture(number, scene), texture(99, 4.0)
        images = np.where(fixed, part, image), np.where(fixed, part, turned(image, rotation))
        now, before = (one + random.standard_normal(one.shape).astype(np.float32) for one in images)
        parts = parts.after(LEVEL, now, before, rotation)
    return parts


def cells(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), SHAPE[::-1], interpolation=cv2.INTER_AREA) > 0.5


def test_a_part_that_moves_with_the_camera_is_hidden():
    parts = learnt(LOWER)
    assert (~parts.elsewhere[cells(LOWER)]).mean() > 0.95
    assert parts.elsewhere[: SHAPE[0] // 2].all()


def test_one_pair_of_frames_hides_nothing():
    assert learnt(LOWER, RATES[:1]).elsewhere.all()


@pytest.mark.parametrize("coarseness", [1.5, 6.0, 30.0])
def test_nothing_of_a_scene_is_hidden(coarseness):
    assert learnt(np.zeros_like(LOWER), scene=coarseness).elsewhere.all()


def test_at_rest_nothing_tells():
    at_rest = learnt(LOWER, [np.zeros(3)] * 20)
    np.testing.assert_array_equal(at_rest.log_odds, FixedParts.unknown(*SHAPE).log_odds)


def test_a_wrong_rotation_of_a_camera_at_rest_hides_nothing():
    """Everything is still: it is the rotation that is wrong."""
    assert learnt(np.ones_like(LOWER)).elsewhere.all()


def test_what_moves_again_is_shown_again():
    parts = learnt(LOWER)
    for number, rotation in enumerate(4 * RATES):
        now = texture(number)
        parts = parts.after(LEVEL, now, turned(now, rotation), rotation)
    assert parts.elsewhere.all()


def test_however_long_it_was_seen_nothing_is_surer_than_can_be_put_right():
    assert np.abs(learnt(LOWER, 4 * RATES).log_odds).max() == FIXED_PARTS.limit


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("probability", 1e-3, False),
        ("least_change", 200.0, False),
        ("static", 0.001, False),
        ("static_if_fixed", 0.06, False),
        ("static_if_scene", 0.7, False),
        ("limit", 1e-3, True),
    ],
)
def test_what_the_constants_are_for(name, value, hidden, monkeypatch):
    monkeypatch.setattr(fixed_parts, "FIXED_PARTS", replace(FIXED_PARTS, **{name: value}))
    assert learnt(LOWER, RATES[:2]).elsewhere.all() != hidden


def test_cells_that_neither_stay_nor_move_as_much_as_expected_do_not_vote(monkeypatch):
    """Such as those that are seen through something."""
    monkeypatch.setattr(fixed_parts, "FIXED_PARTS", replace(FIXED_PARTS, moved=10.0))
    np.testing.assert_array_equal(learnt(np.zeros_like(LOWER)).log_odds, FixedParts.unknown(*SHAPE).log_odds)


def test_real_frames_with_a_bonnet_come_out_as_without(desk_rpy_3s):
    """No mask is given; it is found within the first frames."""
    bonnet = np.zeros((480, 640), bool)
    bonnet[340:] = True
    noise = np.random.default_rng(0).standard_normal((480, 640)).astype(np.float32)
    still = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    estimators = [MotionEstimator.from_model(resource(DEFAULT_MODEL), EstimatorConfig()) for _ in range(2)]
    rates, hidden = [], []
    with Recording(desk_rpy_3s) as recording:
        for message in list(recording.frames("/camera/image_raw/compressed", "/camera/camera_info"))[:40]:
            clean = message.decode_image("gray")
            estimates = [
                estimator.update(Frame(image, message.stamp, message.camera(), Shutter(0.0184)))
                for estimator, image in zip(estimators, (clean, np.where(bonnet, still, clean)), strict=True)
            ]
            hidden.append([0.0 if estimate is None else estimate.hidden_share for estimate in estimates])
            rates.append([np.full(3, np.nan) if one is None else one.velocity.angular for one in estimates])
    clean, with_bonnet = np.array(rates)[20:].transpose(1, 0, 2)
    assert np.array(hidden)[:, 0].max() < 0.05
    assert np.array(hidden)[20:, 1].min() > 0.2
    rms = np.sqrt(np.square(clean).sum(1).mean())
    assert np.sqrt(np.square(with_bonnet - clean).sum(1).mean()) < 0.12 * rms
