"""The `render` command: shards depend on seed, part, number and size alone, and those that are there are kept."""

import importlib.util
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rgbd_folders as folders

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.errors import InputError
from image_as_imu_training.__main__ import main
from image_as_imu_training.datasets import shards
from image_as_imu_training.datasets.invented_motion import Mixture
from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.render import (
    Job,
    Material,
    Part,
    Sources,
    _on_this_machine,
    render_part,
    render_samples,
    render_shard,
)
from image_as_imu_training.rendering.motion import KNOTS

TRAIN = Part("train", (64, 64), held_out=False)


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """Photographs and a recording."""
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    for i in range(30):
        folders.write_image(folder / "photos" / f"{i}.png", rng.integers(0, 256, (90, 120)).astype(np.uint8))
    folders.write_seven_scenes(folder / "rgbd", range(5))
    return folder


def job(material: Path, output: Path, **changes) -> Job:
    sources = Sources((material / "photos",), (f"7scenes:{material / 'rgbd'}",), (f"7scenes:{material / 'rgbd'}",))
    return Job(**({"sources": sources, "output": output, "seed": 5, "device": "cpu", "shard_size": 8} | changes))


@pytest.fixture(scope="module")
def rendered(material, tmp_path_factory) -> Path:
    """Two shards, and what they were rendered from."""
    output = tmp_path_factory.mktemp("rendered")
    render_part(job(material, output), TRAIN, 0, workers=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as worker processes do; sums depend on it
    for number in (0, 1):
        render_shard(job(material, output), TRAIN, number, 8)
    torch.set_num_threads(threads)
    return output


def test_shards_hold_samples_of_all_material(rendered, material):
    reader = shards.Shards(rendered / "train")
    assert len(reader) == 16
    assert {sample["source"] for sample in reader} == {"invented", "7scenes:rgbd"}
    samples = shards.load(rendered / "train")
    assert samples.image.shape == (16, 64, 64)
    assert np.isfinite(samples.flow).all()
    recorded = [sample for sample in reader if sample["source"] != "invented"]
    assert all(np.isfinite(sample["motion"]).all() and sample["depth_known"] for sample in recorded)


def test_held_out_samples_move_as_they_always_did_whatever_motions_are_given():
    """So that figures on them can be compared."""
    photos = Photos([torch.randint(256, (90, 120), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)])

    def rendered(motions, held_out):
        generator = torch.Generator().manual_seed(0)
        material = Material(photos, None, None, motions)
        return render_samples(material, 4, replace(TRAIN, held_out=held_out), generator, torch.device("cpu"))[0]

    path = np.zeros((1, KNOTS, 6))
    path[0, :, 1] = np.linspace(-0.5, 0.5, KNOTS)
    motions = SimpleNamespace(draw=lambda count, _: torch.from_numpy(path.repeat(count, 0)).float())
    np.testing.assert_array_equal(rendered(motions, True).image, rendered(None, True).image)
    assert (rendered(motions, False).image != rendered(None, False).image).any()


def test_as_many_training_samples_show_rooms_as_asked_for(material, tmp_path):
    (tmp_path / "train").mkdir()
    photos_only = job(material, tmp_path, sources=Sources((material / "photos",)))
    render_shard(photos_only, replace(TRAIN, mixture=Mixture(rooms=0.75)), 0, 8)
    assert shards.load(tmp_path / "train").depth_known.sum() == 6  # of 8; depth behind single planes is not learned


@pytest.mark.parametrize("left", [None, 0.5, 0.0])
def test_a_missing_or_damaged_shard_is_rendered_again_and_no_other(rendered, material, tmp_path, left):
    shutil.copytree(rendered, tmp_path, dirs_exist_ok=True)
    kept, lost = (shards.shard_path(tmp_path / "train", number) for number in (0, 1))
    before, expected = kept.stat(), lost.read_bytes()
    if left is None:
        lost.unlink()
    else:
        lost.write_bytes(expected[: int(left * len(expected))])
    render_part(job(material, tmp_path), TRAIN, 16, workers=1)
    assert lost.read_bytes() == expected
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert kept.read_bytes() != expected


def test_as_many_samples_are_rendered_as_asked_for(material, tmp_path, capsys):
    """The last shard is shorter; the bar counts samples, and begins with those that are there."""
    render_part(job(material, tmp_path), TRAIN, 10, workers=1)
    sizes = [shards.sample_count(shards.shard_path(tmp_path / "train", number)) for number in range(3)]
    assert sizes == [8, 2, 0]
    assert "10/10" in capsys.readouterr().err
    render_part(job(material, tmp_path), TRAIN, 10, workers=1)
    bar = capsys.readouterr().err
    assert "10/10" in bar
    assert "0/10" not in bar.replace("10/10", "")


def test_more_samples_make_a_short_shard_full_and_fewer_take_none_away(rendered, material, tmp_path):
    (tmp_path / "train").mkdir()
    shutil.copy(rendered / "train" / "rendered_from.json", tmp_path / "train")
    short = shards.shard_path(tmp_path / "train", 0)
    render_shard(job(material, tmp_path), TRAIN, 0, 3)
    assert shards.sample_count(short) == 3
    render_part(job(material, tmp_path), TRAIN, 8, workers=1)
    assert short.read_bytes() == shards.shard_path(rendered / "train", 0).read_bytes()
    render_part(job(material, tmp_path), TRAIN, 2, workers=1)
    assert shards.sample_count(short) == 8


@pytest.fixture
def begun(rendered, tmp_path) -> Path:
    """A folder for which one shard was rendered."""
    shutil.copytree(rendered, tmp_path, dirs_exist_ok=True)
    shards.shard_path(tmp_path / "train", 1).unlink()
    return tmp_path


def test_the_same_material_elsewhere_continues(begun, material, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(material, moved, dirs_exist_ok=True)
    render_part(job(moved, begun), TRAIN, 8, workers=1)


@pytest.mark.parametrize(
    ("changes", "part", "says"),
    [
        ({"seed": 6}, TRAIN, "--seed was 5 and is 6"),
        (
            {},
            replace(TRAIN, mixture=Mixture(rooms=0.5, rgbd=0.4)),
            "--room-share was 0.25 and is 0.5; --rgbd-share was 0.15",
        ),
        ({"sources": {"sequences": ()}}, TRAIN, r"--sequence was \d+ files \(\w+\) and is 0 files"),
        ({"sources": {"densify": "promptda"}}, TRAIN, "--densify was none and is promptda"),
    ],
)
def test_shards_of_other_settings_are_not_taken_for_these(changes, part, says, begun, material):
    other = job(material, begun)
    if "sources" in changes:
        changes = {"sources": replace(other.sources, **changes["sources"])}
    with pytest.raises(InputError, match=f"{says}.*Give another --output, or delete"):
        render_part(replace(other, **changes), part, 8, workers=1)


@pytest.mark.parametrize("kind", ["photos", "rgbd"])
def test_shards_of_other_files_are_not_taken_for_these(kind, begun, material, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(material, other, dirs_exist_ok=True)
    for file in (other / kind).glob("*.png"):
        file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(InputError, match=rf"--{kind} was (\d+ files) \(\w+\) and is \1 "):
        render_part(job(other, begun), TRAIN, 8, workers=1)


def test_shards_of_unknown_origin_are_not_taken_for_these(begun, material):
    (begun / "train" / "rendered_from.json").write_text("{")
    with pytest.raises(InputError, match=r"no rendered_from.json that says what they were rendered from. Give another"):
        render_part(job(material, begun), TRAIN, 8, workers=1)


def test_other_shards_are_refused_before_anything_is_rendered(begun, material, capsys):
    options = ["--photos", str(material / "photos"), "--output", str(begun), "--seed", "6", "--workers", "1"]
    assert main(["render", *options]) == 2
    error = capsys.readouterr().err
    assert f"the shards in {begun / 'train'} were rendered from something else: --" in error
    assert error.count("\n") == 1
    assert not (begun / "validation").exists()


def test_another_seed_gives_other_samples(rendered, material, tmp_path):
    (tmp_path / "train").mkdir()
    render_shard(job(material, tmp_path, seed=6, sources=Sources((material / "photos",))), TRAIN, 0, 2)
    render_shard(job(material, tmp_path, seed=5, sources=Sources((material / "photos",))), TRAIN, 1, 2)
    first, second = shards.Shards(tmp_path / "train")[0], shards.Shards(tmp_path / "train")[2]
    assert not np.array_equal(first["image"], second["image"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rgbd", "kitti:somewhere"], "is not LAYOUT:FOLDER"),
        (["--sequence", "tum:nowhere"], "no tum recording in nowhere"),
        (["--photos", "nowhere"], "no photographs"),
        (["--room-share", "0.9"], "--room-share is 0.9 and --rgbd-share 0.15; both and their sum must be from 0 to 1"),
        (["--ray"], "--ray needs Ray"),
    ],
)
def test_what_cannot_be_rendered_is_one_clear_line(options, message, material, tmp_path, capsys):
    if "--ray" in options and importlib.util.find_spec("ray"):
        pytest.skip("Ray is installed")
    code = main(["render", "--photos", str(material / "photos"), "--output", str(tmp_path), "--workers", "1", *options])
    assert code == 2
    assert message in capsys.readouterr().err


class EndsItsReader:
    """What ends the process that receives it, as the system does where memory is short."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_the_system_ends_is_one_clear_line():
    with pytest.raises(InputError, match=r"one of 1 processes was ended by the system; .* fewer --workers"):
        list(_on_this_machine(EndsItsReader(), TRAIN, {0: 1}, workers=1))


def test_contact_sheet_draws_every_sample_and_its_streaks(rendered, tmp_path, capsys):
    file = tmp_path / "sheet.png"
    assert main(["contact_sheet", str(rendered / "train"), "--output", str(file), "--samples", "3"]) == 0
    sheet = cv2.imread(str(file))
    assert sheet.shape == (2 * 64 + 18, 6 * 2 * 64, 3)
    colourful = np.ptp(sheet, axis=2) > 60
    assert [bool(colourful[:, 128 * i : 128 * (i + 1)].any()) for i in range(6)] == 3 * [True] + 3 * [False]
    assert main(["contact_sheet", str(rendered / "train"), "--output", str(tmp_path / "sheet.txt")]) == 2
    assert "must end in" in capsys.readouterr().err
