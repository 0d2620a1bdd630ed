"""The verb that names the emotion in files: infer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeAlias

import typer

from fdan_edge.cli.model_choice import model_and_recordings
from fdan_edge.cli.options import Channel, ModelName, Precision, Rebuild, Runtime, Threads
from fdan_edge.errors import AudioError, ConfigError, MissingDependencyError, printable

if TYPE_CHECKING:
    from fdan_edge.audio.listing import Listing
    from fdan_edge.cli.render.recognitions import Results

log = logging.getLogger(__name__)

Recognize: TypeAlias = Callable[[Path, str], Any]

_STANDARD_OUTPUT = Path("-")


def infer(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Sound files or videos, or folders of them; before them the model, where it is not the default "
            "one: a bundle, an .onnx file, a run folder, or a name of `fdan-edge models`.",
        ),
    ],
    model: ModelName = None,
    runtime: Runtime = None,
    precision: Precision = None,
    rebuild: Rebuild = False,
    channel: Channel = "auto",
    windows: Annotated[
        bool,
        typer.Option("--windows", metavar="", help="Follow each file in time, as `fdan-edge stream` does."),
    ] = False,
    csv: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write a row for each file as csv; -: print them, and no table."),
    ] = None,
    embeddings: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.npz", help="Write the features that the classifier reads, for numpy.load."),
    ] = None,
    threads: Threads = 0,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print a line of JSON for each file.")
    ] = False,
) -> None:
    """Name the emotion in sound files. Exit code 1: some files could not be used; 2: none could."""
    from fdan_edge.audio.channels import EACH, check_channel
    from fdan_edge.audio.listing import find
    from fdan_edge.runtime import opening
    from fdan_edge.runtime.included import introduce

    if embeddings and (windows or rebuild):
        raise ConfigError("--embeddings are of whole files, by no engine: leave out --windows and --rebuild")
    check_channel(channel, each=True)
    bundle, paths = model_and_recordings(words, model)
    listing = find(paths)
    files = listing.files
    outputs = _Outputs(windows, channel == EACH, as_json, csv, embeddings)
    outputs.check(files)
    introduce(bundle)
    with contextlib.ExitStack() as stack:
        if embeddings:
            runner: Any = opening.open_feature_runner(bundle, threads, artifact=precision, runtime=runtime)
        else:
            open_model = opening.open_stream_runner if windows else opening.open_runner
            runner = open_model(bundle, threads, artifact=precision, runtime=runtime, rebuild=rebuild)
        stack.enter_context(runner)
        results = outputs.open(stack, files, runner.spec.labels)
        recognize = _recognizing(runner, windows=windows, embed=embeddings is not None)
        used = [row for path in files for row in _recognized(path, channel, recognize, results)]
    whole = not _left_out(listing) and all(used)
    raise typer.Exit(0 if whole else 1 if any(used) else 2)


def _left_out(listing: Listing) -> bool:
    """Name what in folders was no sound, or could not be read; tell whether something could not be read."""
    from fdan_edge.cli.render.console import errors

    if listing.others:
        names = ", ".join(printable(path.name) for path in listing.others[:3])
        more = f" and {len(listing.others) - 3} more" if len(listing.others) > 3 else ""
        log.info(f"passed over, because they are no sound: {names}{more}")
    for line in listing.unreadable:
        errors.print(f"error: {printable(line)}", markup=False)
    return bool(listing.unreadable)


def _recognizing(runner: Any, *, windows: bool, embed: bool) -> Recognize:
    """Return what makes a result of a file and a channel: a `Recognition`, or the events of `--windows`."""
    from fdan_edge.runtime import recognition

    if windows:
        from fdan_edge.streaming.offline import file_events

        return lambda path, channel: file_events(runner, path, channel)
    recognize = recognition.embed_file if embed else recognition.recognize_file
    return lambda path, channel: recognize(runner, path, channel)


def _recognized(path: Path, channel: str, recognize: Recognize, results: Sequence[Results]) -> list[bool]:
    """Recognise one file, and pass on its results and errors; tell which of its channels could be used."""
    from fdan_edge.audio.channels import EACH
    from fdan_edge.cli.render.console import errors

    answers = _by_channel(path, recognize) if channel == EACH else {"": _answer(path, channel, recognize)}
    for name, answer in answers.items():
        if isinstance(answer, _Unusable):
            text = f"{path}{f', channel {name}' if name else ''}: {answer.reason}"
            for receiver in results:
                receiver.error(path, text, name)
            errors.print(f"error: {printable(text)}", markup=False)
        else:
            for receiver in results:
                receiver.result(path, answer, name)
    return [not isinstance(answer, _Unusable) for answer in answers.values()]


@dataclass(frozen=True)
class _Unusable:
    """Why a file or a channel cannot be used."""

    reason: str


def _answer(path: Path, channel: str, recognize: Recognize) -> Any:
    """Return the result of a file, or `_Unusable`."""
    try:
        return recognize(path, channel)
    except (AudioError, MissingDependencyError) as error:
        # A package is missing for videos; what else is there may be sound files.
        return _Unusable(str(error).removeprefix(f"{path}: "))


def _by_channel(path: Path, recognize: Recognize) -> dict[str, Any]:
    """Return the result of each channel by its name, or what all of them share where none can be used."""
    from fdan_edge.audio.channels import channel_names
    from fdan_edge.audio.decode import channel_count

    count = _answer(path, "", lambda path, _: channel_count(path))
    if isinstance(count, _Unusable):
        return {"": count}
    answers = {name: _answer(path, name or "auto", recognize) for name in channel_names(count)}
    reasons = {answer if isinstance(answer, _Unusable) else None for answer in answers.values()}
    return {"": reasons.pop()} if len(reasons) == 1 and None not in reasons else answers


@dataclass(frozen=True)
class _Outputs:
    """Where the results go, as the options say."""

    windows: bool
    channels: bool  # by themselves
    as_json: bool
    csv: Path | None
    embeddings: Path | None

    @property
    def _prints_csv(self) -> bool:
        return self.csv == _STANDARD_OUTPUT

    def check(self, files: Sequence[Path]) -> None:
        """Raise ConfigError where an output cannot be written, or would replace another one or a recording."""
        from fdan_edge.utils.growing_file import check_is_no_folder, check_written

        if self.as_json and self._prints_csv:
            raise ConfigError("--json and --csv - both print the results; choose one, or name a file for --csv")
        if self.embeddings and self.embeddings.suffix.lower() != ".npz":
            raise ConfigError(f"--embeddings {self.embeddings}: is written for numpy; valid: a name with .npz")
        written = {"--csv": None if self._prints_csv else self.csv, "--embeddings": self.embeddings}
        check_written(written, files, "a recording")
        for path in filter(None, written.values()):
            check_is_no_folder(path)

    def open(self, stack: contextlib.ExitStack, files: Sequence[Path], labels: Sequence[str]) -> list[Results]:
        """Open what takes the results; the stack closes it."""
        from fdan_edge.cli.render.console import text
        from fdan_edge.cli.render.recognition_files import EmbeddingFile, RecognitionTable, SegmentTable
        from fdan_edge.cli.render.recognitions import Recognitions
        from fdan_edge.cli.render.windows import Timelines
        from fdan_edge.utils.growing_file import GrowingFile

        results: list[Results] = []
        if not self._prints_csv:
            table = Timelines if self.windows else Recognitions
            results.append(table(self.as_json, files, labels, channels=self.channels))
        if self.csv:
            write = text if self._prints_csv else stack.enter_context(GrowingFile(self.csv)).write
            rows = SegmentTable if self.windows else RecognitionTable
            results.append(rows(write, labels, channels=self.channels))
        if self.embeddings:
            results.append(stack.enter_context(EmbeddingFile(self.embeddings, labels, channels=self.channels)))
        return results
