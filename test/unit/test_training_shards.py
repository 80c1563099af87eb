"""Shards keep what was rendered, bit by bit, in a form that other tools read."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets import shards
from image_as_imu_training.samples import Samples


def random_samples(count: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 5, (count, 4, 6)).astype(np.float16)
    depth[:, 0] = np.nan
    motion = rng.normal(size=(count, 6)).astype(np.float32)
    motion[::2] = np.nan
    return Samples(
        image=rng.integers(0, 256, (count, 32, 48)).astype(np.uint8),
        flow=rng.normal(size=(count, 2, 4, 6)).astype(np.float16),
        depth=depth,
        moving=rng.random((count, 4, 6)) < 0.2,
        camera=rng.uniform(10, 300, (count, 3)).astype(np.float32),
        motion=motion,
        depth_known=rng.integers(0, 2, count).astype(bool),
    )


def write(folder, number: int, samples: Samples) -> None:
    shards.write(shards.shard_path(folder, number), samples, [f"photograph {i}" for i in range(len(samples))])


def assert_equal(actual, expected: Samples) -> None:
    for name, values in vars(expected).items():
        read = actual[name] if isinstance(actual, dict) else getattr(actual, name)
        np.testing.assert_array_equal(read, values)
        assert np.asarray(read).dtype == values.dtype, name


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 100))
def test_samples_survive_a_shard_bit_by_bit(tmp_path_factory, count, seed):
    folder, samples = tmp_path_factory.mktemp("part"), random_samples(count, seed)
    write(folder, 0, samples)
    assert_equal(shards.load(folder), samples)


def test_samples_of_several_sizes_in_one_folder_are_refused_by_name(tmp_path):
    """Crops copied beside whole frames."""
    write(tmp_path, 0, random_samples(2))
    other = random_samples(2)
    write(tmp_path, 1, replace(other, image=np.repeat(other.image, 2, axis=2)))
    with pytest.raises(InputError, match=r"shard_0001\.tar has images of 96×32 px, .*shard_0000\.tar of 48×32 px"):
        shards.load(tmp_path)


def test_single_samples_are_read_at_random_in_a_fixed_order(tmp_path):
    write(tmp_path, 1, random_samples(3, seed=1))
    write(tmp_path, 0, random_samples(4, seed=0))
    reader = shards.Shards(tmp_path)
    assert len(reader) == 7
    for index, expected, row in (
        (5, random_samples(3, 1), 1),
        (0, random_samples(4, 0), 0),
        (6, random_samples(3, 1), 2),
    ):
        assert_equal({name: value for name, value in reader[index].items() if name != "source"}, expected[row])
        assert reader[index]["source"] == f"photograph {row}"
    with pytest.raises(IndexError):
        reader[7]


def test_the_same_samples_give_the_same_bytes(tmp_path):
    write(tmp_path, 0, random_samples(3))
    first = shards.shard_path(tmp_path, 0).read_bytes()
    write(tmp_path, 0, random_samples(3))
    assert shards.shard_path(tmp_path, 0).read_bytes() == first


def test_members_are_named_and_written_as_webdataset_wants_them(tmp_path):
    write(tmp_path, 12, random_samples(2))
    with tarfile.open(tmp_path / "shard_0012.tar") as tar:
        names = tar.getnames()
        record = json.load(tar.extractfile(names[4]))
    suffixes = ["image.npy", "flow.npy", "depth.npy", "moving.npy", "json"]
    assert names == [f"0012{i:06d}.{suffix}" for i in range(2) for suffix in suffixes]
    assert record.keys() == {"camera", "motion", "depth_known", "source"}
    assert record["motion"] == [None] * 6  # strict JSON has no NaN


def test_the_webdataset_library_reads_shards(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    samples = random_samples(3)
    write(tmp_path, 0, samples)
    files = str(shards.shard_path(tmp_path, 0))
    read = list(webdataset.WebDataset(files, shardshuffle=False).decode())
    assert len(read) == 3
    for i, sample in enumerate(read):
        np.testing.assert_array_equal(sample["image.npy"], samples.image[i])
        np.testing.assert_array_equal(sample["flow.npy"], samples.flow[i])
        np.testing.assert_array_equal(sample["depth.npy"], samples.depth[i])
        assert sample["json"]["camera"] == samples.camera[i].tolist()
        assert sample["json"]["depth_known"] == samples.depth_known[i]


def test_an_unfinished_shard_is_none(tmp_path):
    write(tmp_path, 0, random_samples(2))
    (tmp_path / "shard_0001.partial").write_bytes(b"half")
    assert len(shards.Shards(tmp_path)) == 2


def test_a_folder_without_shards_is_said_clearly(tmp_path):
    with pytest.raises(InputError, match="run `render` first"):
        shards.load(tmp_path)


def test_shards_of_an_earlier_version_are_refused_in_plain_words(tmp_path):
    write(tmp_path, 0, random_samples(1))
    path = shards.shard_path(tmp_path, 0)
    with tarfile.open(path) as tar:
        kept = [(member, tar.extractfile(member).read()) for member in tar if "moving" not in member.name]
    with tarfile.open(path, "w") as tar:
        for member, content in kept:
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(InputError, match="is of an earlier version, without moving"):
        shards.load(tmp_path)


def damaged(kind: str, data: bytes) -> bytes:
    """What a full disk, a power failure or a copy makes of a shard of several samples."""
    header = data.index(b"0001000001.image.npy")
    return {
        "empty": b"",
        "zeros": bytes(len(data)),
        "cut within a member": data[: header + 700],
        "cut within a header": data[: header + 100],
        "cut between members": data[:header],
        "cut before the end": data[: len(data.rstrip(b"\0")) + 10],
        "zeros at the end": data[:header] + bytes(len(data) - header),
        "another file": b"<html>not found</html>" * 100,
        "a damaged header": data[: header + 20] + b"xxxx" + data[header + 24 :],
    }[kind]


KINDS = [
    *("empty", "zeros", "cut within a member", "cut within a header", "cut between members", "cut before the end"),
    *("zeros at the end", "another file", "a damaged header"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_shard_is_named_and_counts_as_missing(tmp_path, kind):
    write(tmp_path, 0, random_samples(2))
    write(tmp_path, 1, random_samples(4))
    path = shards.shard_path(tmp_path, 1)
    assert shards.sample_count(path) == 4
    path.write_bytes(damaged(kind, path.read_bytes()))
    with pytest.raises(InputError, match=r"shard .*_0001.tar is damaged \(.*: delete it, and run `render`") as caught:
        shards.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert shards.sample_count(path) == 0


@pytest.mark.parametrize("content", [b"\x93NUMPY", b'"camera"'])
def test_a_sample_that_cannot_be_read_names_its_shard(tmp_path, content):
    write(tmp_path, 0, random_samples(2))
    path = shards.shard_path(tmp_path, 0)
    path.write_bytes(path.read_bytes().replace(content, bytes(len(content))))
    with pytest.raises(InputError, match=r"shard_0000.tar is damaged \(.*run `render`"):
        shards.load(tmp_path)
