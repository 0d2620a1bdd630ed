"""What the card of a model of the package says beside that of its export: corpora, and scores on what is new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdan_edge.errors import ExportError, one_line
from fdan_edge.runtime.about import About, Score
from fdan_edge.utils.files import write_text
from fdan_edge.utils.markdown import code, escaped, table

CARD = "README.md"
_LIMITS = "## Limits\n"
_LEFT_OUT = "corpora"


def scores_of(values: Any, command: str) -> list[Score]:
    """Read what `evaluate --robustness --json` prints: in `conditions` a row for each of them.

    Args:
        values: what it printed.
        command: the command, for people.

    Raises:
        ExportError: it has no such rows.
    """
    try:
        return [
            Score(
                test=row["kind"],
                on=row["condition"],
                uar=row["uar"],
                interval=tuple(row["interval"]),
                recordings=values["n"],
                classes=len(values["labels"]),
                command=command,
            )
            for row in values["conditions"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{command}: no scores by condition: {type(error).__name__} {one_line(error)}") from None


def extend(folder: Path, about: About) -> None:
    """Add to the card in `folder`, before its limits, what about.json says."""
    text = (folder / CARD).read_text(encoding="utf-8")
    assert text.count(_LIMITS) == 1
    write_text(folder / CARD, text.replace(_LIMITS, f"{_sections(about)}\n\n{_LIMITS}"))


def _sections(about: About) -> str:
    left_out = [score for score in about.scores if score.test == _LEFT_OUT]
    disturbed = [score for score in about.scores if score.test != _LEFT_OUT]
    parts = [
        "## Where it is from",
        f"{escaped(about.title)}. Languages: {escaped(', '.join(about.languages))}. Others were not tried.",
        _corpora(about),
        f"Use: {escaped(about.terms)}. Made anew by {code(about.command)}.",
        "## New corpora",
        "Each by a model that was trained without it: what to expect where voices, rooms and language are new.",
        _scores(left_out),
        "## Noise, rooms, telephones and codecs",
        _scores(disturbed),
        "## Speed",
        table(
            ("ms a window", "threads", "runtime", "machine"),
            [(f"{speed.ms:.1f}", str(speed.threads), speed.runtime, speed.machine) for speed in about.speed],
        ),
    ]
    return "\n\n".join(part.strip() for part in parts)


def _corpora(about: About) -> str:
    rows = [
        (c.title, c.language, str(c.recordings), str(c.speakers), c.licence, c.credit, code(c.sha256[:12]))
        for c in about.corpora
    ]
    return table(("corpus", "language", "recordings", "speakers", "licence", "credit", "SHA-256"), rows)


def _scores(scores: Sequence[Score]) -> str:
    """Write a table, and the commands that measure it."""
    if not scores:
        return "Not measured."
    rows = [
        (score.test, score.on, str(score.classes), f"{100 * score.uar:.1f}", _interval(score)) for score in scores
    ]
    commands = "\n".join(dict.fromkeys(score.command for score in scores))
    return f"{table(('test', 'on', 'classes', 'UAR %', '95 % interval'), rows)}\n\n```\n{commands}\n```"


def _interval(score: Score) -> str:
    return " to ".join(f"{100 * edge:.1f}" for edge in score.interval) if score.interval else ""
