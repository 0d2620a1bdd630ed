"""Say once the options that several verbs have, and check what verbs need."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fdan_edge.errors import INSTALL_TRAINING, ConfigError, DataError, MissingDependencyError

if TYPE_CHECKING:
    from fdan_edge.data.corpora import Source

_TRAINING = (
    *("torch", "torchvision", "sklearn", "safetensors", "matplotlib"),
    *("onnx", "onnxruntime", "onnxscript", "PIL", "tomli_w"),
)

SPEECH_HELP = "Speech as corpus:path, e.g. ravdess:/data/ravdess; repeat for more."
FACES_HELP = "Faces as corpus:path, e.g. fer2013:/data/fer2013; repeat for more. None: the plain backbone."
ADAPT_HELP = "Speech to adapt to, heard without its labels: corpus:path, or unlabelled:path; repeat for more."
METHOD_HELP = "How to adapt: didan, mmd, lmmd, coral, dann, fdan (faces as a bridge), source (not)."

Speech = Annotated[
    list[str], typer.Option("--speech", metavar="CORPUS:PATH", help=SPEECH_HELP, show_default=False)
]
Faces = Annotated[list[str], typer.Option("--faces", metavar="CORPUS:PATH", help=FACES_HELP, show_default=False)]
ConfigFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(metavar="CONFIG.toml", help="Settings as TOML.", show_default=False),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; repeat for more.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for programs.")]
ModelName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model",
        metavar="NAME",
        help="Of `fdan-edge models`, or a path; then no BUNDLE is given.",
        show_default="open",
    ),
]
Runtime = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="NAME", help="The runtime to use.", show_default="the fastest that fits"),
]
Precision = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="NAME", help="Of a bundle's precisions.", show_default="what fits the runtime"),
]
Rebuild = Annotated[
    bool,
    typer.Option("--rebuild", metavar="", help="Build a TensorRT engine for this machine where none fits."),
]
Channel = Annotated[
    str,
    typer.Option(metavar="NAME", help="Of several channels: auto, mix, left, right, a number, or each by itself."),
]
Hop = Annotated[float, typer.Option(metavar="SECONDS", help="Between results.")]
Unknown = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="P", help="Below this confidence it says unknown.", show_default="the model's own"),
]
VoiceActivity = Annotated[
    str, typer.Option(metavar="NAME", help="Who tells speech from silence: auto, silero, energy or none.")
]
Threads = Annotated[int, typer.Option(metavar="N", min=0, max=1024, help="Threads of the runtime; 0: all cores.")]


def parsed(words: list[str], required: str = "") -> list[Source]:
    """Parse `corpus:path` words into sources.

    Raises:
        DataError: there are none, though the option `required` asks for some; or one cannot be understood.
    """
    from fdan_edge.data.corpora import parse_source

    if required and not words:
        raise DataError(f"no speech given; write {required} corpus:path, e.g. {required} synthetic:")
    return [parse_source(word) for word in words]


def needs_one_process(verb: str) -> None:
    """Raise ConfigError where torchrun started several processes: each would train all runs of this verb."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"{verb} does not share its trainings between torchrun's processes; valid: train")


def needs_training() -> None:
    """Raise MissingDependencyError, with the pip command, where only the runtime is installed."""
    needs_packages(_TRAINING, "this command", INSTALL_TRAINING)


def needs_packages(packages: Sequence[str], what: str, command: str) -> None:
    """Raise MissingDependencyError for the first package that is not installed; nothing is imported.

    Args:
        packages: names to import.
        what: needs them, for the message.
        command: installs them.
    """
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise MissingDependencyError(package, what, command)


def print_json(value: Any) -> None:
    """Print results for programs, on standard output."""
    typer.echo(json.dumps(value, indent=2))
