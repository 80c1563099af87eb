"""RGB-D frames as the renderer sees them: textures with depth, each seen by an ideal camera as wide as its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.layouts import Recording
from image_as_imu_training.datasets.rgbd import LEAST_KNOWN, RgbdFrame, fill_holes, known_depth, linear_luminance

HEIGHT, WIDTH = 336, 448  # about 1.1–1.4 texels per px of the virtual camera
_TRIES = 100  # frames drawn for one that has enough depth
_KEPT = 500  # frames in memory, 1.4 MB each: they are drawn over and over


@dataclass(frozen=True)
class RgbdTextures:
    """Frames of ideal cameras with a centred principal point.

    Attributes:
        texture: (F, 1, HEIGHT, WIDTH) linear luminance 0…1.
        inverse_depth: (F, 1, HEIGHT, WIDTH) 1/m; where nobody measured it, that of the nearest pixel.
        known: (F, 1, HEIGHT, WIDTH) bool, where depth was measured.
        focal: (F,) focal length / image width.
    """

    texture: torch.Tensor
    inverse_depth: torch.Tensor
    known: torch.Tensor
    focal: torch.Tensor

    def to(self, device: torch.device) -> RgbdTextures:
        """Move everything to a device."""
        return RgbdTextures(*(part.to(device) for part in vars(self).values()))


@dataclass(frozen=True)
class RgbdScenes:
    """Scenes to draw frames from. Nothing is read before it is drawn, so there can be any number of them, and what was
    drawn lately is kept.

    Attributes:
        recordings: one scene each.
    """

    recordings: list[Recording]

    @classmethod
    def of(cls, recordings: list[Recording]) -> RgbdScenes:
        """Keep the recordings that have frames. Raises InputError: none has."""
        names = ", ".join(recording.name for recording in recordings[:5])
        recordings = [recording for recording in recordings if len(recording.open())]
        if not recordings:
            raise InputError(
                f"{names}: of fewer than five frames none is held out. Give a longer recording, or a folder with "
                "subfolders train… and validation… of recordings"
            )
        return cls(recordings)

    def draw(self, count: int, generator: torch.Generator) -> RgbdTextures:
        """Draw frames: every scene is as likely, and in it every frame, however many of either there are.

        Raises:
            InputError: hardly any frame has depth.
        """
        frames = [self._draw_one(generator) for _ in range(count)]
        return RgbdTextures(
            _stacked([frame.light for frame in frames]),
            _stacked([frame.inverse_depth for frame in frames]),
            _stacked([frame.known for frame in frames]),
            torch.tensor([frame.focal for frame in frames]),
        )

    def _draw_one(self, generator: torch.Generator) -> _Frame:
        for _ in range(_TRIES):
            which, when = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            recording = self.recordings[int(which * len(self.recordings))]
            frame = _read(recording, int(when * len(recording.open())))
            if frame is not None:
                return frame
        names = ", ".join(recording.name for recording in self.recordings[:5])
        raise InputError(f"{names}: none of {_TRIES} random frames has depth at {LEAST_KNOWN:.0%} of its pixels")


@dataclass(frozen=True)
class _Frame:
    """One frame. Maps (HEIGHT, WIDTH), linear luminance, inverse depth and where it is known, as in RgbdTextures."""

    light: np.ndarray
    inverse_depth: np.ndarray
    known: np.ndarray
    focal: float


@lru_cache(maxsize=_KEPT)
def _read(recording: Recording, number: int) -> _Frame | None:
    """Read a frame; None where too little depth is known."""
    frame = as_wide_as_possible(recording.open()[number])
    known = known_depth(frame.depth)
    if known.mean() <= LEAST_KNOWN:
        return None
    return _Frame(linear_luminance(frame.colour), 1 / fill_holes(frame.depth), known, frame.camera.fx / WIDTH)


def _stacked(maps: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(maps)[:, None])


def as_wide_as_possible(frame: RgbdFrame) -> RgbdFrame:
    """Show a frame as an ideal WIDTH×HEIGHT camera does, the widest one that sees no more than the frame's own."""
    focal = _narrowest_focal(frame.camera)
    return frame.seen_by(Camera(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2))


def _narrowest_focal(camera: Camera) -> float:
    """Find the focal length, px, of the widest WIDTH×HEIGHT camera with a centred principal point that sees no more."""
    across = min(camera.cx + 0.5, camera.width - 0.5 - camera.cx) / camera.fx
    down = min(camera.cy + 0.5, camera.height - 0.5 - camera.cy) / camera.fy
    return max(WIDTH / 2 / across, HEIGHT / 2 / down)
