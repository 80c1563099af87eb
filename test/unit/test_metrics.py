"""The figures of metrics.json, from runs whose errors are known by construction."""

import json

import numpy as np
import pytest

from image_as_imu_ros.evaluation.metrics import ellipsoid_levels, metrics, rotation_drift_deg
from image_as_imu_ros.evaluation.report.plots import (
    plot_error_against_blur,
    plot_reliability,
    plot_signs,
    plot_time_series,
)
from image_as_imu_ros.evaluation.samples import Samples, sign_agrees, with_true_sign


def samples(true_angular, angular=None, true_linear=None, linear=None, **changes) -> Samples:
    true_angular = np.asarray(true_angular, float).reshape(-1, 3)
    count = len(true_angular)
    true_linear = np.full((count, 3), np.nan) if true_linear is None else np.asarray(true_linear, float)
    values = {
        "stamps": np.arange(count) * 33_000_000 + 1,
        "linear": true_linear if linear is None else np.asarray(linear, float),
        "angular": true_angular if angular is None else np.asarray(angular, float).reshape(-1, 3),
        "covariance": np.tile(np.eye(6), (count, 1, 1)),
        "true_linear": true_linear,
        "true_angular": true_angular,
        "mean_flow": np.full(count, 10.0),
        "resolved": np.ones(count, bool),
        "held_back": np.zeros(count, bool),
        "seconds": np.full(count, 0.02),
    }
    return Samples(**values | changes)


def test_a_perfect_run():
    run = samples([[0, 0, 1], [2, 0, 0]], true_linear=[[1, 0, 0], [0, 1, 0]])
    found = metrics(run, 0.01)
    assert found == {
        "frames": 2,
        "held_back": 0,
        "exposure_s": 0.01,
        "all": (
            group := {
                "frames": 2,
                "frames_angular": 2,
                "frames_linear": 2,
                "rmse_angular": [0, 0, 0],
                "rmse_linear": [0, 0, 0],
                "bias_angular": [0, 0, 0],
                "bias_linear": [0, 0, 0],
                "error_angular": {"median": 0, "max": 0},
                "error_linear": {"median": 0, "max": 0},
                "axis_error_deg": {"median": 0, "p90": 0},
                "magnitude_ratio": {"median": 1, "p10": 1, "p90": 1},
                "linear_direction_error_deg": {"median": 0, "p90": 0},
                "linear_magnitude_ratio": {"median": 1, "p10": 1, "p90": 1},
                "direction_correct": 1.0,
            }
        ),
        "blurred": group,
        "covariance": (
            honesty := {
                **{"nees_angular": 0, "nees_linear": 0, "nees_median_angular": 0, "nees_median_linear": 0},
                **{"coverage95_angular": 1.0, "coverage95_linear": 1.0},
            }
        ),
        "mean_over_dt": {
            "rmse_angular": [0, 0, 0],
            "rmse_linear": [0, 0, 0],
            **honesty,
        },
        "constant_error": None,
        "rotation_drift_deg_10s": None,
        "time_ms": {"p50": 20.0, "p95": 20.0},
    }


def test_a_mean_over_dt_is_held_against_the_mean_of_the_ground_truth():
    at_stamp = samples([[0, 0, 1], [0, 0, 3]], angular=[[0, 0, 1.5], [0, 0, 2.5]])
    over_dt = samples([[0, 0, 1.5], [0, 0, 2.5]], covariance=np.tile(0.01 * np.eye(6), (2, 1, 1)))
    found = metrics(at_stamp, 0.01, over_dt=over_dt)
    assert found["all"]["rmse_angular"] == pytest.approx([0, 0, 0.5])
    assert found["covariance"]["nees_angular"] == pytest.approx(0.25)
    assert found["mean_over_dt"]["rmse_angular"] == pytest.approx([0, 0, 0])
    assert found["mean_over_dt"]["nees_angular"] == pytest.approx(0)


def test_known_errors():
    run = samples([[0, 0, 1], [0, 0, 1]], angular=[[0, 0, 2], [0, 1, 0]])
    found = metrics(run, None)["all"]
    assert found["rmse_angular"] == pytest.approx([0, np.sqrt(0.5), 1])
    assert found["error_angular"] == pytest.approx({"median": (1 + np.sqrt(2)) / 2, "max": np.sqrt(2)})
    assert found["axis_error_deg"]["median"] == pytest.approx(45)
    assert found["magnitude_ratio"]["median"] == pytest.approx(1.5)


def test_a_reversed_estimate_has_the_right_axis_and_the_wrong_sign():
    run = samples([[0, 0, 1]], angular=[[0, 0, -1]])
    found = metrics(run, 0.01)["all"]
    assert found["axis_error_deg"]["median"] == pytest.approx(0)
    assert found["direction_correct"] == 0.0
    assert found["rmse_angular"] == [0, 0, 2]


def test_the_oracle_chooses_the_sign_but_does_not_answer_for_it():
    run = samples([[0, 0, 1]], angular=[[0, 0, -1]], true_linear=[[1, 0, 0]], linear=[[-1, 0, 0]])
    found = metrics(run, 0.01, oracle=True)["all"]
    assert found["rmse_angular"] == found["rmse_linear"] == [0, 0, 0]
    assert found["direction_correct"] == 0.0


def test_only_a_known_sign_can_be_wrong():
    run = samples([[0, 0, 1], [0, 0, 1]], angular=[[0, 0, -1], [0, 0, 1]], resolved=np.array([False, True]))
    assert metrics(run, 0.01)["all"]["direction_correct"] == 1.0


def test_frames_that_errors_are_of_are_counted():
    """An open sign leaves a frame out, unless there is too little blur for it to matter; so does unknown v."""
    run = samples(
        [[0, 0, 1]] * 5,
        true_linear=[[np.nan] * 3, *[[0, 0, 0]] * 4],
        resolved=np.array([True, True, False, False, True]),
        mean_flow=np.array([9, 9, 9, 0.1, 9]),
        held_back=np.arange(5) == 4,
    )
    found = metrics(run, 0.01)["all"]
    assert (found["frames"], found["frames_angular"], found["frames_linear"]) == (4, 3, 2)


def test_what_is_held_back_is_counted_and_not_judged():
    of = samples(np.ones((4, 3)), [[1, 1, 1], [1, 1, 1], [6, 6, 6], [1, 1, 1]], held_back=np.arange(4) == 2)
    figures = metrics(of, 0.01)
    assert (figures["frames"], figures["held_back"]) == (4, 1)
    assert figures["all"]["frames"] == figures["blurred"]["frames"] == 3
    assert figures["all"]["rmse_angular"] == figures["mean_over_dt"]["rmse_angular"] == [0, 0, 0]
    assert figures["all"]["magnitude_ratio"]["p90"] == pytest.approx(1)
    assert figures["covariance"]["coverage95_angular"] == 1.0


def test_a_camera_at_rest_has_no_axis_no_ratio_and_no_sign():
    found = metrics(samples([[0, 0, 0.01]], angular=[[0.1, 0, 0]]), 0.01)["all"]
    assert found["axis_error_deg"] == {"median": None, "p90": None}
    assert found["magnitude_ratio"]["median"] is None
    assert found["direction_correct"] is None
    assert found["rmse_angular"] == pytest.approx([0.1, 0, 0.01])


def test_without_ground_truth_all_figures_are_null_and_the_json_is_valid():
    unknown = np.full((3, 3), np.nan)
    text = json.dumps(metrics(samples(unknown, angular=np.ones((3, 3)), linear=unknown), None), allow_nan=False)
    found = json.loads(text)
    assert found["frames"] == 3
    assert found["all"]["frames"] == 0
    assert found["all"]["rmse_angular"] is None
    assert set(found["covariance"].values()) == {None}
    assert found["all"]["bias_linear"] is None
    assert found["rotation_drift_deg_10s"] is None
    assert found["time_ms"]["p50"] == pytest.approx(20)


def test_frames_without_ground_truth_count_only_as_frames():
    run = samples([[0, 0, 1], [np.nan] * 3], angular=[[0, 0, 1], [9, 9, 9]])
    found = metrics(run, 0.01)
    assert (found["frames"], found["all"]["frames"]) == (2, 1)
    assert found["all"]["rmse_angular"] == [0, 0, 0]


def test_blurred_are_the_frames_with_4_px_or_more():
    run = samples([[0, 0, 1]] * 3, angular=[[0, 0, 3], [0, 0, 1], [0, 0, 1]], mean_flow=np.array([3.9, 4.0, 9.0]))
    found = metrics(run, 0.01)
    assert found["blurred"]["frames"] == 2
    assert found["blurred"]["rmse_angular"] == [0, 0, 0]
    assert found["all"]["rmse_angular"][2] > 0


def test_errors_drawn_from_the_covariance_are_found_honest():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(6, 6))
    covariance = factor @ factor.T
    errors = rng.normal(size=(20_000, 6)) @ factor.T
    ground_truth = np.zeros((20_000, 3))
    run = samples(
        ground_truth,
        errors[:, 3:],
        ground_truth,
        errors[:, :3],
        covariance=np.tile(covariance, (20_000, 1, 1)),
    )
    found = metrics(run, 0.01)["covariance"]
    assert found["nees_angular"] == pytest.approx(3, rel=0.03)
    assert found["nees_linear"] == pytest.approx(3, rel=0.03)
    assert found["nees_median_angular"] == pytest.approx(2.366, rel=0.03)
    assert found["nees_median_linear"] == pytest.approx(2.366, rel=0.03)
    assert found["coverage95_angular"] == pytest.approx(0.95, abs=0.005)
    for levels in ellipsoid_levels(run):
        np.testing.assert_allclose(np.quantile(levels, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.015)


def test_jumps_of_the_ground_truth_hardly_move_the_median():
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(1000, 3))
    errors[::20] += 30
    found = metrics(samples(np.zeros((1000, 3)), errors), 0.01)["covariance"]
    assert found["nees_angular"] > 100
    assert found["nees_median_angular"] == pytest.approx(2.5, abs=0.3)


BIAS = np.array([0.02, -0.01, 0.08])  # rad/s, of a phone's gyroscope


def held_against(bias: np.ndarray, wander: float = 0.0, sigma: float = 0.02) -> dict:
    """Figures of honest estimates beside a biased gyroscope; of some whose errors wander slowly, too."""
    rng = np.random.default_rng(3)
    true = rng.normal(size=(400, 3))
    slow = wander * np.sin(np.arange(400) / 60)[:, None] * np.ones(3)
    estimates = true + slow + rng.normal(0, sigma, (400, 3))
    return metrics(samples(true + bias, estimates, covariance=np.tile(sigma**2 * np.eye(6), (400, 1, 1))), 0.01)


def test_a_gyroscopes_bias_is_found_and_said_with_what_the_errors_are_without_it():
    found = held_against(BIAS)
    assert found["covariance"]["nees_angular"] > 15
    constant = found["constant_error"]
    np.testing.assert_allclose(constant["angular"], -BIAS, atol=0.004)
    assert (np.abs(constant["angular"] + BIAS) < 3 * np.array(constant["sigma_angular"])).all()
    assert constant["nees_angular_without"] == pytest.approx(3, abs=0.3)
    assert "a constant part of (-0.0" in constant["complaint"]
    assert "a gyroscope's bias, or the estimates'" in constant["complaint"]


@pytest.mark.parametrize("errors", [{"bias": 0 * BIAS}, {"bias": 0.1 * BIAS}, {"bias": 0 * BIAS, "wander": 0.1}])
def test_errors_without_a_constant_part_are_left_alone(errors):
    assert held_against(**errors)["constant_error"]["complaint"] == ""


def test_an_ellipsoid_reaches_as_far_as_chi_squared_says():
    """Quantiles of χ² with 3 degrees of freedom, from tables."""
    quantiles = {0.05: 0.3518, 0.5: 2.3660, 0.95: 7.8147, 0.99: 11.3449}
    run = samples(np.zeros((4, 3)), angular=[[np.sqrt(value), 0, 0] for value in quantiles.values()])
    angular, linear = ellipsoid_levels(run)
    assert angular == pytest.approx(list(quantiles), abs=1e-4)
    assert np.isnan(linear).all()
    wider, _ = ellipsoid_levels(run, ground_truth_std=1.0)
    assert (wider < angular).all()


def test_where_only_the_linear_velocity_is_known_it_gives_the_sign():
    unknown = np.full((2, 3), np.nan)
    run = samples(unknown, [[1, 0, 0]] * 2, [[1, 0, 0]] * 2, [[1, 0, 0], [-1, 0, 0]])
    assert sign_agrees(run).tolist() == [1.0, 0.0]
    assert with_true_sign(run).linear.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_v_is_judged_where_the_camera_truly_travels():
    """0.1 m/s is too little; a sign that is open is not published."""
    run = samples(
        [[0, 0, 1]] * 4,
        true_linear=[[0.3, 0, 0], [0, 0.4, 0], [0.1, 0, 0], [0, 0, 0.5]],
        linear=[[0, 0.6, 0], [0, 0.2, 0], [0, 0, 9], [0, 0, -0.5]],
        resolved=np.array([True, True, True, False]),
    )
    found = metrics(run, 0.01)["all"]
    assert found["linear_direction_error_deg"]["median"] == pytest.approx(45)
    assert found["linear_magnitude_ratio"]["median"] == pytest.approx(1.25)
    assert found["bias_linear"] == pytest.approx([-0.4 / 3, 0.4 / 3, 3])
    assert found["bias_angular"] == [0, 0, 0]


def test_drift_is_the_angle_that_a_bias_makes_in_ten_seconds():
    """About an axis that moves with the camera: 0.01 rad/s for 10 s, whatever the camera does."""
    seconds = np.arange(0, 15, 0.05)
    true = np.stack([np.sin(seconds), 0.5 * np.cos(2 * seconds), 0 * seconds], axis=1)
    run = samples(true, true + np.array([0, 0, 0.01]), stamps=np.round(seconds * 1e9).astype(np.int64))
    assert rotation_drift_deg(samples(true, true, stamps=run.stamps)) == pytest.approx(0, abs=1e-6)
    assert 0.3 * np.degrees(0.1) < rotation_drift_deg(run) <= np.degrees(0.1) + 1e-6
    at_rest = samples(0 * true, 0 * true + np.array([0, 0, 0.01]), stamps=run.stamps)
    assert rotation_drift_deg(at_rest) == pytest.approx(np.degrees(0.1))


def test_rotation_is_not_integrated_over_a_pause():
    stamps = (np.r_[np.arange(0, 6, 0.1), np.arange(7, 13, 0.1)] * 1e9).astype(np.int64)
    assert rotation_drift_deg(samples(np.zeros((len(stamps), 3)), stamps=stamps)) is None


def test_no_samples_are_figures_without_values():
    found = metrics(samples(np.empty((0, 3)), true_linear=np.empty((0, 3))), None)
    assert found["frames"] == 0
    assert found["all"]["rmse_angular"] is None
    assert found["time_ms"]["p50"] is None


def test_plots_are_drawn_whatever_is_missing(tmp_path):
    rotating = samples([[0, 0, 1], [np.nan] * 3, [0, 1, 0]], resolved=np.array([True, False, True]))
    moving = samples([[0, 0, 1]], true_linear=[[1, 0, 0]])
    for name, run in {"rotating": rotating, "moving": moving}.items():
        plot_time_series(run, tmp_path / f"{name}.png", name)
        plot_error_against_blur(run, tmp_path / f"{name}_error.png", name)
        plot_reliability({"single": run, "aligned": run.select([])}, tmp_path / f"{name}_reliability.png", name)
        plot_signs(run, tmp_path / f"{name}_signs.png", name)
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        for plot in ("error", "reliability", "signs"):
            assert (tmp_path / f"{name}_{plot}.png").stat().st_size > 5_000
