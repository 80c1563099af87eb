"""The layouts that RGB-D recordings come in, and which of their frames are for training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from image_as_imu_ros.errors import InputError
from image_as_imu_training.datasets import scannetpp, seven_scenes, stray_scanner, tum
from image_as_imu_training.datasets.rgbd import RgbdSequence

LAYOUTS = {"7scenes": seven_scenes, "tum": tum, "stray": stray_scanner, "scannetpp": scannetpp}


@dataclass(frozen=True)
class Recording:
    """One recording on disk. Its first 80 % are for training, the rest for validation; of ScanNet++, whole scenes.

    Attributes:
        layout: a key of LAYOUTS.
        held_out: whether the frames for validation are meant, or those for training.
    """

    layout: str
    folder: Path
    held_out: bool

    @property
    def name(self) -> str:
        """LAYOUT:NAME."""
        return f"{self.layout}:{self.folder.name}"

    def open(self) -> RgbdSequence:
        """Read what the recording says about its frames; the last few recordings are kept."""
        return _open(self)


@lru_cache(maxsize=8)
def _open(recording: Recording) -> RgbdSequence:
    sequence = LAYOUTS[recording.layout].read(recording.folder)
    if recording.layout == "scannetpp":
        return sequence
    cut = len(sequence) * 4 // 5
    return sequence[cut:] if recording.held_out else sequence[:cut]


def find_recordings(source: str, held_out: bool) -> list[Recording]:
    """Find recordings in `source` = LAYOUT:FOLDER: the folder itself, or those right below it.

    Raises:
        InputError: the layout is unknown, or the folder holds no recording of it.
    """
    layout, _, path = source.partition(":")
    if layout not in LAYOUTS or not path:
        raise InputError(f"{source!r} is not LAYOUT:FOLDER, where LAYOUT is one of {', '.join(LAYOUTS)}")
    folder, marker = Path(path), LAYOUTS[layout].MARKER
    candidates = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    found = [path for path in candidates if next(path.glob(marker), None)]
    if not found:
        raise InputError(f"no {layout} recording in {folder}: no {marker} there or one folder below")
    if layout == "scannetpp":
        found = [path for path in found if (path.resolve().name in scannetpp.VALIDATION_SCENES) == held_out]
    return [Recording(layout, path, held_out) for path in found]
