"""The verb that follows live sound, or a recording as if it were live: stream."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fdan_edge.cli.options import Hop, Precision, Rebuild, Runtime, Threads, Unknown, VoiceActivity
from fdan_edge.errors import ConfigError, printable

if TYPE_CHECKING:
    from fdan_edge.cli.render.stream import Summary
    from fdan_edge.runtime.model_spec import ModelSpec
    from fdan_edge.streaming.annotations import AnnotationFile
    from fdan_edge.streaming.backlog import End
    from fdan_edge.streaming.events import Event
    from fdan_edge.streaming.live import Handle
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.sources import AudioSource

log = logging.getLogger(__name__)

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
        typer.Option("--format", metavar="NAME", help="Of raw PCM: s16, s24, f32, ulaw ...", show_default="s16"),
    ] = None,
    seconds: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="N", min=0.1, help="End after so much sound.", show_default="never"),
    ] = None,
    hop: Hop = 0.25,
    unknown: Unknown = None,
    vad: VoiceActivity = "auto",
    runtime: Runtime = None,
    precision: Precision = None,
    rebuild: Rebuild = False,
    threads: Threads = 1,
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
    from fdan_edge.cli.render import stream as show_stream

    if list_devices:
        from fdan_edge.streaming.microphone import input_devices

        show_stream.devices(input_devices())
        return
    if bundle is None:
        raise ConfigError("no bundle given: fdan-edge stream BUNDLE SOURCE, or fdan-edge stream BUNDLE --mic")
    from fdan_edge.runtime.opening import open_stream_runner
    from fdan_edge.streaming.live import run_stream
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.settings import StreamSettings
    from fdan_edge.utils.growing_file import check_written

    settings = StreamSettings(hop=hop, unknown_below=unknown, vad=vad)
    source_options = _SourceOptions(
        source, mic or device is not None, device or "", realtime, rate, channels, format_
    )
    files = {"--rttm": rttm, "--csv": csv, "--audacity": audacity}
    if seconds is not None and not math.isfinite(seconds):
        raise ConfigError(f"--seconds {seconds}: not a length; without it the stream goes on")
    check_written(files, [Path(source)] if source not in (None, "-") else [], "the source")
    sound = source_options.open()
    with (
        open_stream_runner(bundle, threads, artifact=precision, runtime=runtime, rebuild=rebuild) as runner,
        contextlib.ExitStack() as outputs,
    ):
        session = Stream(runner, settings)
        summary = show_stream.Summary()
        sinks: list[Handle] = [*map(outputs.enter_context, _annotations(files, sound, session.spec)), summary]
        sinks.append(_printer(as_json, f"{bundle.resolve().name}, {sound.name}", session, outputs))
        with _stop_on_signals() as stop:
            end = run_stream(sound, session, lambda events: _send(sinks, events), stop, seconds=seconds)
    _say_end(end, summary, as_json)
    raise typer.Exit(1 if end.broken else 0)


@dataclass(frozen=True)
class _SourceOptions:
    """What the options say about where the sound comes from."""

    source: str | None
    mic: bool
    device: str
    realtime: bool
    rate: int | None
    channels: int | None
    format: str | None

    def open(self) -> AudioSource:
        """Open the source.

        Raises:
            ConfigError: none is named, or two, or an option is another one's.
            AudioError, MissingDependencyError: it cannot be had.
        """
        if self.mic == (self.source is not None):
            what = "a source and the microphone are too much; choose" if self.mic else "nothing to hear; name"
            raise ConfigError(f"{what} {_WAYS}")
        raw = {"rate": self.rate, "channels": self.channels, "sample": self.format}
        pcm_format: dict[str, Any] = {name: value for name, value in raw.items() if value is not None}
        if pcm_format and self.source != "-":
            raise ConfigError("--rate, --channels and --format say what raw PCM is; they belong to the source -")
        if self.realtime and (self.mic or self.source == "-"):
            raise ConfigError("--realtime is for files; what is live already is heard as it comes")
        return self._open_source(pcm_format)

    def _open_source(self, pcm_format: dict[str, Any]) -> AudioSource:
        from fdan_edge.audio.pcm import PcmFormat
        from fdan_edge.streaming.microphone import Microphone
        from fdan_edge.streaming.sources import FileSource
        from fdan_edge.streaming.standard_input import PipeSource

        if self.source is None:
            return Microphone(self.device)
        if self.source == "-":
            return PipeSource(PcmFormat(**pcm_format) if pcm_format else None)
        return FileSource(Path(self.source), realtime=self.realtime)


def _annotations(files: dict[str, Path | None], source: AudioSource, spec: ModelSpec) -> Iterator[AnnotationFile]:
    """Open the annotation files that are asked for."""
    from fdan_edge.streaming import annotations as annotate

    if path := files["--rttm"]:
        yield annotate.rttm(path, Path(source.name).stem)
    if path := files["--csv"]:
        yield annotate.csv_table(path, spec.labels)
    if path := files["--audacity"]:
        yield annotate.audacity(path)


def _printer(as_json: bool, title: str, session: Stream, outputs: contextlib.ExitStack) -> Handle:
    """Make what writes on standard output: JSON, plain lines or the live view."""
    from fdan_edge.cli.render import stream as show_stream
    from fdan_edge.cli.render.console import out

    if as_json:
        return show_stream.JsonLines()
    if not out.is_terminal or out.is_dumb_terminal:
        return show_stream.Lines(session.spec.labels)
    from rich.console import Console

    from fdan_edge.cli.render.live_view import View

    return outputs.enter_context(
        View(printable(title), session.spec.labels, lambda: session.time, Console(highlight=False))
    )


def _send(sinks: Sequence[Handle], events: list[Event]) -> None:
    for sink in sinks:
        sink(events)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, `kill` or a closing terminal sets; a second signal ends the process as usual."""
    stop = threading.Event()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def ask(number: int, frame: Any) -> None:  # noqa: ARG001
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # where a reader of ours is stuck, we are
        if number == signal.SIGHUP:  # what is written to a terminal that is gone fails
            null = os.open(os.devnull, os.O_WRONLY)
            for terminal in terminals:
                os.dup2(null, terminal)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_end(end: End, summary: Summary, as_json: bool) -> None:
    """Print the summary after the view is gone, and on standard error what broke off."""
    from fdan_edge.cli.render.console import errors, out

    if not as_json:
        out.print(str(summary), markup=False) if out.is_terminal else log.info(str(summary))
    if end.broken:
        errors.print(f"error: {printable(end.reason)}", markup=False)
