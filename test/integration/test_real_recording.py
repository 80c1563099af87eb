"""The method on real frames: 91 of a camera rotated by hand over a desk, against motion capture.

The figures in the tables were measured with the shipped model (0.8.0), exposure 18.4 ms given. Bounds of errors are a
fifth above them: other processors, JPEG decoders and releases of ONNX Runtime change a figure by less than 1 %, and a
mistake in the method that matters by more than a fifth. The ground truth itself is good to some 0.05 rad/s, so that the
bounds say nothing about errors far below it.

Mean normalised error squared is 3 for a 3-vector if covariances are honest; the frames of three seconds share part of
their errors (exposure, stamps, ground truth), so 1 to 4 is asked for. Below 1, σ would be twice as large as it must be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.recordings.recording import Recording

EXPOSURE = "0.0184"  # s, fitted to the whole of desk_rpy_a; the camera did not say it
MARGIN = 1.2  # of errors, see above
SINGLE_ORACLE = ("--measurement", "single", "--sign-resolution", "oracle")
AUTO = ()
AUTO_10_HZ = ("--every", "3")


@pytest.fixture(scope="module")
def evaluated(desk_rpy_3s, tmp_path_factory) -> Callable[..., tuple[dict, int]]:
    """Evaluate the recording with some options: metrics.json, and how many messages the node would have published."""

    @cache
    def evaluate(*options: str) -> tuple[dict, int]:
        folder = tmp_path_factory.mktemp("evaluated")
        arguments = [str(desk_rpy_3s), "--exposure", EXPOSURE, "--output", str(folder)]
        arguments += ["--write-bag", str(folder / "bag"), *options]
        assert command_line.run("evaluate", arguments) == 0
        with Recording(folder / "bag") as bag:
            return json.loads((folder / "metrics.json").read_text()), bag.count("/imu/data_raw")

    return evaluate


def test_the_recording_is_the_documented_cut(desk_rpy_3s):
    with Recording(desk_rpy_3s) as recording:
        assert recording.count("/camera/image_raw/compressed") == recording.count("/camera/camera_info") == 91
        assert recording.count("/ground_truth/twist") > 300
    assert sum(path.stat().st_size for path in desk_rpy_3s.iterdir()) < 5_000_000
    assert "CC BY 4.0" in (Path(desk_rpy_3s).parent / "ATTRIBUTION.md").read_text()


@pytest.mark.parametrize(
    ("options", "frames", "rmse", "axis_median", "axis_p90"),
    [
        # What is expected of v is as for carriers of all kinds; for a hand alone it was 0.058, 0.082, 0.077.
        pytest.param(SINGLE_ORACLE, 91, (0.060, 0.098, 0.078), 3.7, 12.9, id="single, oracle"),
        pytest.param(AUTO, 91, (0.054, 0.066, 0.040), 3.0, 7.4, id="auto"),
        # Over 0.1 s the rate changes: a mean is not the rate at its stamp.
        pytest.param(AUTO_10_HZ, 31, (0.092, 0.102, 0.050), 4.2, 12.9, id="auto, every 3rd"),
    ],
)
def test_angular_velocity_is_as_exact_as_it_was(evaluated, options, frames, rmse, axis_median, axis_p90):
    figures, _ = evaluated(*options)
    assert figures["frames"] == figures["all"]["frames"] == frames
    assert (np.array(figures["all"]["rmse_angular"]) < MARGIN * np.array(rmse)).all()
    assert figures["all"]["axis_error_deg"]["median"] < MARGIN * axis_median
    assert figures["all"]["axis_error_deg"]["p90"] < MARGIN * axis_p90
    assert figures["all"]["magnitude_ratio"]["median"] == pytest.approx(1.0, abs=0.03)  # 0.995 to 1.001


def test_the_mean_over_a_tenth_of_a_second_is_more_exact_than_the_rate_at_its_stamp(evaluated):
    rmse = evaluated(*AUTO_10_HZ)[0]["mean_over_dt"]["rmse_angular"]
    assert (np.array(rmse) < MARGIN * np.array([0.027, 0.038, 0.036])).all()


@pytest.mark.parametrize(
    ("options", "rmse"),
    [
        # What the images say without a prior, of a hand that moves by less than their errors.
        pytest.param(SINGLE_ORACLE, (0.300, 0.172, 0.174), id="single, oracle"),
        pytest.param(AUTO, (0.087, 0.052, 0.047), id="auto"),
        pytest.param(AUTO_10_HZ, (0.069, 0.038, 0.040), id="auto, every 3rd"),
    ],
)
def test_linear_velocity_is_as_exact_as_it_was(evaluated, options, rmse):
    figures, _ = evaluated(*options)
    assert (np.array(figures["all"]["rmse_linear"]) < MARGIN * np.array(rmse)).all()


@pytest.mark.parametrize(
    ("options", "published"),
    # The first frame has no previous one to settle its sign; all others are published, and none with a wrong sign.
    [pytest.param(AUTO, 90, id="auto"), pytest.param(AUTO_10_HZ, 30, id="auto, every 3rd")],
)
def test_all_frames_but_the_first_are_published_with_the_right_sign(evaluated, options, published):
    figures, messages = evaluated(*options)
    assert messages == published
    assert figures["all"]["direction_correct"] == 1.0


@pytest.mark.parametrize(
    ("options", "covered", "of_mean"),
    # Measured: 1.32 and 98.9 %; 3.35 and 90.1 %; 1.63 and 96.8 % (the whole recording has 3.19 and 2.70 at 30 and
    # 10 Hz); against the mean over dt 1.31, 3.84 and 5.42 (the whole one: 3.71 and 4.16). The ground truth's own error
    # is in these.
    [
        pytest.param(SINGLE_ORACLE, 0.9, 4, id="single, oracle"),
        pytest.param(AUTO, 0.85, 4.5, id="auto"),
        pytest.param(AUTO_10_HZ, 0.9, 6.5, id="auto, every 3rd"),
    ],
)
def test_covariances_of_angular_velocity_are_honest(evaluated, options, covered, of_mean):
    covariance = evaluated(*options)[0]["covariance"]
    assert 1 < covariance["nees_angular"] < 4
    assert covariance["coverage95_angular"] > covered
    assert 1 < evaluated(*options)[0]["mean_over_dt"]["nees_angular"] < of_mean


@pytest.mark.parametrize("options", [pytest.param(SINGLE_ORACLE, id="single, oracle"), pytest.param(AUTO, id="auto")])
def test_covariances_of_linear_velocity_are_not_too_small(evaluated, options):
    """They are too large: 0.86 and 0.36. The camera moves by some cm/s, the prior allows for 0.3 m/s."""
    assert evaluated(*options)[0]["covariance"]["nees_linear"] < 3
