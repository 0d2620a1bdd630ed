"""Carry out `fdan-edge reproduce`: from the words on the command line to a table on disk and on the screen."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from fdan_edge.data.corpora import Source
from fdan_edge.errors import ConfigError
from fdan_edge.experiments import cross_corpus, cross_corpus_report, paper_report
from fdan_edge.experiments.cross_corpus import TableLine, TaskRequest
from fdan_edge.experiments.paper_tables import CROSS_CORPUS, TABLES, Outcomes, Request, carry_out, plan
from fdan_edge.utils.files import write_json, write_text

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """What the person wants of the table, beside the files in --out."""

    markdown: Path | None
    as_json: bool


@dataclass(frozen=True)
class Options:
    """The options as they were typed."""

    seeds: str
    rows: str
    backbone: str
    settings: list[str]
    protocols: list[str]
    lambdas: str
    paper_recipe: bool


def run(table: str, speech: list[Source], faces: list[Source], out: Path, options: Options, output: Output) -> int:
    """Make a table; give the exit code.

    Raises:
        ConfigError: a wrong option, or one of another table.
    """
    common = (numbers(options.seeds), names(options.rows), options.backbone, options.settings)
    if table == CROSS_CORPUS:
        if options.protocols or options.paper_recipe:
            option = "--protocol" if options.protocols else "--paper-recipe"
            raise ConfigError(f"{option} goes with {', '.join(TABLES)}, not {table}")
        return run_tasks(TaskRequest(speech, faces, out, *common, weights(options.lambdas)), output)
    if options.lambdas:
        raise ConfigError(f"--lambdas goes with {CROSS_CORPUS}, not {table}")
    protocols = list(dict.fromkeys(options.protocols)) or ["random", "speaker"]
    return run_table(Request(table, speech, faces, out, protocols, *common, options.paper_recipe), output)


def numbers(text: str) -> list[int]:
    """Parse seeds, such as `0,1,2`."""
    try:
        return list(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise ConfigError(f"--seeds {text!r} is not whole numbers separated by commas, e.g. 0,1,2") from None


def names(text: str) -> list[str]:
    """Parse names with commas, such as `fdan,resnet34`."""
    return [word.strip() for word in text.split(",") if word.strip()]


def weights(text: str) -> list[float]:
    """Parse weights, such as `0.1,1,10`; an empty text holds none."""
    try:
        values = [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise ConfigError(f"--lambdas {text!r} is not numbers separated by commas, e.g. 0.1,1,10") from None
    if any(not value > 0 for value in values):
        raise ConfigError(f"--lambdas {text}: a weight is above 0; at 0 a row would be `joint`")
    return values


def run_table(request: Request, output: Output) -> int:
    """Train what is missing, keep the table up to date meanwhile, print it; the exit code."""
    runs = plan(request)
    command = command_line(request)
    table = _Table(_stem(request), output)

    def save(outcomes: Outcomes) -> None:
        table.save(
            paper_report.markdown(request, runs, outcomes, command),
            paper_report.to_dict(request, runs, outcomes, command),
        )

    outcomes = table.run(lambda: carry_out(runs, save))
    return 1 if any(outcome and outcome.problem for outcome in outcomes) else 0


def run_tasks(request: TaskRequest, output: Output) -> int:
    """Train and write the table of the cross-corpus tasks; give the exit code."""
    lines = cross_corpus.plan(request)
    command = tasks_command_line(request)
    table = _Table(_stem(request), output)

    def save(lines: list[TableLine]) -> None:
        table.save(
            cross_corpus_report.markdown(request, lines, command),
            cross_corpus_report.to_dict(request, lines, command),
        )

    lines = table.run(lambda: cross_corpus.carry_out(lines, save))
    outcomes = [trial.outcome for line in lines for trial in line.wanted]
    return 1 if any(outcome and outcome.problem for outcome in outcomes) else 0


def _stem(request: Request | TaskRequest) -> Path:
    """Name the table's files without their suffixes."""
    return request.out / f"{request.table}-{'+'.join(request.corpora)}"


class _Table:
    """A table on the disk, written anew after every training, and at the end on the screen."""

    def __init__(self, stem: Path, output: Output) -> None:
        self._stem, self._output = stem, output
        self._text = ""
        self._values: dict[str, Any] = {}

    def save(self, text: str, values: dict[str, Any]) -> None:
        self._text, self._values = text, values
        write_json(self._stem.with_name(f"{self._stem.name}.json"), values)
        further = [self._output.markdown] if self._output.markdown else []
        for path in (self._stem.with_name(f"{self._stem.name}.md"), *further):
            write_text(path, text)

    def run(self, train: Callable[[], T]) -> T:
        """Train, print the table, and give the outcomes."""
        try:
            outcomes = train()
        except KeyboardInterrupt:
            log.info(f"{self._stem}.md holds what there is; the same command goes on")
            raise
        typer.echo(json.dumps(self._values, indent=2) if self._output.as_json else self._text)
        log.info(f"written: {self._stem}.md and .json")
        return outcomes


def command_line(request: Request) -> str:
    """Write the command that makes this table."""
    words = _start(request)
    for protocol in request.protocols:
        words += ["--protocol", protocol]
    words += _end(request)
    return shlex.join([*words, *(["--paper-recipe"] if request.paper_recipe else [])])


def tasks_command_line(request: TaskRequest) -> str:
    """Write the command that makes the table of the cross-corpus tasks."""
    words = ",".join(f"{value:g}" for value in request.lambdas)
    return shlex.join([*_start(request), *(["--lambdas", words] if words else []), *_end(request)])


def _start(request: Request | TaskRequest) -> list[str]:
    words = ["fdan-edge", "reproduce", request.table]
    for source in request.speech:
        words += ["--speech", str(source)]
    for source in request.faces:
        words += ["--faces", str(source)]
    return [*words, "--out", str(request.out)]


def _end(request: Request | TaskRequest) -> list[str]:
    words = ["--seeds", ",".join(map(str, request.seeds)), "--backbone", request.backbone]
    words += ["--rows", ",".join(request.rows)] if request.rows else []
    for setting in request.settings:
        words += ["--set", setting]
    return words
