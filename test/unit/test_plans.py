"""Plans on disk: what was stored comes back, anything else is built again, and nobody builds twice."""

import dataclasses
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from image_as_imu_ros.engine.model_files import plans
from image_as_imu_ros.engine.model_files.plans import Plan, PlanKey, load_or_build, rebuild, write_atomically
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError

KEY = PlanKey(
    model="a" * 64,
    precision="fp16",
    dla=False,
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    multiprocessors=16,
)
PLAN = Plan(bytes(range(256)) * 40, ModelInfo("small", "1", 320, 224), {"seconds": 74.0, "log": ["slow"]})


class Builder:
    """Counts how often it is asked."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.plan, self.built = plan, 0

    def __call__(self) -> Plan:
        self.built += 1
        return self.plan


@pytest.fixture
def path(tmp_path):
    return tmp_path / f"small-fp16-{KEY.digest}.plan"


def test_a_plan_is_built_once_and_comes_back_with_what_is_known_about_it(path):
    build = Builder()
    assert load_or_build(path, KEY, build) == load_or_build(path, KEY, build) == PLAN
    assert build.built == 1
    side = json.loads(path.with_suffix(".json").read_text())
    assert side["key"] == dataclasses.asdict(KEY)
    assert side["model"]["name"] == "small"
    assert side["build"]["log"] == ["slow"]


def test_a_folder_that_cannot_be_made_or_written_to_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot make the folder .*plans .*: set XDG_CACHE_HOME"):
        plans.plan_file(Path("small.onnx"), KEY)
    with pytest.raises(InputError, match=r"cannot keep a TensorRT plan in .*file .*: set XDG_CACHE_HOME"):
        load_or_build(tmp_path / "file" / "small.plan", KEY, Builder())


def test_every_part_of_the_key_makes_another_file():
    other = PlanKey("b" * 64, "int8", True, "10.13.3", "Thor", "11.0", 20)
    keys = [dataclasses.replace(KEY, **{f.name: getattr(other, f.name)}) for f in dataclasses.fields(KEY)]
    assert len({key.digest for key in [KEY, *keys]}) == 1 + len(keys)


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_no_side_file(path):
    path.with_suffix(".json").unlink()


def damage_no_plan(path):
    path.unlink()


def change_side(path, **changes):
    side = path.with_suffix(".json")
    side.write_text(json.dumps(json.loads(side.read_text()) | changes))


def damage_wrong_key(path):
    change_side(path, key=dataclasses.asdict(dataclasses.replace(KEY, tensorrt="8.6.2", gpu="Xavier")))


def damage_no_key(path):
    change_side(path, key=None)


def damage_other_format(path):
    change_side(path, format=99)


def damage_model(path):
    change_side(path, model={"format": 1, "name": "small"})


def damage_side_is_no_json(path):
    path.with_suffix(".json").write_text("{")


def damage_side_is_a_list(path):
    path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "has 10239 bytes, it should have 10240"),
        (damage_empty, "has 0 bytes, it should have 10240"),
        (damage_flip, "damaged: its hash is another"),
        (damage_no_side_file, "none is stored yet"),
        (damage_no_plan, "the stored one is gone"),
        (damage_wrong_key, r"for another tensorrt \(8\.6\.2, here 10\.3\.0\), gpu \(Xavier, here Orin\)"),
        (damage_no_key, "for another key"),
        (damage_other_format, "another version of this package"),
        (damage_model, "unusable model metadata"),
        (damage_side_is_no_json, "cannot be read"),
        (damage_side_is_a_list, "another version of this package"),
    ],
)
def test_what_is_not_intact_and_ours_is_built_again_and_the_log_says_why(path, caplog, damage, message):
    load_or_build(path, KEY, Builder(dataclasses.replace(PLAN, content=b"x" * 10240)))
    damage(path)
    caplog.clear()
    build = Builder()
    assert load_or_build(path, KEY, build) == PLAN
    assert build.built == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"building the TensorRT plan {path.name}, this takes minutes: ")
    assert re.search(message, record.getMessage())
    assert load_or_build(path, KEY, build) == PLAN
    assert build.built == 1


def test_a_changed_model_and_another_tensorrt_are_named_as_the_reason(tmp_path, caplog):
    def file(key):
        return tmp_path / f"small-{key.precision}-{key.digest}.plan"

    load_or_build(file(KEY), KEY, Builder())
    for changes, said in (
        ({"model": "b" * 64}, "the newest stored one is for another model"),
        ({"tensorrt": "10.13.3", "model": "b" * 64}, "another tensorrt (10.3.0, here 10.13.3)"),
    ):
        key = dataclasses.replace(KEY, **changes)
        caplog.clear()
        load_or_build(file(key), key, Builder())
        assert caplog.messages[0].endswith(said)
    assert file(KEY).exists(), "going back to the earlier version needs no build"


def test_a_build_that_fails_stores_nothing_and_leaves_the_lock_free(path):
    def fail():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        load_or_build(path, KEY, fail)
    assert not path.exists()
    assert load_or_build(path, KEY, Builder()) == PLAN


def test_rebuild_replaces_a_good_plan(path):
    load_or_build(path, KEY, Builder(dataclasses.replace(PLAN, content=b"old")))
    assert rebuild(path, KEY, Builder()) == PLAN
    assert load_or_build(path, KEY, Builder()) == PLAN


def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch):
    write_atomically(path, b"before")

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(plans.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert [*path.parent.iterdir()] == [path]


BUILDER_PROCESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_plans import KEY, PLAN, load_or_build
path = Path({path!r})

def build():
    print("building", flush=True)
    sys.stdin.readline()
    return PLAN

print("got", len(load_or_build(path, KEY, build).content), flush=True)
"""


def builder_process(path) -> subprocess.Popen:
    program = BUILDER_PROCESS.format(tests=str(Path(__file__).parent), path=str(path))
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_of_two_processes_one_builds_and_both_have_the_plan(path):
    first = builder_process(path)
    assert first.stdout.readline() == "building\n"
    second = builder_process(path)
    assert "waiting for another process" in second.stderr.readline()
    assert first.communicate("go on\n")[0] == "got 10240\n"
    assert second.communicate()[0] == "got 10240\n"


def test_a_builder_that_is_killed_does_not_keep_others_waiting(path):
    first = builder_process(path)
    assert first.stdout.readline() == "building\n"
    first.kill()
    first.communicate()
    build = Builder()
    assert load_or_build(path, KEY, build) == PLAN
    assert build.built == 1
