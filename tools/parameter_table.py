"""Writes the table of the node's parameters in docs/node.md, from their definitions: python tools/parameter_table.py"""

from __future__ import annotations

import re
from dataclasses import Field
from pathlib import Path

from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.settings import choices_of, default_of, settings_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "node.md"
BEGIN, END = "<!-- made by tools/parameter_table.py: begin -->", "<!-- end -->"
# Where the page says more about a parameter.
SECTIONS = {
    **dict.fromkeys(["engine", "precision"], "engines"),
    **dict.fromkeys(["exposure_source", "exposure_unit", "exposure_time"], "exposure"),
    **dict.fromkeys(["rate_hint_type", "rate_hint_axes", "rate_hint_std", "sign_resolution"], "sign"),
    **dict.fromkeys(["linear_velocity_std", "lever_arm"], "what-is-expected-of-v"),
    **dict.fromkeys(["stamp_reference", "readout_time"], "stamps"),
    "measurement": "measurement",
    "mask": "parts-that-move-with-the-camera",
}


def table() -> str:
    """Write the table of all parameters as Markdown."""
    rows = ["| parameter | default | | values |", "|---|---|---|---|", *map(_row, settings_of(Settings))]
    return "\n".join(rows)


def page_with(page: str, new_table: str) -> str:
    """Replace the table between the marks of a page."""
    return re.sub(f"(?<={BEGIN}\n\n).*?(?=\n\n{END})", lambda _: new_table, page, flags=re.DOTALL)


def _row(parameter: Field) -> str:
    name, default, limits = f"`{parameter.name}`", default_of(parameter), parameter.metadata["limits"]
    if parameter.name in SECTIONS:
        name = f"[{name}](#{SECTIONS[parameter.name]})"
    shown = f'"{default}"' if default == "" else str(default).lower() if isinstance(default, bool) else str(default)
    values = ", ".join(f"`{choice}`" for choice in choices_of(parameter.metadata))
    if limits:
        values = f"{limits[0]:g} to {limits[1]:g}".replace("-", "−")
    if parameter.metadata["read_only"]:
        values += "; fixed" if values else "fixed"
    cells = (name, f"`{shown}`", parameter.metadata["description"], values)
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(), table()))
