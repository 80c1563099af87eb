"""Measure how far the shape and the scale of the network's depth are from measured depth: what `two_view` is told.

    python tools/measure_depth_shape.py SCENE [SCENE …]

A scene is a folder in the layout of 7-Scenes that the network was not trained on; its sharp frames go through the
network. With ρ the measured inverse depth of a cell, ρ₀ the network's and s their mean ratio in the frame,
δ = ρ/(s·ρ₀) − 1 is split into the five polynomials of `two_view` and a rest. Printed per scene and over scenes, each
scene counting once: root mean square of the polynomials' factors (`smooth_std`) and of the rest (`rough_std`), and of
log s, the scale (`scale_std`). Then log s once more, over the scenes whose smooth errors are below 0.3 and those whose
are above (`foreign_scale_std`). In folders named mixed… every frame is a scene of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.estimation.scene_depth import polynomials
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
from image_as_imu_training.datasets.rgbd import RgbdFrame
from image_as_imu_training.datasets.seven_scenes import read

_FOREIGN = 0.3  # smooth errors of a scene that has another shape than the network sees
_LEAST_CELLS = 300  # with measured depth, of a frame that counts


def main() -> None:
    """Print one line per scene, and one over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+", metavar="SCENE")
    parser.add_argument("--model", type=Path, default=resource(DEFAULT_MODEL), help="(default: the shipped one)")
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, "onnxruntime")
    squares = []
    for folder in arguments.scenes:
        found = [one for frame in read(folder) if (one := errors(engine, frame)) is not None]
        mixed = folder.name.startswith("mixed")
        for scene in [[one] for one in found] if mixed else [found] if found else []:
            squares.append(np.mean(np.square(scene), axis=0))
            print(folder.name, len(scene), "frames: smooth, rough, scale", np.sqrt(squares[-1]).round(2))
    each = np.array(squares)
    print(len(each), "scenes: smooth, rough, scale", np.sqrt(each.mean(axis=0)).round(2))
    foreign = each[:, 0] > _FOREIGN**2
    for name, part in (("below", each[~foreign]), ("above", each[foreign])):
        if len(part):
            print(len(part), f"scenes of smooth errors {name} {_FOREIGN}: scale", np.sqrt(part[:, 2].mean()).round(2))


def errors(engine: Engine, frame: RgbdFrame) -> tuple[float, float, float] | None:
    """Compute root mean squares of the polynomials' factors and of the rest, and log s; None with too little depth."""
    info = engine.info
    view = View.of(frame.camera, info.width, info.height)
    image = view.prepare(cv2.cvtColor(frame.colour, cv2.COLOR_RGB2GRAY), info.colour)
    predicted = engine.infer(image).depth
    measured = view.sample_depth(frame.depth, info.stride)
    known = np.isfinite(measured) & np.isfinite(predicted)
    if known.sum() < _LEAST_CELLS:
        return None
    ratio = predicted[known] / measured[known]
    place = (2 * cell_centres(*predicted.shape, info.stride) + 1) / (info.width, info.height) - 1
    by_place = polynomials(place[known.ravel()])
    delta = ratio / ratio.mean() - 1
    factors, *_ = np.linalg.lstsq(by_place, delta, rcond=None)
    rest = delta - by_place @ factors
    return float(np.sqrt(np.square(factors).mean())), float(rest.std()), float(np.log(ratio.mean()))


if __name__ == "__main__":
    main()
