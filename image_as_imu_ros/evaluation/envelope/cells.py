"""The cells: one property at a time about a camera in a hand and a camera that travels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.envelope.cell import Cell, Motion
from image_as_imu_ros.evaluation.envelope.scenes import Place
from image_as_imu_ros.evaluation.envelope.textures import Material

BASELINE = "baseline"

HAND = Cell("hand", BASELINE, "hand-held, 8 px of blur")
TRAVEL = Cell(
    "travel",
    BASELINE,
    "corridor, forward at 1.5 m/s",
    motion=Motion.FORWARD,
    place=Place.CORRIDOR,
    distance=1.2,
    speed=1.5,
    exposure=0.010,
)
_STREET = replace(TRAVEL, place=Place.STREET, distance=5.0)
_SIDEWAYS = replace(_STREET, motion=Motion.SIDEWAYS)
_FLOOR = replace(TRAVEL, place=Place.FLOOR)
_FENCE = replace(TRAVEL, place=Place.FENCE, motion=Motion.SIDEWAYS, distance=0.8)

_READOUT = 0.030  # s, of the cells with a rolling shutter and a constant rotation
_NOD = 3.0  # rad/s


def all_cells() -> tuple[Cell, ...]:
    """List all cells."""
    return (HAND, TRAVEL, *_of_travel(), *_of_cameras(), *_of_streams(), *_of_hands())


def chosen_cells(patterns: Sequence[str]) -> tuple[Cell, ...]:
    """List the cells whose names match one of some patterns such as "travel*"; all without any.

    Raises:
        InputError: a pattern matches none.
    """
    cells = all_cells()
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            names = ", ".join(cell.name for cell in cells)
            raise InputError(f"no cell is named {pattern!r}; there are {names}")
    return tuple(cell for cell in cells if not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns))


def _sweep(base: Cell, prefix: str, sweep: str, **values: Sequence) -> list[Cell]:
    """Vary one property, or several together; names and values are those of the first."""
    first = next(iter(values.values()))
    columns = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return [
        replace(base, name=f"{prefix}_{value}", sweep=sweep, value=str(value), **column)
        for value, column in zip(first, columns, strict=True)
    ]


def _of_hands() -> list[Cell]:
    exposures = (0.002, 0.005, 0.030)
    return [
        *_sweep(HAND, "blur", "hand-held: blur [px at 320 px]", blur=(0.5, 1.0, 2.0, 4.0, 16.0, 32.0, 64.0)),
        *_sweep(
            HAND,
            "exposure",
            "hand-held: exposure [s], same motion",
            exposure=exposures,
            blur=[HAND.blur * exposure / HAND.exposure for exposure in exposures],
        ),
        *_sweep(HAND, "rate", "hand-held: frame rate [Hz]", rate=(60.0, 15.0, 10.0, 5.0)),
        *_sweep(HAND, "distance", "hand-held: distance of the walls [m]", distance=(0.5, 1.0, 8.0)),
        *_sweep(
            HAND,
            "material",
            "hand-held: material",
            material=(Material.BRICKS, Material.ASPHALT, Material.PLASTER, Material.CHECKERS, Material.STRIPE),
        ),
        *_sweep(HAND, "moving", "hand-held: share that moves by itself", moving_share=(0.1, 0.2, 0.4)),
        *_sweep(HAND, "fixed", "hand-held: share fixed to the camera", fixed_share=(0.1, 0.2, 0.3, 0.4)),
        replace(HAND, name="rest", sweep="rest", value="in a room", motion=Motion.REST),
        replace(
            HAND,
            name="rest_dark",
            sweep="rest",
            value="in a dark room",
            motion=Motion.REST,
            electrons=200.0,
            read_noise=3.0,
            brightness=0.1,
        ),
    ]


def _of_travel() -> list[Cell]:
    speeds = (0.5, 1.5, 3.0, 5.0, 10.0)
    walking = replace(TRAVEL, motion=Motion.WALKING, speed=1.2)
    return [
        *_sweep(TRAVEL, "corridor", "forward along a corridor [m/s]", speed=(0.5, 3.0, 5.0, 10.0)),
        *_sweep(_STREET, "street", "forward along a street [m/s]", speed=(1.5, 5.0, 10.0)),
        *_sweep(_SIDEWAYS, "sideways", "sideways past houses [m/s]", speed=speeds),
        *_sweep(replace(TRAVEL, motion=Motion.WINDING), "winding", "winding along a corridor [m/s]", speed=speeds[:3]),
        *_sweep(
            replace(_STREET, motion=Motion.WINDING), "winding_street", "winding along a street [m/s]", speed=speeds[2:]
        ),
        replace(walking, name="walking", sweep="walking", value="corridor"),
        replace(walking, name="walking_10hz", sweep="walking", value="corridor, 10 Hz", rate=10.0),
        replace(walking, name="walking_street", sweep="walking", value="street", place=Place.STREET, distance=5.0),
        *_sweep(_FLOOR, "floor", "floor at 0.5 m/s: height [m]", distance=(0.3, 0.5, 1.0), speed=(0.5, 0.5, 0.5)),
        *_sweep(replace(_FLOOR, distance=1.0), "floor_1m", "floor 1 m below [m/s]", speed=(1.5, 3.0)),
        *_sweep(_FENCE, "fence", "near boards before a far wall [m/s]", speed=(0.5, 1.0, 2.0)),
        replace(
            _FENCE, name="fence_0.3m", sweep="near boards before a far wall [m/s]", value="0.5, at 0.3 m",
            distance=0.3, speed=0.5,
        ),
        *_sweep(TRAVEL, "travel_rate", "corridor at 1.5 m/s: frame rate [Hz]", rate=(60.0, 15.0, 10.0, 5.0)),
        *_sweep(TRAVEL, "travel_exposure", "corridor at 1.5 m/s: exposure [s]", exposure=(0.002, 0.030)),
    ]  # fmt: skip


def _of_cameras() -> list[Cell]:
    nodding = replace(HAND, readout=_READOUT, sweep="rolling shutter of 30 ms, constant rotation")
    walls = (Motion.CONSTANT_NOD, Motion.CONSTANT_PAN)
    return [
        *_sweep(HAND, "focal", "hand-held: focal length [widths]", focal=(0.5, 0.65, 1.3, 2.0)),
        *_sweep(TRAVEL, "travel_focal", "corridor at 1.5 m/s: focal length [widths]", focal=(0.5, 1.3)),
        *_sweep(HAND, "width", "hand-held: width [px]", width=(480, 640, 1280)),
        *_sweep(
            replace(HAND, read_noise=3.0), "electrons", "hand-held: electrons at white",
            electrons=(1000.0, 200.0, 30.0),
        ),
        replace(
            TRAVEL, name="travel_electrons_200", sweep="hand-held: electrons at white", value="corridor, 200",
            electrons=200.0, read_noise=3.0,
        ),
        *_sweep(HAND, "brightness", "hand-held: mean brightness", brightness=(0.02, 1.6)),
        *_sweep(HAND, "jpeg", "hand-held: JPEG quality", jpeg=(80, 30, 8)),
        *_sweep(HAND, "readout", "rolling shutter: readout [s]", readout=(0.010, 0.020, 0.030)),
        replace(
            TRAVEL, name="travel_readout_0.03", sweep="rolling shutter: readout [s]", value="corridor, 0.03",
            readout=0.030,
        ),
        replace(nodding, name="nod_down", value="nod, −3 rad/s", motion=walls[0], rotation=-_NOD),
        replace(nodding, name="nod_up", value="nod, +3 rad/s", motion=walls[0], rotation=_NOD),
        replace(nodding, name="nod_global", value="nod, global", motion=walls[0], rotation=_NOD, readout=0.0),
        replace(nodding, name="pan", value="pan, +3 rad/s", motion=walls[1], rotation=_NOD),
        *_sweep(
            HAND,
            "vibration",
            "hand-held: vibration of 100 Hz [°]",
            vibration=(0.1, 0.2, 0.3, 0.6),
        ),
        *_sweep(
            HAND, "vibration_hz", "hand-held: vibration of 0.3° [Hz]", vibration_rate=(50.0, 200.0),
            vibration=(0.3, 0.3),
        ),
        replace(
            TRAVEL, name="travel_vibration", sweep="hand-held: vibration of 100 Hz [°]", value="corridor, 0.3",
            vibration=0.3,
        ),
        replace(
            TRAVEL, name="travel_fixed_0.2", sweep="hand-held: share fixed to the camera", value="corridor, 0.2",
            fixed_share=0.2,
        ),
    ]  # fmt: skip


def _of_streams() -> list[Cell]:
    return [
        *_sweep(HAND, "jitter", "hand-held: jitter of the stamps [s]", jitter=(0.001, 0.003, 0.005)),
        *_sweep(HAND, "repeats", "hand-held: repeated images, every", repeats=(2, 3)),
        *_sweep(HAND, "frozen", "hand-held: frozen from frame", frozen_from=(15,)),
        *_sweep(HAND, "depth", "share of the depth image that is known", depth_share=(0.3, 0.03, 0.0)),
        *[
            replace(cell, value=f"corridor, {cell.value}")
            for cell in _sweep(
                TRAVEL, "travel_depth", "share of the depth image that is known", depth_share=(0.03, 0.0)
            )
        ],
        *_sweep(HAND, "drops", "hand-held: share of frames dropped", drops=(0.3,)),
        *_sweep(HAND, "focal_jitter", "hand-held: change of K per frame", focal_jitter=(1e-5,)),
        replace(
            HAND, name="exposure_unknown", sweep="exposure not known", value="15 ms", exposure_known=False, frames=60
        ),
        replace(
            HAND,
            name="exposure_steps",
            sweep="exposure not known",
            value="9, 33, 17 ms",
            exposures=(0.009, 0.033, 0.017),
            exposure_known=False,
            frames=60,
            rate=28.0,
        ),
    ]
