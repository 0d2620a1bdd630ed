"""Check the form of the documents: lines, links, navigation, and that the references are complete."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import fdan_edge
from fdan_edge.cli.app import VERBS, load_verb
from fdan_edge.runtime.about import About, CorpusEntry, Score, Speed
from fdan_edge.runtime.manifest import (
    Artifact,
    Calibration,
    DistanceReport,
    EngineFile,
    GateReport,
    LayerCost,
    Manifest,
)
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.tensorrt.compatibility import Fingerprint
from fdan_edge.streaming.events import Event
from tests.docs.pages import DOCS, PAGES, RESULTS, ROOT, links, prose

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WIDEST, WIDEST_TABLE = 120, 200  # characters
LONGEST_README = 150  # lines


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=_name)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    tables = {number for number, line in prose(page) if line.startswith("|")}
    long = [n for n, line in enumerate(lines, 1) if len(line) > (WIDEST_TABLE if n in tables else WIDEST)]
    assert not long, f"{_name(page)}: lines {long} are too long"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", [*PAGES, RESULTS, ROOT / "CONTRIBUTING.md"], ids=_name)
def test_relative_links_resolve(page: Path) -> None:
    """In a checkout too, where the pages are read without MkDocs. `make docs` checks the anchors."""
    for number, target in links(page):
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), f"{_name(page)}:{number}: {target} does not exist"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/-]+\.md", navigation)) == sorted(
        str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)
    )


def test_the_api_page_has_every_public_name() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: fdan_edge\.(\w+)", text, re.MULTILINE))
    assert documented | {"__version__"} >= set(fdan_edge.__all__), "docs/api.md lacks names"


def test_the_command_line_page_has_every_verb() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    missing = [verb for name in VERBS for verb in _verbs(name) if f"fdan-edge {verb}" not in text]
    assert not missing, f"docs/cli.md lacks {missing}"


def _verbs(name: str) -> Iterator[str]:
    subcommands = getattr(load_verb(name), "commands", None)
    yield from [name] if subcommands is None else (f"{name} {verb}" for verb in subcommands)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            Manifest,
            ModelSpec,
            Artifact,
            GateReport,
            DistanceReport,
            Calibration,
            LayerCost,
            EngineFile,
            Fingerprint,
        ),
        *(About, CorpusEntry, Score, Speed),
    ],
)
def test_the_bundle_page_has_every_field(kind: type) -> None:
    text = (DOCS / "formats" / "bundle.md").read_text(encoding="utf-8")
    missing = [field.name for field in fields(kind) if f"`{field.name}`" not in text]
    assert not missing, f"docs/formats/bundle.md lacks {missing} of {kind.__name__}"


@pytest.mark.parametrize("kind", get_args(Event))
def test_the_events_page_has_every_event(kind: type) -> None:
    text = (DOCS / "formats" / "events.md").read_text(encoding="utf-8")
    missing = [field.name for field in fields(kind) if f"`{field.name}`" not in text]
    assert not missing, f"docs/formats/events.md lacks {missing} of {kind.__name__}"


def test_the_contributors_page_has_the_layers() -> None:
    """The table shows what import-linter holds, in the same order."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    text = (DOCS / "contributing" / "index.md").read_text(encoding="utf-8")
    table = text.partition("| layer | packages |")[2].partition("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in table.splitlines()[2:]]
    assert rows == [set(layer.split(" | ")) for layer in contract["layers"]]


@pytest.mark.parametrize("page", [*PAGES, RESULTS, ROOT / "CONTRIBUTING.md"], ids=_name)
def test_files_of_the_repository_that_are_named_exist(page: Path) -> None:
    for number, line in prose(page):
        for path in re.findall(r"`((?:fdan_edge|export|tests|benchmarks|cuda|docs)/[\w./-]*)`", line):
            assert "NAME" in path or (ROOT / path).exists(), f"{_name(page)}:{number}: there is no {path}"
