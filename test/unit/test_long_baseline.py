"""A frame a third of a second back corrects a map's shape, and with it the rotation since the frame before."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_alignment import ALIGNER, CAMERA, NORMAL, image_pair
from test_alignment import DISTANCE as WALL

from image_as_imu_ros.estimation.alignment import History, Tracks
from image_as_imu_ros.estimation.alignment.long_baseline import LongPair, SmoothCorrection, correct, with_network_depth
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import FoundShape, Shape
from image_as_imu_ros.estimation.alignment.tracking import track
from image_as_imu_ros.estimation.constants import LONG_BASELINE, STRUCTURE
from image_as_imu_ros.estimation.scene_depth import polynomials

PINHOLE = ALIGNER.levels[0].camera
SHORT, LONG = 1 / 30, 0.3  # s
CARRIED = np.array([0.5, -0.1, 0.2, 0.2, 0.3, -0.1])
OF_MAP = Shape(STRUCTURE.smooth_std, STRUCTURE.rough_std, STRUCTURE.correlated_tracks)
IMAGE = np.zeros((4, 4), np.float32)


def pixels(random, count=120):
    return random.uniform((20, 20), (PINHOLE.width - 20, PINHOLE.height - 20), (count, 2))


def seen(now, inverse_depth, motion, random, noise=0.1):
    """Tracks (N) of points by a camera that moved by (6,) (v, ω)·Δt."""
    pose = Poses.of(motion[None])
    points = np.column_stack([PINHOLE.rays(now), np.ones(len(now))]) @ pose.rotation[0].T
    points += inverse_depth[:, None] * pose.translation[0]
    before = PINHOLE.project(points[:, :2] / points[:, 2:])
    return Tracks(PINHOLE, now, before + noise * random.standard_normal(now.shape))


def rotations(now, inverse_depth, of_map, random, moving=None, start=None):
    """Errors (3,) rad/s of the rotation between neighbours, without and with a long pair, and their covariances."""
    longer = seen(now, inverse_depth, CARRIED * LONG, random)
    if moving is not None:
        longer.before[moving] += (12.0, 5.0)
    kept = np.ones(len(now), bool)
    corrected = correct(longer, kept, of_map, Poses.of((CARRIED if start is None else start)[None] * LONG), LONG)
    assert corrected is not None
    tracks = seen(now, inverse_depth, CARRIED * SHORT, random)
    start_of_both = Poses.of(CARRIED[None] * SHORT)
    found = []
    for pair in (None, SimpleNamespace(corrected=lambda *_: corrected, stamp=1)):
        fit, _ = with_network_depth(tracks, of_map, start_of_both, np.ones(len(start_of_both)), 10 * SHORT, pair, 0.0)
        found.append((fit.motion[3:] / SHORT - CARRIED[3:], fit.covariance[3:, 3:] / SHORT**2))
    return found


def two_planes(random):
    """Corners (N, 2) with inverse depth (N,), of a near plane beside a far one, and a map that shows one wall."""
    now = pixels(random)
    inverse_depth = np.where(now[:, 0] < PINHOLE.width / 2, 1 / 1.5, 1 / 3)
    return now, inverse_depth, np.full(len(now), 0.5)


def size(errors) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def test_two_planes_that_the_map_shows_as_one_wall_no_longer_pull_at_the_rotation():
    errors = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        errors.append([error for error, _ in rotations(*two_planes(random), random)])
    without, with_long = np.array(errors).transpose(1, 0, 2)
    assert size(with_long) < 0.6 * size(without)


def test_covariances_are_honest_where_maps_are_as_wrong_as_expected():
    squared, errors = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        now = pixels(random)
        inverse_depth = 0.5 * np.exp(0.4 * random.standard_normal(len(now)))
        place = (2 * now + 1) / (PINHOLE.width, PINHOLE.height) - 1
        delta = polynomials(place) @ random.normal(0, OF_MAP.smooth, 5) + random.normal(0, OF_MAP.rough, len(now))
        of_map = inverse_depth / np.maximum(1 + delta, 0.3)
        both = rotations(now, inverse_depth, of_map, random)
        squared.append([error @ np.linalg.solve(covariance, error) for error, covariance in both])
        errors.append([error for error, _ in both])
    without, with_long = np.array(errors).transpose(1, 0, 2)
    assert size(with_long) < 0.8 * size(without)
    assert np.mean(squared, 0)[1] < np.mean(squared, 0)[0] < 3.5, "three unknowns"


def test_corners_that_move_by_themselves_leave_the_rest_as_it_is():
    errors = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        now, inverse_depth, of_map = two_planes(random)
        errors.append(rotations(now, inverse_depth, of_map, random, moving=np.arange(len(now)) < 20)[1][0])
    assert size(errors) < 0.12


def test_a_wrong_motion_from_frame_to_frame_does_not_prove_itself():
    random = np.random.default_rng(0)
    now, inverse_depth, _ = two_planes(random)
    right, wrong = (
        rotations(now, inverse_depth, inverse_depth, np.random.default_rng(1), start=start)[1][0]
        for start in (CARRIED, np.array([0, 0, 0, 0.3, 0.8, -0.1]))
    )
    np.testing.assert_allclose(wrong, right, atol=0.02)


def test_tracks_that_are_few_or_agree_on_nothing_correct_nothing():
    random = np.random.default_rng(0)
    now, inverse_depth, of_map = two_planes(random)
    longer, start = seen(now, inverse_depth, CARRIED * LONG, random), Poses.of(CARRIED[None] * LONG)
    assert correct(longer, np.arange(len(now)) < 20, of_map, start, LONG) is None
    anywhere = Tracks(PINHOLE, now, pixels(random))
    corrected = correct(anywhere, np.ones(len(now), bool), of_map, start, LONG)
    np.testing.assert_allclose(corrected.inverse_depth, of_map, rtol=0.15)
    assert (corrected.shape.rough > OF_MAP.rough).all()


def test_corners_that_were_not_found_are_corrected_by_what_is_smooth_and_stay_unsure():
    random = np.random.default_rng(0)
    now = pixels(random)
    inverse_depth = 0.5 * (1 + 1.5 * now[:, 0] / PINHOLE.width)
    longer, kept = seen(now, inverse_depth, CARRIED * LONG, random), np.arange(len(now)) % 2 == 0
    corrected = correct(longer, kept, np.full(len(now), 0.9), Poses.of(CARRIED[None] * LONG), LONG)
    relative = np.log(corrected.inverse_depth / inverse_depth)
    assert np.std(relative[~kept]) < 0.75 * np.std(np.log(0.9 / inverse_depth))
    assert corrected.shape.rough[~kept].min() > corrected.shape.rough[kept].mean()
    assert corrected.shape.rough.min() >= LONG_BASELINE.left_std


def test_images_a_third_of_a_second_apart_tell_how_a_wall_is_inclined():
    velocity = np.array([0.6, 0.2, 0.3, 0.1, -0.2, 0.1])
    now, before = (ALIGNER.pyramid(image)[0] for image in image_pair(velocity, seconds=LONG))
    tracks = track(PINHOLE, now, now)
    inverse_depth = np.column_stack([PINHOLE.rays(tracks.now), np.ones(len(tracks))]) @ NORMAL / WALL
    flat = np.full(len(tracks), np.median(inverse_depth))
    whole = Poses.of(np.zeros((1, 6)))
    pair = LongPair(1, now.astype(np.uint8), before.astype(np.uint8), whole, LONG)
    corrected = pair.corrected(tracks, flat, Poses.of(velocity[None] * LONG))
    assert corrected is not None
    errors = [np.std(np.log(one / inverse_depth)) for one in (flat, corrected.inverse_depth)]
    assert errors[1] < errors[0] / 3


def test_the_smooth_part_serves_the_next_frame_too():
    """Other corners of the same scene, with the same map; what was each corner's own is forgotten."""
    errors = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        now, later = pixels(random), pixels(random)
        slanted = [0.5 * (1 + 1.5 * one[:, 0] / PINHOLE.width) for one in (now, later)]
        kept, start = np.ones(len(now), bool), Poses.of(CARRIED[None] * LONG)
        longer = seen(now, slanted[0], CARRIED * LONG, random)
        found = correct(longer, kept, np.full(len(now), 0.9), start, LONG).found
        smooth = SmoothCorrection(1, found.without_tracks())
        tracks, of_map = seen(later, slanted[1], CARRIED * SHORT, random), np.full(len(later), 0.9)
        of_both = []
        start_of_both = Poses.of(CARRIED[None] * SHORT)
        for far in (None, smooth):
            fit, used = with_network_depth(tracks, of_map, start_of_both, np.ones(1), 10 * SHORT, far, 0.0)
            of_both.append(fit.motion[3:] / SHORT - CARRIED[3:])
        errors.append(of_both)
        assert used.stamp == 1
        assert (smooth.corrected(tracks, of_map, start).shape.rough > LONG_BASELINE.left_std).all()
    without, with_smooth = np.array(errors).transpose(1, 0, 2)
    assert size(with_smooth) < 0.8 * size(without)


class TestHistory:
    MOTION = CARRIED * SHORT

    def of(self, frames, sharp=lambda number: True, motion=lambda number: TestHistory.MOTION) -> History:
        history = History()
        for number in range(frames):
            stamp = 10**9 + round(number * SHORT * 1e9)
            history = history.after(PINHOLE, stamp, IMAGE + number, sharp(number), motion(number))
        return history

    def far(self, history, frames, camera=PINHOLE, late=0.0, dt=SHORT) -> LongPair | None:
        return history.far(camera, 10**9 + round((frames * SHORT + late) * 1e9), IMAGE, dt)

    def test_a_frame_is_paired_with_the_earliest_of_the_last_third_of_a_second(self):
        pair = self.far(self.of(30), 30)
        assert pair is not None
        assert pair.seconds == pytest.approx(10 * SHORT)
        assert (pair.before == 20).all()

    def test_the_motions_in_between_are_chained(self):
        pair = self.far(self.of(30), 30)
        expected = Poses.of(self.MOTION[None])
        for _ in range(8):
            expected = expected.after(Poses.of(self.MOTION[None]))
        np.testing.assert_allclose(pair.pose.rotation, expected.rotation, atol=1e-9)
        np.testing.assert_allclose(pair.pose.translation, expected.translation, atol=1e-9)
        point = np.array([0.2, -0.1, 2.0])
        for _ in range(9):
            one = Poses.of(self.MOTION[None])
            point = one.rotation[0] @ point + one.translation[0]
        np.testing.assert_allclose(
            pair.pose.rotation[0] @ [0.2, -0.1, 2.0] + pair.pose.translation[0], point, atol=1e-9
        )

    def test_of_a_fast_camera_a_correction_serves_several_frames(self):
        """At 90 Hz, three; a cut forgets it."""
        found = FoundShape(np.empty(0), np.zeros(5), np.eye(5), np.empty(0))
        history, renewed = History(), []
        for number in range(40):
            stamp = 10**9 + round(number / 90 * 1e9)
            far = history.far(PINHOLE, stamp, IMAGE, 1 / 90)
            renewed += [number] * isinstance(far, LongPair)
            correction = SmoothCorrection(stamp, found) if isinstance(far, LongPair) else far
            motion = None if number == 30 else self.MOTION
            history = history.after(PINHOLE, stamp, IMAGE, True, motion, correction)
        assert renewed[:4] == [2, 5, 8, 11]
        assert renewed[-3:] == [32, 35, 38]

    def test_the_frame_before_is_no_long_pair(self):
        assert self.far(self.of(1), 1) is None
        assert self.far(self.of(2), 2) is not None

    def test_at_low_rates_there_is_none(self):
        history = self.of(30).after(PINHOLE, 10**9 + round((29 * SHORT + 0.2) * 1e9), IMAGE, True, self.MOTION)
        assert self.far(history, 29, late=0.4, dt=0.2) is None

    def test_a_cut_starts_anew(self):
        history = self.of(30, motion=lambda number: None if number == 27 else self.MOTION)
        assert self.far(history, 30).seconds == pytest.approx(3 * SHORT)

    def test_other_intrinsics_start_anew(self):
        history = self.of(30)
        assert self.far(history, 30, camera=CAMERA.resize(160, 112)) is None
        other = CAMERA.resize(160, 112)
        history = history.after(other, 2 * 10**9, IMAGE, True, self.MOTION)
        assert len(history.frames) == 1

    def test_frames_that_are_late_or_early_are_paired_with_none(self):
        assert self.far(self.of(30), 30, late=0.5) is None
        assert self.far(self.of(30), 30, late=-2.0) is None

    def test_smeared_frames_are_passed_over(self):
        pair = self.far(self.of(30, sharp=lambda number: number != 20), 30)
        assert pair.seconds == pytest.approx(9 * SHORT)

    def test_it_forgets(self):
        assert len(self.of(300).frames) <= 12
