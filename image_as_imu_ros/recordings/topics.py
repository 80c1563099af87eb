"""Which topics of a recording are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """Names of topics; None for what is not read."""

    image: str
    camera_info: str
    depth: str | None = None
    exposure: str | None = None
    ground_truth: str | None = None
