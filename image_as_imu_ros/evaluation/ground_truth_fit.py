"""Whether the ground truth is in the camera's axes and on its clock: a rotation and an offset fitted beside."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.evaluation.samples import LEAST_ANGULAR, Samples
from image_as_imu_ros.geometry import so3

TOO_FAST = 20.0  # times; °/s are 57

_FEWEST = 20  # frames that rotate; fewer tell no offset
_LONGEST_OFFSET = 1.0  # s to either side; clocks of one computer differ by less
_STEP = 0.005  # s between offsets that are tried
_LEAST_CORRELATION = 0.8  # of |ω̂| and |ω| at the best offset; below, an offset is chance
_LEAST_OFFSET = 0.02  # s, and
_LEAST_ROTATION = 10.0  # °: less is within what estimates and calibrations are off by
_LEAST_GAIN = 0.8  # of the error that the fit leaves, to be worth a word
_LEAST_SECOND_AXIS = 0.1  # rad/s RMS about a second axis; below, what happens about it is noise
_NEAR_AXES = 15.0  # ° within which a rotation is called by the axes that it exchanges
_SAME_TIME = 1_000_000  # ns; the stamps of the same images, regular or as they are, differ by less
_OWN_SHARE = 0.8  # of the estimates, of which some were not published, or are not published again


@dataclass(frozen=True)
class GroundTruthFit:
    """What makes the ground truth fit the estimates: ω̂(t) ≈ R·ω(t + offset).

    Attributes:
        offset_s: by how much the ground truth is stamped later than the images. correlation: of |ω̂| and |ω| there.
        rotation_deg: angle of R, or the least it can be where all rotation is about one axis.
        axes: the camera's x, y, z in the ground truth's axes, e.g. "-y,x,z"; empty if R is near none such.
        scale: |ω| over |ω̂|, median.
        error_left: root mean square of the error after the fit, as a share of that before.
    """

    offset_s: float
    correlation: float
    rotation_deg: float
    axes: str
    scale: float
    error_left: float

    @property
    def complaint(self) -> str:
        """Say what is wrong with the ground truth; empty if nothing is."""
        if self.scale > TOO_FAST:
            return f"it is {self.scale:.0f} times as fast as the images move: are its rates °/s?"
        if self.error_left > _LEAST_GAIN:
            return ""
        said = []
        if self.rotation_deg > _LEAST_ROTATION:
            said.append(
                f"axes {self.axes} (the camera's x, y, z in those of the ground truth)"
                if self.axes
                else f"its axes rotated by {self.rotation_deg:.0f}°"
            )
        if abs(self.offset_s) >= _LEAST_OFFSET:
            earlier = "earlier" if self.offset_s > 0 else "later"
            said.append(f"its stamps {abs(1e3 * self.offset_s):.0f} ms {earlier}")
        if not said:
            return ""
        return f"it fits with {' and with '.join(said)}: the error is then {self.error_left:.0%} of what stands here"

    def figures(self) -> dict:
        """Return what metrics.json says."""
        return {**asdict(self), "complaint": self.complaint}


def fit_ground_truth(decided: Samples, ground_truth: GroundTruth, spans: np.ndarray) -> GroundTruthFit | None:
    """Fit a clock offset by the correlation of |ω|, then a rotation (Wahba's problem, by SVD).

    Args:
        decided: with the signs that the estimator decided on, not the ground truth's.
        spans: (N,) s over which each estimate is a mean.

    Returns:
        None where fewer than 20 frames rotate, or always at the same rate.
    """
    moving = decided.resolved & (np.linalg.norm(decided.angular, axis=1) >= LEAST_ANGULAR)
    stamps, angular, spans = decided.stamps[moving], decided.angular[moving], spans[moving]
    if len(stamps) < _FEWEST:
        return None
    offset, correlation = best_offset(stamps, angular, spans, ground_truth)
    if not correlation > 0:
        return None
    offset = offset if correlation >= _LEAST_CORRELATION else 0.0
    before, after = (ground_truth.at(stamps + round(1e9 * added), spans)[1] for added in (0.0, offset))
    known = np.isfinite(before).all(1) & np.isfinite(after).all(1)
    if known.sum() < _FEWEST:
        return None
    rotation = _best_rotation(angular[known], after[known])
    left = _rms(angular[known] - after[known] @ rotation.T)
    error = _rms(angular[known] - before[known])
    ratio = np.linalg.norm(after[known], axis=1) / np.linalg.norm(angular[known], axis=1)
    return GroundTruthFit(
        offset_s=offset,
        correlation=correlation,
        rotation_deg=_angle_deg(rotation),
        axes=named_axes(rotation)[0],
        scale=float(np.median(ratio)),
        error_left=left / error if error > 0 else 1.0,
    )


def never_moves(ground_truth: GroundTruth) -> str:
    """Say that a ground truth is zero throughout, as an odometry whose twist nobody fills in; empty if it is not."""
    if ground_truth.angular.any() or np.nan_to_num(ground_truth.linear).any():
        return ""
    return (
        "all of it is zero: is its twist filled in? Many publish an odometry of poses alone; choose another topic with "
        "--ground-truth-topic"
    )


def own_output(halfway: np.ndarray, ground_truth: GroundTruth) -> str:
    """Say that a ground truth is what this package published, which `ros2 bag record -a` records too; empty if not.

    Other sources have no sample, and no other ones, halfway between two images.

    Args:
        halfway: (N,) ns, stamps of aligned estimates.
    """
    if len(halfway) < _FEWEST:
        return ""
    stamps = ground_truth.stamps
    after = np.clip(np.searchsorted(stamps, halfway), 1, len(stamps) - 1)
    nearest = np.minimum(np.abs(stamps[after] - halfway), np.abs(halfway - stamps[after - 1]))
    during = ((stamps >= halfway.min()) & (stamps <= halfway.max())).sum()
    if np.mean(nearest < _SAME_TIME) < _OWN_SHARE or during > len(halfway) / _OWN_SHARE:
        return ""
    return (
        "it has a sample at the time of each estimate, halfway between two images, and no others: it is what this "
        "package published while it was recorded; choose another topic with --ground-truth-topic"
    )


def best_offset(
    stamps: np.ndarray,
    angular: np.ndarray,
    spans: np.ndarray,
    ground_truth: GroundTruth,
    longest: float = _LONGEST_OFFSET,
) -> tuple[float, float]:
    """Find the offset, s, at which |ω̂| and |ω| correlate best, and how much; NaN where nothing varies."""
    speed = np.linalg.norm(angular, axis=1)
    offsets = np.round(np.arange(-longest, longest + _STEP / 2, _STEP), 3)
    correlations = np.full(len(offsets), np.nan)
    for i, offset in enumerate(offsets):
        true_speed = np.linalg.norm(ground_truth.at(stamps + round(1e9 * offset), spans)[1], axis=1)
        known = np.isfinite(true_speed)
        # An offset that leaves few frames may fit these by chance.
        if known.sum() >= max(_FEWEST, len(stamps) / 2) and np.std(true_speed[known]) > 0 and np.std(speed[known]) > 0:
            correlations[i] = np.corrcoef(speed[known], true_speed[known])[0, 1]
    if not np.isfinite(correlations).any():
        return 0.0, np.nan
    best = int(np.nanargmax(correlations))
    return float(offsets[best]), float(correlations[best])


def _best_rotation(estimate: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Find R (3, 3) with estimate ≈ R·true, both (N, 3).

    Where all rotation is about one axis, R is the least of the rotations that bring the axes together.
    """
    u, strengths, vt = np.linalg.svd(estimate.T @ true)
    if strengths[1] < len(estimate) * _LEAST_SECOND_AXIS**2:
        across = np.cross(vt[0], u[:, 0])
        sine, cosine = np.linalg.norm(across), vt[0] @ u[:, 0]
        return so3.exp(np.arctan2(sine, cosine) / max(sine, 1e-12) * across)
    return so3.between(true, estimate)


def _angle_deg(rotation: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(so3.log(rotation))))


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error).sum(1).mean()))


def named_axes(rotation: np.ndarray) -> tuple[str, float]:
    """Name the axes that a rotation exchanges, "-y,x,z", and how far it is from doing just that, °.

    The name is empty if that is more than 15°.
    """
    columns = np.abs(rotation).argmax(1)
    exact = np.zeros((3, 3))
    exact[range(3), columns] = np.sign(rotation[range(3), columns])
    if np.linalg.det(exact) < 0.5:
        return "", 90.0
    angle = _angle_deg(exact.T @ rotation)
    if angle > _NEAR_AXES:
        return "", angle
    names = [("-" if exact[i, column] < 0 else "") + "xyz"[column] for i, column in enumerate(columns.tolist())]
    return ",".join(names), angle
