"""Two frames: the camera's mean velocity between two mid-exposures, by photometric alignment started from the blur.

Where was each pixel of this frame in the previous one? A motion (R, t) moves a point at inverse depth ρ on the ray r to
R·r + ρ·t; the right one makes both pictures equal up to gain and offset. It is found on a pyramid of small, undistorted
pictures: many starts are rated on the coarsest level, the best of them refined there and on the finer levels by
inverse-compositional Gauss–Newton (Baker & Matthews 2004) with robust weights. Blur tells the line of motion well and
its length badly, so the starts lie along the blur's motion, either way.

Most shutters roll. Where the rate of turn is another one than it was in the previous frame, the bottom rows have then
turned further, or less far, than the top ones: a shear, which would pass for a roll. It is found with the motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.estimation.blur_solver import camera_from_pivot
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

LONGEST_GAP = 0.5  # s; frames further apart are not compared

_FINEST = 320  # px, width of the finest level at most
_LEVELS = 3
_POINTS = 1400  # about as many per level are compared
_ITERATIONS = (5, 5, 6)  # at most, from the finest level to the coarsest
_CONVERGED = 0.1  # px; a smaller step is the last one
_HOPELESS = 2.0  # a motion that leaves so many times the best one's error is not waited for
_REFINED = 3  # starts that are refined
_APART = (1.5, 1.0, 0.75)  # px of a level, mean, from the finest on; two motions that differ by less are the same
_SPARSE = 8  # of so many points one tells how far two motions differ
_RIVAL = 2.0  # a motion whose 1 − similarity is less than this many times the best one's goes to the next level
_LENGTH_STEP = 1.5  # between the lengths of the blur's motion at which to start

_ROBUST = 1.5  # residuals of this many times their mean size count a quarter
_QUANTISATION = 0.25  # variance of a grey value that is always there
_MEAN_SIZE_TO_STD = 1.25  # of a Gaussian
_OTHERS = 5  # unknowns besides the motion: shear, gain and offset
_CORRELATED_POINTS = 24.0  # points that share one independent error: depth, blur and parallax are wrong together
_SCALE_STD = 0.04  # relative error of all of the motion: focal length, stamps
_TURN_STD = 0.1  # px of the finest level, error of any turn: blurs of different shape
_SHEAR_STD = 0.02  # rad: in the 20 ms or so for which shutters roll, while the rate of turn changes by 1 rad/s

_LEAST_OVERLAP = 0.3
_LEAST_POINTS = 100
_LEAST_CONTRAST = 2.0  # grey levels, standard deviation
_LEAST_SIMILARITY = 0.75  # correlation coefficient
_AMBIGUOUS = 1.5  # a second alignment whose 1 − similarity is less than this many times the best one's
_ALIKE = 0.002  # 1 − similarity, which noise makes of equal pictures

_IDENTITY = np.eye(3)
_CROSS = np.cross(_IDENTITY[:, None], _IDENTITY).transpose(0, 2, 1).reshape(3, 9)  # a vector @ it is [a]× row by row


@dataclass(frozen=True)
class Alignment:
    """What two frames say about the motion between them.

    Attributes:
        velocity: mean velocity between the two mid-exposures, in the camera's optical frame halfway; None if nothing
            was found.
        similarity: correlation coefficient of the aligned pictures.
        overlap: fraction of this frame that the previous one saw.
        doubt: why `velocity` must not be used; empty if it can be trusted.
    """

    velocity: Velocity | None
    similarity: float
    overlap: float
    doubt: str

    @classmethod
    def refused(cls, doubt: str) -> Alignment:
        return cls(None, 0.0, 0.0, doubt)


@dataclass(frozen=True)
class _Level:
    """The points of one level at which two pictures are compared.

    Attributes:
        camera: pinhole.
        index: (N,) of each point's pixel in the flattened picture.
        rays: (3, N) float32. linear, angular: (2, 3, N) float32, the motion field matrix.
        place: (2, N) float32, from −1 to 1 across the picture and down it.
        cells: (N,) which cell of the motion field's grid sees the point.
    """

    camera: Camera
    index: np.ndarray
    rays: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    place: np.ndarray
    cells: np.ndarray

    @classmethod
    def of(cls, camera: Camera, source: Camera, stride: int) -> _Level:
        """A level seen by `camera` of a network input seen by `source`, whose grid has cells of `stride` px."""
        step = max(1, round(math.sqrt(camera.width * camera.height / _POINTS)))
        # One pixel at the border is left out: gradients need neighbours.
        columns, rows = np.meshgrid(
            np.arange(max(1, step // 2), camera.width - 1, step), np.arange(max(1, step // 2), camera.height - 1, step)
        )
        index = (rows * camera.width + columns).ravel()
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
        cell = ((source.project(camera.rays(pixels)) + 0.5) // stride).astype(int)
        grid_columns, grid_rows = source.width // stride, source.height // stride
        seen = ((cell >= 0) & (cell < (grid_columns, grid_rows))).all(1)
        rays = camera.rays(pixels[seen])
        matrix = MotionFieldMatrix.at(camera, pixels[seen])
        place = (2 * pixels[seen] + 1) / (camera.width, camera.height) - 1
        return cls(
            camera,
            index[seen],
            np.vstack([rays.T, np.ones(len(rays))]).astype(np.float32),
            np.ascontiguousarray(matrix.linear.transpose(1, 2, 0), np.float32),
            np.ascontiguousarray(matrix.angular.transpose(1, 2, 0), np.float32),
            np.ascontiguousarray(place.T, np.float32),
            cell[seen, 1] * grid_columns + cell[seen, 0],
        )


@dataclass(frozen=True)
class Aligner:
    """What is computed once per camera.

    Attributes:
        size: (width, height) of the finest level.
        undistortion: maps for cv2.remap from the finest level to the network's input, or None without distortion.
        levels: from the finest to the coarsest, each half the size of the one before.
    """

    size: tuple[int, int]
    undistortion: tuple[np.ndarray, np.ndarray] | None
    levels: tuple[_Level, ...]

    @classmethod
    def of(cls, camera: Camera, stride: int) -> Aligner:
        """For pictures taken by `camera`, and depth on a grid with cells of `stride` px."""
        width = min(_FINEST, camera.width)
        small = camera.resize(width, round(camera.height * width / camera.width))
        pinhole = Camera(small.width, small.height, small.fx, small.fy, small.cx, small.cy)
        undistortion = None
        if small.distortion:
            pixels = small.project(pinhole.rays(cell_centres(small.height, small.width, 1)))
            maps = pixels.T.reshape(2, small.height, small.width).astype(np.float32)
            undistortion = cv2.convertMaps(*maps, cv2.CV_16SC2)
        cameras = [pinhole.resize(pinhole.width >> level, pinhole.height >> level) for level in range(_LEVELS)]
        levels = tuple(_Level.of(level_camera, camera, stride) for level_camera in cameras)
        return cls((small.width, small.height), undistortion, levels)

    def pyramid(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """A network input, (H, W) or (H, W, 3) RGB uint8 → undistorted luminance per level, float32."""
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if image.shape[::-1] != self.size:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        if self.undistortion is not None:
            image = cv2.remap(image, *self.undistortion, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pyramid = [image.astype(np.float32)]
        for level in self.levels[1:]:
            size = level.camera.width, level.camera.height
            pyramid.append(cv2.resize(pyramid[-1], size, interpolation=cv2.INTER_AREA))
        return tuple(pyramid)

    def align(
        self,
        now: tuple[np.ndarray, ...],
        before: tuple[np.ndarray, ...],
        seconds: float,
        starts: np.ndarray,
        depth: np.ndarray | None,
        *,
        motion_model: str,
        linear_prior_std: float,
        lever_arm: float = 0.0,
        depth_log_std: float = 0.0,
    ) -> Alignment:
        """The motion from the previous frame to this one.

        Args:
            now, before: pyramids of this frame and the previous one.
            seconds: between their mid-exposures, more than 0.
            starts: (S, 6) velocities (v, ω) to start from, m/s and rad/s. See `starts_along`.
            depth: (h, w) m on the grid, for this frame; points where it is NaN are left out. None if not known.
            motion_model: "full" solves for (v, ω) and needs depth; "rotation" for ω, leaving v at zero with its
                prior's variance. If depth is known, the covariance of ω then includes what such a v would do to ω.
            linear_prior_std, lever_arm: see `Uncertainty`.
            depth_log_std: standard deviation of the log of the depth map's errors: of its scale, of the scale at the
                sides against the middle, and of that at top and bottom.
        """
        if seconds > LONGEST_GAP:
            return Alignment.refused(f"the previous frame is {seconds:.2f} s old")
        if min(cv2.meanStdDev(coarsest)[1] for coarsest in (now[-1], before[-1])) < _LEAST_CONTRAST:
            return Alignment.refused("no texture")
        inverse_depth = None if depth is None else (1 / depth.ravel()).astype(np.float32)
        prior = _Prior(linear_prior_std * seconds, lever_arm if motion_model == "full" else 0.0)
        poses = _Poses.of(starts * seconds)
        if motion_model == "rotation":
            poses.shift[:] = 0
        for number in reversed(range(_LEVELS)):
            points = _Points.of(self.levels[number], now[number], inverse_depth)
            if len(points.grey) < _LEAST_POINTS:
                return Alignment.refused("depth is not known")
            if number == _LEVELS - 1:
                poses, _ = _best(points, before[number], poses, math.inf, _APART[number], _REFINED)
            poses, fit = _refine(points, before[number], poses, motion_model, prior, _ITERATIONS[number])
            if len(poses) > 1 or number == 0:
                worse = _AMBIGUOUS if number == 0 else _RIVAL
                poses, ratings = _best(points, before[number], poses, worse, _APART[number], _REFINED)
        best = ratings.order[0]
        if motion_model == "full" and depth_log_std > 0:
            shift = poses.turn[0].T @ poses.shift[0]
            step, information = fit.with_depth_in_doubt(best, points, shift, depth_log_std)
            poses = poses.select([0]).moved(step[None])
        else:
            information = fit.information(best)
        motion = poses.motion()
        covariance = _covariance(information, motion, motion_model, prior.std)
        covariance[3:, 3:] += (_TURN_STD / self.levels[0].camera.fx) ** 2 * np.eye(3)
        velocity = Velocity(motion[:3] / seconds, motion[3:] / seconds, covariance / seconds**2)
        return Alignment(velocity, ratings.similarity[0], ratings.overlap[0], _doubt(ratings))


def starts_along(blur: np.ndarray, last: np.ndarray | None, reach: float) -> np.ndarray:
    """Velocities (S, 6) at which to start: the blur's (6,) at several lengths, either way; rest; the last one (6,).

    Args:
        reach: by which factor the blur's length may be wrong.
    """
    steps = math.ceil(math.log(reach) / math.log(_LENGTH_STEP))
    lengths = reach ** (np.arange(-steps, steps + 1) / steps)
    along = np.multiply.outer(np.concatenate([lengths, [0.0], -lengths]), blur)
    if last is None:
        return along
    return np.concatenate([along, [last, (last + blur) / 2, (last - blur) / 2]])


@dataclass(frozen=True)
class _Prior:
    """What is expected of a motion.

    Attributes:
        std: of each component of the way of the point that the camera is turned about, m.
        lever_arm: see `Uncertainty`.
    """

    std: float
    lever_arm: float

    @property
    def pivot_from_camera(self) -> np.ndarray:
        """(3, 6): a small motion (t, ω) of the camera → the way of that point."""
        return camera_from_pivot(-self.lever_arm)[:3]  # its inverse

    def way(self, poses: _Poses) -> np.ndarray:
        """(S, 3) m, in the axes of this frame, that the point goes in each pose."""
        pivot = np.array([0.0, 0.0, -self.lever_arm])
        return ((poses.shift - pivot)[:, None] @ poses.turn)[:, 0] + pivot


@dataclass
class _Poses:
    """Motions of the camera: a point p of this frame was at turn·p + shift in the previous one.

    Attributes:
        turn: (S, 3, 3). shift: (S, 3) m.
        shear: (S, 3) rad, by how much further the bottom row has turned than the top row.
    """

    turn: np.ndarray
    shift: np.ndarray
    shear: np.ndarray

    @classmethod
    def of(cls, motions: np.ndarray) -> _Poses:
        """From (S, 6) motions (v, ω)·seconds. v is that of the frame halfway, in which nothing turns first."""
        half = _rotations(motions[:, 3:] / 2)
        return cls(half @ half, np.einsum("sij,sj->si", half, motions[:, :3]), np.zeros((len(motions), 3)))

    def __len__(self) -> int:
        return len(self.turn)

    def select(self, chosen: np.ndarray) -> _Poses:
        return _Poses(self.turn[chosen], self.shift[chosen], self.shear[chosen])

    def moved(self, motions: np.ndarray) -> _Poses:
        """After this frame's camera has been moved back by small (S, 6) motions (t, ω), or (S, 3) without t."""
        shift = self.shift
        if motions.shape[1] == 6:
            shift = shift - (self.turn @ motions[:, :3, None])[..., 0]
        return _Poses(self.turn @ _rotations(-motions[:, -3:]), shift, self.shear)

    def motion(self) -> np.ndarray:
        """(6,) the first one as (v, ω)·seconds."""
        turn = cv2.Rodrigues(self.turn[0])[0][:, 0]
        half = cv2.Rodrigues(turn / 2)[0]
        return np.concatenate([half.T @ self.shift[0], turn])


@dataclass(frozen=True)
class _Points:
    """This frame at the points of a level.

    Attributes:
        camera: of the level. rays: (3, N). inverse_depth: (N,) 1/m or None. place: (2, N).
        by_shear: (3, 2·N) px, x of all points and then y, how far they are moved by a shear.
        grey: (N,).
        design: (11, N) or, without depth, (8, N): how the grey value changes with (t, ω) or ω, shear, gain and offset.
    """

    camera: Camera
    rays: np.ndarray
    inverse_depth: np.ndarray | None
    place: np.ndarray
    by_shear: np.ndarray
    grey: np.ndarray
    design: np.ndarray

    @classmethod
    def of(cls, level: _Level, image: np.ndarray, inverse_depth: np.ndarray | None) -> _Points:
        index, rays, linear, angular = level.index, level.rays, level.linear, level.angular
        place = level.place
        if inverse_depth is not None:
            inverse_depth = inverse_depth[level.cells]
            known = np.isfinite(inverse_depth)
            if not known.all():
                index, rays, inverse_depth = index[known], rays[:, known], inverse_depth[known]
                linear, angular, place = linear[..., known], angular[..., known], place[:, known]
        pixels, width = image.ravel(), image.shape[1]
        grey = pixels[index]
        slope_x = (pixels[index + 1] - pixels[index - 1]) / 2
        slope_y = (pixels[index + width] - pixels[index - width]) / 2
        # The motion field is how static points move, opposite to the camera.
        by_turn = -(slope_x * angular[0] + slope_y * angular[1])
        by_motion = [by_turn, place[1] / 2 * by_turn]
        if inverse_depth is not None:
            by_motion.insert(0, -(slope_x * linear[0] + slope_y * linear[1]) * inverse_depth)
        design = np.concatenate([*by_motion, grey[None], np.ones_like(grey)[None]])
        by_shear = -(place[1] / 2 * angular).transpose(1, 0, 2).reshape(3, -1)
        return cls(level.camera, rays, inverse_depth, place, by_shear, grey, design)

    def positions(self, poses: _Poses) -> np.ndarray:
        """Where the points were in the previous frame, (S, 2, N) float32 px."""
        matrix = self.camera.matrix
        points = ((matrix @ poses.turn).reshape(-1, 3).astype(np.float32) @ self.rays).reshape(len(poses), 3, -1)
        if self.inverse_depth is not None:
            points += (poses.shift @ matrix.T).astype(np.float32)[..., None] * self.inverse_depth
        positions = points[:, :2] / np.maximum(points[:, 2:], 0.01)
        if poses.shear.any():
            positions += (poses.shear.astype(np.float32) @ self.by_shear).reshape(positions.shape)
        return positions


def _look_up(image: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey values (S, N) of a picture at (S, 2, N) px, and 1.0 where they are inside it, else 0.0."""
    grey = cv2.remap(
        image, positions[:, 0], positions[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1e6
    )
    return grey, (grey >= 0).astype(np.float32)


@dataclass(frozen=True)
class _Ratings:
    """How well poses fit, best first.

    Attributes:
        order: which ones they were. similarity: correlation coefficient, −1 without overlap. overlap: fraction.
    """

    order: list[int]
    similarity: list[float]
    overlap: list[float]


def _best(
    points: _Points, before: np.ndarray, poses: _Poses, worse: float, apart: float, most: int
) -> tuple[_Poses, _Ratings]:
    """The best of several poses, leaving out those about equal to a better one.

    Args:
        worse: those whose 1 − similarity, noise included, is more than so many times that of the best are dropped.
        apart: px, mean, by which two must differ.
        most: to keep.
    """
    positions = points.positions(poses)
    grey, seen = _look_up(before, positions)
    grey *= seen
    count = seen.sum(1) + 1e-6
    mean_now, mean_before = seen @ points.grey / count, grey.sum(1) / count
    variance_now = seen @ np.square(points.grey) / count - mean_now**2
    variance_before = np.square(grey).sum(1) / count - mean_before**2
    covariance = grey @ points.grey / count - mean_now * mean_before
    similarity = covariance / np.sqrt(np.maximum(variance_now * variance_before, _QUANTISATION**2))
    overlap = seen.mean(1)
    similarity[overlap < _LEAST_OVERLAP] = -1

    some = positions[..., ::_SPARSE]
    misfit = 1 - similarity + _ALIKE
    kept: list[int] = []
    for candidate in np.argsort(-similarity):
        if kept and misfit[candidate] > worse * misfit[kept[0]]:
            break
        if all(np.abs(some[candidate] - some[other]).mean() > apart for other in kept):
            kept.append(int(candidate))
        if len(kept) == most:
            break
    return poses.select(kept), _Ratings(kept, similarity[kept].tolist(), overlap[kept].tolist())


@dataclass(frozen=True)
class _Fit:
    """What the last step of `_refine` knew about each pose.

    Attributes:
        normal: (S, Q, Q) normal matrix of P motions, 3 of shear, gain and offset, with the priors that were used.
        weights: (S, N) of the points.
        error: (S, N) that the step leaves in the previous frame's grey values, divided by the gain. variance: (S,) of
            such an error.
    """

    normal: np.ndarray
    weights: np.ndarray
    error: np.ndarray
    variance: np.ndarray

    def information(self, which: int) -> np.ndarray:
        """(P, P) information matrix of a pose's motion, whatever shear, gain and offset are."""
        return _marginal(self.normal[which], self.normal.shape[1] - _OTHERS) / self.variance[which]

    def with_depth_in_doubt(
        self, which: int, points: _Points, shift: np.ndarray, log_std: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a pose becomes once log depth may be wrong: all of it, at the sides, and at top and bottom.

        Args:
            shift: (3,) m, of the pose, in the axes of the present frame.
            log_std: of each of the three errors; the sides err by ±1 of it, and so do top and bottom.

        Returns:
            Motion (P,) that the pose is still wrong by, and information matrix (P, P), whatever the depth's errors are.
        """
        normal, variance = self.normal[which], self.variance[which]
        by_depth = np.vstack([np.ones_like(points.grey), points.place]) * (shift.astype(np.float32) @ points.design[:3])
        weighted = self.weights[which] * by_depth
        both = points.design @ weighted.T
        normal = np.block([[normal, both], [both.T, by_depth @ weighted.T + variance / log_std**2 * np.eye(3)]])
        right = np.concatenate([np.zeros(len(both)), weighted @ self.error[which]])
        size = len(both) - _OTHERS
        return np.linalg.solve(normal, right)[:size], _marginal(normal, size) / variance


def _marginal(normal: np.ndarray, size: int) -> np.ndarray:
    """Normal matrix of the first so many unknowns, whatever the others are."""
    across = normal[:size, size:]
    return normal[:size, :size] - across @ np.linalg.solve(normal[size:, size:], across.T)


def _refine(
    points: _Points, before: np.ndarray, poses: _Poses, motion_model: str, prior: _Prior, iterations: int
) -> tuple[_Poses, _Fit]:
    """Robust Gauss–Newton on motion, shear, gain and offset, for all poses at once.

    The previous frame, looked up where a pose puts the points, is this frame seen by a camera that is moved by what is
    still wrong with the pose. Its grey values are linear in that motion times gain, in gain and in offset.
    """
    size = len(points.design) - _OTHERS
    full = motion_model == "full"
    unknowns = slice(0 if full else size - 3, None)
    # A turn by a radian is as good as unknown; this keeps a picture without texture from giving infinities.
    precision = np.diag(np.repeat([0.0, 1.0, _SHEAR_STD**-2], 3)[-size - 3 :])
    if size == 6:
        by_motion = prior.pivot_from_camera
        precision[:6, :6] += prior.std**-2 * by_motion.T @ by_motion
    gain = offset = None
    for _ in range(iterations):
        grey, weights = _look_up(before, points.positions(poses))
        if gain is None:
            gain, offset = _gain_and_offset(points.grey, grey, weights)
        error = grey - gain[:, None] * points.grey - offset[:, None]
        scale = (np.abs(error) * weights).sum(1) / (weights.sum(1) + 1e-6) + math.sqrt(_QUANTISATION)
        weights /= np.square(1 + np.square(error / (_ROBUST * scale[:, None])))
        weighted = (weights[:, None] * points.design).reshape(-1, len(points.grey))
        normal = (weighted @ points.design.T).reshape(len(poses), size + _OTHERS, -1).astype(np.float64)
        right = ((weights * grey) @ points.design.T).astype(np.float64)
        # Outliers count: where many points do not fit, the others are less to be trusted too.
        variance = _CORRELATED_POINTS * (_MEAN_SIZE_TO_STD * (scale / gain).astype(np.float64)) ** 2

        normal[:, :-2, :-2] += variance[:, None, None] * precision
        stiffness = (variance * gain)[:, None]
        right[:, size:-2] += stiffness * _SHEAR_STD**-2 * poses.shear
        if full:
            right[:, :6] += stiffness * prior.std**-2 * (prior.way(poses) @ by_motion)
        step = np.linalg.solve(normal[:, unknowns, unknowns], right[:, unknowns, None])[..., 0]
        gain, offset = np.clip(step[:, -2], 0.2, 5.0).astype(np.float32), step[:, -1].astype(np.float32)
        moved = np.clip(step[:, :-2] / gain[:, None], -0.2, 0.2)
        poses = poses.moved(moved[:, :-3])
        poses.shear = poses.shear - moved[:, -3:]
        moving = np.abs(moved).max(1) * points.camera.fx >= _CONVERGED
        if not (moving & (scale < _HOPELESS * scale.min())).any():
            break
    remaining = grey - step.astype(np.float32) @ points.design[unknowns]
    return poses, _Fit(normal, weights, remaining / gain[:, None], variance)


def _gain_and_offset(now: np.ndarray, before: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) gain and offset that give (N,) grey values the mean and spread of those (S, N) that are seen."""
    count = seen.sum(1) + 1e-6
    mean_now, mean_before = seen @ now / count, (before * seen).sum(1) / count
    variance_now = (np.square(now - mean_now[:, None]) * seen).sum(1) / count
    variance_before = (np.square(before - mean_before[:, None]) * seen).sum(1) / count
    gain = np.sqrt((variance_before + _QUANTISATION) / (variance_now + _QUANTISATION))
    return gain, mean_before - gain * mean_now


def _covariance(information: np.ndarray, motion: np.ndarray, motion_model: str, prior_std: float) -> np.ndarray:
    """(6, 6) of a motion (v, ω)·seconds from its information matrix, which includes the prior if v was solved for."""
    if motion_model == "full":
        covariance = np.linalg.inv(information)
    else:
        covariance = prior_std**2 * np.eye(6)
        covariance[3:, 3:] = np.linalg.inv(information[-3:, -3:])
        if len(information) == 6:
            # ω̂ is wrong by leakage·v, v̂ = 0 by −v.
            leakage = np.linalg.solve(information[3:, 3:], information[3:, :3])
            covariance[3:, 3:] += prior_std**2 * leakage @ leakage.T
            covariance[3:, :3] = -(prior_std**2) * leakage
            covariance[:3, 3:] = covariance[3:, :3].T
    return covariance + _SCALE_STD**2 * np.outer(motion, motion)


def _doubt(ratings: _Ratings) -> str:
    if ratings.similarity[0] < _LEAST_SIMILARITY:
        return f"the pictures do not match (similarity {ratings.similarity[0]:.2f}, overlap {ratings.overlap[0]:.2f})"
    if len(ratings.order) > 1:
        return "two different motions match the pictures"
    return ""


def _rotations(vectors: np.ndarray) -> np.ndarray:
    """(S, 3) rotation vectors → (S, 3, 3). Rodrigues' formula; calling cv2.Rodrigues in a loop takes longer."""
    angle = np.sqrt(np.square(vectors).sum(1))[:, None, None] + 1e-12
    cross = (vectors @ _CROSS).reshape(-1, 3, 3)
    return _IDENTITY + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)
