"""What a recording came to: the result of `evaluate`, from which tables, plots and the report are made."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.evaluation.comparison import Comparison
from image_as_imu_ros.evaluation.metrics import Samples
from image_as_imu_ros.evaluation.run import Run


@dataclass(frozen=True)
class Evaluation:
    """A run over a recording, and the truth.

    Attributes:
        name: of the recording.
        run: the estimator's answers, frame by frame.
        truth: None if the recording holds none.
        decided: the answers beside the truth, with the directions that the estimator decided on.
        samples: the same with published signs: those of the truth with `--sign-resolution oracle`.
        by_measurement: like `samples`, of "single" and "aligned", whichever there are.
        comparison: with other systems; None if there are none.
        figures: content of metrics.json.
        truth_std: standard deviation of each component of the true ω, rad/s.
        exposure_origin: where the exposure came from, for people.
        settings: name → value, for people: all that it takes to do it again.
    """

    name: str
    run: Run
    ground_truth: GroundTruth | None
    decided: Samples
    samples: Samples
    by_measurement: dict[str, Samples]
    comparison: Comparison | None
    figures: dict
    ground_truth_std: float
    exposure_origin: str
    settings: dict[str, str]
