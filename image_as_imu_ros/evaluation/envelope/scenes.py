"""Places to travel through and to stand in: x right, y down, z ahead, the camera's path along z through the origin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.evaluation.envelope.surfaces import Face, Painter
from image_as_imu_ros.evaluation.envelope.textures import Material
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.settings import TextEnum

_AHEAD = 22.0  # m that a place goes on beyond where the camera ends
_BEHIND = 4.0  # m that it starts before


class Place(TextEnum):
    """A scene."""

    ROOM = "room"
    CORRIDOR = "corridor"
    STREET = "street"
    FLOOR = "floor"
    FENCE = "fence"
    """Near boards before a far wall, both across the view to the side."""


@dataclass(frozen=True)
class Setting:
    """What a place is built from.

    Attributes:
        place: which one.
        length: m that the camera travels along z.
        distance: m: from the floor, of the walls of a room, of the boards of a fence, of the houses to either side.
        material: of all surfaces; None for those usual in the place.
        focal: px of the camera, for textures to be no coarser than it sees.
        seed: of textures and of what stands where.
    """

    place: Place
    length: float
    distance: float
    material: Material | None
    focal: float
    seed: int


def build(setting: Setting) -> list[Face]:
    """Build a place."""
    builders = {
        Place.ROOM: _room,
        Place.CORRIDOR: _corridor,
        Place.STREET: _street,
        Place.FLOOR: _floor,
        Place.FENCE: _fence,
    }
    return builders[setting.place](setting, Painter(setting.seed))


def _yaw(degrees: float) -> np.ndarray:
    return so3.exp(np.array([0.0, np.radians(degrees), 0.0]))


def _room(setting: Setting, painter: Painter) -> list[Face]:
    """Build four walls at about `distance`, hung with sheets, and boxes and boards at half of it."""
    far = setting.distance
    density = 1.2 * setting.focal / far
    x, z, up, below = far, 1.15 * far, 0.5 * far, 0.6 * far
    wall = setting.material or Material.LEAVES
    other = setting.material or Material.POSTERS
    size = far  # panels
    faces = [
        *painter.panels((-x, -up, z), (2 * x, 0, 0), (0, up + below, 0), other, density, size),
        *painter.panels((x, -up, -z), (-2 * x, 0, 0), (0, up + below, 0), wall, density, size),
        *painter.panels((x, -up, z), (0, 0, -2 * z), (0, up + below, 0), wall, density, size),
        *painter.panels((-x, -up, -z), (0, 0, 2 * z), (0, up + below, 0), other, density, size),
        *painter.panels(
            (-x, below, z), (2 * x, 0, 0), (0, 0, -2 * z), setting.material or Material.ASPHALT, density, size
        ),
        *painter.panels((-x, -up, -z), (2 * x, 0, 0), (0, 0, 2 * z), wall, density, size),
    ]
    for bearing in (20.0, 75.0, 140.0, 200.0, 255.0, 325.0):
        angle, away = np.radians(bearing + painter.uniform(-10, 10)), far * painter.uniform(0.55, 0.8)
        sides = tuple(far * painter.uniform(0.12, 0.3) for _ in range(3))
        middle = (away * np.sin(angle), below - sides[1] / 2 - far * painter.uniform(0, 0.4), away * np.cos(angle))
        faces += painter.box(middle, sides, _yaw(painter.uniform(0, 90)), wall, 1.5 * density)
    return faces


def _corridor(setting: Setting, painter: Painter) -> list[Face]:
    """Build walls `distance` to either side, floor, ceiling, and cupboards along the walls."""
    side, start, end = setting.distance, -_BEHIND, setting.length + _AHEAD
    up, below, length = 1.1, 1.2, end - start
    density = 0.75 * setting.focal / side
    wall = setting.material or Material.POSTERS
    faces = [
        *painter.panels((-side, -up, start), (0, 0, length), (0, up + below, 0), wall, density),
        *painter.panels((side, -up, start), (0, 0, length), (0, up + below, 0), wall, density),
        *painter.panels(
            (-side, below, start), (2 * side, 0, 0), (0, 0, length), setting.material or Material.LEAVES, density
        ),
        *painter.panels(
            (-side, -up, start), (2 * side, 0, 0), (0, 0, length), setting.material or Material.PLASTER, density
        ),
        *painter.panels((-side, -up, end), (2 * side, 0, 0), (0, up + below, 0), Material.BRICKS, density),
    ]
    z = start + 1.0
    while z < end:
        width, tall, deep = painter.uniform(0.25, 0.4), painter.uniform(0.6, 1.9), painter.uniform(0.4, 1.2)
        x = (side - width / 2) * (1 if painter.uniform(0, 1) < 0.5 else -1)
        box = ((x, below - tall / 2, z), (width, tall, deep))
        faces += painter.box(*box, np.eye(3), setting.material or Material.LEAVES, density)
        z += painter.uniform(2.0, 4.0)
    return faces


def _street(setting: Setting, painter: Painter) -> list[Face]:
    """Build houses about `distance` to either side, with alleys between them, a pavement, and parked cars and posts."""
    side, start, end = setting.distance, -_BEHIND - 8.0, setting.length + 1.5 * _AHEAD
    below, density = 1.5, setting.focal / side
    ground = setting.material or Material.ASPHALT
    faces = painter.panels((-side - 3, below, start), (2 * side + 6, 0, 0), (0, 0, end - start), ground, density, 8.0)
    for sign in (-1, 1):
        z = start
        while z < end:
            house, tall = painter.uniform(5, 9), painter.uniform(5, 9)
            x = sign * (side + painter.uniform(0, 1.2))
            material = setting.material or (Material.BRICKS if painter.uniform(0, 1) < 0.6 else Material.POSTERS)
            front = ((x, below - tall, z), (0, 0, house), (0, tall, 0))
            faces += painter.panels(*front, material, density, 10.0)
            for edge in (z, z + house):  # gables
                faces += painter.panels(
                    (x, below - tall, edge), (sign * 5.0, 0, 0), (0, tall, 0), material, density, 10.0
                )
            z += house + painter.uniform(0.5, 2.0)
        z = start
        while z < end:
            box = ((sign * (side - 1.6), below - 0.7, z), (1.7, 1.4, painter.uniform(3, 4.5)))
            faces += painter.box(*box, _yaw(painter.uniform(-4, 4)), setting.material or Material.LEAVES, density)
            post = ((sign * (side - 0.5), below - 2.0, z + 4.0), (0.15, 4.0, 0.15))
            faces += painter.box(*post, np.eye(3), Material.BRICKS, density)
            z += painter.uniform(6.5, 12.0)
    width = 2 * side + 12
    faces += painter.panels((-width / 2, below - 9, end), (width, 0, 0), (0, 9, 0), Material.BRICKS, density / 4, 8.0)
    return faces


def _floor(setting: Setting, painter: Painter) -> list[Face]:
    """Build a flat floor, `distance` below the path; every panel of asphalt or of carpet."""
    below = setting.distance
    density = setting.focal / below
    side = min(1.0, 2000 / density)  # m; a panel takes an atlas at most
    half, start, end = 2.5 * below + side, -2.5 * below - side, setting.length + 2.5 * below + side
    faces = []
    columns, rows = int(np.ceil(2 * half / side)), int(np.ceil((end - start) / side))
    for row in range(rows):
        for column in range(columns):
            usual = Material.ASPHALT if painter.uniform(0, 1) < 0.7 else Material.LEAVES
            corner = (-half + column * side, below, start + row * side)
            faces.append(painter.face(corner, (side, 0, 0), (0, 0, side), setting.material or usual, density))
    return faces


def _fence(setting: Setting, painter: Painter) -> list[Face]:
    """Build boards `distance` to the right of the path, half of it wide and as much apart, before a wall 6 m away."""
    near, far = setting.distance, 6.0
    start, end = -_BEHIND, setting.length + _BEHIND
    wall = setting.material or Material.POSTERS
    faces = painter.panels(
        (far, -5, start - far), (0, 0, end - start + 2 * far), (0, 10, 0), wall, setting.focal / far, 3.0
    )
    z = start
    while z < end:
        corner, right = (near, -near, z), (near * painter.uniform(-0.1, 0.1), 0, 0.5 * near)
        faces.append(
            painter.face(corner, right, (0, 2 * near, 0), setting.material or Material.LEAVES, setting.focal / near)
        )
        z += near * painter.uniform(0.9, 1.2)
    return faces
