"""The training loop, the same for all stages: they differ in their data and in what their loss is made of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from image_as_imu_ros.errors import InputError
from image_as_imu_training.augmentation import photometric
from image_as_imu_training.checkpoint import (
    Checkpoint,
    checkpoint_exists,
    load_network,
    load_optimizer,
    load_weights,
    optimizer_tensors,
)
from image_as_imu_training.networks import create_network
from image_as_imu_training.networks.blur_network import DEPTH_FROM, BlurNetwork
from image_as_imu_training.training.axial_network import AxialNetwork, Outputs
from image_as_imu_training.training.data import (
    Batch,
    RenderedSamples,
    StepSampler,
    augmented,
    batches,
    random_generator,
)
from image_as_imu_training.training.evaluation import ValidationRecording, rendered_figures
from image_as_imu_training.training.losses import VELOCITY_TERMS, Terms, recording_terms, rendered_terms
from image_as_imu_training.training.next_commands import next_commands
from image_as_imu_training.training.pseudo_labels import PseudoLabels
from image_as_imu_training.training.recordings import LabelledFrames
from image_as_imu_training.training.settings import Settings
from image_as_imu_training.training.signals import requests_to_stop

_AVERAGE_DECAY = 0.999
_WARM_UP = 0.03  # of the schedule
_WEIGHT_DECAY = 1e-3
_LONGEST_GRADIENT = 1.0
_LOG_EVERY = 20  # steps; several processes agree as often on whether to stop

Objective = Callable[[Outputs, Batch], Terms]


def train(settings: Settings) -> int:
    """Run or continue a training and write its checkpoint folder.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint from which the same command continues as if
    nothing had happened.

    Returns:
        0, or 128 + the number of the signal that ended it.

    Raises:
        InputError: data, checkpoint or recordings do not fit the settings, or the loss is no longer finite.
    """
    return _Training(settings).run()


def learning_rate(progress: float, peak: float) -> float:
    """Follow one cycle: linear warm-up, then a cosine to zero. `progress` of the schedule is 0…1."""
    if progress < _WARM_UP:
        return peak * (0.05 + 0.95 * progress / _WARM_UP)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP))))


class _Training:
    """A run's state and its steps."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(settings.checkpoint).expanduser()
        if self.folder.is_file():
            raise InputError(f"checkpoint={self.folder} is a file, and a run writes a folder; init= starts from a file")
        self.accelerator = _accelerator(settings, self.folder)
        self.step, self.seconds = 0, 0.0
        self._start_network()
        self.dataset = _training_data(settings, self.network.stride, self.accelerator.device)
        self.objective = _objective(settings, self.accelerator.device)
        self._prepare_validation()

    def _start_network(self) -> None:
        settings, device = self.settings, self.accelerator.device
        torch.manual_seed(settings.seed)
        self.network = create_network(settings.network)
        checkpoint = Checkpoint.load(self.folder) if checkpoint_exists(self.folder) else None
        if checkpoint is not None:
            for name in ("stage", "network", "trains"):
                before = checkpoint.state.get(name)
                if before != getattr(settings, name):
                    raise InputError(
                        f"{self.folder} holds a checkpoint of {name} {before!r}, not of "
                        f"{getattr(settings, name)!r}: choose another folder for this run (and init={self.folder})"
                    )
            load_weights(self.network, checkpoint.network, self.folder)
        elif settings.init is not None:
            start = Path(settings.init).expanduser()
            load_weights(self.network, load_network(start).state_dict(), start)
        choose_trained(self.network, settings.trains)
        self.network.to(device)
        average = create_network(settings.network).to(device)
        choose_trained(average, settings.trains)
        average.load_state_dict(self.network.state_dict() if checkpoint is None else checkpoint.average)
        self.average = AxialNetwork(average.requires_grad_(False)).to(device).eval()
        self.averaged = [
            (mean, value)
            for mean, value in zip(average.state_dict().values(), self.network.state_dict().values(), strict=True)
            if mean.is_floating_point()
        ]
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        # Weights that only share a tensor with those that learn must not decay.
        decay = 0.0 if settings.trains == "depth" else _WEIGHT_DECAY
        fused = True if device.type == "cuda" else None
        optimizer = torch.optim.AdamW(trained, settings.learning_rate, weight_decay=decay, fused=fused)
        self.model, self.optimizer = self.accelerator.prepare(AxialNetwork(self.network).to(device), optimizer)
        if checkpoint is not None:
            load_optimizer(self.optimizer, self.network, checkpoint.optimizer)
            self.step, self.seconds = checkpoint.state["step"], checkpoint.state.get("seconds", 0.0)
            scaler = checkpoint.state["scaler"]  # None of another precision
            if self.accelerator.scaler is not None and scaler is not None:
                self.accelerator.scaler.load_state_dict(scaler)

    def _prepare_validation(self) -> None:
        validation = self.settings.validation
        self.held_out = None
        if validation.data is not None:
            folder = Path(validation.data).expanduser()
            self.held_out = RenderedSamples(folder, self.network.stride, self.accelerator.device)
        self.recordings = [ValidationRecording(entry, validation.frames) for entry in validation.recordings]
        if isinstance(self.dataset, LabelledFrames):
            for recording in self.recordings:
                self.dataset.refuse(recording.name, recording.identities)

    @property
    def progress(self) -> float:
        """How much of the schedule is over, 0…1, by steps or by the clock."""
        minutes = self.settings.minutes
        return min(1.0, max(self.step / self.settings.steps, 0 if minutes is None else self.seconds / (60 * minutes)))

    def run(self) -> int:
        """Train to the end of the schedule, or until a signal arrives. Returns as `train`."""
        settings, main = self.settings, self.accelerator.is_main_process
        if main:
            print(settings.to_yaml(), end="")
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        process = self.accelerator.process_index
        weights = self.dataset.weights()
        last = settings.steps if self.progress < 1 else self.step
        sampler = StepSampler(weights, settings.batch, self.step, last, settings.seed, process)
        per_step = settings.batch * self.accelerator.num_processes
        position = {"initial": self.step * per_step, "total": settings.steps * per_step}
        recent: list[Terms] = []
        saved = time.monotonic()
        began = saved - self.seconds
        with (
            requests_to_stop() as requests,
            tqdm(desc=settings.stage, unit="sample", disable=not main, **position) as bar,
        ):
            for batch in batches(self.dataset, sampler, settings.workers):
                recent.append(self._step(batch))
                bar.update(per_step)
                if self.step % _LOG_EVERY == 0:
                    bar.set_postfix(step=self.step, loss=f"{self._log(recent):.3f}")
                    recent.clear()
                elif self.step < _LOG_EVERY:  # later, nobody waits for a number; reading it makes a GPU wait
                    bar.set_postfix(step=self.step, loss=f"{float(recent[-1]['loss']):.3f}")
                if self._must_stop(requests, time.monotonic() - began):
                    break
                if time.monotonic() - saved > settings.save_seconds:
                    self._save()
                    saved = time.monotonic()
                if self.step % settings.validation.every == 0:
                    self._validate()
        self._save()
        if self.progress < 1:
            self.accelerator.print(f"stopped after step {self.step}; the same command continues")
        else:
            self._validate()
            self.accelerator.print("\n".join(f"next: {command}" for command in next_commands(settings)))
        self.accelerator.end_training()
        return 128 + requests[0] if self.progress < 1 else 0

    def _step(self, batch: Batch) -> Terms:
        """Take one step of the optimizer. Returns the terms of the loss before it, and their weighted sum as `loss`."""
        settings, device = self.settings, self.accelerator.device
        here = (settings.seed, self.step, self.accelerator.process_index)
        torch.manual_seed(random_generator(*here, "network").initial_seed())
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        batch["image"] = batch["image"].float() / 255
        random = random_generator(*here, "augmentation")
        batch = augmented(batch, settings.window, self.network.stride, random)
        self.model.train()
        if settings.freeze_norm:
            _freeze_norm(self.model)
        outputs = self.model(photometric(batch["image"], random_generator(*here, "photometric", device)))
        terms = self.objective(outputs, batch)
        weights = asdict(settings.weights)
        loss = torch.zeros((), device=device)
        for name in (name for name in terms if weights[name]):
            loss = loss + weights[name] * terms[name]
        rate = learning_rate(self.progress, settings.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), _LONGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        _update_average(self.averaged, self.step)
        return {name: term.detach() for name, term in ({"loss": loss} | terms).items()}

    def _log(self, recent: list[Terms]) -> float:
        """Write means of the last steps' terms. Returns that of the loss."""
        self._check_weights()
        means = {name: torch.stack([terms[name].float() for terms in recent]).mean() for name in recent[0]}
        means = {name: float(value) for name, value in self.accelerator.reduce(means, "mean").items()}
        rate = learning_rate(self.progress, self.settings.learning_rate)
        values = {f"train/{name}": value for name, value in means.items()} | {"train/learning_rate": rate}
        self.accelerator.log(values, step=self.step)
        return means["loss"]

    def _save(self) -> None:
        self._check_weights()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "stage": self.settings.stage,
                "network": self.settings.network,
                "trains": self.settings.trains,
                "step": self.step,
                "seconds": self.seconds,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            Checkpoint(
                self.network.state_dict(),
                self.average.network.state_dict(),
                optimizer_tensors(self.optimizer, self.network),
                state,
            ).save(self.folder)

    def _check_weights(self) -> None:
        if not torch.nn.utils.get_total_norm(self.network.parameters()).isfinite():
            raise InputError(
                f"training diverged: the weights are not finite after step {self.step}. Lower learning_rate or set "
                f"precision=no; the checkpoint in {self.folder}, if there is one, is from before"
            )

    def _must_stop(self, requests: list[int], seconds: float) -> bool:
        """Say whether the schedule is over or a signal has arrived, in any process: all stop after the same step.

        Args:
            seconds: that the run has taken by this process's clock; all then go by the latest.
        """
        if self.accelerator.num_processes == 1:
            self.seconds = seconds
        elif self.step % _LOG_EVERY:
            return False
        else:
            news = torch.tensor([[max(requests, default=0), seconds]], device=self.accelerator.device)
            received, self.seconds = torch.as_tensor(self.accelerator.gather(news)).amax(0).tolist()
            requests[:] = [int(received)] if received else []
        return bool(requests) or self.progress >= 1

    def _validate(self) -> None:
        """Measure the averaged network and log it. The other processes wait for the main one."""
        if self.accelerator.is_main_process:
            values, images = {}, {}
            if self.held_out is not None:
                count, batch = self.settings.validation.samples, self.settings.batch
                objective = partial(rendered_terms, velocity=_wants_velocity(self.settings))
                found, image = rendered_figures(self.average, self.held_out, count, batch, objective)
                values |= {f"validation/{name}": value for name, value in found.items()}
                images["validation"] = image
            for recording in self.recordings:
                found, image = recording.figures(self.average)
                values |= {f"{recording.name}/{name}": value for name, value in found.items()}
                images[recording.name] = image
            values = {name: value for name, value in values.items() if math.isfinite(value)}
            tqdm.write(f"step {self.step}: " + "  ".join(f"{name} {value:.3f}" for name, value in values.items()))
            self.accelerator.log(values, step=self.step)
            for tracker in self.accelerator.trackers:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                for name, image in images.items():
                    tracker.log_images({name: image[None, :, :, ::-1]}, step=self.step, **layout)
        self.accelerator.wait_for_everyone()


def _accelerator(settings: Settings, folder: Path) -> Accelerator:
    """Choose devices, precision and log of a run."""
    log = None if settings.log == "none" else settings.log
    if log is not None and find_spec(log) is None:
        raise InputError(f"log={log} needs the package {log}: pip install {log}, or set log=none")
    try:
        torch.backends.cudnn.benchmark = True  # the sizes stay the same
        accelerator = Accelerator(mixed_precision=settings.precision, log_with=log, project_dir=str(folder))
    except ValueError as error:
        raise InputError(f"precision={settings.precision} is not possible here: {error}") from None
    accelerator.init_trackers("image_as_imu", init_kwargs={"wandb": {"name": folder.name, "config": asdict(settings)}})
    return accelerator


def _training_data(settings: Settings, stride: int, device: torch.device) -> RenderedSamples | LabelledFrames:
    folder = Path(settings.data).expanduser()
    dataset = (
        LabelledFrames(folder, stride)
        if settings.stage == "recordings"
        else RenderedSamples(folder / settings.part, stride, device)
    )
    shortest = min(dataset.image_size)
    if settings.window is not None and not (0 < settings.window <= shortest and settings.window % 32 == 0):
        raise InputError(f"window is {settings.window} px; expected a multiple of 32, at most the samples' {shortest}")
    return dataset


def _objective(settings: Settings, device: torch.device) -> Objective:
    """Choose what makes outputs and a batch into the terms of the loss."""
    if settings.stage != "recordings":
        return partial(rendered_terms, velocity=_wants_velocity(settings))
    if settings.init is None:
        raise InputError("stage recordings needs init=, the weights that flow and depth stay near")
    pseudo_labels = PseudoLabels(Path(settings.init).expanduser(), device)

    def terms(outputs: Outputs, batch: Batch) -> Terms:
        return recording_terms(outputs, batch) | pseudo_labels.terms(outputs, batch["image"])

    return terms


def choose_trained(network: torch.nn.Module, part: str) -> None:
    """Let "all" of a network learn, or its "refinement", or its "first_guess", which is everything else, or "depth".

    While the first guess learns, the refinement is left out: it is made for the guesses that it has seen. Depth learns
    in the two outputs of the head that say it: streaks are read as before.

    Raises:
        InputError: there is nothing to learn in that part.
    """
    if isinstance(network, BlurNetwork):
        network.refines = part != "first_guess"
    for name, parameter in network.named_parameters():
        if part == "depth":
            parameter.requires_grad_(name in ("head.weight", "head.bias") and len(parameter) > DEPTH_FROM)
            if parameter.requires_grad:
                parameter.register_hook(_of_depth)
            continue
        parameter.requires_grad_(part == "all" or name.startswith("refinement.") == (part == "refinement"))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"trains={part}, but this network has none")


def _of_depth(gradient: torch.Tensor) -> torch.Tensor:
    """Keep the part of the head's gradient that is depth's."""
    kept = torch.zeros_like(gradient)
    kept[DEPTH_FROM:] = gradient[DEPTH_FROM:]
    return kept


def _freeze_norm(network: torch.nn.Module) -> None:
    """Normalise by the running statistics, as in use, and leave them as they are."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def _wants_velocity(settings: Settings) -> bool:
    return any(getattr(settings.weights, name) for name in VELOCITY_TERMS)


def _update_average(averaged: list[tuple[torch.Tensor, torch.Tensor]], step: int) -> None:
    """Move the exponential average of weights and batch statistics, (average, value) each, faster at first."""
    decay = min(_AVERAGE_DECAY, (1 + step) / (10 + step))
    means, values = zip(*averaged, strict=True)
    get_ema_multi_avg_fn(decay)(means, values, step)
