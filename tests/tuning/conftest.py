"""Searches that cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from tests.helpers.tune_fake import EPOCHS, FACES, fake_train

ALPHA = ("alpha=1e-5..0.1",)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that cost nothing, no pictures, no importance, and no waiting for the disk."""
    monkeypatch.setattr("fdan_edge.tuning.results.importance", lambda *_: {})
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("fdan_edge.tuning.search.train", fake_train)
    monkeypatch.setattr("fdan_edge.tuning.results.plots.tuning", lambda *_: None)


@pytest.fixture
def search(ravdess_tree: Path, tmp_path: Path) -> Callable[..., Any]:
    """Tune alpha on `ravdess_tree`, in `tmp_path`/t."""
    from fdan_edge.tuning.search import Search, tune

    def tuned(*settings: str, out: str = "t", space: tuple[str, ...] = ALPHA, **options: Any) -> Any:
        config = Config.load(None, [f"epochs={EPOCHS}", *settings])
        plan = Search(space, **{"trials": 4, "pruner": "none", **options})
        return tune(config, [Source("ravdess", ravdess_tree)], FACES, tmp_path / out, plan)

    return tuned
