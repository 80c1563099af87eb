"""A rolling shutter: from how a camera seems to move to how it moves.

Of H rows, row y is read y/H·T after the first. While a point moves down by f_y px/s, the readout follows it: it is seen
again so much later, and exposed so much longer, that it seems to move by

    g = f / (1 − f_y·T/H).

Motions are found as if g were f. That is too fast by one factor s where f_y is the same all over, as when a camera
nods. Where it also rolls, one side of the image moves down faster than the other, is faster by more, and looks like
more of a roll: 5 % at 2 rad/s of both and 20 ms. So with x̂ the motion that was found, A the motion field matrix and P
least squares over the image, x is what seems to be x̂:

    x̂ = P·g(x),    x = (x̂ − P·(g(x) − s·A·x)) / s.

v is as measured: P fits it together with ω, and nothing to it where depth is a network's, whose shape is fitted, too.
ω leans on what is expected of v: P fits it alone.

An image that moves up by as much as is read in the same time has no such f, and near that it is anything: a correction
larger than the motion is none. What seems to move so is a wrong measurement, and is made as uncertain as it is large.
"""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix

_ITERATIONS = 5
_LEAST = 0.5  # of 1 − f_y·T/H: no camera is so fast that the readout would not pass the points


def without_readout(
    velocity: Velocity,
    matrix: MotionFieldMatrix,
    depth: np.ndarray | None,
    place: np.ndarray,
    row_time: float,
    *,
    sheared: bool,
    measured: bool,
) -> Velocity:
    """Correct an apparent velocity.

    Args:
        matrix: of N pixels all over the image. depth: (N,) m of these, NaN where unknown; None if nothing is known.
        place: (N,) −1 to 1 down the image. row_time: T/H, s per px of the image.
        sheared: whether a shear of the rows was found beside it. measured: whether v was, by measured depth.
    """
    seen = np.asarray(np.isfinite(matrix.angular).all((1, 2)))
    by_motion = matrix.velocity_to_flow(np.full(len(seen), np.nan) if depth is None else depth)[seen].reshape(-1, 6)
    linear, rotation = by_motion[:, :3], by_motion[:, 3:]
    if sheared:
        rotation = np.hstack([rotation, np.repeat(place[seen], 2)[:, None] / 2 * rotation])
    fit = np.zeros((6, len(rotation)))
    fit[3:] = _least_squares(rotation)[:3]
    if measured:
        fit[:3] = _least_squares(np.hstack([linear, rotation]))[:3]
    vector, slower = velocity.vector, 1.0
    for _ in range(_ITERATIONS):
        flow = (by_motion @ vector).reshape(-1, 2)
        slower = max(1 - float(flow[:, 1].mean()) * row_time, _LEAST)
        longer = 1 / np.maximum(1 - flow[:, 1:] * row_time, _LEAST)
        vector = slower * (velocity.vector - fit @ ((longer - 1 / slower) * flow).ravel())
    if not np.linalg.norm(vector - velocity.vector) <= np.linalg.norm(velocity.vector):
        unknown = velocity.terms.get(Term.READOUT, 0.0) + np.outer(velocity.vector, velocity.vector)
        return velocity.with_terms({Term.READOUT: unknown})
    jacobian = np.linalg.inv(_apparent_by_true(by_motion, fit, vector, row_time))
    terms = {term: jacobian @ covariance @ jacobian.T for term, covariance in velocity.terms.items()}
    return Velocity(vector[:3], vector[3:], terms)


def _apparent_by_true(by_motion: np.ndarray, fit: np.ndarray, vector: np.ndarray, row_time: float) -> np.ndarray:
    """Differentiate x̂ = x/s + P·(g(x) − A·x/s) by x, (6, 6): errors of a motion change how long it is seen, too.

    Where 1 − f_y·T/H is at its least it is constant.
    """
    by_flow = by_motion.reshape(-1, 2, 6)
    down = row_time * by_flow[:, 1]
    share = 1 - down @ vector
    slower, passed = max(float(share.mean()), _LEAST), share > _LEAST
    by_scale = np.outer(vector, down.mean(0)) / slower**2 if slower > _LEAST else np.zeros((6, 6))
    by_scale += np.eye(6) / slower
    longer = 1 / np.maximum(share, _LEAST)[:, None, None]
    lengthened = np.where(passed[:, None, None], longer**2 * (by_flow @ vector)[:, :, None] * down[:, None], 0.0)
    return by_scale + fit @ (longer * by_flow + lengthened - by_flow @ by_scale).reshape(-1, 6)


def _least_squares(rows: np.ndarray) -> np.ndarray:
    """Compute the matrix (P, M) that solves rows (M, P)·x = values (M,) for x."""
    return np.asarray(np.linalg.pinv(rows.T @ rows, hermitian=True) @ rows.T)
