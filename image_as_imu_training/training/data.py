"""Batches that follow from seed, step and process alone: a run that was interrupted sees the same ones when resumed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.augmentation import Symmetry, Zoom
from image_as_imu_training.datasets.shards import load
from image_as_imu_training.samples import Samples

Batch = dict[str, torch.Tensor]

_COMMON_BLUR_PX = 40.0
_UPRIGHT = 0.75  # of the batches


class RenderedSamples(Dataset):
    """Samples written by `render`, one by one.

    Each is a dict of image (1, H, W) uint8; flow (2, h, w) axial, px; depth (1, h, w) m, NaN where unknown; moving
    (h, w) bool; depth_known, bool; matrix (2, 6, h, w), the motion field matrix for a depth of 1 m; motion (6,) per
    exposure, NaN where matrix and motion do not explain the flow. See `Samples`.
    """

    def __init__(self, folder: Path, stride: int) -> None:
        """Read a part. Raises InputError: it holds no samples, or their labels have another stride than the network."""
        samples = load(folder)
        self._samples = [vars(samples[np.array(index)]) for index in range(len(samples))]
        self._stride = stride
        found = self._samples[0]["image"].shape[-1] // self._samples[0]["flow"].shape[-1]
        if found != stride:
            raise InputError(
                f"samples in {folder} have one label per {found} px, the network predicts one per {stride}"
            )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        sample = self._samples[index]
        focal, cx, cy = map(float, sample["camera"])
        height, width = sample["image"].shape
        return {
            "image": sample["image"][None],
            "flow": sample["flow"].astype(np.float32),
            "depth": sample["depth"][None].astype(np.float32),
            "moving": sample["moving"],
            "depth_known": sample["depth_known"],
            "matrix": motion_field_matrix(Camera(width, height, focal, focal, cx, cy), self._stride),
            "motion": sample["motion"],
        }

    def first(self, count: int) -> Samples:
        """Return the first `count` samples at once."""
        chosen = [self._samples[index] for index in range(count)]
        return Samples(**{field.name: np.stack([sample[field.name] for sample in chosen]) for field in fields(Samples)})

    def weights(self) -> torch.Tensor:
        """Say how often to draw each (N,): short blurs, the common case of cameras, more often than long ones."""
        lengths = [np.hypot(*sample["flow"].astype(np.float32)).mean() for sample in self._samples]
        return 1 / (_COMMON_BLUR_PX + torch.tensor(lengths))


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


def batches(dataset: Dataset, sampler: StepSampler, workers: int) -> DataLoader:
    """Load the batches of a sampler, one per step."""
    return DataLoader(dataset, batch_sampler=sampler, num_workers=workers, worker_init_fn=_start_worker)


def _start_worker(_: int) -> None:
    """Leave interruptions to the main process: it finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def first_samples(dataset: RenderedSamples, count: int, batch: int) -> Iterator[Batch]:
    """Yield the first `count` samples in batches."""
    count = min(count, len(dataset))
    for start in range(0, count, batch):
        yield default_collate([dataset[index] for index in range(start, min(start + batch, count))])


def augmented(
    batch: Batch, window: int | None, stride: int, generator: torch.Generator, mostly_upright: bool = False
) -> Batch:
    """Zoom a batch at random, cut a random square of `window` px if that is given, and apply a random symmetry.

    Its images must be floats.

    Args:
        mostly_upright: three batches in four keep up and down: floors are below, and near at the bottom. Flow does not
            care, depth does.
    """
    rows, columns = (side // stride for side in batch["image"].shape[-2:])
    height, width = (rows, columns) if window is None else (window // stride, window // stride)
    top = int(torch.randint(rows - height + 1, (), generator=generator))
    left = int(torch.randint(columns - width + 1, (), generator=generator))
    symmetry, zoom = Symmetry.random(generator), Zoom.random(generator)
    if mostly_upright and torch.rand((), generator=generator) < _UPRIGHT:
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
