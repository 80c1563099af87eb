"""Camera motion during one exposure, and the motion field it causes.

Time runs from −½ to ½ over the exposure of the middle row, so velocities are per exposure: angular in rad, linear in
m. The frame is the camera's optical frame at that row's mid-exposure, except where said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from image_as_imu_training.rendering import so3
from image_as_imu_training.rendering.draws import Draws
from image_as_imu_training.rendering.views import STRIDE, Views

MAX_BLUR_PX = 80.0
SUBFRAMES_PER_PX = 1.5  # textures are up to about this fine; sparser sub-frames would let detail survive along streaks
_MAX_ROTATION = 0.6  # rad per exposure; beyond that streaks are no streaks any more
_MAX_ROLL_OR_ZOOM = 0.35
_LEAST_PX_PER_METRE = 0.1  # in scenes so far away that translation is hardly seen, it does not become endless
KNOTS = 33  # of a path over the exposure: four to a period of the fastest vibration
_RECORDED = 0.5  # share of motions that are recorded ones, where there are any
_VIBRATING = 0.08  # share of global shutters that vibrate
_VIBRATION_CYCLES = (0.25, 8.0)  # per exposure: 50 to 200 Hz over 5 to 40 ms
_VIBRATION_PX = (0.3, 4.0)  # amplitude


@dataclass(frozen=True)
class Motion:
    """Motion of a batch of cameras.

    Attributes:
        angular, linear: (B, 3) mean velocity over the exposure, rad and m per exposure.
        angular_acceleration: (B, 3) constant, rad per exposure².
        readout: (B,) from the first row's exposure to the last one's, in exposures; 0 is a global shutter.
        deviation: (B, KNOTS, 6) what rotation vector (rad) and position (m) are beside all that, at equally spaced
            times from −½ to ½: zero at mid-exposure and the same at both ends. None is none. For global shutters.
    """

    angular: torch.Tensor
    linear: torch.Tensor
    angular_acceleration: torch.Tensor
    readout: torch.Tensor
    deviation: torch.Tensor | None = None

    def __getitem__(self, index: torch.Tensor) -> Motion:
        parts = (self.angular[index], self.linear[index], self.angular_acceleration[index], self.readout[index])
        return Motion(*parts, None if self.deviation is None else self.deviation[index])

    def pose(self, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return camera-to-mid-exposure poses at (N,) times: rotation (B, N, 3, 3) and position (B, N, 3)."""
        t = times[:, None]
        rotation_vector = self.angular[:, None] * t + 0.5 * self.angular_acceleration[:, None] * t**2
        position = self.linear[:, None] * t
        if self.deviation is not None:
            knot = ((times + 0.5) * (KNOTS - 1)).clamp(0, KNOTS - 1)
            before = knot.long().clamp(max=KNOTS - 2)
            share = (knot - before)[:, None]
            beside = (1 - share) * self.deviation[:, before] + share * self.deviation[:, before + 1]
            rotation_vector, position = rotation_vector + beside[..., :3], position + beside[..., 3:]
        return so3.exp(rotation_vector), position

    def rotated(self, rays: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Rotate rays of the rows (B, N) of a rolling shutter into the middle row's frame: (B, 3, N) → (B, 3, N).

        The camera rotates from row to row. Its translation meanwhile is left out: that is another static scene, seen
        with the same streaks.
        """
        time = (rows * self.readout[:, None])[:, None]
        vector = self.angular[:, :, None] * time + 0.5 * self.angular_acceleration[:, :, None] * time**2
        return so3.rotate(vector, rays)


def ray_motion(
    rays: torch.Tensor, inverse_depth: torch.Tensor, angular: torch.Tensor, linear: torch.Tensor
) -> torch.Tensor:
    """Differentiate the rays (x, y, 1) of static points by time (Longuet-Higgins & Prazdny 1980).

    Args:
        rays: (B, 3, N). inverse_depth: (B, N) 1/m. angular, linear: (B, 3, N or 1) velocity.

    Returns:
        (B, 2, N): change of x and y in the velocity's unit of time.
    """
    x, y = rays[:, 0], rays[:, 1]
    wx, wy, wz = angular.unbind(1)
    vx, vy, vz = (linear * inverse_depth[:, None]).unbind(1)
    u = x * y * wx - (1 + x * x) * wy + y * wz - vx + x * vz
    v = (1 + y * y) * wx - x * y * wy - x * wz - vy + y * vz
    return torch.stack([u, v], 1)


def motion_field(
    views: Views, pixels: torch.Tensor, inverse_depth: torch.Tensor, angular: torch.Tensor, linear: torch.Tensor
) -> torch.Tensor:
    """Compute the flow of static points over the exposure of a global shutter.

    Args:
        pixels: (2, N). inverse_depth: (B, N) 1/m. angular, linear: (B, 3) velocity per exposure.

    Returns:
        (B, 2, N) px.
    """
    change = ray_motion(views.rays(pixels), inverse_depth, angular[:, :, None], linear[:, :, None])
    return views.pixel_motion(pixels, change)


def rolling_motion_field(
    views: Views, pixels: torch.Tensor, inverse_depth: torch.Tensor, motion: Motion
) -> torch.Tensor:
    """Compute the flow over the exposure, every row at its own time: (B, 2, N) px.

    Args:
        pixels: (2, N). inverse_depth: (B, N) 1/m in the rows' frames.
    """
    time = (views.rows(pixels) * motion.readout[:, None])[:, None]
    angular = motion.angular[:, :, None] + motion.angular_acceleration[:, :, None] * time
    back = Motion(-motion.angular, motion.linear, -motion.angular_acceleration, motion.readout)
    linear = back.rotated(motion.linear[:, :, None].expand(-1, -1, pixels.shape[1]), views.rows(pixels))
    return views.pixel_motion(pixels, ray_motion(views.rays(pixels), inverse_depth, angular, linear))


def axial_from_signed(flow: torch.Tensor) -> torch.Tensor:
    """Convert flow (B, 2, …) px to axial flow q = (‖f‖cos 2θ, ‖f‖sin 2θ), the same for f and −f; zero stays zero."""
    u, v = flow.unbind(1)
    length = torch.hypot(u, v)
    safe = length.clamp(min=1e-6)
    return torch.stack([(u * u - v * v) / safe, 2 * u * v / safe], 1)


def random_motion(
    views: Views, inverse_depth: torch.Tensor, generator: torch.Generator, recorded: torch.Tensor | None = None
) -> Motion:
    """Invent motions whose mean blur over each view follows the training distribution, or scale recorded ones to it.

    9 % are practically static (below 1 px), 79 % have 1–40 px, 12 % 40–80 px. Of the invented ones, rotation and
    translation dominate or mix; a quarter of the rotations is mostly roll, a third of the translations mostly zoom;
    half of the shutters are rolling. Recorded ones keep their relation of rotation to translation and how they change
    over the exposure, behind global shutters. A few global shutters vibrate.

    Args:
        views: B views. inverse_depth: (B, cells) 1/m at their cell centres.
        recorded: (B, KNOTS, 6) paths of which some are taken: rotation vector, rad, and position, m.
    """
    draw = _Draws(len(views.focal), views.focal.device, generator)
    cells = views.cells()
    zero = torch.zeros(draw.batch, 3, device=draw.device)

    def lengths(angular: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
        return motion_field(views, cells, inverse_depth, angular, linear).norm(dim=1)

    angular, linear = draw.axis(0.25), draw.axis(0.33)
    angular = angular / lengths(angular, zero).mean(1, keepdim=True)
    linear = linear / lengths(zero, linear).mean(1, keepdim=True).clamp(min=_LEAST_PX_PER_METRE)
    share = draw.share_of_translation()
    angular, linear = (1 - share) * angular, share * linear
    deviation, moved = None, torch.zeros(draw.batch, dtype=torch.bool, device=draw.device)
    if recorded is not None:
        moved = draw.uniform(0, 1) < _RECORDED
        mean, beside = _parted(recorded)
        angular, linear = (torch.where(moved[:, None], *x) for x in ((mean[:, :3], angular), (mean[:, 3:], linear)))
        deviation = moved[:, None, None] * beside
    blur = draw.mean_blur()
    length = lengths(angular, linear)
    scale = blur / length.mean(1, keepdim=True)
    nearest = inverse_depth.amax(1, keepdim=True)
    for value, limit in (
        (angular.norm(dim=1, keepdim=True), _MAX_ROTATION),
        (angular[:, 2:].abs(), _MAX_ROLL_OR_ZOOM),
        (linear[:, 2:].abs() * nearest, _MAX_ROLL_OR_ZOOM),
        (length.amax(1, keepdim=True), MAX_BLUR_PX),
    ):
        scale = torch.minimum(scale, limit / value.clamp(min=1e-9))
    angular, linear = angular * scale, linear * scale
    acceleration = draw.axis(0) * draw.uniform(0, 0.3, 1) * angular.norm(dim=1, keepdim=True)
    # A long readout must not rotate the view away from the scene that the blur was chosen for.
    readout = torch.minimum(draw.uniform(0, 2), 0.25 / angular.norm(dim=1).clamp(min=1e-9))
    rolling = (draw.uniform(0, 1) < 0.5) & ~moved
    trembled, tremor = _parted(draw.vibration(views.focal) * ~rolling[:, None, None])
    return Motion(
        angular + trembled[:, :3],
        linear,
        torch.where(rolling, 0.5, torch.where(moved, 0.0, 1.0))[:, None] * acceleration,
        torch.where(rolling, readout, 0.0),
        tremor if deviation is None else tremor + deviation * scale[:, :, None],
    )


def _parted(path: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Part paths (B, KNOTS, 6) into the mean velocity (B, 6) per exposure and what they are beside it."""
    mean = path[:, -1] - path[:, 0]
    times = torch.linspace(-0.5, 0.5, KNOTS, device=path.device)
    return mean, path - mean[:, None] * times[:, None]


class _Draws(Draws):
    """Random motions of a batch."""

    def axis(self, mostly_z: float) -> torch.Tensor:
        """Draw (batch, 3) vectors, of which a share of `mostly_z` is mostly along z."""
        vector = torch.randn(self.batch, 3, device=self.device, generator=self.generator)
        along_z = self.uniform(0, 1) < mostly_z
        vector[:, :2] *= torch.where(along_z, 0.2, 1.0)[:, None]
        vector[:, 2] *= torch.where(along_z, 1.0, 0.5)
        return vector

    def share_of_translation(self) -> torch.Tensor:
        """Draw (batch, 1) shares of the blur: little of it in 40 %, most of it in 25 %, else both."""
        kind = self.uniform(0, 1, 1)
        minor = self.uniform(0, 0.2, 1)
        mixed = self.uniform(0.2, 0.8, 1)
        return torch.where(kind < 0.4, minor, torch.where(kind < 0.65, 1 - minor, mixed))

    def vibration(self, focal: torch.Tensor) -> torch.Tensor:
        """Draw rotations that swing about a random axis, zero at mid-exposure: (batch, KNOTS, 6) rad; most are none."""
        times = torch.linspace(-0.5, 0.5, KNOTS, device=self.device)
        (lowest, highest), (least, most) = _VIBRATION_CYCLES, _VIBRATION_PX
        cycles = lowest * (highest / lowest) ** self.uniform(0, 1, 1)
        # The faster, the smaller, as in a frame that shakes.
        amplitude = least * (most / least) ** self.uniform(0, 1, 1) / focal[:, None] / (cycles / 2).clamp(min=1)
        phase = self.uniform(0, 2 * math.pi, 1)
        swing = amplitude * ((2 * math.pi * cycles * times + phase).sin() - phase.sin())
        axis = self.axis(0)
        axis = axis / axis.norm(dim=1, keepdim=True)
        chosen = self.uniform(0, 1, 1) < _VIBRATING
        rotation = (chosen * swing)[:, :, None] * axis[:, None]
        return torch.cat([rotation, torch.zeros_like(rotation)], 2)

    def mean_blur(self) -> torch.Tensor:
        """Draw (batch, 1) px."""
        amount = self.uniform(0, 1, 1)
        return torch.where(
            amount < 0.09,
            self.uniform(0, 1, 1),
            torch.where(amount < 0.88, 40.0 ** self.uniform(0, 1, 1) ** 0.8, self.uniform(40, MAX_BLUR_PX, 1)),
        )


def subframe_count(views: Views, motion: Motion, inverse_depth: torch.Tensor) -> torch.Tensor:
    """Count the sub-frames that keep the streaks whole: (B,) int64."""
    flow = motion_field(views, views.cells(), inverse_depth, motion.angular, motion.linear)
    longest = flow.norm(dim=1).amax(1)
    speeding_up = 0.5 * motion.angular_acceleration.norm(dim=1) * views.focal
    if motion.deviation is not None:  # sub-frames are as dense as where the camera is fastest
        rotated, moved = (KNOTS * motion.deviation.diff(dim=1)).split(3, 2)
        nearest = inverse_depth.amax(1)
        faster = rotated.norm(dim=2).amax(1) + nearest * moved.norm(dim=2).amax(1)
        speeding_up = speeding_up + views.focal * faster
    most = int(SUBFRAMES_PER_PX * 2 * MAX_BLUR_PX)
    return (SUBFRAMES_PER_PX * (1.1 * longest + speeding_up) + STRIDE).ceil().long().clamp(max=most)
