"""Other systems on the same frames: frames in, the camera's motion from each frame to the next out.

A baseline is a module with `settings()`, a dataclass of all that its answer depends on beside the frames, which raises
InputError where the packages that it needs are missing; and `run(frames, settings) -> Motion`. `comparison` holds them
and us against the same ground truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from image_as_imu_ros.errors import InputError, printable
from image_as_imu_ros.evaluation.baselines import cache, colmap, droid, hloc, klt, mast3r, trajectory
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion

MODULES = {"klt": klt, "colmap": colmap, "hloc": hloc, "droid": droid, "mast3r": mast3r}
TRAJECTORY = "trajectory:"


@dataclass(frozen=True)
class Baseline:
    """A system that was found to be able to run.

    Attributes:
        name: as it was asked for.
        run: Raises InputError: the frames cannot be used with it.
    """

    name: str
    run: Callable[[Frames], Motion]


def find_baseline(name: str) -> Baseline:
    """Find a baseline by name, or "trajectory:FILE".

    Answers are kept in the user's cache and used again for the same frames and settings; those from files are not.

    Raises:
        InputError: there is none of this name, its packages are not installed, or the file cannot be read.
    """
    if name.startswith(TRAJECTORY):
        poses = trajectory.read_trajectory(name.removeprefix(TRAJECTORY))
        return Baseline(printable(name), partial(trajectory.run, trajectory=poses))
    if name not in MODULES:
        raise InputError(f"baseline is {name!r}, expected one of: {', '.join(MODULES)}, {TRAJECTORY}FILE")
    settings = MODULES[name].settings()

    def run(frames: Frames) -> Motion:
        path = cache.answer_file(name, frames, settings)
        return cache.load_or_run(path, lambda: MODULES[name].run(frames, settings))

    return Baseline(name, run)
