"""Batches that follow from seed, step and process alone: a run that was interrupted sees the same ones when resumed."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.augmentation import Symmetry, Zoom
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.samples import Samples

Batch = dict[str, torch.Tensor]

_COMMON_BLUR_PX = 40.0
_AT_ONCE = 1024  # samples whose blur is measured
_UPRIGHT = 0.75  # of the batches


class RenderedSamples:
    """Samples written by `render`, all of them in the memory of the device that trains.

    A batch of B is a dict of image (B, 1, H, W) uint8; flow (B, 2, h, w) axial, px; depth (B, 1, h, w) m, NaN where
    unknown; moving (B, h, w) bool; depth_known (B,) bool; matrix (B, 2, 6, h, w), the motion field matrix for a depth
    of 1 m; motion (B, 6) per exposure, NaN where matrix and motion do not explain the flow. See `Samples`.

    Attributes:
        image_size: H, W.
    """

    def __init__(self, folder: Path, stride: int, device: torch.device | str = "cpu") -> None:
        """Read a part. Raises InputError: it holds no samples, or their labels have another stride than the network."""
        samples = load(folder)
        self.image_size = samples.image.shape[1:]
        self._parts = {name: torch.from_numpy(values).to(device) for name, values in vars(samples).items()}
        self._stride = stride
        found = self.image_size[1] // samples.flow.shape[-1]
        if found != stride:
            raise InputError(
                f"samples in {folder} have one label per {found} px, the network predicts one per {stride}"
            )

    def __len__(self) -> int:
        return len(self._parts["image"])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Put samples together, on the device."""
        # Not waiting for the copy is what lets a GPU work on the last step meanwhile.
        chosen = torch.tensor(indices).to(self._parts["image"].device, non_blocking=True)
        part = {name: values[chosen] for name, values in self._parts.items()}
        rows, columns = part["flow"].shape[-2:]
        return {
            "image": part["image"][:, None],
            "flow": part["flow"].float(),
            "depth": part["depth"][:, None].float(),
            "moving": part["moving"],
            "depth_known": part["depth_known"],
            "matrix": motion_field_matrices(part["camera"], rows, columns, self._stride),
            "motion": part["motion"],
        }

    def first(self, count: int) -> Samples:
        """Return the first `count` samples at once."""
        return Samples(**{name: values[:count].cpu().numpy() for name, values in self._parts.items()})

    def weights(self) -> torch.Tensor:
        """Say how often to draw each (N,): short blurs, the common case of cameras, more often than long ones."""
        flow = self._parts["flow"]
        lengths = [part.float().norm(dim=1).mean((1, 2)).cpu() for part in flow.split(_AT_ONCE)]
        return 1 / (_COMMON_BLUR_PX + torch.cat(lengths))


def motion_field_matrices(camera: torch.Tensor, rows: int, columns: int, stride: int) -> torch.Tensor:
    """Compute what `motion_field_matrix` does for B ideal cameras (B, 3), as in `Samples`: (B, 2, 6, rows, columns)."""
    focal, cx, cy = camera.double()[:, :, None, None].unbind(1)

    def rays(cells: int, centre: torch.Tensor) -> torch.Tensor:
        return ((torch.arange(cells, device=camera.device) + 0.5) * stride - 0.5 - centre) / focal

    x, y = torch.broadcast_tensors(rays(columns, cx), rays(rows, cy).mT)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    u = torch.stack([-one, zero, x, x * y, -(1 + x * x), y], 1)
    v = torch.stack([zero, -one, y, 1 + y * y, -x * y, -x], 1)
    return (focal[:, None, None] * torch.stack([u, v], 1)).float()


def motion_field_matrix(camera: Camera, stride: int) -> np.ndarray:
    """Return (2, 6, h, w) float32 px per unit of motion (v, ω) for a depth of 1 m, at cells; NaN without a ray."""
    rows, columns = camera.height // stride, camera.width // stride
    matrix = MotionFieldMatrix.at(camera, cell_centres(rows, columns, stride))
    both = np.concatenate([matrix.linear, matrix.angular], axis=2)
    return both.transpose(1, 2, 0).reshape(2, 6, rows, columns).astype(np.float32)


class StepSampler(Sampler[list[int]]):
    """Random samples, with replacement, for each of the steps from `first` to `last`."""

    def __init__(self, weights: torch.Tensor, batch: int, first: int, last: int, seed: int, process: int) -> None:
        self._weights, self._batch = weights, batch
        self._steps, self._seed, self._process = range(first, last), seed, process

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            generator = random_generator(self._seed, step, self._process, "samples")
            yield torch.multinomial(self._weights, self._batch, replacement=True, generator=generator).tolist()


def random_generator(
    seed: int, step: int, process: int, purpose: str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Make a random number generator of its own for everything that is drawn in a step."""
    entropy = np.random.SeedSequence([seed, step, process, *purpose.encode()])
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1)[0]))


def batches(dataset: RenderedSamples | Dataset, sampler: StepSampler, workers: int) -> Iterable[Batch]:
    """Load the batches of a sampler, one per step."""
    if isinstance(dataset, RenderedSamples):
        return map(dataset.batch, sampler)
    return DataLoader(dataset, batch_sampler=sampler, num_workers=workers, worker_init_fn=_start_worker)


def _start_worker(_: int) -> None:
    """Leave interruptions to the main process: it finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def first_samples(dataset: RenderedSamples, count: int, batch: int) -> Iterator[Batch]:
    """Yield the first `count` samples in batches."""
    count = min(count, len(dataset))
    for start in range(0, count, batch):
        yield dataset.batch(range(start, min(start + batch, count)))


def augmented(batch: Batch, window: int | None, stride: int, generator: torch.Generator) -> Batch:
    """Zoom a batch at random, cut a random square of `window` px if that is given, and apply a random symmetry.

    Three batches in four keep up and down: floors are below, and near at the bottom. Flow does not care, depth does.
    Images must be floats.
    """
    rows, columns = (side // stride for side in batch["image"].shape[-2:])
    height, width = (rows, columns) if window is None else (window // stride, window // stride)
    top = int(torch.randint(rows - height + 1, (), generator=generator))
    left = int(torch.randint(columns - width + 1, (), generator=generator))
    symmetry, zoom = Symmetry.random(generator), Zoom.random(generator)
    if torch.rand((), generator=generator) < _UPRIGHT:
        symmetry = replace(symmetry, flip=False, transpose=False)
    changes = {
        "image": (zoom.image, symmetry.image),
        "flow": (zoom.flow, symmetry.axial),
        "depth": (zoom.depth, symmetry.image),
        "moving": (zoom.mask, symmetry.image),
        "matrix": (zoom.matrix, symmetry.matrix),
    }

    def varied(name: str, value: torch.Tensor) -> torch.Tensor:
        if name not in changes:
            return value
        px = stride if name == "image" else 1
        zoomed, transformed = changes[name]
        return transformed(zoomed(value)[..., px * top : px * (top + height), px * left : px * (left + width)])

    return {name: varied(name, value) for name, value in batch.items()}
