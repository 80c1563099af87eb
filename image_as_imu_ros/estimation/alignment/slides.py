"""Slides, translations across the view, that look like rotations, told apart by what no wrong depth explains.

Past a scene of little relief, a translation moves the image nearly as a rotation does about an axis across it. Which of
them it was shows in the second order of the view, a few per cent of the flow, and in whether the shape that the depth
map then needs is likely. A network's map invents relief where there is none, and the two-view fit then prefers, of the
two, sure of itself, for where it finds little translation, the shape of the map needs no change.

So the other explanation is held against the tracks: the translation that explains them best without a rotation that
looks like it. Rotations about the optical axis and about the translation's own direction do not: they move the image
across. Shapes move points along their epipolar lines only, so the slide is fitted across these; its length is then the
tracks' median. If no more is left across than the two-view fit leaves, nothing tells the two apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.constants import STRUCTURE
from image_as_imu_ros.estimation.velocity import Term, Velocity, of_unknown_scale

_RIDGE = 1e-9  # of normal equations: forwards, both rotations are one


@dataclass(frozen=True)
class Slide:
    """A motion without rotations that look like its translation.

    Attributes:
        motion: (6,) (v, ω)·Δt. covariance: (6, 6), without that of the translation's length, the depth's scale.
        std: px, of the tracks across the epipolar lines.
    """

    motion: np.ndarray
    covariance: np.ndarray
    std: float

    @classmethod
    def like(cls, motion: np.ndarray, covariance: np.ndarray, distance: float) -> Slide:
        """Return the slide that moves a scene at one distance, m, as a motion (6,) does with its rotation across."""
        as_slide = np.diag([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
        as_slide[0, 4], as_slide[1, 3] = distance, -distance  # ω × (0, 0, Z)
        return cls(as_slide @ motion, as_slide @ covariance @ as_slide.T, 0.0)

    def second_moment(self, motion: np.ndarray, scale_std: float) -> np.ndarray:
        """Compute what it adds, times its probability, to the covariance (6, 6) of a motion (6,), about the motion.

        Args:
            scale_std: of the log of the depth's scale, which is the translation's.
        """
        apart = motion - self.motion
        return np.outer(apart, apart) + sum(of_unknown_scale(self.motion, self.covariance, scale_std))

    def allowed_for(self, velocity: Velocity, probability: float, scale_std: float, seconds: float) -> Velocity:
        """Add to the covariance of a velocity that the camera may have slid instead."""
        moment = self.second_moment(velocity.vector * seconds, scale_std) / seconds**2
        known = velocity.terms.get(Term.DEPTH_SHAPE, 0.0)
        return velocity.with_terms({Term.DEPTH_SHAPE: known + probability * moment})


def starting_poses(velocity: Velocity | None, slide: Slide, slides: float, seconds: float) -> tuple[Poses, np.ndarray]:
    """List the poses (S) at which to start to solve for tracks, and how probable (S,) each is.

    Args:
        velocity: by which to start, if there is any. slide: the other start. slides: probability of that.
    """
    if velocity is None:
        return Poses.of(slide.motion[None]), np.ones(1)
    return Poses.of(np.array([velocity.vector * seconds, slide.motion])), np.array([1 - slides, slides])


def slide_probability(slide: Slide, count: int, std: float, before: float, seconds: float) -> float:
    """Compute how probable it is that the camera slid, rather than that it moved as fitted: 0.5 at most.

    Of n independent tracks, a slide leaves σₛ² across the lines, the motion σ². Where that is more, the slide is less
    probable by exp(−n·(σₛ² − σ²)/(σ² + a²)/2), with a² for errors that all tracks share. A camera that rotated a moment
    ago hardly slides now, if nothing says so; frames in a row share their errors, so that what they say does not add
    up.

    Args:
        count: of the tracks. std: px, of the tracks about the motion. before: the probability in the previous frame.
        seconds: since that.
    """
    excess = max(0.0, (slide.std**2 - std**2) / (std**2 + STRUCTURE.common_std**2))
    likelihood = math.exp(-count / STRUCTURE.correlated_tracks * excess / 2)
    return min(expected_slides(before, seconds), likelihood / (likelihood + 1))


def expected_slides(before: float, seconds: float) -> float:
    """Tell how probable a slide is some seconds after it was so `before`, if nothing else is known."""
    return before + (0.5 - before) * (1 - math.exp(-2 * STRUCTURE.slide_changes * seconds))


def find_slide(tracks: Tracks, inverse_depth: np.ndarray) -> Slide:
    """Find the slide that explains tracks best, by least absolute residuals across its epipolar lines.

    Args:
        inverse_depth: (N,) 1/m of each track in this frame.

    Raises:
        LinAlgError: the tracks determine none.
    """
    now, before = tracks.camera.rays(tracks.now), tracks.camera.rays(tracks.before)
    if (loops := compiled.loops("slides")) is not None:
        of_tracks = compiled.doubles(now, before, inverse_depth)
        fitted = loops.fit(*of_tracks, STRUCTURE.reweighted, STRUCTURE.largest_step, _RIDGE)
    else:
        fitted = _fit(now, before, inverse_depth)
    heading, rotation, lengths, size, tangents, unlike, normal = fitted
    if not np.isfinite(normal).all():
        raise np.linalg.LinAlgError("the tracks determine no slide")
    distance = np.median(lengths)
    # A Gaussian's median is at 0.6745 σ.
    std = max(size * tracks.camera.fx / 0.6745, STRUCTURE.least_std)
    jacobian = np.zeros((6, 4))
    jacobian[:3, :2], jacobian[3:, 2:] = distance * tangents, unlike
    variance = STRUCTURE.correlated_tracks * (std / tracks.camera.fx) ** 2
    covariance = variance * jacobian @ np.linalg.inv(normal + _RIDGE * np.eye(4)) @ jacobian.T
    return Slide(np.concatenate([distance * heading, rotation]), covariance, std)


def _fit(now: np.ndarray, before: np.ndarray, inverse_depth: np.ndarray) -> tuple:
    """Fit a slide to rays (N, 2) of both frames.

    Returns:
        Heading (3,), rotation (3,), how far along the heading each track says (N,) m, median size of what is left
        across, in rays, `tangents` and `unlike` as in `_Residuals`, and the normal equations (4, 4) of these.
    """
    moved = before - now
    # A point at r/ρ is seen at b ∝ r + ω×r + ρ·t: ρ·(t_xy − b·t_z) + (ω×r)_xy − b·(ω×r)_z = b − r.
    lines = np.concatenate([np.tile(np.eye(2), (len(now), 1, 1)), -before[:, :, None]], 2)
    rotations = np.cross(np.eye(3)[:, None], np.column_stack([now, np.ones(len(now))]))
    rotations = (rotations[..., :2] - rotations[..., 2:] * before).transpose(1, 2, 0)
    heading, rotation = _first_heading(inverse_depth[:, None, None] * lines, moved), np.zeros(3)
    for _ in range(STRUCTURE.reweighted):
        at = _Residuals.of(lines @ heading, moved - rotations @ rotation, heading)
        rows = at.rows(lines, rotations)
        step = _reweighted(rows, -_cross(at.line, moved) / at.length, np.abs(at.across))
        heading = heading + at.tangents @ np.clip(step[:2], -STRUCTURE.largest_step, STRUCTURE.largest_step)
        heading, rotation = heading / np.linalg.norm(heading), at.unlike @ step[2:]
    at = _Residuals.of(lines @ heading, moved - rotations @ rotation, heading)
    rows, size = at.rows(lines, rotations), np.median(np.abs(at.across))
    return heading, rotation, at.along / inverse_depth, size, at.tangents, at.unlike, rows.T @ rows


@dataclass(frozen=True)
class _Residuals:
    """What a slide leaves of the tracks, in rays.

    Attributes:
        line, left: (N, 2), where the heading t moves a point of unit inverse depth, and what the rotation leaves.
        length: (N,) of the line. tangents: (3, 2), changes of the heading. unlike: (3, 2), axes unlike translation.
    """

    line: np.ndarray
    left: np.ndarray
    length: np.ndarray
    tangents: np.ndarray
    unlike: np.ndarray

    @classmethod
    def of(cls, line: np.ndarray, left: np.ndarray, heading: np.ndarray) -> _Residuals:
        across = np.cross(np.cross(heading, np.eye(3)[np.argmin(np.abs(heading))]), heading)
        across /= np.linalg.norm(across)
        tangents = np.stack([across, np.cross(heading, across)], 1)
        unlike = np.array([[heading[0], 0.0], [heading[1], 0.0], [0.0, 1.0]])
        return cls(line, left, np.linalg.norm(line, axis=1) + 1e-9, tangents, unlike)

    @property
    def across(self) -> np.ndarray:
        return _cross(self.line, self.left) / self.length

    @property
    def along(self) -> np.ndarray:
        """(N,), in lengths of the line."""
        return (self.line * self.left).sum(1) / self.length**2

    def rows(self, lines: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Differentiate `across` by tangents and rotations (N, 4).

        A change δ of the heading turns the lines: t × left by δ × left. Their lengths hardly change.
        """
        of_heading = _cross(lines, self.left[:, :, None]) @ self.tangents
        of_rotation = -_cross(self.line[:, :, None], rotations) @ self.unlike
        return np.concatenate([of_heading, of_rotation], 1) / self.length[:, None]


def _first_heading(rows: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Fit the translation, by the map as it is, whose rows are (N, 2, 3): its direction (3,)."""
    left, translation = moved, np.zeros(3)
    for _ in range(STRUCTURE.reweighted):
        size = np.repeat(np.hypot(left[:, 0], left[:, 1]), 2)
        translation = _reweighted(rows.reshape(-1, 3), moved.ravel(), size)
        left = moved - rows @ translation
    translation = translation + np.array([0.0, 0.0, 1e-12])  # m: a camera that does not move heads forwards
    return translation / np.linalg.norm(translation)


def _reweighted(rows: np.ndarray, values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Solve rows (N, P) · x = values (N,) where residuals had these sizes: towards least absolute ones."""
    weighted = rows / (size + np.median(size) / 2 + 1e-9)[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ rows + _RIDGE * np.eye(rows.shape[1]), weighted.T @ values))


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute x·y' − y·x' of (N, 2, …): (N, …)."""
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
