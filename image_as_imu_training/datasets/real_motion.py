"""Blurred frames from real motion: exposures that last several frames of a recording.

The poses say how the camera moved, sub-frames fill in what it saw between two frames, and the depth of the middle
frame says what the motion field is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.layouts import Recording
from image_as_imu_training.datasets.rgbd import (
    LEAST_KNOWN,
    RgbdFrame,
    RgbdSequence,
    fill_holes,
    known_depth,
    mean_motion,
)
from image_as_imu_training.rendering.motion import MAX_BLUR_PX, SUBFRAMES_PER_PX, axial_from_signed, motion_field
from image_as_imu_training.rendering.sensor import MARGIN, photograph
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH, STRIDE, Views
from image_as_imu_training.samples import Samples

# Recorded frames are brought to this size or, if wider, this height. What is more than a frame leaves room for the
# sensor's margin and for what sub-frames do not show at the border.
_WIDTH, _HEIGHT = 336, 252
_MOST_STEPS = 6  # frames on each side of the middle one
_BLUR = (1.0, 40.0)  # px, mean over the frame
_MOST_CHANGE = 0.5  # of the flow between the halves of an exposure, in whole exposures' flow
_TRIES = 100  # exposures tried for one that can be used

Subframes = Callable[[RgbdFrame, RgbdFrame, np.ndarray, torch.device], torch.Tensor]


@dataclass(frozen=True)
class Exposure:
    """What a camera saw while it moved.

    Attributes:
        light: (h, w) linear luminance, mean over the exposure.
        depth: (h, w) float32 m at mid-exposure, as measured, NaN where unknown.
        camera: without distortion, fx = fy.
        linear, angular: (3,) m and rad per exposure, in the optical frame at mid-exposure.
    """

    light: torch.Tensor
    depth: np.ndarray
    camera: Camera
    linear: np.ndarray
    angular: np.ndarray


@dataclass(frozen=True)
class RealMotion:
    """Renders samples from recordings.

    Attributes:
        subframes: fills in between two frames: `reprojection.subframes` or a `Rife`.
        densify: gives a frame dense depth: a `PromptDepth`. Without it depth is what was measured.
    """

    recordings: list[Recording]
    subframes: Subframes
    densify: Callable[[RgbdFrame], RgbdFrame] | None = None

    def render(
        self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> tuple[Samples, list[str]]:
        """Render `count` samples of `size` = (height, width), and name the recordings that they are from.

        One exposure gives several samples where they are small. `generator` must live on the CPU.

        Raises:
            InputError: the recordings hold hardly any exposure that can be used.
        """
        per_exposure = FRAME_HEIGHT * FRAME_WIDTH // (size[0] * size[1])
        parts, sources = [], []
        while len(sources) < count:
            name, exposure = self._random_exposure(generator, device)
            crops = min(per_exposure, count - len(sources))
            parts.append(_random_samples(exposure, crops, size, generator))
            sources += [name] * crops
        return Samples.concatenate(parts), sources

    def _random_exposure(self, generator: torch.Generator, device: torch.device) -> tuple[str, Exposure]:
        for _ in range(_TRIES):
            which, when, how_long = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
            recording = self.recordings[int(which * len(self.recordings))]
            sequence = recording.open()
            reach = trusted_steps(sequence.jumps)
            middles = np.flatnonzero(reach)
            if not len(middles):
                continue
            middle = int(middles[int(when * len(middles))])
            exposure = self.expose(sequence, middle, _half_exposure(sequence, middle, reach[middle], how_long), device)
            if exposure is not None:
                return recording.name, exposure
        names = ", ".join(recording.name for recording in self.recordings[:5])
        raise InputError(
            f"{names}: of {_TRIES} random exposures none has trusted poses, depth and a mean blur of "
            f"{_BLUR[0]:g} to {_BLUR[1]:g} px"
        )

    def expose(self, sequence: RgbdSequence, middle: int, half: float, device: torch.device) -> Exposure | None:
        """Expose from `half` seconds before the frame number `middle` to `half` seconds after it.

        None where it cannot be used: the blur is too short or too long, the motion is no streak because it reverses
        or stops, or the depth of a frame is mostly unknown.
        """
        raw = sequence[middle]
        camera = _working_camera(raw.camera)
        frames = {middle: self._prepare(raw, camera)}
        if not _is_known(frames[middle]):
            return None
        stamp = sequence.stamps[middle]
        ends = sequence.pose_at(stamp - half), sequence.pose_at(stamp + half)
        motion = mean_motion(*ends, raw.pose)
        depth, crop = fill_holes(frames[middle].depth), _whole_frame(camera)
        blur = crop.flow(depth, *motion).norm(dim=1)
        if not (_BLUR[0] <= blur.mean() <= _BLUR[1] and blur.amax() <= MAX_BLUR_PX):
            return None
        first = crop.flow(depth, *mean_motion(ends[0], raw.pose, raw.pose))
        second = crop.flow(depth, *mean_motion(raw.pose, ends[1], raw.pose))
        if (second - first).norm(dim=1).mean() > _MOST_CHANGE * blur.mean():
            return None

        number = int(np.ceil(SUBFRAMES_PER_PX * float(blur.amax()))) + STRIDE
        times = stamp + half * ((2 * np.arange(number) + 1) / number - 1)
        before = np.searchsorted(sequence.stamps, times, side="right") - 1
        for i in {*before, *(before + 1)} - {middle}:
            frames[i] = self._prepare(sequence[i], camera)
        if not all(map(_is_known, frames.values())):
            return None
        filled = {i: replace(frame, depth=fill_holes(frame.depth)) for i, frame in frames.items()}
        total = torch.zeros(camera.height, camera.width, device=device)
        for i in np.unique(before):
            begin, end = sequence.stamps[i : i + 2]
            share = (times[before == i] - begin) / (end - begin)
            total += self.subframes(filled[i], filled[i + 1], share, device).sum(0)
        return Exposure(total / number, frames[middle].depth, camera, *motion)

    def _prepare(self, frame: RgbdFrame, camera: Camera) -> RgbdFrame:
        return (self.densify(frame) if self.densify else frame).seen_by(camera)


def trusted_steps(jumps: np.ndarray) -> np.ndarray:
    """Count the frames around each over which its motion can be trusted: (N − 1,) bool → (N,) int, at most 6."""
    number = np.arange(len(jumps) + 1)
    first = np.maximum.accumulate(np.concatenate([[0], np.where(jumps, number[1:], 0)]))
    last = np.minimum.accumulate(np.concatenate([np.where(jumps, number[:-1], number[-1]), number[-1:]])[::-1])[::-1]
    return np.minimum(np.minimum(number - first, last - number), _MOST_STEPS)


def _half_exposure(sequence: RgbdSequence, middle: int, reach: int, share: float) -> float:
    """Choose a time, s, between one frame and `reach` frames. Over a shorter time the frames' own blur would count."""

    def shorter_side(steps: int) -> float:
        return np.abs(sequence.stamps[[middle - steps, middle + steps]] - sequence.stamps[middle]).min()

    return shorter_side(1) + share * (shorter_side(reach) - shorter_side(1))


def _is_known(frame: RgbdFrame) -> bool:
    return known_depth(frame.depth).mean() >= LEAST_KNOWN


def _working_camera(camera: Camera) -> Camera:
    """Make an ideal camera with the view of a recording's camera, large enough for a frame and a margin."""
    scale = max(_WIDTH / camera.width, _HEIGHT / camera.height)
    camera = camera.resize(round(camera.width * scale), round(camera.height * scale))
    focal = max(camera.fx, camera.fy)
    return Camera(camera.width, camera.height, focal, focal, camera.cx, camera.cy)


@dataclass(frozen=True)
class _Crops:
    """B equally large parts of a working camera's image.

    Attributes:
        corners: (B, 2) left and top, px. size: (height, width), px.
    """

    camera: Camera
    corners: torch.Tensor
    size: tuple[int, int]

    def of(self, image: torch.Tensor, margin: int = 0) -> torch.Tensor:
        """Cut (H, W) into (B, height + 2·margin, width + 2·margin)."""
        (height, width), m = self.size, margin
        return torch.stack([image[y - m : y + height + m, x - m : x + width + m] for x, y in self.corners.tolist()])

    def at_cells(self, image: np.ndarray) -> torch.Tensor:
        """Average the four pixels of (H, W) around each cell's centre: (B, height/8, width/8)."""
        crops, middle = self.of(torch.from_numpy(image)), STRIDE // 2
        rows = crops[:, middle - 1 :: STRIDE] + crops[:, middle::STRIDE]
        return (rows[:, :, middle - 1 :: STRIDE] + rows[:, :, middle::STRIDE]) / 4

    def flow(self, depth: np.ndarray, linear: np.ndarray, angular: np.ndarray) -> torch.Tensor:
        """Compute the flow (B, 2, height/8, width/8) px that a motion, (3,) m and rad, causes at depth (H, W) m."""
        batch = len(self.corners)
        inverse_depth = self.at_cells(1 / depth)
        principal_point = (torch.tensor([self.camera.cx, self.camera.cy]) - self.corners).float()
        views = Views(torch.full((batch,), self.camera.fx), principal_point, torch.zeros(batch), *self.size)
        motion = (torch.from_numpy(velocity).float().expand(batch, 3) for velocity in (angular, linear))
        flow = motion_field(views, views.cells(), inverse_depth.flatten(1), *motion)
        return flow.unflatten(2, inverse_depth.shape[1:])


def _whole_frame(camera: Camera) -> _Crops:
    """Cut the 320×224 frame in the middle of a working camera's image."""
    corner = [(camera.width - FRAME_WIDTH) // 2, (camera.height - FRAME_HEIGHT) // 2]
    return _Crops(camera, torch.tensor([corner]), (FRAME_HEIGHT, FRAME_WIDTH))


def _random_samples(exposure: Exposure, count: int, size: tuple[int, int], generator: torch.Generator) -> Samples:
    """Cut samples from random places of the frame, with what a sensor adds."""
    camera, depth = exposure.camera, exposure.depth
    free = torch.tensor([FRAME_WIDTH - size[1], FRAME_HEIGHT - size[0]])
    corners = _whole_frame(camera).corners + (torch.rand(count, 2, generator=generator) * (free + 1)).long()
    crops = _Crops(camera, corners, size)
    local = torch.Generator(exposure.light.device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
    flow = crops.flow(fill_holes(depth), exposure.linear, exposure.angular)
    known = np.where(known_depth(depth), depth, np.float32(np.nan))
    cameras = [(camera.fx, camera.cx - left, camera.cy - top) for left, top in corners.tolist()]
    motion = np.concatenate([exposure.linear, exposure.angular]).astype(np.float32)
    return Samples(
        image=photograph(crops.of(exposure.light, MARGIN)[:, None], local).cpu().numpy(),
        flow=axial_from_signed(flow).half().numpy(),
        depth=(1 / crops.at_cells(1 / known)).half().numpy(),
        moving=np.zeros((count, size[0] // STRIDE, size[1] // STRIDE), bool),
        camera=np.array(cameras, np.float32),
        motion=np.tile(motion, (count, 1)),
        depth_known=np.ones(count, bool),
    )
