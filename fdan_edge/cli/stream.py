"""The verb that follows live sound, or a recording as if it were live: stream."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fdan_edge.cli.model_choice import model_and_source
from fdan_edge.cli.options import (
    Channel,
    Hop,
    ModelName,
    Precision,
    Rebuild,
    Runtime,
    Threads,
    Unknown,
    VoiceActivity,
)
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
    first: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="BUNDLE",
            help="A bundle, an .onnx file, a run folder, or a name of `fdan-edge models`.",
            show_default=False,
        ),
    ] = None,
    second: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="SOURCE", help="A sound file, or - for standard input.", show_default=False),
    ] = None,
    model: ModelName = None,
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
    channel: Channel = "auto",
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
    """Name the emotion of who speaks, as they speak. Exit code 1: the sound broke off.

    --channel each recognises every channel by itself, and prints lines where there are several, no live view.
    """
    from fdan_edge.cli.render import stream as show_stream

    if list_devices:
        from fdan_edge.streaming.microphone import input_devices

        show_stream.devices(input_devices())
        return
    from fdan_edge.audio.channels import EACH, check_channel
    from fdan_edge.runtime.included import introduce
    from fdan_edge.runtime.opening import open_stream_runner
    from fdan_edge.streaming.live import run_channels
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.settings import StreamSettings
    from fdan_edge.utils.growing_file import check_written

    check_channel(channel, each=True)
    settings = StreamSettings(hop=hop, unknown_below=unknown, vad=vad)
    live = mic or device is not None
    words = [word for word in (first, second) if word is not None]
    bundle, source = model_and_source(words, model, live=live)
    source_options = _SourceOptions(source, live, device or "", realtime, rate, channels, format_, channel)
    files = {"--rttm": rttm, "--csv": csv, "--audacity": audacity}
    if seconds is not None and not math.isfinite(seconds):
        raise ConfigError(f"--seconds {seconds}: not a length; without it the stream goes on")
    check_written(files, [Path(source)] if source not in (None, "-") else [], "the source")
    sound = source_options.open()
    names = _channels(channel, sound)
    introduce(bundle)
    with (
        open_stream_runner(bundle, threads, artifact=precision, runtime=runtime, rebuild=rebuild) as runner,
        contextlib.ExitStack() as outputs,
    ):
        sessions = {name: Stream(runner, settings) for name in names}
        summaries = {name: show_stream.Summary() for name in names}
        written = [*map(outputs.enter_context, _annotations(files, sound, runner.spec, channel == EACH))]
        title = f"{bundle.resolve().name}, {sound.name}"
        printers = _printers(as_json, channel == EACH, title, sessions, outputs)

        def handle(events: list[Event], name: str) -> None:
            for annotation in written:
                annotation(events, name)
            summaries[name](events)
            printers[name](events)

        with _stop_on_signals() as stop:
            end = run_channels(sound, sessions, handle, stop, seconds=seconds)
    _say_end(end, summaries, as_json)
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
    channel: str

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
        if self.mic and self.channel != "auto":
            raise ConfigError("--channel is for files and standard input; a microphone has one channel")
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


def _channels(channel: str, source: AudioSource) -> list[str]:
    """Return what is recognised by itself: the names of all channels, or the one choice.

    Raises:
        AudioError: there is no such channel.
    """
    from fdan_edge.audio.channels import EACH, channel_names, check_has_channel

    if channel == EACH:
        return channel_names(source.channels)
    check_has_channel(channel, source.channels, source.name)
    return [channel]


def _annotations(
    files: dict[str, Path | None], source: AudioSource, spec: ModelSpec, channels: bool
) -> Iterator[AnnotationFile]:
    """Open the annotation files that are asked for."""
    from fdan_edge.streaming import annotations as annotate

    if path := files["--rttm"]:
        yield annotate.rttm(path, Path(source.name).stem)
    if path := files["--csv"]:
        yield annotate.csv_table(path, spec.labels, channels=channels)
    if path := files["--audacity"]:
        yield annotate.audacity(path, channels=channels)


def _printers(
    as_json: bool, channels: bool, title: str, sessions: Mapping[str, Stream], outputs: contextlib.ExitStack
) -> dict[str, Handle]:
    """Make what writes on standard output: JSON, plain lines, or of one channel the live view."""
    from fdan_edge.cli.render import stream as show_stream
    from fdan_edge.cli.render.console import out

    if as_json:
        return {name: show_stream.JsonLines({"channel": name or None} if channels else {}) for name in sessions}
    (_, session), *more = sessions.items()
    if more or not out.is_terminal or out.is_dumb_terminal:
        width = max(map(len, sessions)) if more else 0
        return {
            name: show_stream.Lines(one.spec.labels, f"{name:{width}}  " if more else "")
            for name, one in sessions.items()
        }
    return dict.fromkeys(sessions, _view(title, session, outputs))


def _view(title: str, session: Stream, outputs: contextlib.ExitStack) -> Handle:
    """Open the live view."""
    from rich.console import Console

    from fdan_edge.cli.render.live_view import View
    from fdan_edge.utils.messages import kept_back

    outputs.enter_context(kept_back())
    return outputs.enter_context(
        View(printable(title), session.spec.labels, lambda: session.time, Console(highlight=False))
    )


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


def _say_end(end: End, summaries: Mapping[str, Summary], as_json: bool) -> None:
    """Print a summary of each channel after the view is gone, and on standard error what broke off."""
    from fdan_edge.cli.render.console import errors, out

    for name, summary in {} if as_json else summaries.items():
        text = f"channel {name}: {summary}" if len(summaries) > 1 else str(summary)
        out.print(text, markup=False) if out.is_terminal else log.info(text)
    if end.broken:
        errors.print(f"error: {printable(end.reason)}", markup=False)
