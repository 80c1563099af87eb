"""The layouts that RGB-D recordings come in, and which of their frames are for training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets import scannetpp, seven_scenes, stray_scanner, tum
from image_as_imu_training.datasets.rgbd import RgbdSequence

LAYOUTS = {"7scenes": seven_scenes, "tum": tum, "stray": stray_scanner, "scannetpp": scannetpp}

_SPLIT = ("train", "validation")  # how the names of folders with scenes for the one and for the other begin


@dataclass(frozen=True)
class Recording:
    """One recording on disk. The last fifth of its frames is for validation, the others for training.

    Attributes:
        layout: a key of LAYOUTS.
        held_out: whether the frames for validation are meant, or those for training.
        whole: whether all of its frames are for the one or for the other, since scenes are held out as a whole.
    """

    layout: str
    folder: Path
    held_out: bool
    whole: bool = False

    @property
    def name(self) -> str:
        """LAYOUT:NAME."""
        return f"{self.layout}:{self.folder.name}"

    def open(self) -> RgbdSequence:
        """Read what the recording says about its frames; the last few recordings are kept."""
        return _open(self)


@lru_cache(maxsize=64)
def _open(recording: Recording) -> RgbdSequence:
    sequence = LAYOUTS[recording.layout].read(recording.folder)
    if recording.whole:
        return sequence
    cut = len(sequence) - len(sequence) // 5  # of less than five frames, all are for training
    return sequence[cut:] if recording.held_out else sequence[:cut]


def find_recordings(source: str, held_out: bool) -> list[Recording]:
    """Find recordings in `source` = LAYOUT:FOLDER: the folder itself, or those right below it.

    Of a folder with subfolders `train…` and `validation…`, those right below the ones or the others, whole.

    Raises:
        InputError: the layout is unknown, or the folder holds no recording of it.
    """
    layout, _, path = source.partition(":")
    if layout not in LAYOUTS or not path:
        raise InputError(f"{source!r} is not LAYOUT:FOLDER, where LAYOUT is one of {', '.join(LAYOUTS)}")
    folder = Path(path)
    by_scene = all(any(part.is_dir() for part in folder.glob(f"{name}*")) for name in _SPLIT)
    if by_scene:
        candidates = [scene for part in sorted(folder.glob(f"{_SPLIT[held_out]}*")) for scene in _folders_in(part)]
    else:
        candidates = [folder, *_folders_in(folder)]
    marker = LAYOUTS[layout].MARKER
    found = [path for path in candidates if next(path.glob(marker), None)]
    if not found:
        where = f"one folder below its {_SPLIT[held_out]}…" if by_scene else "there or one folder below"
        raise InputError(f"no {layout} recording in {folder}: no {marker} {where}")
    if layout == "scannetpp" and not by_scene:
        by_scene = True
        found = [path for path in found if (path.resolve().name in scannetpp.VALIDATION_SCENES) == held_out]
    return [Recording(layout, path, held_out, by_scene) for path in found]


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())
