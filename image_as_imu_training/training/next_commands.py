"""What comes after a training: commands that are right as printed."""

from __future__ import annotations

import shlex
from pathlib import Path

from image_as_imu_ros.resources import cache_path
from image_as_imu_training.training.settings import Settings

_FOLLOWED_BY = {"flow": "velocity", "velocity": "refinement"}


def next_commands(settings: Settings) -> list[str]:
    """List the commands that follow a finished run: the next stage, or else `validate` and `export`.

    They name the run's own folders, and its data, network and precision where those are not the defaults.
    """
    checkpoint, rendered = Path(settings.checkpoint).expanduser(), str(cache_path("training"))
    stage = _FOLLOWED_BY.get(settings.stage)
    if stage is not None and not (stage == "refinement" and settings.network != "blur"):  # only ours has a refinement
        options = [f"stage={stage}", f"init={checkpoint}", f"checkpoint={checkpoint.parent / stage}"]
        changed = (("data", rendered), ("network", "blur"), ("precision", "bf16"))
        options += [f"{name}={value}" for name, usual in changed if (value := getattr(settings, name)) != usual]
        return [_command("train", *options)]
    # Labelled recordings are not what figures and calibration are measured on.
    data = rendered if settings.stage == "recordings" else settings.data
    common = ["--checkpoint", str(checkpoint), *([] if data == rendered else ["--data", data])]
    output = checkpoint.parent / f"{checkpoint.resolve().name}.onnx"
    return [
        _command("validate", *common),
        _command("export", *common, "--output", str(output), "--version", "1"),
    ]


def _command(*words: str) -> str:
    return f"python -m image_as_imu_training {shlex.join(words)}"
