"""The run folder: what a training leaves behind, written so that a crash loses some minutes at most.

config.toml               the settings, usable as CONFIG.toml of another run
run.toml                  classes, sources, protocol, the leak audit's verdict, versions
split.json                which recordings were in train, val and test
checkpoint.safetensors    weights of the best epoch (chosen on validation; towards a target the last one)
last.safetensors          everything that --resume needs, of the last step that was saved
epochs.jsonl              one line per epoch
provenance.json           hashes of the data, seeds, and each session's machine, versions, commit and command
tensorboard/              curves
calibration.json          the temperature of the probabilities, fitted on validation
metrics.json              scores on validation and test, the leak audit
predictions.json          the probabilities that the model gives each recording of the test
confusion.png, .svg       the test's confusion matrix
reliability.png, .svg     how often the test's recordings are recognised rightly, by confidence
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import tomli_w
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdan_edge.config import Config, config_to_dict, read_toml, saved_config
from fdan_edge.data.leak_audit import NOT_AUDITED
from fdan_edge.errors import CheckpointError, ConfigError, one_line, shown
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.utils import launcher
from fdan_edge.utils.files import atomic_path, remove_leftovers, write_json, write_text
from fdan_edge.utils.small_files import MOST_OF_A_LIST, parse_json, read_at_most, read_json

FORMAT = "fdan-edge run 1"
_LAUNCHER = ".launcher"
#: All that is written under a temporary name first, which a killed process leaves.
_FILES = (
    *("config.toml", "run.toml", "split.json", "provenance.json", "calibration.json", "metrics.json"),
    *("predictions.json", "epochs.jsonl", "checkpoint.safetensors", "last.safetensors", _LAUNCHER),
    *(f"{name}.{kind}" for name in ("confusion", "reliability") for kind in ("png", "svg")),
)


@dataclass(frozen=True)
class RunInfo:
    """What run.toml holds."""

    classes: list[str]
    speech: list[str]  # sources as given on the command line, paths made absolute
    faces: list[str]
    protocol: str  # for people
    versions: dict[str, str]
    audit: str = NOT_AUDITED  # the verdict, for people
    target: list[str] = field(default_factory=list)  # used without labels
    teacher: dict[str, str] = field(default_factory=dict)  # run, backbone and sha256 of its checkpoint, or nothing


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make a run folder, and keep other processes from training in it meanwhile; the lock goes with the process.

    Two that trained in it would mix their epochs: weights of the first under scores of the second.

    Raises:
        CheckpointError: another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise CheckpointError(f"{folder}: another process trains in it now; wait, or name another --out") from None
    except OSError:  # a file system without locks
        pass
    remove_leftovers(folder, _FILES)
    try:
        yield
    finally:
        os.close(handle)


def save_launcher(folder: Path) -> None:
    """Remember which torchrun trains here, for `is_restarted`."""
    if launcher.is_launched():
        write_text(folder / _LAUNCHER, launcher.launcher_name())


def is_restarted(folder: Path) -> bool:
    """Tell whether torchrun started this process again, in the very launch that trained here."""
    if not launcher.restarts() or not (folder / "run.toml").exists():
        return False
    try:
        return read_at_most(folder / _LAUNCHER).decode() == launcher.launcher_name()
    except (OSError, ValueError):
        return False


def save_run(folder: Path, config: Config, info: RunInfo) -> None:
    """Write config.toml and run.toml."""
    write_text(folder / "config.toml", tomli_w.dumps(config_to_dict(config)))
    write_text(folder / "run.toml", tomli_w.dumps({"format": FORMAT, **vars(info)}))


def load_run(folder: Path) -> tuple[Config, RunInfo]:
    """Read config.toml and run.toml.

    Raises:
        CheckpointError: not a run folder, or damaged.
    """
    if not folder.exists():
        raise CheckpointError(f"{folder}: no such run; `fdan-edge train --out {folder}` makes one")
    if not (folder / "run.toml").is_file() or not (folder / "config.toml").is_file():
        raise CheckpointError(f"{folder}: not a run folder (no run.toml and config.toml in it)")
    try:
        values = read_toml(folder / "run.toml")
        if values.pop("format", None) != FORMAT:
            raise CheckpointError(f"{folder / 'run.toml'}: not of the format {FORMAT!r}")
        return saved_config(read_toml(folder / "config.toml")), _run_info(values)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{folder}: damaged run folder: {one_line(error)}") from None


def _run_info(values: dict[str, Any]) -> RunInfo:
    for name in ("classes", "speech", "faces", "target"):
        words = values.get(name)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TypeError(f"{name} = {shown(words)} is not a list of names")
    teacher = values.get("teacher")
    if not isinstance(teacher, dict) or not all(isinstance(word, str) for word in teacher.values()):
        raise TypeError(f"teacher = {shown(teacher)} is not a table of texts")
    for name in ("protocol", "audit"):
        if not isinstance(values.get(name, ""), str):
            raise TypeError(f"{name} = {shown(values[name])} is not text")
    return RunInfo(**values)


def load_split(folder: Path) -> dict[str, list[str]]:
    """Read the item keys of each part, speakers or sentences seen in training, and the target without labels.

    Raises:
        CheckpointError: missing or damaged.
    """
    path = folder / "split.json"
    try:
        values = dict(read_json(path, MOST_OF_A_LIST))
        parts = {part: values[part] for part in ("train", "val", "test")}
        parts |= {met: values.get(met, []) for met in ("speakers", "texts", "target", "unheard")}
        for part, names in parts.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise TypeError(f"{part} = {shown(names)} is not a list of names")
        return parts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or damaged: {one_line(error)}") from None


def save_calibration(folder: Path, values: dict[str, Any], epoch: int) -> None:
    """Write the temperature, and the epoch of whose weights it is, to calibration.json."""
    write_json(folder / "calibration.json", {**values, "epoch": epoch})


def load_calibration(folder: Path, epoch: int) -> dict[str, Any]:
    """Read what `save_calibration` wrote for the weights of this epoch; temperature 1 where there is nothing.

    Raises:
        CheckpointError: damaged.
    """
    path = folder / "calibration.json"
    if not path.exists():  # not finished yet
        return {"temperature": 1.0}
    try:
        values: dict[str, Any] = dict(read_json(path, finite=False))
        temperature = values["temperature"]
        if type(temperature) not in (int, float) or not 0 < temperature < math.inf:
            raise ValueError(f"temperature {shown(temperature)} is not a positive number")
        _check_unknown(values.get("unknown_below"))
        # A training that went on has other weights than those that the temperature was fitted to.
        return values if values["epoch"] == epoch else {"temperature": 1.0}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged: {one_line(error)}") from None


def _check_unknown(values: Any) -> None:
    """Raise ValueError unless this is nothing, or what `evaluation.unknown_fit` gives: a model card shows it."""
    if values is None:
        return
    numbers = [values["confidence"]]
    if "note" not in values:
        numbers += [*values["logit"], values["recordings"], values["covered"], values["accuracy"] or 0]
    if len(numbers) not in (1, 6) or not all(type(one) in (int, float) and abs(one) < 1e9 for one in numbers):
        raise ValueError(f"unknown_below = {shown(values)}")


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON-able metadata to a safetensors file atomically.

    Raises:
        OSError: it cannot be written; the file that was there stays.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": FORMAT, "state": json.dumps(metadata)})
        except safetensors.SafetensorError as error:  # of a full disk too
            number = re.search(r"os error (\d+)", str(error))
            if not number:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        with temporary.open("rb") as file:  # or a power cut could leave zeros under the new name
            os.fsync(file.fileno())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        CheckpointError: missing, cut short or of another kind.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; the training may not have finished an epoch")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: not a checkpoint of fdan-edge")
        state = parse_json(metadata["state"], finite=False)
        if not isinstance(state, dict):
            raise TypeError(f"its state {shown(state)} is not a table")
        return load_file(path), state
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cut short or not a checkpoint: {one_line(error)}") from None


def load_model(folder: Path) -> tuple[AcousticPath, Config, RunInfo, dict[str, Any]]:
    """Load the best epoch's acoustic path in evaluation mode, and its calibration.

    Raises:
        CheckpointError: the folder or its checkpoint cannot be used.
    """
    config, info = load_run(folder)
    tensors, state = load_tensors(folder / "checkpoint.safetensors")
    if "faces" not in state:
        raise CheckpointError(f"{folder}: checkpoint.safetensors holds a training's state, not its best epoch")
    model = Fdan(config, len(info.classes), faces=bool(state["faces"]), pretrained=False)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        detail = one_line(RuntimeError(str(error).replace("\n", " ")))
        raise CheckpointError(f"{folder}: the checkpoint does not fit config.toml: {detail}") from None
    calibration = load_calibration(folder, state.get("epoch", 0))
    path = AcousticPath(model, build_frontend(config), float(calibration["temperature"]))
    return path.eval(), config, info, calibration


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the optimiser from what `optimizer_tensors` returned.

    Raises:
        ValueError: it was of other parameters. Fused optimisers do not look, and write beyond their memory.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if state and set(state) != set(range(len(parameters))):
        raise ValueError(f"the optimiser has {len(parameters)} parameters, and was saved with {len(state)}")
    for parameter, values in optimizer.state.items():
        for key, tensor in values.items():
            if tensor.ndim and tensor.shape != parameter.shape:
                raise ValueError(f"{key} of shape {list(tensor.shape)} for a parameter of {list(parameter.shape)}")
            if tensor.shape == parameter.shape:
                # Fused optimisers walk through memory, so a channels-last weight needs its moments in that
                # order; the file holds them in the usual one.
                values[key] = torch.empty_like(parameter).copy_(tensor)
