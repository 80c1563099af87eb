"""TensorRT plans on disk: each under a key of all that it depends on, with a side file that says what it is.

A plan is code for one GPU and one TensorRT version. It is only used if its side file's key and hash match.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from image_as_imu_ros.engine.model_files.precision import Precision
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.resources import cache_folder

FORMAT = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on.

    Attributes:
        model: SHA-256 of the ONNX file.
        precision: any but AUTO.
        dla: whether layers run on a deep learning accelerator.
        tensorrt: its version.
        gpu, compute_capability, multiprocessors: name, "8.7", count; boards of one name can differ in the last.
    """

    model: str
    precision: Precision
    dla: bool
    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int

    @property
    def digest(self) -> str:
        """Of all fields, for the file's name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """A serialised TensorRT engine and what is known about it.

    Attributes:
        content: as TensorRT wrote it.
        info: of the model.
        build: how it was built, for people: seconds, recipe, TensorRT's warnings.
    """

    content: bytes
    info: ModelInfo
    build: dict


class _Unusable(Exception):
    """Why a stored plan is not used."""


def plan_file(model: Path, key: PlanKey) -> Path:
    """Name the file of a model's plan; its side file and lock lie beside it as `.json` and `.lock`."""
    return cache_folder("plans") / f"{model.stem}-{key.precision}-{key.digest}.plan"


def load_or_build(path: Path, key: PlanKey, build: Callable[[], Plan]) -> Plan:
    """Load the stored plan if it is what the key says and undamaged; else build one and store it for the next time.

    Of several processes that want the same plan, one builds and the others wait for it.

    Args:
        path: see `plan_file`.
        key: of the plan that is wanted.
        build: makes the plan; may raise InputError, nothing is stored then.
    """
    with suppress(_Unusable):
        return _read(path, key)
    with _locked(path):
        try:
            return _read(path, key)  # built by somebody else meanwhile
        except _Unusable as reason:
            # As text: a log record that is kept would keep the exception, its frames and with them TensorRT's objects.
            _log.warning("building the TensorRT plan %s, this takes minutes: %s", path.name, str(reason))
        return _build(path, key, build)


def rebuild(path: Path, key: PlanKey, build: Callable[[], Plan]) -> Plan:
    """Build a plan and store it in place of what is there."""
    with _locked(path):
        return _build(path, key, build)


def _build(path: Path, key: PlanKey, build: Callable[[], Plan]) -> Plan:
    plan = build()
    side = {
        "format": FORMAT,
        "key": asdict(key),
        "bytes": len(plan.content),
        "sha256": hashlib.sha256(plan.content).hexdigest(),
        "model": json.loads(plan.info.to_json()),
        "build": plan.build,
    }
    write_atomically(path, plan.content)
    write_atomically(path.with_suffix(".json"), json.dumps(side, indent=1).encode())
    return plan


def _read(path: Path, key: PlanKey) -> Plan:
    """Read a stored plan.

    Raises:
        _Unusable: nothing is stored there, or not what the key says, or it is damaged.
    """
    try:
        side = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        content = path.read_bytes()
    except FileNotFoundError:
        raise _Unusable(_what_is_new(path, key)) from None
    except (OSError, ValueError) as error:
        raise _Unusable(f"the stored one cannot be read: {error}") from None
    if not isinstance(side, dict) or side.get("format") != FORMAT:
        raise _Unusable("the stored one comes from another version of this package")
    if side.get("key") != asdict(key):
        raise _Unusable(f"the stored one is for another {_differences(side.get('key'), key)}")
    if len(content) != side.get("bytes"):
        raise _Unusable(f"the stored one has {len(content)} bytes, it should have {side.get('bytes')}")
    if hashlib.sha256(content).hexdigest() != side.get("sha256"):
        raise _Unusable("the stored one is damaged: its hash is another")
    try:
        return Plan(content, ModelInfo.from_json(json.dumps(side.get("model"))), side.get("build", {}))
    except InputError as error:
        raise _Unusable(f"the stored one has unusable {error}") from None


def _what_is_new(path: Path, key: PlanKey) -> str:
    """Say why there is no plan yet: how the newest one of a model of this name differs."""
    if path.with_suffix(".json").exists():
        return "the stored one is gone"
    name = path.name.removesuffix(f"{key.precision}-{key.digest}.plan")
    others = sorted(path.parent.glob(f"{name}*.json"), key=lambda side: side.stat().st_mtime)
    with suppress(IndexError, OSError, ValueError, AttributeError):
        stored = json.loads(others[-1].read_text(encoding="utf-8"))["key"]
        return f"the newest stored one is for another {_differences(stored, key)}"
    return "none is stored yet"


def _differences(stored: object, key: PlanKey) -> str:
    if not isinstance(stored, dict):
        return "key"
    return ", ".join(
        name if name == "model" else f"{name} ({stored.get(name)}, here {value})"
        for name, value in asdict(key).items()
        if stored.get(name) != value
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let in one process at a time. The lock goes with its holder, even if that is killed.

    Raises:
        InputError: nothing can be written beside the plan.
    """
    try:
        lock = path.with_suffix(".lock").open("a")
    except OSError as error:
        raise InputError(
            f"cannot keep a TensorRT plan in {path.parent} ({error.strerror}): set XDG_CACHE_HOME to a folder that can "
            "be written to"
        ) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _log.warning("waiting for another process that is building %s", path.name)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or what was there before, whenever the power goes."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
