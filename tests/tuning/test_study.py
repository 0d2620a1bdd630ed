"""The folder of a study: what does not go on with it, and what is refused before it is begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import CheckpointError, ConfigError
from fdan_edge.tuning.results import TuningResult
from fdan_edge.tuning.search import Search, tune
from tests.helpers.tune_fake import EPOCHS


@pytest.mark.usefixtures("cheap")
def test_other_terms_are_refused(search: Callable[..., TuningResult], ravdess_tree: Path, tmp_path: Path) -> None:
    search(trials=1)
    for change, line in (
        ({"space": ("alpha=1e-5..1",)}, r"--space = \['alpha=1e-05..0.1'\], now it is \['alpha=1e-05..1'\]"),
        ({"folds": 2}, "--folds = 3, now it is 2; repeat the command"),
        ({"sampler": "random"}, "--sampler = 'tpe', now it is 'random'"),
        ({"pruner": "median"}, "--pruner = 'none', now it is 'median'"),
    ):
        with pytest.raises(CheckpointError, match=f"was begun with {line}"):
            search(**change)
    with pytest.raises(CheckpointError, match=r"was begun with lr = 0\.001, now it is 0\.002"):
        search("lr=0.002")
    source, config = [Source("ravdess", ravdess_tree)], Config.load(None, [f"epochs={EPOCHS}"])
    with pytest.raises(CheckpointError, match=r"was begun with --faces = \['synthetic:'\], now it is \[\]"):
        tune(config, source, [], tmp_path / "t", Search(("lr=1e-3..1",), pruner="none"))


@pytest.mark.usefixtures("cheap")
def test_recordings_that_came_are_other_terms(search: Callable[..., TuningResult], tmp_path: Path) -> None:
    search(trials=1)
    path = tmp_path / "t" / "study.toml"
    path.write_text(path.read_text().replace('recordings = "32 (', 'recordings = "31 ('))
    with pytest.raises(CheckpointError, match=r"was begun with recordings = '31 \(.*\)', now it is '32 \("):
        search(trials=1)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", ["study.toml", "journal.log"])
def test_a_damaged_study_is_one_line(search: Callable[..., TuningResult], tmp_path: Path, name: str) -> None:
    search(trials=1)
    (tmp_path / "t" / name).write_text('format = "fdan-edge study 1"\n' if name == "study.toml" else "{}\n{}\n")
    with pytest.raises(CheckpointError, match=rf"{name}: damaged: "):
        search()


@pytest.mark.usefixtures("cheap")
def test_what_cannot_be_tuned(
    search: Callable[..., TuningResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'cma'"):
        search(sampler="cma")
    with pytest.raises(ConfigError, match="unknown pruner"):
        search(pruner="often")
    with pytest.raises(ConfigError, match="channel = match needs --adapt-to"):
        search(space=("channel=none,match",))
    with pytest.raises(ConfigError, match="grid needs values of alpha"):
        search(sampler="grid")
    assert not (tmp_path / "t").exists()
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match="start it in several terminals, not by torchrun"):
            search()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "run.toml").touch()
    with pytest.raises(CheckpointError, match="holds one training"):
        search()
