"""The answer of tracked corners where depth is a network's: whatever its shape is worth, its scale, and slides."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from image_as_imu_ros.estimation.alignment.alignment import Alignment, agree, blur_shape_std, motion_terms
from image_as_imu_ros.estimation.alignment.long_baseline import LongPair, SmoothCorrection, with_network_depth
from image_as_imu_ros.estimation.alignment.slides import (
    Slide,
    expected_slides,
    find_slide,
    slide_probability,
    starting_poses,
)
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity, of_unknown_scale


def with_tracks(
    alignment: Alignment,
    tracks: Tracks,
    seconds: float,
    depth: np.ndarray,
    cells: np.ndarray,
    depth_log_std: float,
    travel: Travel,
    blur: float,
    far: LongPair | SmoothCorrection | None = None,
) -> Alignment:
    """Measure the motion from tracked corners, whatever the shape of a network's depth is worth.

    Args:
        alignment: of the same two frames, where to start; it is the result if the tracks are too few, or disagree, but
            then it may be a slide.
        tracks: (N) on the finest level. depth: (h, w) m on the grid, NaN where it is not known.
        cells: (N,) which cell each track is in, row by row.
        depth_log_std, blur: as in `Aligner.align`. travel: what is expected of v.
        far: this frame and an earlier one, which corrects a network's depth, or what one has just found.
    """
    inverse_depth = 1 / depth.ravel()[cells]
    known = np.isfinite(inverse_depth)
    measured = None
    if known.sum() >= STRUCTURE.least_tracks:
        with suppress(np.linalg.LinAlgError):
            of_known = tracks.select(known), inverse_depth[known]
            measured = _by_tracks(alignment, *of_known, seconds, depth_log_std, travel, blur, far)
    return measured or _without_tracks(alignment, seconds, depth, depth_log_std, travel)


def _by_tracks(
    alignment: Alignment,
    tracks: Tracks,
    inverse_depth: np.ndarray,
    seconds: float,
    depth_log_std: float,
    travel: Travel,
    blur: float,
    far: LongPair | SmoothCorrection | None,
) -> Alignment | None:
    """Measure the motion by tracks (N) with inverse depths (N,) 1/m; None if they disagree.

    Raises:
        LinAlgError: the tracks determine no motion.
    """
    slide = find_slide(tracks, inverse_depth)
    slides = expected_slides(travel.slides, seconds)
    starts, probability = starting_poses(alignment.velocity, slide, slides, seconds)
    bound = ALIGNMENT.travel_std * seconds
    smeared = blur_shape_std(tracks.camera, blur)
    common_std = smeared * tracks.camera.fx
    fit, correction = with_network_depth(tracks, inverse_depth, starts, probability, bound, far, common_std)
    if not fit.share >= STRUCTURE.least_share:  # nor where it is not a number
        return None
    expected_std = max(depth_log_std, STRUCTURE.scale_std)
    posterior = travel.rotation_posterior(fit.motion, fit.covariance, seconds, expected_std)
    learnt = replace(travel, map_shape=travel.map_shape.after(fit.shape_found, fit.shape_expected))
    scale_std = max(depth_log_std, learnt.map_shape.scale_std)
    covariance, of_scale = of_unknown_scale(posterior.motion, posterior.covariance, scale_std)
    terms = motion_terms(covariance, posterior.motion, smeared)
    measured = Velocity.of(posterior.motion, {**terms, Term.DEPTH_SCALE: of_scale}, seconds)
    slides = slide_probability(slide, len(tracks), fit.std, travel.slides, seconds)
    learnt, travel = replace(learnt, slides=slides), replace(travel, slides=slides)
    measured = slide.allowed_for(measured, slides, scale_std, seconds)
    # Corners that are smeared: an alignment that they do not contradict is the better answer. Both say v as unsurely as
    # the depth is, and neither tells a slide.
    accepted = alignment.accepted
    if blur > STRUCTURE.little_blur and accepted is not None and agree(measured, accepted):
        accepted = slide.allowed_for(accepted, slides, scale_std, seconds)
        return replace(alignment, velocity=accepted, travel=travel, correction=correction)
    return replace(alignment, velocity=measured, rejection=None, travel=learnt, correction=correction)


def _without_tracks(
    alignment: Alignment, seconds: float, depth: np.ndarray, depth_log_std: float, travel: Travel
) -> Alignment:
    """Allow for a slide where no corners tell whether intensities have taken one for a rotation."""
    accepted = alignment.accepted
    if accepted is None:
        return alignment
    distance = 1 / float(np.nanmedian(1 / depth))
    slide = Slide.like(accepted.vector * seconds, accepted.covariance * seconds**2, distance)
    travel = replace(travel, slides=expected_slides(travel.slides, seconds))
    scale_std = max(depth_log_std, travel.map_shape.scale_std)
    allowed = slide.allowed_for(accepted, travel.slides, scale_std, seconds)
    return replace(alignment, velocity=allowed, travel=travel)
