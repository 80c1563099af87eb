"""Compiled loops, where Numba is installed: loaded, or compiled and cached, before the first frame comes.

Each formula is written in NumPy where it belongs, and a file `…_loop.py` beside it computes the same as a loop. Loops
have explicit signatures: what `load` has not compiled is never compiled. The cache lies in the user's cache folder,
one per installation and its present source: Numba itself takes a file by its path and time, and does not see that a
function in another file has changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from image_as_imu_ros.errors import first_line
from image_as_imu_ros.resources import cache_folder

_HERE = Path(__file__).parent
_PACKAGE = "image_as_imu_ros.estimation"
_SHARED = "small_matrices.py", "loop_constants.py"  # what several loops call, or are given

_log = logging.getLogger(__name__)
_loops: dict[str, ModuleType] | None = None
_report = ""


def load() -> str:
    """Load all loops, compiling those that are not cached; once per process.

    Returns:
        For people: which Numba compiled them, or why NumPy does it. Numba that cannot be used is as good as none.
    """
    global _loops, _report
    if _loops is None:
        try:
            _loops, numba = _loaded()
            _report = f"inner loops are compiled by Numba {numba.__version__}"
        except ModuleNotFoundError as error:
            _loops, _report = {}, f"inner loops run in NumPy, which takes twice the time: no {error.name} is installed"
        except Exception as error:  # Numba that is broken or does not suit this NumPy raises anything
            _loops, _report = (
                {},
                f"inner loops run in NumPy, which takes twice the time: Numba says {first_line(error)}",
            )
            _log.warning(_report)
        _log.debug(_report)
    return _report


def loops(name: str) -> ModuleType | None:
    """Return the compiled loops of `name`_loop.py; None where they are not loaded, and NumPy does it."""
    return _loops.get(name) if _loops else None


def doubles(*arrays: np.ndarray) -> list[np.ndarray]:
    """Make arrays what a loop's signature says: float64, row by row. Those that are so are not copied."""
    return [np.ascontiguousarray(array, np.float64) for array in arrays]


def singles(*arrays: np.ndarray) -> list[np.ndarray]:
    """Make arrays what a loop's signature says: float32, row by row. Those that are so are not copied."""
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


def _loaded() -> tuple[dict[str, ModuleType], ModuleType]:
    numba = import_module("numba")
    before, folder = numba.config.CACHE_DIR, _cache()
    numba.config.CACHE_DIR = str(folder)
    try:
        if not any(folder.iterdir()):
            _compile(folder)
        try:
            return {name: import_module(module) for name, module in _modules().items()}, numba
        except ImportError:
            raise
        except Exception:  # a cache that was cut off, or another Numba's
            shutil.rmtree(folder)
            return {name: import_module(module) for name, module in _modules().items()}, numba
    finally:
        numba.config.CACHE_DIR = before


def _compile(folder: Path) -> None:
    """Fill a cache, on all cores: one process per module, as compiling holds Python's lock.

    What a process could not compile, `_loaded` does, or says why it cannot. What former versions of this installation
    have left is deleted.
    """
    installation = folder.name.rpartition("_")[0]
    for former in folder.parent.glob(f"{installation}_*"):
        if former != folder:
            shutil.rmtree(former, ignore_errors=True)
    _log.info("compiling inner loops, which takes up to a minute and is kept in %s", folder)
    program = "import sys, numba; numba.config.CACHE_DIR = sys.argv[1]; __import__(sys.argv[2])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for module in _modules().values():
            command = [sys.executable, "-c", program, str(folder), module]
            pool.submit(subprocess.run, command, env=environment, capture_output=True)


def _cache() -> Path:
    """Find the folder for these very loops: in Numba's own cache where the user has chosen one, else in ours."""
    paths = [*_sources(), *(_HERE / name for name in _SHARED)]
    source = b"".join(path.read_bytes() + str(path.stat().st_mtime_ns).encode() for path in paths)
    installation, version = (hashlib.sha256(text).hexdigest()[:12] for text in (str(_HERE).encode(), source))
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = (Path(chosen) if chosen else cache_folder("compiled")) / f"image_as_imu_{installation}_{version}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sources() -> list[Path]:
    return sorted(_HERE.rglob("*_loop.py"))


def _modules() -> dict[str, str]:
    """Name the loops' modules, by what they are called here."""
    paths = [path.relative_to(_HERE).with_suffix("") for path in _sources()]
    return {path.name.removesuffix("_loop"): ".".join([_PACKAGE, *path.parts]) for path in paths}
