"""Ground truth at the frames: the same motion comes out of every kind of topic, and nothing out of pauses."""

from types import SimpleNamespace

import numpy as np
import pytest
import replay_bags as bags
from scipy.integrate import quad_vec
from scipy.spatial.transform import Rotation

from image_as_imu_ros.datasets.ground_truth import GroundTruth, velocities_of_poses
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording

START = bags.FIRST_STAMP
TIMES = [START + i * 5_000_000 for i in range(200)]
AT = np.array([START + 300_000_000, START + 511_000_000, START + 812_345_678])
ANGULAR = np.array([1.0, -2.0, 0.5])
LINEAR = np.array([0.3, 0.1, -0.2])


def read(tmp_path, messages) -> GroundTruth:
    with Recording(bags.write_recording(tmp_path / "bag", {"/truth": messages})) as recording:
        return read_ground_truth(recording, recording.ground_truth_topic())


@pytest.mark.parametrize("make", [bags.twist, bags.twist_with_covariance, bags.odometry])
def test_twists_and_odometries_give_both_velocities(tmp_path, make):
    ground_truth = read(tmp_path, [make(time, bags.motion(time)) for time in TIMES])
    linear, angular = ground_truth.at(AT, 1e-3)
    expected = np.array([bags.motion(time) for time in AT])
    assert linear == pytest.approx(expected[:, :3], abs=1e-4)
    assert angular == pytest.approx(expected[:, 3:], abs=1e-4)
    assert ground_truth.frame_id == bags.FRAME_ID


def test_a_gyroscope_knows_no_linear_velocity(tmp_path):
    linear, angular = read(tmp_path, [bags.imu(time, ANGULAR) for time in TIMES]).at(AT, 0.01)
    assert np.isnan(linear).all()
    assert angular == pytest.approx(np.tile(ANGULAR, (3, 1)))


@pytest.mark.parametrize("interval_ms", [2, 10, 33])
def test_poses_of_a_steady_screw_motion(tmp_path, interval_ms):
    """Constant ω and v in the camera's frame: R(t) = R₀·exp([ω]t), ṗ = R·v."""
    first = Rotation.from_rotvec([0.4, 0.9, -1.1])

    def orientation(seconds):
        return first * Rotation.from_rotvec(ANGULAR * seconds)

    def position(seconds):
        return quad_vec(lambda t: orientation(t).apply(LINEAR), 0, seconds)[0]

    messages = [
        bags.pose(START + t * 1_000_000, position(t * 1e-3), orientation(t * 1e-3).as_quat())
        for t in range(0, 1000, interval_ms)
    ]
    linear, angular = read(tmp_path, messages).at(AT, 0.005)
    assert angular == pytest.approx(np.tile(ANGULAR, (3, 1)), abs=1e-5)
    assert linear == pytest.approx(np.tile(LINEAR, (3, 1)), abs=2e-3)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(np.arange(0, 2, 0.01), id="100 Hz"),
        pytest.param(np.arange(0, 2, 0.01) + np.random.default_rng(0).normal(0, 1e-6, 200), id="stamps off by 1 µs"),
        pytest.param(np.delete(np.arange(0, 2, 1 / 30), np.s_[5::10]), id="30 Hz, every 10th missing"),
        pytest.param(np.delete(np.arange(0, 2, 0.005), np.s_[60:75]), id="a gap"),
    ],
)
def test_poses_of_a_swinging_camera_are_differenced_about_themselves(times):
    """ω = 3·sin(8t) about y, v = 2·cos(6t) along the fixed x: neighbours at unequal distances shift neither in time."""
    rotations = Rotation.from_rotvec(np.outer(3 / 8 * (1 - np.cos(8 * times)), [0, 1, 0]))
    positions = np.outer(2 / 6 * np.sin(6 * times), [1, 0, 0])
    stamps = np.round(1e9 * (1 + times)).astype(np.int64)
    found = velocities_of_poses(stamps, rotations.as_matrix(), positions)
    at = (found.stamps - 10**9) * 1e-9
    assert len(at) > 0.9 * len(times) - 2
    # What is left is of the third order, ω̈·h₁·h₂/6: at most 25 ms twice, 67 and 33 ms, or 80 and 25 ms.
    bound = 1.2 * 3 * 8**2 * {54: 0.067 * 0.033, 385: 0.080 * 0.025}.get(len(times), 0.025**2) / 6
    assert np.abs(found.angular[:, 1] - 3 * np.sin(8 * at)).max() < bound
    fixed = rotations[np.isin(stamps, found.stamps)].apply(found.linear)
    assert np.abs(fixed[:, 0] - 2 * np.cos(6 * at)).max() < bound


def test_the_velocity_is_averaged_over_the_exposure():
    """A ramp averages to its middle, a step to the share of the window behind it."""
    stamps = START + np.arange(0, 1_000_000_001, 1_000_000)
    seconds = (stamps - START) * 1e-9
    angular = np.stack([seconds, seconds >= 0.5, np.sin(200 * np.pi * seconds)], axis=1)
    ground_truth = GroundTruth(stamps, np.zeros_like(angular), angular, "")
    _, mean = ground_truth.at(np.array([START + 505_000_000]), 0.04)
    assert mean[0] == pytest.approx([0.505, 0.625, 0.0], abs=0.02)


def test_an_imu_that_measures_no_rotation_is_none(tmp_path):
    """REP 145: −1 in the first element of the covariance."""
    messages = [bags.imu(stamp, ANGULAR) for stamp in TIMES]
    for message in messages[::2]:
        message.angular_velocity_covariance[0] = -1.0
        message.angular_velocity.x = 0.0
    assert len(read(tmp_path, messages).stamps) == len(TIMES) / 2
    for message in messages:
        message.angular_velocity_covariance[0] = -1.0
    with pytest.raises(InputError, match="0 usable samples"):
        read(tmp_path / "none", messages)


def test_a_recording_in_which_time_starts_again_is_refused():
    """But one whose parts do not overlap is in order, but for the order."""
    first = [bags.twist(stamp, np.r_[LINEAR, ANGULAR]) for stamp in range(START, START + 3 * 10**9, 10**7)]
    again = [bags.twist(stamp, np.r_[LINEAR, -ANGULAR]) for stamp in range(START + 10**6, START + 3 * 10**9, 10**7)]
    with pytest.raises(InputError, match=r"jump back by 3\.0 s: time starts again"):
        ground_truth_of(first + again)
    earlier = [bags.twist(stamp - 10**10, np.r_[LINEAR, ANGULAR]) for stamp in range(START, START + 3 * 10**9, 10**7)]
    assert len(ground_truth_of(first + earlier).stamps) == 600


def ground_truth_of(messages: list) -> GroundTruth:
    """Read messages that are recorded in this order, whatever their stamps."""
    recording = SimpleNamespace(
        topics={"/truth": "geometry_msgs/msg/TwistStamped"}, messages=lambda topic: ((topic, one) for one in messages)
    )
    return read_ground_truth(recording, "/truth")


def test_pauses_and_surroundings_are_not_invented():
    stamps = START + np.array([0, 50, 100, 250, 300]) * 1_000_000
    ground_truth = GroundTruth(stamps, np.zeros((5, 3)), np.ones((5, 3)), "")

    def known(milliseconds):
        return np.isfinite(ground_truth.at(np.array([START + milliseconds * 1_000_000]), 0.01)[1]).all()

    assert known(75)
    assert known(280)
    assert not known(170)
    assert not known(97), "the window reaches into the pause"
    assert known(-15)
    assert known(315)
    assert not known(-25)
    assert not known(325)


def test_repeated_and_unordered_stamps_and_broken_samples_do_no_harm(tmp_path):
    messages = [bags.imu(time, ANGULAR) for time in (*TIMES[::-1], *TIMES)]
    messages.append(bags.imu(TIMES[60] + 1, np.array([np.nan, 0, 0])))
    messages.append(bags.imu(TIMES[60] + 2, np.array([-1e300, 0, 0])))  # memory that nobody filled in
    _, angular = read(tmp_path, messages).at(AT, 0.01)
    assert angular == pytest.approx(np.tile(ANGULAR, (3, 1)))


def test_one_sample_is_no_ground_truth(tmp_path):
    with pytest.raises(InputError, match="1 usable samples"):
        read(tmp_path, [bags.imu(START, ANGULAR)])
