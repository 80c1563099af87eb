"""Render captures of a rolling camera and its gyroscope, calibrate them, and print how far off what is found is.

    python tools/check_calibrate.py --output DIR --seeds 120 121 122 123

The table of docs/evaluate.md. Motion, scene, readout, exposure, clock offset, what stamps are and the error of
camera_info's focal length are drawn by the seed (`evaluation/calibration/rendered.py`). A capture takes about a minute
on one core; those that are in the output folder are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from image_as_imu_ros.evaluation.calibration.calibrate import Calibration, CalibrationConfig, calibrate
from image_as_imu_ros.evaluation.calibration.rendered import RenderedCapture, drawn
from image_as_imu_ros.geometry import so3


def main() -> None:
    """Print one row per capture, then the root mean square of the errors and of errors over sigmas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the captures")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(120, 130)), help="(default: %(default)s)")
    arguments = parser.parse_args()
    print("| seed: readout, exposure, stamps | clock offset | readout time | focal length | axes |")
    print("|---|---|---|---|---|")
    errors, sigmas = [], []
    for seed in arguments.seeds:
        capture = drawn(seed)
        path = arguments.output / f"{seed}"
        if not path.exists():
            capture.write(path)
        found = calibrate(path, CalibrationConfig(stamp_reference=capture.stamp_reference))
        error, sigma = errors_of(found, capture)
        errors.append(error)
        sigmas.append(sigma)
        columns = zip(error, sigma, ("ms", "ms", "%", "°"), strict=True)
        values = " | ".join(f"{one:+.3f} ± {its:.3f} {unit}" for one, its, unit in columns)
        about = f"{1e3 * capture.readout:.0f} ms, {1e3 * capture.exposure:.0f} ms, {capture.stamp_reference}"
        print(f"| {seed}: {about} | {values} |", flush=True)
    for name, values in (("RMS", np.array(errors)), ("RMS over sigma", np.array(errors) / np.array(sigmas))):
        print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in np.sqrt(np.square(values).mean(0))) + " |")
    print("| mean | " + " | ".join(f"{one:+.3f}" for one in np.mean(errors, 0)) + " |")


def errors_of(found: Calibration, capture: RenderedCapture) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and standard deviations (4,): clock offset, readout time, ms; focal length, %; axes, °.

    The axes' are lengths: of the rotation that is missing, and of the three sigmas.
    """
    focal = capture.camera.fx
    missing = so3.log(found.rotation @ capture.rotation.T)
    error = [
        1e3 * (found.offset - capture.offset),
        1e3 * (found.readout - capture.readout),
        100 * (found.focal_length / focal - 1),
        np.degrees(np.linalg.norm(missing)),
    ]
    sigma = [
        1e3 * found.offset_sigma,
        1e3 * found.readout_sigma,
        100 * found.focal_sigma / focal,
        np.degrees(np.linalg.norm(found.rotation_sigma)),
    ]
    return np.array(error), np.array(sigma)


if __name__ == "__main__":
    main()
