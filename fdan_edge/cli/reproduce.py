"""`fdan-edge reproduce`: from the words on the command line to a table on the disk and on the screen."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer

from fdan_edge import report
from fdan_edge.errors import ConfigError
from fdan_edge.files import write_json, write_text
from fdan_edge.progress import say
from fdan_edge.reproduce import Outcomes, Request, Run, carry_out, plan


@dataclass(frozen=True)
class Output:
    """What the person wants of the table, beside the files in --out."""

    markdown: Path | None
    as_json: bool


def numbers(text: str) -> list[int]:
    """The seeds in a text such as `0,1,2`."""
    try:
        return list(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise ConfigError(f"--seeds {text!r} is not whole numbers separated by commas, e.g. 0,1,2") from None


def names(text: str) -> list[str]:
    """The words in a text such as `fdan,resnet34`."""
    return [word.strip() for word in text.split(",") if word.strip()]


def run_table(request: Request, output: Output) -> int:
    """Train what is missing, keep the table up to date meanwhile, print it; the exit code."""
    runs = plan(request)
    command = command_line(request)
    stem = request.out / f"{request.table}-{'+'.join(request.corpora)}"

    def save(outcomes: Outcomes) -> None:
        text = report.markdown(request, runs, outcomes, command)
        write_json(stem.with_name(f"{stem.name}.json"), report.to_dict(request, runs, outcomes, command))
        for path in (stem.with_name(f"{stem.name}.md"), *([output.markdown] if output.markdown else [])):
            write_text(path, text)

    try:
        outcomes = carry_out(runs, save)
    except KeyboardInterrupt:
        say(f"{stem}.md holds what there is; the same command goes on")
        raise
    _print(request, runs, outcomes, command, as_json=output.as_json)
    say(f"written: {stem}.md and .json")
    return 1 if any(outcome and outcome.problem for outcome in outcomes) else 0


def command_line(request: Request) -> str:
    """The command that makes this table."""
    words = ["fdan-edge", "reproduce", request.table]
    for source in request.speech:
        words += ["--speech", str(source)]
    for source in request.faces:
        words += ["--faces", str(source)]
    words += ["--out", str(request.out)]
    for protocol in request.protocols:
        words += ["--protocol", protocol]
    words += ["--seeds", ",".join(map(str, request.seeds)), "--backbone", request.backbone]
    words += ["--rows", ",".join(request.rows)] if request.rows else []
    for setting in request.settings:
        words += ["--set", setting]
    return shlex.join([*words, *(["--paper-recipe"] if request.paper_recipe else [])])


def _print(request: Request, runs: list[Run], outcomes: Outcomes, command: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_dict(request, runs, outcomes, command), indent=2))
    else:
        typer.echo(report.markdown(request, runs, outcomes, command))
