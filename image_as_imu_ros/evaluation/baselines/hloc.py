"""hloc: COLMAP's mapping on DISK features matched by LightGlue, as Hierarchical-Localization runs them.

Features and matches come from hloc (https://github.com/cvg/Hierarchical-Localization); its files are then read into
COLMAP's database, so that only one version of COLMAP's own format matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_as_imu_ros.evaluation.baselines import colmap
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion
from image_as_imu_ros.evaluation.baselines.optional import optional

_HOW = "install https://github.com/cvg/Hierarchical-Localization with pip"


@dataclass(frozen=True)
class Settings(colmap.Settings):
    """As of the baseline colmap, with hloc's names of features and matcher."""

    features: str = "disk"
    matcher: str = "disk+lightglue"


def settings() -> Settings:
    """Return its defaults.

    Raises:
        InputError: hloc or pycolmap is not installed.
    """
    for module in ("hloc.extract_features", "hloc.match_features", "hloc.utils.io"):
        optional(module, "hloc", _HOW)
    return Settings(colmap.load().__version__)


def run(frames: Frames, settings: Settings) -> Motion:
    """Find poses by DISK, LightGlue and incremental mapping → velocities."""
    pycolmap = colmap.load()
    extract_features, match_features, io = (
        optional(f"hloc.{module}", "hloc", _HOW) for module in ("extract_features", "match_features", "utils.io")
    )

    def extract_and_match(database: Path, images: Path, reader_options: object) -> None:
        features, matches, pair_list = (database.with_name(name) for name in ("features.h5", "matches.h5", "pairs.txt"))
        pairs = sequential_pairs(sorted(path.name for path in images.iterdir()), settings.overlap)
        pair_list.write_text("".join(f"{first} {second}\n" for first, second in pairs), encoding="utf-8")
        extract_features.main(extract_features.confs[settings.features], images, feature_path=features)
        match_features.main(match_features.confs[settings.matcher], pair_list, features=features, matches=matches)
        pycolmap.Database.open(database).close()  # an empty one
        pycolmap.import_images(database, images, pycolmap.CameraMode.SINGLE, options=reader_options)
        with pycolmap.Database.open(database) as stored:
            numbers = {image.name: image.image_id for image in stored.read_all_images()}
            for name, number in numbers.items():
                corners = io.get_keypoints(features, name) + 0.5  # COLMAP's pixel (0, 0) is a corner
                stored.write_keypoints(number, np.asarray(corners, np.float32))
            for first, second in pairs:
                found, _ = io.get_matches(matches, first, second)
                stored.write_matches(numbers[first], numbers[second], np.asarray(found, np.uint32))
        pycolmap.verify_matches(database, pair_list)

    return colmap.reconstruct(frames, settings, extract_and_match)


def sequential_pairs(names: list[str], overlap: int) -> list[tuple[str, str]]:
    """Pair each name with the `overlap` ones after it, and with those 2, 4, 8, … up to 2^(overlap − 1) after it."""
    steps = sorted({*range(1, overlap + 1), *(2**power for power in range(overlap))})
    return [(name, names[i + step]) for i, name in enumerate(names) for step in steps if i + step < len(names)]
