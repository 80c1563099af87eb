"""The `render` command: material → shards, by processes on one machine or by tasks on a Ray cluster."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets import rendered_from, reprojection, shards
from image_as_imu_training.datasets.carrier_motion import CarrierMotions, load_motions
from image_as_imu_training.datasets.invented_motion import USUAL, Mixture, render_invented_motion
from image_as_imu_training.datasets.layouts import Recording, find_recordings
from image_as_imu_training.datasets.photos import Photos, split_photos
from image_as_imu_training.datasets.prompt_da import PromptDepth
from image_as_imu_training.datasets.real_motion import RealMotion
from image_as_imu_training.datasets.rgbd_textures import RgbdScenes
from image_as_imu_training.datasets.rife import Rife
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.samples import Samples

SHARD_SIZE = 512  # samples; the last shard of a part may hold fewer
HELD_OUT_CROPS, HELD_OUT_FRAMES = 3 * SHARD_SIZE, SHARD_SIZE  # the same for everybody: figures on them can be compared
_AT_ONCE = 64  # samples
_REFRESH = 1.0  # s, from one look at how far the workers are to the next
_SEQUENCE_SHARE = 0.3
CROP, FRAME = (128, 128), (FRAME_HEIGHT, FRAME_WIDTH)


@dataclass(frozen=True)
class Sources:
    """Where material comes from.

    Attributes:
        photos: folders. rgbd, sequences: LAYOUT:FOLDER each. motions: folder of recorded motions, or None.
        subframes: "reprojection" or "rife". densify: "promptda" or None.
    """

    photos: tuple[Path, ...]
    rgbd: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    motions: Path | None = None
    subframes: str = "reprojection"
    densify: str | None = None


@dataclass(frozen=True)
class Material:
    """What scenes are made of. Kinds that there are no sources of are None."""

    photos: Photos
    rgbd: RgbdScenes | None
    sequences: RealMotion | None
    motions: CarrierMotions | None


def find_material(sources: Sources, held_out: bool) -> tuple[list[Path], list[Recording], list[Recording]]:
    """Find photographs, RGB-D recordings and sequences for training, or those for validation.

    Raises:
        InputError: there are no photographs, or something is not where the sources say.
    """
    photos = [photo for folder in sources.photos for photo in split_photos(folder)[held_out]]
    if not photos:
        part = "validation" if held_out else "training"
        folders = ", ".join(map(str, sources.photos))
        raise InputError(
            f"{folders} holds too few photographs: none is for {part}. Add some: by their names, one in ten is held out"
        )
    rgbd, sequences = (
        [recording for source in kind for recording in find_recordings(source, held_out)]
        for kind in (sources.rgbd, sources.sequences)
    )
    return photos, rgbd, sequences


@lru_cache(maxsize=1)
def load_material(sources: Sources, held_out: bool, device: str) -> Material:
    """Load the material for training, or that for validation."""
    photos, rgbd, sequences = find_material(sources, held_out)
    subframes = Rife() if sources.subframes == "rife" else reprojection.subframes
    densify = PromptDepth(torch.device(device)) if sources.densify else None
    return Material(
        Photos.load(photos),
        RgbdScenes.of(rgbd) if rgbd else None,
        RealMotion(sequences, subframes, densify) if sequences else None,
        load_motions(sources.motions) if sources.motions is not None else None,
    )


@dataclass(frozen=True)
class Part:
    """One part of the data set: a folder of shards.

    Attributes:
        size: (height, width) of its images. held_out: whether its material is never trained on.
        mixture: what those of its samples show that are not of sequences.
    """

    name: str
    size: tuple[int, int]
    held_out: bool
    mixture: Mixture = USUAL


def render_samples(
    material: Material, count: int, part: Part, generator: torch.Generator, device: torch.device
) -> tuple[Samples, list[str]]:
    """Render `count` samples of a part, and say for each what it was rendered from.

    Where there are sequences, 30 % show real motion. That of the others is invented, of half of the training samples
    recorded where there are recorded motions. `generator` must live on the CPU.
    """
    real = 0 if material.sequences is None else round(count * _SEQUENCE_SHARE)
    invented = render_invented_motion(
        material.photos,
        material.rgbd,
        count - real,
        part.size,
        generator,
        device,
        part.mixture,
        None if part.held_out else material.motions,
    )
    sources = ["invented"] * len(invented)
    if material.sequences is None or not real:
        return invented, sources
    recorded, names = material.sequences.render(real, part.size, generator, device)
    return Samples.concatenate([invented, recorded]), sources + names


@dataclass(frozen=True)
class Job:
    """What is rendered where. A shard depends on the sources and on (seed, part, number, number of samples) alone."""

    sources: Sources
    output: Path
    seed: int
    device: str
    shard_size: int = SHARD_SIZE


def render_shard(
    job: Job, part: Part, number: int, size: int, report: Callable[[int], None] = lambda count: None
) -> None:
    """Render and write one shard of `size` samples, in whatever process this is.

    Args:
        report: called with a number of samples as soon as so many more are rendered.
    """
    material = load_material(job.sources, part.held_out, job.device)
    digest = hashlib.sha256(f"{job.seed}/{part.name}/{number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    samples, sources = [], []
    while len(sources) < size:
        count = min(_AT_ONCE, size - len(sources))
        some, names = render_samples(material, count, part, generator, torch.device(job.device))
        samples.append(some)
        sources += names
        report(count)
    shards.write(shards.shard_path(job.output / part.name, number), Samples.concatenate(samples), sources)


def settings_of(job: Job, part: Part) -> rendered_from.Settings:
    """Say on what the shards of a part depend."""
    photos, rgbd, sequences = find_material(job.sources, part.held_out)
    return {
        "--photos": rendered_from.describe_files(photos),
        "--rgbd": rendered_from.describe_files([recording.folder for recording in rgbd]),
        "--sequence": rendered_from.describe_files([recording.folder for recording in sequences]),
        "--subframes": job.sources.subframes,
        "--densify": job.sources.densify or "none",
        "--motions": "none" if job.sources.motions is None else rendered_from.describe_files([job.sources.motions]),
        "--room-share": part.mixture.rooms,
        "--rgbd-share": part.mixture.rgbd,
        "--parts-share": part.mixture.parts,
        "--seed": job.seed,
    }


def render_part(job: Job, part: Part, count: int, workers: int | None) -> None:
    """Render what is missing of a part's first `count` samples: shards that are not there yet, or hold too few.

    Args:
        workers: processes on this machine; None leaves it to a Ray cluster.

    Raises:
        InputError: shards of other sources or settings are there.
    """
    folder, settings = job.output / part.name, settings_of(job, part)
    rendered_from.refuse_other_shards({folder: settings})
    folder.mkdir(parents=True, exist_ok=True)
    rendered_from.keep(folder, settings)
    sizes = [min(job.shard_size, count - start) for start in range(0, count, job.shard_size)]
    missing = {
        number: size
        for number, size in enumerate(sizes)
        if shards.sample_count(shards.shard_path(folder, number)) < size
    }
    done = _on_cluster(job, part, missing) if workers is None else _on_this_machine(job, part, missing, workers)
    with tqdm(total=count, initial=count - sum(missing.values()), desc=f"render {part.name}", unit="sample") as bar:
        for more in done:
            bar.update(more)


_rendered: Synchronized | None = None  # in a worker: how many samples all workers have rendered


def _start_worker(rendered: Synchronized) -> None:
    global _rendered
    _rendered = rendered
    torch.set_num_threads(1)


def _render_in_worker(job: Job, part: Part, number: int, size: int) -> None:
    def report(count: int) -> None:
        assert _rendered is not None
        with _rendered.get_lock():
            _rendered.value += count

    render_shard(job, part, number, size, report)


def _on_this_machine(job: Job, part: Part, sizes: Mapping[int, int], workers: int) -> Iterator[int]:
    """Render shards of these sizes; yields now and then how many samples have been rendered since."""
    context = multiprocessing.get_context("spawn")
    rendered, yielded = context.Value("q", 0), 0
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(rendered,)) as pool:
        running = {pool.submit(_render_in_worker, job, part, number, size) for number, size in sizes.items()}
        try:
            while running:
                finished, running = wait(running, _REFRESH, FIRST_COMPLETED)
                for shard in finished:
                    shard.result()
                now = rendered.value
                yield now - yielded
                yielded = now
        except BrokenProcessPool:
            raise InputError(
                f"one of {workers} processes was ended by the system; if memory was short, take fewer --workers. The "
                "same command continues"
            ) from None
        finally:
            for shard in running:
                shard.cancel()


def _on_cluster(job: Job, part: Part, sizes: Mapping[int, int]) -> Iterator[int]:
    """Do the same, one task per shard. All machines of the cluster must see the same folders."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--ray needs Ray; install it (pip install ray), or leave --ray away") from error
    if not ray.is_initialized():
        ray.init()
    task = ray.remote(num_gpus=1 if job.device.startswith("cuda") else 0)(render_shard)
    size_of = {task.remote(job, part, number, size): size for number, size in sizes.items()}
    running = list(size_of)
    while running:
        finished, running = ray.wait(running)
        try:
            ray.get(finished)
        except InputError as error:
            raise getattr(error, "cause", error) from error  # Ray's own tells the whole traceback
        yield sum(size_of[shard] for shard in finished)


def render(
    photos: list[Path],
    rgbd: list[str],
    sequence: list[str],
    motions: Path | None,
    subframes: str,
    densify: str | None,
    output: Path,
    samples: int,
    frames: int,
    room_share: float,
    rgbd_share: float,
    parts_share: float,
    seed: int,
    workers: int,
    device: str,
    ray: bool,
) -> None:
    """Write shards of rendered samples.

    OUTPUT/train (`samples` crops of 128×128) and OUTPUT/train_frames (`frames` of 320×224); from material that is held
    out, OUTPUT/validation (crops) and OUTPUT/frames.

    The shares are those of the training parts only, so that figures on the others can be compared. Shards that are
    there already are kept, so an interrupted run continues, and larger numbers add to it (a last shard that was shorter
    is rendered again in full); those of other sources or settings are refused before anything is rendered.
    """
    if not 0 <= parts_share <= 1:
        raise InputError(f"--parts-share is {parts_share}; it must be from 0 to 1")
    if not (0 <= room_share <= 1 and 0 <= rgbd_share <= 1 and room_share + rgbd_share <= 1):
        raise InputError(
            f"--room-share is {room_share} and --rgbd-share {rgbd_share}; both and their sum must be from 0 to 1"
        )
    sources = Sources(tuple(photos), tuple(rgbd), tuple(sequence), motions, subframes, densify)
    for held_out in (True, False):  # what is missing is said before anything is rendered
        find_material(sources, held_out)
    job, mixture = Job(sources, output, seed, device), Mixture(room_share, rgbd_share, parts_share)
    parts = {
        Part("validation", CROP, held_out=True): HELD_OUT_CROPS,
        Part("frames", FRAME, held_out=True): HELD_OUT_FRAMES,
        Part("train", CROP, False, mixture): samples,
        Part("train_frames", FRAME, False, mixture): frames,
    }
    parts = {part: count for part, count in parts.items() if count > 0}
    rendered_from.refuse_other_shards({output / part.name: settings_of(job, part) for part in parts})
    for part, count in parts.items():
        render_part(job, part, count, None if ray else workers)
