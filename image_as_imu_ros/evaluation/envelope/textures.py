"""Procedural textures in linear light: photographs that nobody took, the same for the same seed."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from image_as_imu_ros.settings import TextEnum

SIDE = 2048  # px of an atlas: several times what a surface of 2 m shows

_WHITE = 65535


class Material(TextEnum):
    """What a surface is made of."""

    LEAVES = "leaves"
    """Objects over objects of all sizes: edges and spectrum of a natural image (the dead leaves model, Matheron)."""
    BRICKS = "bricks"
    """Courses of bricks, each of its own shade."""
    ASPHALT = "asphalt"
    """Fine grain with a few stains."""
    POSTERS = "posters"
    """Plaster with sheets of lines and leaves on it."""
    PLASTER = "plaster"
    """Hardly any contrast."""
    CHECKERS = "checkers"
    """The same square again and again: matches at every period."""
    STRIPE = "stripe"
    """Plaster but for one narrow horizontal band of leaves."""


@cache
def atlas(material: Material, seed: int) -> np.ndarray:
    """Paint (SIDE, SIDE) uint16 linear light, 65535 is white."""
    rng = np.random.default_rng([list(Material).index(material), seed])
    painters = {
        Material.LEAVES: _leaves,
        Material.BRICKS: _bricks,
        Material.ASPHALT: _asphalt,
        Material.POSTERS: _posters,
        Material.PLASTER: _plaster,
        Material.CHECKERS: _checkers,
        Material.STRIPE: _stripe,
    }
    albedo = painters[material](rng)
    return np.clip(_WHITE * albedo, 0, _WHITE).astype(np.uint16)


def noise_of_power_law(rng: np.random.Generator, side: int, slope: float) -> np.ndarray:
    """Draw (side, side) Gaussian noise of mean 0 and variance 1 whose amplitude falls with frequency^slope."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) / frequency**slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (side, side)).astype(np.float32)
    return noise / noise.std()


def _leaves(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Opaque shapes with radii r distributed as r⁻³ between 5 px and a quarter of the side, one over the other."""
    smallest, largest = 5.0, side / 4
    count = round(0.003 * side**2)  # covers everything about four times
    # Inverse of the cumulative distribution of r⁻³.
    radii = 1 / np.sqrt(1 / smallest**2 - rng.random(count) * (1 / smallest**2 - 1 / largest**2))
    image = np.full((side, side), 0.4, np.float32)
    for radius, (x, y), shade, kind, angle, flat in zip(
        radii,
        rng.uniform(0, side, (count, 2)),
        rng.beta(0.9, 1.6, count),
        rng.integers(3, size=count),
        rng.uniform(0, 360, count),
        rng.uniform(0.3, 1, count),
        strict=True,
    ):
        if kind == 0:
            axes = (round(radius), max(1, round(radius * flat)))
            cv2.ellipse(image, (round(x), round(y)), axes, angle, 0, 360, shade, -1)
        else:
            corners = 3 if kind == 1 else 4
            angles = (
                np.radians(angle) + 2 * np.pi * (np.arange(corners) + flat / 2 * (np.arange(corners) % 2)) / corners
            )
            outline = radius * np.stack([np.cos(angles), np.sin(angles)], 1) + np.array([x, y])
            cv2.fillConvexPoly(image, np.round(outline).astype(np.int32), shade)
    shading = np.exp(0.18 * noise_of_power_law(rng, side, 1.0))
    return 0.03 + 0.85 * cv2.GaussianBlur(image, (0, 0), 0.7) * shading


def _bricks(rng: np.random.Generator) -> np.ndarray:
    length, height, joint = 128, 42, 6
    image = np.full((SIDE, SIDE), 0.55, np.float32)
    for row in range(SIDE // height + 1):
        for column in range(-1, SIDE // length + 1):
            left = column * length + (row % 2) * length // 2 + int(rng.integers(-3, 4))
            corner, opposite = (left, row * height), (left + length - joint, row * height + height - joint)
            cv2.rectangle(image, corner, opposite, float(rng.uniform(0.08, 0.45)), -1)
    image *= np.exp(0.15 * noise_of_power_law(rng, SIDE, 0.8))
    # Windows and doors, which no two houses have in the same places.
    for _ in range(14):
        x, y = rng.integers(0, SIDE, 2)
        width, tall = int(rng.integers(120, 320)), int(rng.integers(160, 420))
        cv2.rectangle(image, (int(x), int(y)), (int(x) + width, int(y) + tall), 0.75, -1)
        inner = ((int(x) + 14, int(y) + 14), (int(x) + width - 14, int(y) + tall - 14))
        cv2.rectangle(image, *inner, float(rng.uniform(0.02, 0.3)), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def _asphalt(rng: np.random.Generator) -> np.ndarray:
    grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 2.0)
    stains = noise_of_power_law(rng, SIDE, 1.5)
    return np.exp(np.log(0.2) + 0.45 * grain / grain.std() + 0.35 * stains)


def _plaster(rng: np.random.Generator) -> np.ndarray:
    return 0.45 * np.exp(0.06 * noise_of_power_law(rng, SIDE, 0.9))


def _posters(rng: np.random.Generator) -> np.ndarray:
    image = _plaster(rng).astype(np.float32)
    paper = _leaves(rng, 1024)
    for _ in range(40):
        width, tall = (int(v) for v in rng.integers(150, 460, 2))
        x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - tall))
        sheet = image[y : y + tall, x : x + width]
        if rng.random() < 0.7:
            u, v = int(rng.integers(0, 1024 - width)), int(rng.integers(0, 1024 - tall))
            sheet[:] = paper[v : v + tall, u : u + width]
        else:  # lines of words
            sheet[:] = 0.8
            for line in np.cumsum(rng.integers(13, 30, tall // 16)).tolist():
                start = 12
                while start < width - 40 and line < tall - 12:
                    word = int(rng.integers(10, 60))
                    cv2.rectangle(sheet, (start, line), (min(start + word, width - 12), line + 7), 0.06, -1)
                    start += word + 8
    return cv2.GaussianBlur(image, (0, 0), 0.7)


def _checkers(rng: np.random.Generator) -> np.ndarray:
    side = 64
    columns, rows = np.meshgrid(np.arange(SIDE) // side, np.arange(SIDE) // side)
    image = np.where((columns + rows) % 2, 0.7, 0.12).astype(np.float32)
    return cv2.GaussianBlur(image * np.exp(0.02 * noise_of_power_law(rng, SIDE, 0.8)), (0, 0), 0.8)


def _stripe(rng: np.random.Generator) -> np.ndarray:
    image = np.full((SIDE, SIDE), 0.45, np.float32)
    band = slice(SIDE // 2 - SIDE // 24, SIDE // 2 + SIDE // 24)
    image[band] = _leaves(rng)[band]
    return image
