"""about.json: where a bundle that comes with the package is from. Imports no torch.

Languages, corpora with their licences, terms, scores and speed are facts of a model, so they lie in its bundle and
not in code. bundle.json has the SHA-256 of this file, as of every other. A bundle of `fdan-edge export` has none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.errors import BundleError, one_line
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.typed_json import from_json, to_json
from fdan_edge.utils.files import write_bytes
from fdan_edge.utils.small_files import parse_json

ABOUT = "about.json"
SCHEMA = 1
#: What a model may be used for, as the corpora that it was trained on allow.
USES = ("any", "non-commercial")
#: What a score is of: corpora that were left out of a training, or recordings under a condition of a kind.
TESTS = ("corpora", "clean", "noise", "room", "line", "level")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CorpusEntry:
    """A corpus that the model was trained on."""

    name: str  # its reader, as in emodb
    title: str
    language: str
    licence: str
    credit: str  # whom to name
    recordings: int
    speakers: int
    sha256: str  # of the list of its files: of each its path and the SHA-256 of its content

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is not a SHA-256")


@dataclass(frozen=True)
class Score:
    """A score on speech that the scored model was not trained on."""

    test: str  # of TESTS
    on: str  # which corpus or condition, as in "pink noise, 10 dB"
    uar: float  # share of 1
    interval: tuple[float, float] | None  # 95 %
    recordings: int
    classes: int  # that were told apart
    command: str  # that measures it

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise ValueError(f"test {self.test!r} is none of {', '.join(TESTS)}")
        if not 0 <= self.uar <= 1:
            raise ValueError(f"uar {self.uar} is not a share of 1")


@dataclass(frozen=True)
class Speed:
    """How long a window took on a named machine."""

    ms: float  # median milliseconds
    threads: int
    runtime: str
    machine: str
    command: str


@dataclass(frozen=True)
class About:
    """All that about.json says, in its order, but the schema number before it."""

    title: str  # one line
    use: str  # of USES
    terms: str  # one line: what is allowed, and because of which corpora
    languages: tuple[str, ...]
    corpora: tuple[CorpusEntry, ...]
    scores: tuple[Score, ...]
    speed: tuple[Speed, ...]
    command: str  # that makes the model anew

    def __post_init__(self) -> None:
        if self.use not in USES:
            raise ValueError(f"use {self.use!r} is none of {', '.join(USES)}")

    def mean_uar(self, test: str, ending: str = "") -> float | None:
        """Return the mean of a test's scores, of those on what ends so, as in 10 dB; None: there are none."""
        values = [score.uar for score in self.scores if score.test == test and score.on.endswith(ending)]
        return sum(values) / len(values) if values else None


def read_about(bundle: Bundle) -> About | None:
    """Read what a bundle says about its model; None where it says nothing.

    Raises:
        BundleError: about.json is missing, changed, damaged, or of a later schema.
    """
    if ABOUT not in bundle.manifest.files:
        return None
    where = bundle.path / ABOUT
    try:
        values = parse_json(bundle.read(ABOUT))
        if not isinstance(values, dict):
            raise ValueError("not a table")
        schema = values.pop("schema", None)
        if type(schema) is int and schema > SCHEMA:
            raise BundleError(f"{where}: made by a later fdan-edge (schema {schema} > {SCHEMA}); update this one")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema!r} is not {SCHEMA}")
        return from_json(About, values)
    except ValueError as error:
        raise BundleError(f"{where}: damaged: {one_line(error)}") from None


def write_about(folder: Path, about: About) -> None:
    """Write about.json into the folder of a new bundle; `write_manifest` comes after it."""
    values: dict[str, Any] = {"schema": SCHEMA, **to_json(about)}
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(folder / ABOUT, text.encode())
