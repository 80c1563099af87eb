"""Checkpoints: weights, running average and optimizer state in one safetensors file. Nothing is pickled.

A weights file, which is what `export` publishes, is one that holds the average alone.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from image_as_imu_ros.errors import InputError
from image_as_imu_training.networks import NETWORKS, create_network
from image_as_imu_training.networks.network import Network

_FILE = "checkpoint.safetensors"
_STATE = "training"  # key of the JSON text in the file's metadata


@dataclass(frozen=True)
class Checkpoint:
    """A moment in a training run.

    Attributes:
        network, average: weights, and their running average, which is what is exported. optimizer: its tensors as
            "PARAMETER.NAME".
        state: numbers and texts: "network" (its name), "stage", "step" and what else the trainer needs.
    """

    network: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict

    def save(self, folder: Path) -> None:
        """Write the checkpoint into a folder; a reader never sees half a file."""
        folder.mkdir(parents=True, exist_ok=True)
        _write({part: getattr(self, part) for part in ("network", "average", "optimizer")}, self.state, folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            InputError: there is none, or the file is damaged.
        """
        network, average, optimizer = (_read(folder, part) for part in ("network", "average", "optimizer"))
        return cls(network, average, optimizer, read_state(folder))


def save_weights(network: torch.nn.Module, name: str, path: Path) -> None:
    """Write the weights file of a network, `name` in NETWORKS."""
    _write({"average": network.state_dict()}, {"network": name}, path)


def checkpoint_exists(folder: Path) -> bool:
    """Say whether `save` wrote into a folder."""
    return (folder / _FILE).is_file()


def read_state(source: Path) -> dict:
    """Read the `state` of a checkpoint folder or a weights file. Raises InputError as `Checkpoint.load`."""
    with _open(source) as file:
        text = file.metadata()[_STATE]
    try:
        state = json.loads(text)
        name = state["network"]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{source} is not a checkpoint: it does not say of which network") from None
    if name not in NETWORKS:
        raise InputError(f"{source} is of network {name!r}; this version knows {', '.join(NETWORKS)}")
    return state


def load_network(source: Path) -> Network:
    """Load the averaged network of a checkpoint folder or a weights file, in evaluation mode.

    Raises:
        InputError: as `Checkpoint.load`, or the weights do not fit this version's network.
    """
    network = create_network(read_state(source)["network"])
    load_weights(network, _read(source, "average"), source)
    return network.eval()


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], source: Path) -> None:
    """Give a network its weights. Raises InputError that names the tensors which are missing, too many or misshapen."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reasons = textwrap.shorten(str(error).partition("\n")[2], 300, placeholder=" …")
        raise InputError(f"{source} does not fit this network: {reasons}") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Collect what an optimizer remembers of a network's parameters, as "PARAMETER.NAME"."""
    names = _trained(network)
    state = optimizer.state_dict()["state"]
    return {f"{names[index]}.{key}": tensor for index, tensors in state.items() for key, tensor in tensors.items()}


def load_optimizer(
    optimizer: torch.optim.Optimizer, network: torch.nn.Module, tensors: dict[str, torch.Tensor]
) -> None:
    """Give back what `optimizer_tensors` collected."""
    index = {name: number for number, name in enumerate(_trained(network))}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        state.setdefault(index[parameter], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _trained(network: torch.nn.Module) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def _write(parts: dict[str, dict[str, torch.Tensor]], state: dict, path: Path) -> None:
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, weights in parts.items()
        for name, tensor in weights.items()
    }
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(save(tensors, {_STATE: json.dumps(state)}))  # save_file's would be readable by its owner only
    partial.replace(path)


def _read(source: Path, part: str) -> dict[str, torch.Tensor]:
    with _open(source) as file:
        prefix = f"{part}/"
        return {name.removeprefix(prefix): file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118


def _open(source: Path) -> safe_open:
    path = source if source.is_file() else source / _FILE
    if not path.is_file():
        raise InputError(f"no checkpoint in {source}; run `train` first")
    try:
        file = safe_open(path, "pt")
    except SafetensorError as error:
        raise InputError(f"{path} is not a checkpoint: {error}") from None
    if _STATE not in (file.metadata() or {}):
        raise InputError(f"{path} is not a checkpoint: it does not say what was trained")
    return file
