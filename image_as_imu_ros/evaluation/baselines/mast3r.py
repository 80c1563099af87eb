"""mast3r: MASt3R's sparse global alignment (Leroy et al. 2024) over all frames, as its demo runs it on images.

MASt3R is licensed for non-commercial use. It estimates its own focal length, one for all frames.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.evaluation.baselines.colmap import image_name
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, Poses, motion_of_poses
from image_as_imu_ros.evaluation.baselines.optional import optional
from image_as_imu_ros.evaluation.baselines.pinhole import undistorted_images

_HOW = "clone https://github.com/naver/mast3r with its submodules, follow its README, and put it on PYTHONPATH"


@dataclass(frozen=True)
class Settings:
    """Of MASt3R's demo, with its defaults.

    Attributes:
        model: name of the weights on the Hugging Face hub, or a file.
        image_size: longer side, px.
        scene_graph: which frames are matched: here those 1, 2, 4, 8 and 16 frames apart.
    """

    model: str = "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric"
    image_size: int = 512
    scene_graph: str = "logwin-5-noncyclic"
    lr1: float = 0.07
    niter1: int = 500
    lr2: float = 0.014
    niter2: int = 200
    matching_conf_thr: float = 5.0


def settings() -> Settings:
    """Return its defaults.

    Raises:
        InputError: MASt3R is not installed.
    """
    for module in ("torch", "mast3r.model", "mast3r.cloud_opt.sparse_ga"):
        optional(module, "mast3r", _HOW)
    return Settings()


def run(frames: Frames, settings: Settings) -> Motion:
    """Align pairs of frames → point maps → one pose per frame → velocities.

    Raises:
        InputError: MASt3R gives up (not enough memory, too few frames).
    """
    torch = optional("torch", "mast3r", _HOW)
    network = optional("mast3r.model", "mast3r", _HOW).AsymmetricMASt3R
    align = optional("mast3r.cloud_opt.sparse_ga", "mast3r", _HOW).sparse_global_alignment
    optional("mast3r.utils.path_to_dust3r", "mast3r", _HOW)  # makes dust3r importable
    make_pairs = optional("dust3r.image_pairs", "mast3r", _HOW).make_pairs
    load_images = optional("dust3r.utils.image", "mast3r", _HOW).load_images
    started = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    numbers, files = [], []
    with TemporaryDirectory() as folder:
        for number, image in undistorted_images(frames):
            numbers.append(number)
            files.append(str(Path(folder) / image_name(number)))
            cv2.imwrite(files[-1], image)
        try:
            model = network.from_pretrained(settings.model).to(device)
            images = load_images(files, size=settings.image_size, verbose=False)
            pairs = make_pairs(images, scene_graph=settings.scene_graph, prefilter=None, symmetrize=True)
            scene = align(
                files,
                pairs,
                str(Path(folder) / "cache"),
                model,
                lr1=settings.lr1,
                niter1=settings.niter1,
                lr2=settings.lr2,
                niter2=settings.niter2,
                device=device,
                opt_depth=False,
                shared_intrinsics=True,
                matching_conf_thr=settings.matching_conf_thr,
            )
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"MASt3R failed: {first_line(error)}") from None
    found = np.asarray(scene.get_im_poses().detach().cpu(), np.float64)
    poses = Poses.unknown(len(frames))
    poses.rotations[numbers], poses.positions[numbers] = found[:, :3, :3], found[:, :3, 3]
    poses.piece[numbers] = 0
    seconds = (time.perf_counter() - started) / len(frames)
    return motion_of_poses(frames.times, poses, seconds, "image cannot be decoded")
