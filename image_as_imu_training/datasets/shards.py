"""Shards: tar files of samples in WebDataset's naming, read at random.

`part/shard_0000.tar` holds, for each sample, KEY.image.npy, KEY.flow.npy, KEY.depth.npy, KEY.moving.npy and KEY.json.
Nothing is compressed, so a member is read from where it lies; https://github.com/webdataset/webdataset reads the same
files.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_training.samples import Samples

_ARRAYS = ("image", "flow", "depth", "moving")


def shard_path(folder: Path, number: int) -> Path:
    """Name the file of a shard."""
    return folder / f"shard_{number:04d}.tar"


def write(path: Path, samples: Samples, sources: Sequence[str]) -> None:
    """Write a shard under a passing name and rename it when it is complete. The same samples give the same bytes.

    Args:
        sources: for each sample, what it was rendered from.
    """
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, source in enumerate(sources):
            key = f"{path.stem.removeprefix('shard_')}{i:06d}"
            for name in _ARRAYS:
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(getattr(samples, name)[i]))
                _add(tar, f"{key}.{name}.npy", buffer.getvalue())
            record = {
                "camera": samples.camera[i].tolist(),
                "motion": [None if math.isnan(value) else value for value in samples.motion[i].tolist()],
                "depth_known": bool(samples.depth_known[i]),
                "source": source,
            }
            _add(tar, f"{key}.json", json.dumps(record).encode())
    partial.rename(path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without time or owner: content alone decides the bytes
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def sample_count(path: Path) -> int:
    """Count the samples of a shard; 0 if it is not there or damaged."""
    if not path.exists():
        return 0
    try:
        return sum(member.name.endswith(".json") for member in _members(path))
    except InputError:
        return 0


def _members(path: Path) -> list[tarfile.TarInfo]:
    """List what is in a shard. Raises InputError: it is damaged, or was cut off."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()  # ends without a word at what is no header
        with path.open("rb") as stream:
            end = _next_multiple(members[-1].offset_data + members[-1].size, tarfile.BLOCKSIZE) if members else 0
            stream.seek(end)
            rest = stream.read()
    except (OSError, ValueError, tarfile.TarError) as error:
        raise _damaged(path, error) from None
    whole = _next_multiple(end + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)  # two empty blocks, then full records
    if not members or any(rest) or end + len(rest) != whole:
        raise _damaged(path, f"behind {len(members)} members comes no end of an archive")
    return members


def _next_multiple(size: int, of: int) -> int:
    return -(-size // of) * of


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(
        f"shard {path} is damaged ({first_line(reason)}): delete it, and run `render` with the same options as before, "
        "which makes it again"
    )


class Shards(Sequence):
    """The samples of a folder's shards in a fixed order, each a dict: the fields of Samples, and `source`.

    Raises:
        InputError: the folder holds no shards, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("shard_*.tar"))
        if not files:
            raise InputError(f"no rendered samples (shard_*.tar) in {folder}; run `render` first")
        self._members: list[tuple[Path, dict[str, tuple[int, int]]]] = []
        for file in files:
            of_key: dict[str, dict[str, tuple[int, int]]] = {}
            for member in _members(file):
                key, _, name = member.name.partition(".")
                of_key.setdefault(key, {})[name] = (member.offset_data, member.size)
            self._members += [(file, members) for members in of_key.values()]

    def __len__(self) -> int:
        return len(self._members)

    def file(self, index: int) -> Path:
        """Return the shard that a sample is in."""
        return self._members[index][0]

    def __getitem__(self, index: int) -> dict[str, np.ndarray | bool | str]:
        file, members = self._members[index]
        for name in (*(f"{name}.npy" for name in _ARRAYS), "json"):
            if name not in members:
                raise InputError(f"{file} is of an earlier version, without {name}: delete its folder, render again")
        try:
            return _read_sample(file, members)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _damaged(file, error) from None


def _read_sample(file: Path, members: dict[str, tuple[int, int]]) -> dict[str, np.ndarray | bool | str]:
    with file.open("rb") as stream:

        def content(name: str) -> bytes:
            offset, size = members[name]
            stream.seek(offset)
            return stream.read(size)

        sample = {name: np.lib.format.read_array(io.BytesIO(content(f"{name}.npy"))) for name in _ARRAYS}
        record = json.loads(content("json"))
    for name in ("camera", "motion"):
        record[name] = np.array(record[name], np.float32)  # null becomes NaN
    return sample | record


def load(folder: Path) -> Samples:
    """Read all samples of a folder into memory.

    Raises:
        InputError: the folder holds no shards, a damaged one, or images of several sizes.
    """
    shards = Shards(folder)
    samples = list(shards)
    for index, sample in enumerate(samples):
        (height, width), (expected, across) = sample["image"].shape, samples[0]["image"].shape
        if (height, width) != (expected, across):
            raise InputError(
                f"{shards.file(index)} has images of {width}×{height} px, but {shards.file(0)} of {across}×{expected} "
                "px: keep crops and whole frames in folders of their own"
            )
    return Samples(**{name: np.stack([sample[name] for sample in samples]) for name in Samples.__dataclass_fields__})
