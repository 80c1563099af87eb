"""The result of `evaluate`, from which tables, plots and the report are made."""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.evaluation.comparison import Comparison
from image_as_imu_ros.evaluation.config import EvaluationConfig
from image_as_imu_ros.evaluation.run import Run
from image_as_imu_ros.evaluation.samples import Samples


@dataclass(frozen=True)
class Evaluation:
    """A run over a recording, and the ground truth.

    Attributes:
        name: of the recording.
        config: how it was evaluated.
        run: the estimator's answers, frame by frame.
        ground_truth: None if the recording holds none.
        decided: the answers beside the ground truth, with the signs that the estimator decided on.
        samples: the same with published signs: those of the ground truth if `config.oracle`.
        by_measurement: like `samples`, of "single" and "aligned", whichever there are.
        comparison: with other systems; None if there are none.
        figures: content of metrics.json.
        ground_truth_complaint: why the ground truth seems to be wrong, for people; empty if it does not.
        exposure_origin: where the exposure came from, for people.
        exposure_complaint: how the exposure contradicts the images or their rate; empty if it does not.
        settings: name → value, for people: all that it takes to do it again.
    """

    name: str
    config: EvaluationConfig
    run: Run
    ground_truth: GroundTruth | None
    decided: Samples
    samples: Samples
    by_measurement: dict[str, Samples]
    comparison: Comparison | None
    figures: dict
    ground_truth_complaint: str
    exposure_origin: str
    exposure_complaint: str
    settings: dict[str, str]
