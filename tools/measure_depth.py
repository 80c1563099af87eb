"""Measure depth and its scale in scenes that the network was not trained on, scene by scene, on blurred frames.

    python tools/measure_depth.py SCENE [SCENE …]

A scene is a folder in the layout of 7-Scenes. Frames are drawn from all of it at random, moved and blurred as for
training, and go through the model file. Printed per scene, and over scenes, each counting alike:

    rms          root mean square over cells of log Ẑ − log Z
    constant     the same of one depth for everything; row mean: of one depth per row of cells. Both are taken from
                 these very scenes, which the network does not know
    scale        a frame's mean of log Ẑ − log Z: median and standard deviation over its frames
    NEES         mean of (scale / its predicted standard deviation)²: 1 where the sigma is honest
    inside       root mean square of what is left of a frame when its scale is right

and over all frames the correlation of true and predicted medians, with their standard deviations, in logs. With
`--leave-one-out`, the factor of the sigma is fitted to the median of the squares of all scenes but one, and NEES is
that of the one: what a factor that was fitted to some scenes is worth on others.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_training.datasets.invented_motion import Mixture, render_invented_motion
from image_as_imu_training.datasets.layouts import Recording
from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.rgbd_textures import RgbdScenes
from image_as_imu_training.rendering.views import FRAME_HEIGHT, FRAME_WIDTH
from image_as_imu_training.samples import Samples

_SEED = 20261128


@dataclass(frozen=True)
class Answers:
    """What is true and what is said about N frames of a scene.

    Attributes:
        true, predicted: (N, h, w) log m; true is NaN where unknown.
        sigma: (N,) predicted standard deviation of the scale's logarithm.
    """

    true: np.ndarray
    predicted: np.ndarray
    sigma: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """(N, h, w) log Ẑ − log Z."""
        return self.predicted - self.true

    @property
    def scale(self) -> np.ndarray:
        """(N,) mean error of each frame."""
        return np.nanmean(self.error, axis=(1, 2))

    @property
    def squares(self) -> np.ndarray:
        """(N,) normalised error squared of the scale."""
        return np.square(self.scale / self.sigma)


def main() -> None:
    """Print one line per scene, and those over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+", metavar="SCENE")
    parser.add_argument("--frames", type=int, default=12, help="of each scene (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=resource(DEFAULT_MODEL), help="(default: the shipped one)")
    parser.add_argument("--leave-one-out", action="store_true", help="fit the factor of the sigma to the other scenes")
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, "onnxruntime")
    answers = [answers_of(engine, render(folder, arguments.frames)) for folder in arguments.scenes]
    squares = [found.squares for found in answers]
    if arguments.leave_one_out:
        squares = [mine / np.median(_without(squares, i)) * _MEDIAN_SQUARE for i, mine in enumerate(squares)]
    rows = np.concatenate([found.true for found in answers])
    constant, row_mean = np.nanmean(rows), np.nanmean(rows, axis=(0, 2))[:, None]
    print(f"{'scene':28}   rms constant row mean   scale ±       NEES inside")
    table = []
    for folder, found, nees in zip(arguments.scenes, answers, squares, strict=True):
        baselines = [rms_of(found.true - guess) for guess in (constant, row_mean)]
        inside = rms_of(found.error - found.scale[:, None, None])
        table.append([rms_of(found.error), *baselines, np.median(found.scale), found.scale.std(), nees.mean(), inside])
        print(f"{folder.name:28} " + "{:5.2f} {:8.2f} {:8.2f}   {:+5.2f} {:4.2f} {:8.2f} {:6.2f}".format(*table[-1]))
    rms, constant, row_mean, _, _, nees, inside = np.mean(table, axis=0)
    between = np.std([row[3] for row in table])
    print(f"{'all':28} {rms:5.2f} {constant:8.2f} {row_mean:8.2f}   SD {between:4.2f} {nees:11.2f} {inside:6.2f}")
    medians = np.array([medians_of(found) for found in answers])  # (scenes, 2, frames)
    true, predicted = medians.swapaxes(0, 1).reshape(2, -1)
    correlation = np.corrcoef(true, predicted)[0, 1]
    print(f"frame medians: correlation {correlation:+.2f}, SD true {true.std():.2f}, predicted {predicted.std():.2f}")


_MEDIAN_SQUARE = 0.4549  # of a standard normal variable


def render(folder: Path, count: int) -> Samples:
    """Blur `count` random frames of a scene, the same ones whenever it is asked."""
    scene = RgbdScenes([Recording("7scenes", folder, held_out=True, whole=True)])
    generator = torch.Generator().manual_seed(_SEED)
    size = (FRAME_HEIGHT, FRAME_WIDTH)
    return render_invented_motion(Photos([]), scene, count, size, generator, mixture=Mixture(rooms=0.0, rgbd=1.0))


def answers_of(engine: Engine, frames: Samples) -> Answers:
    """Run the network as the estimator does."""
    predicted, sigma = [], []
    for image in frames.image:
        output = engine.infer(image)
        assert output.depth is not None
        predicted.append(np.log(output.depth))
        sigma.append(output.depth_log_std)
    return Answers(np.log(frames.depth.astype(np.float64)), np.array(predicted), np.array(sigma))


def medians_of(found: Answers) -> np.ndarray:
    """Take the medians over the cells of known depth: (2, N) true and predicted, log m."""
    known = np.where(np.isfinite(found.true), found.predicted, np.nan)
    return np.stack([np.nanmedian(found.true, axis=(1, 2)), np.nanmedian(known, axis=(1, 2))])


def _without(squares: list[np.ndarray], left_out: int) -> np.ndarray:
    return np.concatenate([values for i, values in enumerate(squares) if i != left_out])


def rms_of(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


if __name__ == "__main__":
    main()
