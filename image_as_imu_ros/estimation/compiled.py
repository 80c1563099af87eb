"""Compiled loops, where Numba is installed: they are loaded, or compiled and cached, before the first frame.

Each formula is written in NumPy where it belongs, and a file `…_loop.py` beside it computes the same as a loop. Loops
have explicit signatures: what was not compiled in `load` is never compiled. The cache lies in the user's cache folder,
under a hash of the loops' source: Numba itself would not see that a function in another file has changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from image_as_imu_ros.errors import first_line
from image_as_imu_ros.resources import cache_folder

_HERE = Path(__file__).parent
_PACKAGE = __package__
_SHARED = "small_matrices.py"  # what several loops call

_log = logging.getLogger(__name__)
_loops: dict[str, ModuleType] | None = None


def load() -> str:
    """Load all loops, compiling those that are not cached; once per process.

    Returns:
        For people, which Numba compiled them, or why they run as NumPy. Numba that cannot be used is as good as none.
    """
    global _loops, _answer
    if _loops is None:
        try:
            _loops = _loaded()
            _answer = f"inner loops compiled by Numba {import_module('numba').__version__}"
        except Exception as error:  # a broken Numba raises anything: it must not cost the velocities
            _loops = {}
            missing = isinstance(error, ModuleNotFoundError) and error.name == "numba"
            reason = "Numba is not installed" if missing else f"Numba cannot be used here: {first_line(error)}"
            _answer = f"inner loops run in NumPy, two to three times slower: {reason}"
        _log.debug(_answer)
    return _answer


def loops(name: str) -> ModuleType | None:
    """Return the compiled loops of a module `name`; None where they are not loaded, and NumPy does it."""
    return _loops.get(name) if _loops else None


_answer = ""


def doubles(*arrays: np.ndarray) -> list[np.ndarray]:
    """Make arrays what a loop's signature says: float64, row by row. Those that are so are not copied."""
    return [np.ascontiguousarray(array, np.float64) for array in arrays]


def singles(*arrays: np.ndarray) -> list[np.ndarray]:
    """Make arrays what a loop's signature says: float32, row by row. Those that are so are not copied."""
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


def _sources() -> list[Path]:
    return sorted(_HERE.rglob("*_loop.py"))


def _loaded() -> dict[str, ModuleType]:
    numba = import_module("numba")
    before = numba.config.CACHE_DIR
    if "NUMBA_CACHE_DIR" not in os.environ:
        numba.config.CACHE_DIR = str(_cache())
    try:
        return {path.stem.removesuffix("_loop"): import_module(_module_name(path)) for path in _sources()}
    finally:
        numba.config.CACHE_DIR = before


def _cache() -> Path:
    """Find the cache of these very loops."""
    text = b"".join(path.read_bytes() for path in [*_sources(), _HERE / _SHARED])
    return cache_folder(f"compiled/{hashlib.sha256(text).hexdigest()[:16]}")


def _module_name(path: Path) -> str:
    return ".".join([_PACKAGE, *path.relative_to(_HERE).with_suffix("").parts])
