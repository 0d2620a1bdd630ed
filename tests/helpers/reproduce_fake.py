"""In place of trainings, for tests of `fdan-edge reproduce`: what they leave, at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import DataError, TrainingError
from fdan_edge.experiments import paper_tables
from fdan_edge.experiments.paper_tables import Outcomes, Request
from fdan_edge.runs.run_folder import RunInfo, save_run
from fdan_edge.utils.files import write_json, write_text


class FakeTrain:
    """In place of `train`: leaves a run folder with made-up scores at once, or fails as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.errors: dict[str, BaseException] = {}  # part of a folder's name -> what happens there
        self.epochs: int | None = None  # lines of epochs.jsonl; None: all

    def __call__(
        self,
        config: Config,
        speech: list[Source],
        folder: Path,
        faces: list[Source] = [],  # noqa: B006
        *,
        target: Sequence[Source] = (),
        resume: bool = False,
    ) -> None:
        assert not target
        assert resume == (folder / "run.toml").exists()
        self.calls.append((folder.name, resume))
        error = next((error for part, error in self.errors.items() if part in folder.name), None)
        if error and not isinstance(error, (KeyboardInterrupt, TrainingError)):
            raise error
        voices, images = ([str(Source(s.corpus, s.path and s.path.resolve())) for s in g] for g in (speech, faces))
        info = RunInfo(["angry", "sad"], voices, images, "some split", {"fdan_edge": "0.1"})
        save_run(folder, config, info)
        if isinstance(error, KeyboardInterrupt):
            raise error
        lines = [json.dumps({"epoch": n + 1, "seconds": 60}) for n in range(self.epochs or config.epochs)]
        write_text(folder / "epochs.jsonl", "\n".join(lines))
        write_json(folder / "metrics.json", scores(0.5 + config.seed / 10))
        if error:
            raise error


def scores(uar: float) -> dict[str, Any]:
    """What metrics.json holds of one run."""
    intervals = {"uar": [uar - 0.1, uar + 0.1], "note": "2000 resamples of 4 speakers; few: likely too narrow"}
    test = {"war": uar + 0.01, "uar": uar, "wf1": uar - 0.01, "n": 96, "recall": {}, "intervals": intervals}
    return {"protocol": "some split", "best_epoch": 1, "val": {"n": 38}, "test": test}


class FakeCrossval:
    """In place of `crossval`: two folds and their scores together, unless the second fold fails."""

    def __init__(self, train: FakeTrain) -> None:
        self.train, self.error = train, False

    def __call__(self, config: Config, speech: list[Source], faces: list[Source], folder: Path) -> None:
        for number in (1, 2):
            if number == 2 and self.error:
                raise DataError("the second fold failed")
            fold = folder / f"fold-{number}"
            self.train(replace(config, fold=number), speech, fold, faces, resume=(fold / "run.toml").exists())
        fold_scores = scores(0.7)
        folds = [{"best_epoch": 5 - number, "val": fold_scores["val"]} for number in (1, 2)]
        values = {
            "protocol": "2 folds",
            "audit": "clean for speakers",
            "pooled": fold_scores["test"],
            "folds": folds,
        }
        write_json(folder / "crossval.json", values)


def install(patch: pytest.MonkeyPatch) -> FakeTrain:
    """Put a FakeTrain in the place of trainings."""
    fake = FakeTrain()
    patch.setattr(paper_tables, "train", fake)
    return fake


def savee_request(folder: Path) -> Request:
    """Ask for table 1 on SAVEE, of which there is an empty folder."""
    savee = folder / "SAVEE"
    savee.mkdir()
    return Request("table1", [Source("savee", savee)], [Source("savee", savee)], folder / "out")


def nothing(_: Outcomes) -> None:
    """No one looks at what there is after each run."""
