"""Run every command and every Python block of the documents."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

pytest.importorskip("torch")

import fdan_edge
from fdan_edge.export import artifact, gate, recordings
from fdan_edge.profiling.roofline import calibrate
from tests.docs.checkout import Checkout
from tests.docs.corpora import Corpora
from tests.docs.pages import DOCS, PAGES, RESULTS, ROOT, Block, blocks
from tests.docs.parsing import check
from tests.docs.sandbox import Models, Sandbox, short

_RUN = ("console", "python", "diff")
#: Pages that change the source tree.
_STEPS = sorted((DOCS / "contributing").glob("add-*.md"))
_TUTORIALS = [
    page for page in PAGES if page not in _STEPS and any(block.language in _RUN for block in blocks(page))
]
#: This processor is measured once.
_CALIBRATED = functools.cache(calibrate)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory, ravdess_tree: Path, fer_tree: Path) -> Corpora:
    return Corpora(tmp_path_factory.mktemp("data"), {"ravdess": ravdess_tree, "fer2013": fer_tree})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, bundle_folder: Path) -> Models:
    return Models(tmp_path_factory.mktemp("models"), run_folder, bundle_folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", _TUTORIALS, ids=_name)
def test_a_page_runs_from_top_to_bottom(
    page: Path, corpora: Corpora, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The tests' networks have hardly been trained: int8 may change what they say of eight recordings, and is not
    # always faster; and the corpora are small. That the gate refuses such files is tested elsewhere.
    monkeypatch.setitem(gate.LOSS, "int8", 100.0)
    monkeypatch.setitem(gate.DISTANCE, "int8", 1.0)
    monkeypatch.setattr(recordings, "FEWEST", 1)
    monkeypatch.setattr(fdan_edge, "export_bundle", functools.partial(fdan_edge.export_bundle, force=True))
    train = fdan_edge.train
    monkeypatch.setattr(fdan_edge, "train", lambda config, *rest, **more: train(short(config), *rest, **more))
    monkeypatch.setattr(artifact, "export_graph", models.graph)
    monkeypatch.setattr("fdan_edge.cli.actions.bench.calibrate", _CALIBRATED)
    sandbox = Sandbox(tmp_path, corpora, models)
    for block in _runnable(page):
        sandbox.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", _STEPS, ids=_name)
def test_the_steps_of_a_contributor_work(page: Path, corpora: Corpora, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, corpora)
    for block in _runnable(page):
        checkout.run(block)
        if block.title.endswith(".py"):
            checkout.check_style(block)


def _runnable(page: Path) -> list[Block]:
    return [b for b in blocks(page) if not b.not_run and (b.title or b.language in _RUN)]


@pytest.mark.parametrize("page", [*PAGES, RESULTS], ids=_name)
def test_what_is_not_run_still_parses(page: Path) -> None:
    for block in blocks(page):
        if block.not_run:
            for command in block.commands if block.language == "console" else []:
                try:
                    check(command, settings=page not in _STEPS)
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
