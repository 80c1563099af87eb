"""Settings of a training run: a configuration composed from `training/config`, checked and typed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.resources import cache_path

PRECISIONS = ("no", "bf16", "fp16")
TRAINED_PARTS = ("all", "first_guess", "refinement", "depth")
LOGS = ("tensorboard", "wandb", "none")


@dataclass
class Weights:
    """Weights of the loss's terms; see `losses`. Terms that weigh nothing are not computed."""

    flow: float = MISSING
    sure_flow: float = MISSING
    sigma: float = MISSING
    depth: float = MISSING
    depth_sigma: float = MISSING
    velocity: float = MISSING
    angular: float = MISSING
    linear: float = MISSING
    own_depth: float = MISSING


@dataclass
class RecordingSettings:
    """A recording with ground truth to validate on, as the options of `evaluate`.

    Attributes:
        exposure: s; fitted to the ground truth if not given.
    """

    path: str = MISSING
    exposure: float | None = None
    stamp_reference: str = "middle"
    readout_time: float = 0.0


@dataclass
class ValidationSettings:
    """What is measured while training.

    Attributes:
        every: steps from one validation to the next; the last step is always followed by one.
        data: folder of rendered samples, or none. samples: how many of them.
        recordings: real ones. frames: how many of each, at equal distances.
    """

    every: int = MISSING
    data: str | None = MISSING
    samples: int = MISSING
    recordings: list[RecordingSettings] = MISSING
    frames: int = MISSING


@dataclass
class Settings:
    """A training run.

    Attributes:
        stage: "flow", "velocity", "refinement", "depth" or "recordings". network: see `networks`.
        data: folder written by `render`, or in stage "recordings" by `label`.
        part: which part of what `render` wrote: train (crops) or train_frames.
        init: checkpoint folder whose averaged weights the run starts from, or weights file.
        checkpoint: folder to write, and to continue from if a checkpoint is there.
        trains: one of TRAINED_PARTS; the others keep their weights. A first guess that learns together with its
            refinement ceases to be a good guess.
        steps: length of the schedule. minutes: its length by the clock, if that is over first: of a machine that one
            has for so long. The learning rate has then fallen as it does over all the steps.
        batch: samples per step and process.
        window: side, px, of the square that is cut out of each sample at a random place; none takes all of it.
        learning_rate: its peak.
        freeze_norm: keep the statistics of batch normalisation as they are. Right where a batch holds few images: their
            cells resemble each other, and a network that is normalised by them alone reads single images wrongly.
        precision: one of PRECISIONS. workers: processes that load frames of recordings, 0 for none.
        save_seconds: from one checkpoint to the next. log: one of LOGS.
    """

    stage: str = MISSING
    network: str = MISSING
    data: str = MISSING
    part: str = MISSING
    init: str | None = MISSING
    checkpoint: str = MISSING
    trains: str = MISSING
    steps: int = MISSING
    minutes: float | None = MISSING
    batch: int = MISSING
    window: int | None = MISSING
    learning_rate: float = MISSING
    freeze_norm: bool = MISSING
    weights: Weights = MISSING
    precision: str = MISSING
    workers: int = MISSING
    seed: int = MISSING
    save_seconds: float = MISSING
    log: str = MISSING
    validation: ValidationSettings = MISSING

    def to_yaml(self) -> str:
        """Write the settings as they are kept beside a checkpoint."""
        return OmegaConf.to_yaml(OmegaConf.structured(self))


ConfigStore.instance().store("settings", Settings)
OmegaConf.register_new_resolver("cache_path", lambda name: str(cache_path(name)), replace=True)


def read_settings(overrides: list[str]) -> Settings:
    """Compose the configuration with overrides from the command line, such as `stage=velocity` or `weights.depth=0`.

    Raises:
        InputError: an override is malformed or names no setting, or a value is missing or out of range.
    """
    try:
        with initialize_config_module("image_as_imu_training.training.config", version_base=None):
            settings = cast("Settings", OmegaConf.to_object(compose("config", overrides)))
    except MissingMandatoryValue as error:
        raise InputError(f"settings: {error.full_key} is missing; give it as {error.full_key}=…") from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"settings: {_one_line(error)}") from None
    for wrong, problem in _problems(settings):
        if wrong:
            raise InputError(f"settings: {problem}")
    return settings


def _problems(settings: Settings) -> Iterator[tuple[bool, str]]:
    for name, known in (("precision", PRECISIONS), ("log", LOGS), ("trains", TRAINED_PARTS)):
        value = getattr(settings, name)
        yield value not in known, f"{name} is {value!r}, expected one of: {', '.join(known)}"
    for name in ("steps", "batch"):
        value = getattr(settings, name)
        yield value < 1, f"{name} is {value}; it must be at least 1"
    for name in ("every", "samples", "frames"):
        value = getattr(settings.validation, name)
        yield value < 1, f"validation.{name} is {value}; it must be at least 1"
    minutes = settings.minutes
    yield minutes is not None and not minutes > 0, f"minutes is {minutes}; it must be positive, or null"
    yield not settings.learning_rate > 0, f"learning_rate is {settings.learning_rate}; it must be positive"
    yield (
        not any(vars(settings.weights).values()),
        "all weights are 0; at least one term of the loss must weigh something",
    )
    for name, value in vars(settings.weights).items():
        yield not value >= 0, f"weights.{name} is {value}; it must be 0 or more"
    for name in ("workers", "seed", "save_seconds"):
        value = getattr(settings, name)
        yield not value >= 0, f"{name} is {value}; it must be 0 or more"
    for recording in settings.validation.recordings:
        known = tuple(StampReference)
        yield (
            recording.stamp_reference not in known,
            f"stamp_reference is {recording.stamp_reference!r}, expected one of: {', '.join(known)}",
        )


def _one_line(error: Exception) -> str:
    """Keep the complaint without Hydra's advice, and what it was caused by."""
    text, cause = str(error), str(error.__cause__ or "").partition("\n")[0]
    for advice in ("To append to your config", "Config search path", "See https"):
        text = text.partition(advice)[0]
    text = " ".join(text.split())
    return text if not cause or cause in text else f"{text.rstrip('.')}: {cause}"
