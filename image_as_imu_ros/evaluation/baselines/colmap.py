"""colmap: incremental structure from motion over all frames at once (Schönberger & Frahm 2016), with pycolmap.

Features are COLMAP's own SIFT; see `hloc` for learned ones. The lens is given and stays as it is.
Frames are matched with their neighbours in the sequence. Frames that cannot be registered have no pose; where the
reconstruction falls apart, each part has a scale of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import cv2
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, Poses, motion_of_poses
from image_as_imu_ros.evaluation.baselines.optional import optional
from image_as_imu_ros.geometry.camera import Camera

_COLMAP_MODELS = {"": "PINHOLE", "plumb_bob": "FULL_OPENCV", "rational_polynomial": "FULL_OPENCV"}
_COLMAP_MODELS["equidistant"] = "OPENCV_FISHEYE"


@dataclass(frozen=True)
class Settings:
    """Of matching; all else is as COLMAP has it.

    Attributes:
        version: of pycolmap.
        overlap: each frame is matched with so many that follow, and with those 2, 4, 8, … frames away.
        seed: of the random numbers.
    """

    version: str
    overlap: int = 10
    seed: int = 0


def load() -> ModuleType:
    """Import the package pycolmap. Raises InputError: it is not installed."""
    pycolmap = optional("pycolmap", "colmap", "pip install pycolmap")
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    return pycolmap


def settings() -> Settings:
    """Return its defaults.

    Raises:
        InputError: pycolmap is not installed.
    """
    return Settings(load().__version__)


def run(frames: Frames, settings: Settings) -> Motion:
    """Find poses by SIFT features and incremental mapping → velocities."""
    pycolmap = load()

    def extract_and_match(database: Path, images: Path, reader_options: object) -> None:
        pycolmap.extract_features(
            database, images, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader_options
        )
        pairing = pycolmap.SequentialPairingOptions(overlap=settings.overlap)
        pycolmap.match_sequential(database, pairing_options=pairing)

    return reconstruct(frames, settings, extract_and_match)


def reconstruct(frames: Frames, settings: Settings, extract_and_match: Callable[[Path, Path, object], None]) -> Motion:
    """Find poses by incremental mapping → velocities.

    Args:
        extract_and_match: fills a database: (path of the database, folder of images, pycolmap.ImageReaderOptions).
    """
    pycolmap = load()
    started = time.perf_counter()
    pycolmap.set_random_seed(settings.seed)
    with TemporaryDirectory() as folder, tqdm(total=len(frames), desc="colmap: images", leave=False) as progress:
        database, images, models = (Path(folder) / name for name in ("database.db", "images", "models"))
        images.mkdir()
        models.mkdir()
        write_images(frames, images)
        progress.set_description("colmap: features and matches")
        model, parameters = camera_parameters(frames.camera)
        reader = pycolmap.ImageReaderOptions(camera_model=model, camera_params=", ".join(map(repr, parameters)))
        extract_and_match(database, images, reader)
        progress.set_description("colmap: mapping")
        options = pycolmap.IncrementalPipelineOptions(
            ba_refine_focal_length=False,
            ba_refine_principal_point=False,
            ba_refine_extra_params=False,
            max_extra_param=math.inf,  # COLMAP takes coefficients above 1 for a mistake and drops the frame
            extract_colors=False,
            random_seed=settings.seed,
        )
        found = pycolmap.incremental_mapping(database, images, models, options, next_image_callback=progress.update)
    seconds = (time.perf_counter() - started) / len(frames)
    return motion_of_poses(frames.times, _poses(found, len(frames)), seconds, "frame not registered")


def write_images(frames: Frames, folder: Path) -> None:
    """Write PNG files named after the frames' numbers; none where the image cannot be decoded."""
    for number, image in enumerate(frames.images("rgb")):
        if image is not None:
            cv2.imwrite(str(folder / image_name(number)), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def image_name(number: int) -> str:
    """Name the file of a frame such that names sort like frames."""
    return f"{number:06d}.png"


def camera_parameters(camera: Camera) -> tuple[str, list[float]]:
    """Return COLMAP's name and parameters of a lens. COLMAP's pixel (0, 0) is a corner, ours the middle of a pixel.

    Raises:
        InputError: thin-prism or tilt coefficients, which COLMAP does not know.
    """
    distortion = list(camera.distortion)
    if camera.distortion_model in ("plumb_bob", "rational_polynomial"):
        if any(distortion[8:]):
            raise InputError("COLMAP knows no thin-prism or tilt terms, but the camera's distortion has some")
        distortion = (distortion[:8] + [0.0] * 8)[:8]
    intrinsics = [camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5]
    return _COLMAP_MODELS[camera.distortion_model], intrinsics + distortion


def _poses(models: dict, count: int) -> Poses:
    """Poses of the registered frames; of one that is in several models, that in the largest."""
    poses = Poses.unknown(count)
    for piece, model in enumerate(sorted(models.values(), key=lambda model: model.num_reg_images())):
        for image in model.images.values():
            if image.has_pose:
                number = int(Path(image.name).stem)
                matrix = image.cam_from_world().inverse().matrix()
                poses.rotations[number], poses.positions[number] = matrix[:, :3], matrix[:, 3]
                poses.piece[number] = piece
    return poses
