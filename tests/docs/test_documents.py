"""Run every command and every Python block of the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.docs.corpora import Corpora
from tests.docs.pages import PAGES, RESULTS, ROOT, Block, blocks
from tests.docs.parsing import check
from tests.docs.sandbox import Sandbox

_RUN = ("console", "python")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _executable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in _RUN]


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory, ravdess_tree: Path, fer_tree: Path) -> Corpora:
    return Corpora(tmp_path_factory.mktemp("data"), {"ravdess": ravdess_tree, "fer2013": fer_tree})


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _executable(page)], ids=_name)
def test_a_page_runs_from_top_to_bottom(
    page: Path,
    corpora: Corpora,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(tmp_path, corpora, lambda kind: request.getfixturevalue(f"{kind}_folder"))
    for block in blocks(page):
        if not block.not_run and (block.language in _RUN or block.title):
            sandbox.run(block)


@pytest.mark.parametrize("page", [*PAGES, RESULTS], ids=_name)
def test_what_is_not_run_still_parses(page: Path) -> None:
    for block in blocks(page):
        if block.not_run:
            for command in block.commands if block.language == "console" else []:
                try:
                    check(command)
                except Exception as error:
                    pytest.fail(f"{block.where}: {command}: {error}")
            if block.language == "python":
                compile(block.text, block.where, "exec")


@pytest.mark.parametrize("page", [*PAGES, RESULTS], ids=_name)
def test_commands_are_fenced_as_console(page: Path) -> None:
    """A command in a block of another kind would never be run."""
    for block in blocks(page):
        if block.language != "console":
            hidden = [line for line in block.text.splitlines() if line.startswith(("$ ", "fdan-edge "))]
            assert not hidden, f"{block.where}: fence it as console: {hidden[0]}"
        else:
            assert block.commands, f"{block.where}: no line begins with $"
