"""Answers of baselines on disk, each under a key of all that it depends on, so that nothing stale is ever used."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion
from image_as_imu_ros.resources import cache_path

FORMAT = 2  # to be raised when a baseline answers differently with the same settings

_ARRAYS = ("angular", "linear", "piece")

_log = logging.getLogger(__name__)


def answer_file(name: str, frames: Frames, settings: Any) -> Path:
    """Return where the answer of a baseline is kept.

    Args:
        settings: a dataclass of what the answer depends on beside the frames.
    """
    key = {"format": FORMAT, "frames": frames.digest, "settings": asdict(settings)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_path("baselines") / f"{name}-{digest}.npz"


def load_or_run(path: Path, run: Callable[[], Motion]) -> Motion:
    """Load the stored answer if there is an undamaged one, else make a new one, stored for the next time."""
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return _load(path)
    motion = run()
    try:
        _save(path, motion)
    except OSError as error:
        _log.warning("%s: the answer is not kept for the next time: %s", path, error.strerror)
    return motion


def _load(path: Path) -> Motion:
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        return Motion(**{name: stored[name] for name in _ARRAYS}, **about)


def _save(path: Path, motion: Motion) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    about = json.dumps({"seconds": motion.seconds, "failures": motion.failures})
    with partial.open("wb") as file:
        np.savez_compressed(file, about=np.array(about), **{name: getattr(motion, name) for name in _ARRAYS})
    partial.replace(path)
