"""The weights that a backbone starts from: reading state dicts, and fitting them to other input channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fdan_edge.config import BuildRequest, get_backbone
from fdan_edge.config.backbones import imported
from fdan_edge.errors import ConfigError, one_line


def load_weights(name: str, source: str) -> dict[str, Tensor] | None:
    """Return the state dict that `weights = source` names.

    Args:
        name: the backbone.
        source: `pretrained` (on ImageNet; whisper_tiny: on speech), `none`, or the path of a .pth or .safetensors
            state dict.

    Raises:
        ConfigError: the weights cannot be found, downloaded or read.
    """
    if source == "none":
        return None
    if source != "pretrained":
        return read_state(Path(source))
    entry = get_backbone(name)
    if entry.pretrained is None:
        raise ConfigError(
            f"{name} has no pretrained weights; valid: weights=none, weights=PATH (a .pth or .safetensors state "
            "dict), and for faces beside other weights another face_backbone"
        )
    state: dict[str, Tensor] = imported(entry.pretrained)(entry)
    return state


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a .pth or .safetensors file; of a pickle, only what runs no code is read.

    Raises:
        ConfigError: there is no such file, or it is not one.
    """
    if not path.is_file():
        raise ConfigError(f"weights = {str(path)!r}: no such file; valid: pretrained, none, or a path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # any damaged file: torch and safetensors raise many kinds
        raise ConfigError(f"weights = {str(path)!r}: not a readable state dict: {one_line(error)}") from None


def load_state(load: Callable[[dict[str, Tensor]], object], request: BuildRequest) -> None:
    """Load the weights of a request into a network; without any it stays as it is.

    Args:
        load: the network's `load_state_dict`, or what takes its place.
        request: with the weights and the backbone's name.

    Raises:
        ConfigError: they do not fit.
    """
    if request.state is None:
        return
    try:
        load(request.state)
    except (RuntimeError, AttributeError, TypeError) as error:  # the last two: names that are no strings
        detail = one_line(RuntimeError(" ".join(str(error).split())))
        raise ConfigError(f"the weights do not fit {request.entry.name}: {detail}") from None


def change_channels(network: nn.Module, channels: int) -> None:
    """Give the first convolution of a network another number of input channels, in place.

    Its weights are summed over the channels that it had, and shared among the new ones: a grey image gives what it
    gave as equal colours, with one channel at a third of the work.
    """
    name, old = next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True).expand_as(new.weight) / channels)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, new)
