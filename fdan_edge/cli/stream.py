"""`fdan-edge stream`: emotions of what is heard now, or of a recording as if it were."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fdan_edge.errors import ConfigError

if TYPE_CHECKING:
    from fdan_edge.spec import ModelSpec
    from fdan_edge.stream.annotate import Annotation
    from fdan_edge.stream.events import Event
    from fdan_edge.stream.sources import Source

_WAYS = "a sound file, - for PCM on standard input (arecord ... | fdan-edge stream BUNDLE -), or --mic"


def stream(
    bundle: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="BUNDLE", help="A bundle, an .onnx file or a run folder.", show_default=False),
    ] = None,
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="SOURCE", help="A sound file, or - for standard input.", show_default=False),
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", metavar="", help="Hear the microphone.")] = False,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME|NUMBER", help="Of the microphone.", show_default="the system's choice"),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", metavar="", help="Name the microphones, and end.")
    ] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", metavar="", help="Hear a file as if it were spoken now.")
    ] = False,
    rate: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="HZ", help="Of raw PCM; a WAV header says its own.", show_default="16000"),
    ] = None,
    channels: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Of raw PCM.", show_default="1"),
    ] = None,
    format_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", metavar="NAME", help="Of raw PCM: s16, s32, f32 or u8.", show_default="s16"),
    ] = None,
    seconds: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="N", min=0.1, help="End after so much sound.", show_default="never"),
    ] = None,
    hop: Annotated[float, typer.Option(metavar="SECONDS", help="Between results.")] = 0.25,
    unknown: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            metavar="P", help="Below this confidence it says unknown.", show_default="the model's own"
        ),
    ] = None,
    vad: Annotated[
        str, typer.Option(metavar="NAME", help="Who tells speech from silence: auto, silero, energy or none.")
    ] = "auto",
    runtime: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="The runtime to use.", show_default="the fastest that fits"),
    ] = None,
    precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Of a bundle's precisions.", show_default="what fits the runtime"),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", metavar="", help="Build a TensorRT engine for this machine where none fits."),
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="N", min=0, max=1024, help="Threads of the runtime; 0: all cores.")
    ] = 1,
    rttm: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Write the segments as RTTM.")] = None,  # noqa: UP045
    csv: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Write the segments as csv.")] = None,  # noqa: UP045
    audacity: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write the segments as a label track of Audacity."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print each event as a line of JSON.")
    ] = False,
) -> None:
    """Name the emotion of who speaks, as they speak. Exit code 1: the sound broke off."""
    from fdan_edge.stream.settings import Settings

    if list_devices:
        _list_devices()
        return
    if bundle is None:
        raise ConfigError("no bundle given: fdan-edge stream BUNDLE SOURCE, or fdan-edge stream BUNDLE --mic")
    settings = Settings(hop=hop, unknown_below=unknown, vad=vad)
    files = _Files(rttm, csv, audacity)
    files.check(source)
    sound = _open(source, mic or device is not None, device or "", realtime, _Raw(rate, channels, format_))
    ...
