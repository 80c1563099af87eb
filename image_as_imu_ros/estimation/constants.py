"""Every constant of the method, one dataclass per stage. Each knows its unit, its meaning and its source."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

_PHYSICS = "physics or definition"
_COST = "trade of accuracy against time, by `benchmark`; the runs were not kept"
_RENDERED = "rendered frames with seeds 777 and 778; the script was not kept (tools/README.md)"
_ENCODED = "seven recordings, JPEG 95 to 40, MPEG-4; photographs at rest with made noise (docs/reliability.md)"
_SIMULATED = "simulated stamps, test/unit/test_frame_times.py"
_SPECTRUM = (
    "tools/measure_at_stamp.py: of the change of ω at 0.033, 0.1, 0.2 s, 23 recorded motions lack 0.07, 0.23, 0.33"
    " (median), 0.21, 0.41, 0.40 (upper quartile); v changes more smoothly, 0.12, 0.14 at 0.1, 0.2 s, but measured"
    " depth errs, too: with 2/s and 0.2 NEES of v is 3.5 in place of 2.7 on walk_a, 6.0 in place of 4.5 on kitchen_a"
)
_TREMOR = (
    "above 3 Hz, of nine gyroscopes the calmest (on a gimbal, in a car) see 0.042 rad/s, one on legs 0.2; the script"
    " was not kept"
)
_JUDGEMENT = "judgement; cannot be re-derived"
_NOT_HELD_OUT = "NEES on three recordings that it is also judged by (docs/accuracy.md)"
_ENVELOPE = "NEES on rendered cells and a real recording that it is also judged by (docs/envelope.md)"
_SCENES = "rooms that the network never saw: 0.26, 0.24 and 0.67 (tools/measure_depth_shape.py); rounded up"
_FOREIGN = (
    "recordings and rendered places, whose scale is wrong by 0 to 0.7: 0.1 to 0.6 of smooth_std²; streets, 1.6 to 3.3:"
    " 0.8 to 1.4 (judged by them, too). RGB-D scenes of smooth errors below 0.3: scale 0.66, above: 1.2, of rooms 0.7"
    " (tools/measure_depth_shape.py)"
)
_LONG_BASELINE = (
    "of 1 to 3 levels and 0.1 to 0.3: NEES of ω on a desk, a kitchen, a walk, a poster, two phones and an RGB-D"
    " camera that it is also judged by"
)
_SIGHT = "most recordings and a dozen rendered cells in sight (docs/accuracy.md)"
_SPEED = "time, at no more error: " + _SIGHT
_OWN = "share of aligned frames on this project's real recordings; not held out"


def constant(value: Any, unit: str, meaning: str, source: str) -> Any:
    """Make a dataclass field of a tuned number: its value, unit ("" if it has none), meaning, and who chose it how."""
    return field(default=value, metadata={"unit": unit, "meaning": meaning, "source": source})


@dataclass(frozen=True)
class SharedConstants:
    """What several stages need."""

    shortest_dt: float = constant(5e-4, "s", "no camera takes frames closer together: a stamp is wrong", _JUDGEMENT)
    longest_dt: float = constant(0.5, "s", "frames further apart are not compared", _JUDGEMENT)
    inlier_sigmas: float = constant(3.0, "σ", "residuals beyond it lose their weight", "99.7 % of a Gaussian")
    visible_blur: float = constant(1.0, "px at 320 px width", "shorter streaks may leave the sign open", _PHYSICS)
    angular_acceleration_std: float = constant(60.0, "rad/s²", "how hard cameras accelerate at most", _JUDGEMENT)
    linear_acceleration_std: float = constant(15.0, "m/s²", "how hard cameras accelerate at most", _JUDGEMENT)


@dataclass(frozen=True)
class EstimatorConstants:
    """Order of the steps."""

    resolved_probability: float = constant(0.9, "", "of the sign, from which it counts as resolved", _JUDGEMENT)
    first_exposure: float = constant(0.01, "s", "guess where no exposure time is known", "usual for indoor video")
    given_log_std: float = constant(0.3, "", "of the log of a given exposure that starts an estimate", _JUDGEMENT)
    guessed_log_std: float = constant(1.0, "", "of the log of a guessed exposure", "a factor of e either way")
    known_log_std: float = constant(0.4, "", "of log exposure, up to which velocities are computed", _JUDGEMENT)
    unseen_change: float = constant(
        0.1, "px of the network's input", "by which intrinsics may move corners unnoticed", "a thousandth of any motion"
    )
    followed_change: float = constant(
        0.003, "", "of focal lengths, and of the width the centre's, between frames; of more, it is a zoom", _JUDGEMENT
    )
    length_reach: float = constant(2.8, "", "factor by which the blur's length may be wrong", _RENDERED)


@dataclass(frozen=True)
class FrameTimesConstants:
    """The regular period that stamps are noisy samples of."""

    window: int = constant(
        60, "stamps", "that a line is fitted to", "two seconds: drivers' own rates drift over minutes"
    )
    least_stamps: int = constant(6, "stamps", "that a line is fitted to", _JUDGEMENT)
    sure_from: int = constant(30, "stamps", "fewer do not tell jitter from a rate that wanders", _SIMULATED)
    largest_jitter: float = constant(0.2, "periods", "σ; of more, frames cannot be counted", "a uniform phase has 0.29")
    countable: float = constant(
        0.35, "periods", "a stamp further from the line may be that of another frame", _SIMULATED
    )
    dependence: float = constant(
        0.45, "", "of residuals from 1.15: 1 for jitter, < 0.4 for a rate that wanders", _SIMULATED
    )
    largest_late: float = constant(0.05, "", "share of stamps so late that they count as the next one's", _JUDGEMENT)
    outlier: float = constant(6.0, "", "times the median residual: 4σ of a Gaussian", _JUDGEMENT)
    largest_outliers: float = constant(0.15, "", "share of stamps that are outliers", _JUDGEMENT)
    negligible_jitter: float = constant(0.01, "periods", "σ; of less, stamps are as good as the line", _JUDGEMENT)
    longest_interval: float = constant(1.0, "s", "between frames; after more the period is found anew", _JUDGEMENT)


@dataclass(frozen=True)
class RepeatsConstants:
    """Images that are no new ones."""

    pixels: int = constant(20_000, "", "about as many are compared", _COST)
    largest_difference: float = constant(
        0.02, "intensity levels", "mean, of a repeated image; noise of 0.1 levels makes 0.1", _PHYSICS
    )
    largest_encoded: float = constant(6.0, "intensity levels", "mean, between two encodings", "JPEG 15, real: 2 to 6")
    least_change: float = constant(1.0, "intensity levels", "mean, of a part that moves", "above usual noise")
    least_torn: float = constant(0.1, "", "share of a torn image that repeats", "16 recordings: 0.06; torn: 0.34")
    patches: int = constant(100, "", "about as many are searched for common noise", _COST)
    band: tuple[float, float] = constant((1.0, 2.0), "px", "σ of both filters: finer details are lost first", _ENCODED)
    least_detail: float = constant(0.35, "intensity levels", "RMS, of a patch; of less, rounding is left", _ENCODED)
    least_patches: int = constant(10, "", "that show details; fewer tell nothing", _JUDGEMENT)
    least_correlation: float = constant(
        0.5, "", "of nine patches of ten of a repeated image; independent noise cannot", "see repeats.py; " + _ENCODED
    )
    most_motion: float = constant(
        0.1, "", "median share of the difference that a displacement explains, of a repeated image", _ENCODED
    )


@dataclass(frozen=True)
class AtStampConstants:
    """From a mean velocity to the velocity at its stamp."""

    departure: float = constant(3.0, "1/s", "c: per s of dt, of the change from one dt to the next", _SPECTRUM)
    largest_departure: float = constant(0.4, "", "of that change, at most, over long dt", _SPECTRUM)
    frames: float = constant(4.0, "", "over which accelerations are averaged", _SPECTRUM)
    pooled: float = constant(0.5, "", "how much the axes share", _SPECTRUM)
    tremor: float = constant(0.04, "rad/s", "σ of ω that is always there, per axis", _TREMOR)
    tremor_rate: float = constant(8.0, "Hz", "at which it trembles, about", _TREMOR)


@dataclass(frozen=True)
class SceneDepthConstants:
    """Measured depth or the network's, and parts of the scene that it tells apart."""

    least_share: float = constant(
        0.25, "", "of the cells; where fewer are measured, the network's depth is used", _JUDGEMENT
    )
    least_cells: int = constant(12, "", "measured ones that give the network's depth its scale", _JUDGEMENT)
    parts_apart: float = constant(0.25, "", "between mean log depths of two parts; of less, they are one", _JUDGEMENT)
    moving_from: float = constant(2.0, "", "times as different as expected are answers of parts that move", _ENVELOPE)
    forgotten: float = constant(32.0, "frames", "without two answers, for what was learnt of parts", _ENVELOPE)


@dataclass(frozen=True)
class BlurSolverConstants:
    """Blur → velocity."""

    angular_prior_std: float = constant(
        30.0, "rad/s", "keeps frames without texture finite", "no camera rotates faster"
    )
    fastest_rotation: float = constant(
        60.0, "rad/s", "of more, the exposure time is wrong", "twice the prior's σ: no camera rotates so fast"
    )
    precision_power: float = constant(1.5, "", "with measured depth, cells weigh by σ^(−2·it)", _RENDERED)
    length_weight: float = constant(
        math.sqrt(2), "", "with measured depth, σ along q counts times it, across divided by it", _RENDERED
    )
    cells: int = constant(400, "", "about as many are used; neighbours of a smooth output repeat each other", _COST)
    least_cells: int = constant(12, "", "fewer are no measurement", "twice the unknowns")


@dataclass(frozen=True)
class SpectrumConstants:
    """Dark lines in spectra."""

    window: int = constant(64, "px", "side of a window", "a window must hold several streaks and a constant flow")
    step: int = constant(32, "px", "from one window to the next at most", "half a window: a Hann taper loses nothing")
    lowest: float = constant(3.5 / 64, "cycles/px", "lower frequencies leak from the window's own spectrum", _PHYSICS)
    highest: float = constant(0.43, "cycles/px", "cameras show little beyond", "below Nyquist, demosaicing and optics")
    shortest_blur: float = constant(1.5, "px", "mean streak; the first line of shorter ones is not shown", _PHYSICS)
    longest_blur: float = constant(
        18.0, "px", "mean streak at a window's resolution; lines of longer ones merge", _PHYSICS
    )
    largest_sigma: float = constant(1.4, "times the usual", "where the network tells where to look", _ENVELOPE)
    rounding: float = constant(1 / 12, "", "variance of 8-bit values", _PHYSICS)
    floor: float = constant(
        0.015, "", "power in the lines, relative to no blur, from noise and changes of v", _RENDERED
    )
    smear: float = constant(0.6 / 64, "cycles/px", "by which a window smears the lines", "width of a Hann window")
    correlated_values: float = constant(40.0, "", "values that share an error: overlap, lines of textures", _RENDERED)
    faint: float = constant(0.1, "", "of the median window's power; weaker windows do not count", _JUDGEMENT)
    lowest_gain: float = constant(0.1, "", "at which a gradient still shows where to go", _JUDGEMENT)
    highest_gain: float = constant(1.5, "", "a blur darkens its lines no more than it does", _JUDGEMENT)
    catchment: float = constant(1.0, "px", "RMS; a start less far off descends to the same lines", "a line's width")
    sparsity: int = constant(3, "", "one window in so many decides where to start", _COST)
    iterations: int = constant(8, "", "of Levenberg–Marquardt at most", _COST)
    negligible: float = constant(0.05, "", "of the score; a smaller gain ends the descent", _COST)
    chance: float = constant(2.5, "", "log-likelihood ratio that the best motion has by chance", _RENDERED)
    log_scale_step: float = constant(0.115, "", "between the logs of two lengths at which to start", "an eighth of e")
    shorter_starts: int = constant(6, "", "starts shorter than the prior", _RENDERED)
    longer_starts: int = constant(7, "", "starts longer than the prior", _RENDERED)


@dataclass(frozen=True)
class AlignmentConstants:
    """Two frames → mean velocity between them."""

    width: int = constant(320, "px", "of the finest level at most", _COST)
    levels: int = constant(3, "", "of the pyramid", _COST)
    points: int = constant(1400, "", "about as many per level are compared", _COST)
    iterations: tuple[int, ...] = constant((5, 5, 6), "", "at most, from the finest level on", _COST)
    converged: float = constant(0.1, "px", "a smaller step is the last one", _COST)
    abandoned: float = constant(
        2.0, "", "a hypothesis with so many times the best one's error is not waited for", _COST
    )
    refined: int = constant(3, "", "hypotheses that are refined", _COST)
    apart: tuple[float, ...] = constant(
        (1.5, 1.0, 0.75),
        "px of a level, from the finest on",
        "mean; two motions that differ by less are one",
        _RENDERED,
    )
    sparsity: int = constant(8, "", "one point in so many tells how far two motions differ", _COST)
    kept_misfit: float = constant(2.0, "", "times the best 1 − similarity, up to which a hypothesis is kept", _RENDERED)
    length_step: float = constant(1.5, "", "between the lengths of the blur's motion at which to start", _RENDERED)
    robust: float = constant(1.5, "", "residuals of so many times their mean size count a quarter", "near 2σ")
    quantisation: float = constant(0.25, "", "variance of an intensity that is always there", "rounding three times")
    mean_size_to_std: float = constant(1.25, "", "σ of a Gaussian over its mean size", "√(π/2)")
    correlated_points: float = constant(12.0, "", "that share an error: depth, blur and parallax", _ENVELOPE)
    correlated_measured: float = constant(6.0, "", "the same, where depth is measured", _ENVELOPE)
    travel_std: float = constant(
        10.0, "m/s", "prior on v where it is measured: a bound on speed", "robots and vehicles"
    )
    measured_depth_std: float = constant(0.02, "", "of the log of a measured depth map's errors", _JUDGEMENT)
    scale_std: float = constant(0.02, "", "relative error of motions across the optical axis: focal length", _JUDGEMENT)
    blur_shape: float = constant(0.02, "", "σ of a displacement, of the blur: two blurs differ in shape", _JUDGEMENT)
    shear_std: float = constant(0.02, "rad", "change of the rate by 1 rad/s over a readout of 20 ms", _PHYSICS)
    rotation_prior_std: float = constant(1.0, "rad", "keeps images without texture finite", "as good as unknown")
    parts: int = constant(3, "", "of the scene, each of which may move by itself", _JUDGEMENT)
    parts_by_chance: float = constant(
        8.1, "", "variance by three parts over that expected", "95 % of a Wishart's largest eigenvalue: 6 × 6, 2 d.o.f."
    )
    largest_step: float = constant(0.2, "rad or m", "of one iteration", _JUDGEMENT)
    least_overlap: float = constant(0.3, "", "fraction of the points seen by both", _JUDGEMENT)
    least_points: int = constant(100, "", "with known depth", _JUDGEMENT)
    least_contrast: float = constant(2.0, "intensity levels", "σ of the coarsest level's details", "above noise")
    faint: float = constant(8.0, "intensity levels", "σ of an image like a sensor's pattern", "slider_hdr in sight")
    least_similarity: float = constant(0.75, "", "correlation coefficient", _RENDERED)
    ambiguous: float = constant(1.5, "", "times the best 1 − similarity: a second motion matches too", _RENDERED)
    alike: float = constant(0.002, "", "1 − similarity that noise makes of equal images", _JUDGEMENT)


@dataclass(frozen=True)
class TrackingConstants:
    """Corners tracked where alignment along the blur fails."""

    corners: int = constant(150, "", "at most", _OWN)
    quality: float = constant(0.01, "", "of the strongest corner's smaller eigenvalue", "OpenCV's example")
    distance: float = constant(8.0, "px", "between corners", _JUDGEMENT)
    window: int = constant(17, "px", "side of a patch, odd: even ones are biased", _SPEED)
    levels: int = constant(3, "", "of the tracker's pyramid above the image itself", "OpenCV's default")
    return_px: float = constant(0.7, "px", "within which a corner tracked there and back must return", _JUDGEMENT)
    static_px: float = constant(0.25, "px", "by which corners seem to move at rest, median", "above usual noise")
    inlier_px: float = constant(1.5, "px", "within which a rotation explains a track", _JUDGEMENT)
    epipolar_px: float = constant(1.0, "px", "within which a track follows its epipolar line", _JUDGEMENT)
    epipolar_confidence: float = constant(0.99, "", "that five good tracks are drawn: there is another start", _COST)
    least_tracks: int = constant(12, "", "that a rotation must explain", _JUDGEMENT)
    hypotheses: int = constant(
        40, "", "random pairs; with half of the tracks outliers, 1 in 10⁵ sets has no good one", "RANSAC"
    )
    starts: int = constant(3, "", "at most", "as many as alignment refines")


@dataclass(frozen=True)
class StructureConstants:
    """Tracked corners → motion and shape of the scene."""

    longest_blur: float = constant(12.0, "px at 320 px width", "corners of more blurred frames are not tracked", _OWN)
    little_blur: float = constant(
        6.0, "px at 320 px width", "with more, tracks only replace an alignment that they contradict", _OWN
    )
    contradiction: float = constant(16.81, "", "squared error over its covariance", "99 % of χ² with 6 d.o.f.")
    least_tracks: int = constant(25, "", "with known depth", "three for each of eight unknowns")
    least_share: float = constant(0.5, "", "of the tracks that must fit", "more than half, or the median tells nothing")
    iterations: int = constant(8, "", "with the residuals' own scale", _COST)
    converged: float = constant(0.2, "px", "a smaller step is the last one", _SPEED)
    reweighted: int = constant(6, "", "times, from least squares towards least absolute residuals", _COST)
    last_iterations: int = constant(1, "", "with the same scale for all starts", _SPEED)
    least_std: float = constant(0.01, "px", "of a track", "the step at which OpenCV's tracker ends; " + _SIGHT)
    correlated_tracks: float = constant(
        16.0, "", "that share an error of a network's depth, overlapping or not", _NOT_HELD_OUT
    )
    tail: float = constant(4.0, "σ²", "squared residuals of so much count half", "Student's t with 3 d.o.f.")
    least_nearness: float = constant(
        0.05, "", "of a map's inverse depth, or of a point's depth: never behind", _JUDGEMENT
    )
    largest_step: float = constant(0.3, "rad or m", "of one iteration", _JUDGEMENT)
    scale_std: float = constant(0.75, "", "of the log of the scale of a network's depth, at least", _SCENES)
    foreign_scale_std: float = constant(
        1.5, "", "of the same, at most: where the map's shape is as wrong as `smooth_std` says", _FOREIGN
    )
    usual_shape: float = constant(0.3, "σ²", "smooth errors of the shape, before any frame", _FOREIGN)
    first_frames: float = constant(2.0, "", "expected squares that this is worth: a frame's", _JUDGEMENT)
    shape_memory: float = constant(0.97, "", "of earlier frames' errors, per frame", _JUDGEMENT)
    smooth_std: float = constant(0.3, "", "of the shape of a network's depth, for each polynomial", _SCENES)
    rough_std: float = constant(0.25, "", "of the same, for each point", _SCENES)
    common_std: float = constant(0.1, "px", "of what all tracks share, where a slide is judged by them", _JUDGEMENT)
    slide_changes: float = constant(5.0, "1/s", "how often a camera starts or ends to slide", _NOT_HELD_OUT)


@dataclass(frozen=True)
class LongBaselineConstants:
    """Corners seen farther back → the shape of a network's depth."""

    longest: float = constant(0.35, "s", "between two frames", "of 0.22 and 0.35, the better on two; not held out")
    shortest: float = constant(1.5, "times dt", "between two frames: neighbours are a pair anyway", _JUDGEMENT)
    renewed: float = constant(0.03, "s", "from one correction of a map to the next", "most cameras' period, at most")
    levels: int = constant(2, "", "of the tracker's pyramid above the image: it is known where to look", _LONG_BASELINE)
    left_std: float = constant(0.25, "", "of the corrected shape, smooth and rough, at least", _LONG_BASELINE)
    trust: float = constant(
        0.5, "", "in the corrected covariance, the other half in the map's", "of 0, 0.5, 1, TUM's NEES in sight"
    )


@dataclass(frozen=True)
class FixedPartsConstants:
    """Two frames and the rotation between them → parts of the view that move with the camera."""

    probability: float = constant(0.01, "", "of a cell, before any frame", _JUDGEMENT)
    least_change: float = constant(6.0, "intensity levels", "expected, of cells that are judged", "above usual noise")
    static: float = constant(0.25, "of what is expected", "change of static cells, at most", _JUDGEMENT)
    moved: float = constant(0.5, "of what is expected", "change of cells that moved, at least", _JUDGEMENT)
    static_if_fixed: float = constant(0.8, "", "probability that a cell of a fixed part is found static", _JUDGEMENT)
    static_if_scene: float = constant(0.05, "", "probability that a cell of the scene is", _JUDGEMENT)
    limit: float = constant(8.0, "", "log-odds, to either side: what may have changed since", _JUDGEMENT)


@dataclass(frozen=True)
class TravelConstants:
    """How fast the camera is expected to travel."""

    speeds: tuple[float, ...] = constant(
        (1 / 3, 1.0, 10 / 3, 10.0), "times `linear_velocity_std`", "hypotheses", "hands, robots, vehicles"
    )
    probabilities: tuple[float, ...] = constant(
        (0.3, 0.35, 0.23, 0.12), "", "of these, for each component", "tools/measure_travel.py: the same 15 trajectories"
    )
    lever_arm_std: float = constant(
        0.1,
        "m",
        "of the point that cameras rotate about, per axis, about `lever_arm`",
        "tools/measure_travel.py: 15 recorded trajectories of cameras, root mean square about (0, 0, 0.15) m",
    )


@dataclass(frozen=True)
class SignConstants:
    """Sign of the motion, and whether two measurements of it agree."""

    photometric_gain: float = constant(15.0, "", "log-odds per unit of relative photometric error", _RENDERED)
    photometric_limit: float = constant(7.0, "", "log-odds; the test fails once in a thousand times", _RENDERED)
    rate_limit: float = constant(
        7.0, "", "log-odds; another sensor may be stuck, late or mounted otherwise", _JUDGEMENT
    )
    usual_acceleration: float = constant(0.4, "", "of the largest, how hard cameras mostly accelerate", _JUDGEMENT)
    least_overlap: float = constant(0.2, "", "fraction of the cells seen by both", _JUDGEMENT)
    length_factor: float = constant(4.0, "", "by which the blur's velocity may be too short or too long", _JUDGEMENT)
    usual_frames: float = constant(8.0, "", "over which disagreement of blur and alignment is averaged", _JUDGEMENT)
    disagreement: float = constant(6.251, "", "squared difference over its covariance", "90 % of χ² with 3 d.o.f.")
    contradiction: float = constant(16.266, "", "squared error over its covariance", "99.9 % of χ² with 3 d.o.f.")


@dataclass(frozen=True)
class ExposureConstants:
    """Exposure time from blur and alignment."""

    log_range: float = constant(math.log(1000), "", "of the exposure, to either side of the nominal one", _JUDGEMENT)
    log_step: float = constant(0.02, "", "of the grid", "finer than any estimate")
    drift_std: float = constant(0.003, "", "of log exposure per frame", "auto-exposure that adapts over seconds")
    jump: float = constant(0.01, "", "probability per frame", "rendered steps of 9, 33, 17 ms")
    least_blur: float = constant(4.0, "px at 320 px width", "shorter blur tells little", _RENDERED)
    length_std: float = constant(0.2, "", "relative error of one frame's blur length", _RENDERED)
    blur_std: float = constant(2.0, "px", "error of any blur length", _RENDERED)
    clear_length_std: float = constant(0.1, "", "relative error where spectra show the length", _RENDERED)
    rate_std: float = constant(0.2, "", "error of a rate between two alignments, of their difference", _JUDGEMENT)
    tail: float = constant(1e-4, "", "of the first posterior, for a first guess that is far off", _JUDGEMENT)
    degrees: float = constant(2.0, "", "of freedom of Student's t: outliers happen", _JUDGEMENT)


SHARED = SharedConstants()
ESTIMATOR = EstimatorConstants()
FRAME_TIMES = FrameTimesConstants()
REPEATS = RepeatsConstants()
AT_STAMP = AtStampConstants()
SCENE_DEPTH = SceneDepthConstants()
BLUR_SOLVER = BlurSolverConstants()
SPECTRUM = SpectrumConstants()
ALIGNMENT = AlignmentConstants()
TRACKING = TrackingConstants()
STRUCTURE = StructureConstants()
LONG_BASELINE = LongBaselineConstants()
FIXED_PARTS = FixedPartsConstants()
TRAVEL = TravelConstants()
SIGN = SignConstants()
EXPOSURE = ExposureConstants()
