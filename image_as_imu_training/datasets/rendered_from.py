"""What a folder's shards were rendered from: a small file beside them, so that no others are mixed with them unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_as_imu_ros.errors import InputError

FILE = "rendered_from.json"

Settings = Mapping[str, str | float]  # option of `render` → its value, files as `describe_files` has them


def describe_files(files: Sequence[Path]) -> str:
    """Describe files by their number and a digest of their names and sizes, wherever they lie.

    Folders stand for the files anywhere in them, without what `render` itself writes.
    """
    digest, count = hashlib.sha256(), 0
    for start in files:
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            if path.is_file() and not path.name.startswith(("shard_", FILE)):
                name = path.relative_to(start.parent).as_posix()
                digest.update(f"{name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
                count += 1
        digest.update(b"\0")
    return f"{count} files ({digest.hexdigest()[:12]})"


def refuse_other_shards(asked: Mapping[Path, Settings]) -> None:
    """Make sure that the shards in each folder, if there are any, were rendered with these settings.

    Raises:
        InputError: they were rendered with others, or it is not known with which.
    """
    folders: list[str] = []
    differences: dict[str, str] = {}
    for folder, settings in asked.items():
        if next(folder.glob("shard_*.tar"), None) is None:
            continue
        before = _read(folder)
        differing = [name for name, value in settings.items() if value != before.get(name)]
        if differing:
            folders.append(str(folder))
        for name in differing:
            differences.setdefault(name, f"{name} was {before.get(name)} and is {settings[name]}")
    if folders:
        raise InputError(
            f"the shards in {', '.join(folders)} were rendered from something else: {'; '.join(differences.values())}. "
            "Give another --output, or delete these folders"
        )


def keep(folder: Path, settings: Settings) -> None:
    """Write down what the shards in a folder are rendered from."""
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    partial.rename(folder / FILE)


def _read(folder: Path) -> Settings:
    try:
        settings = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(
            f"there are shards in {folder}, but no {FILE} that says what they were rendered from. Give another "
            "--output, or delete that folder"
        )
    return settings
