"""The last stage of a training: a temperature that is fitted in quiet and in other surroundings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fdan_edge.audio.conditions import surroundings
from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.evaluation import calibration
from fdan_edge.training.run import train
from tests.conftest import TINY


def test_the_temperature_is_fitted_on_copies_of_the_validation_part_too(
    ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "_BABBLE", 0.0)  # it takes longest to make
    fitted: list[dict[str, Any]] = []
    fit = calibration.fit_temperature

    def watched(*given: Any) -> calibration.Temperature:
        fitted.append(dict(zip(("logits", "owner", "true", "copies"), given, strict=True)))
        return fit(*given)

    monkeypatch.setattr(calibration, "fit_temperature", watched)
    config = Config.load(None, [*TINY, "epochs=1", "surroundings=1"])
    metrics = train(config, [Source("ravdess", ravdess_tree)], tmp_path / "run").metrics
    (given,) = fitted
    copies = given["copies"]
    assert metrics["calibration"]["n"] == len(given["true"]) == 8
    assert (copies.true == given["true"]).all()
    assert len(copies.owner) == len(copies.logits)
    assert copies.logits.shape[1] == given["logits"].shape[1]
    assert copies.logits[0] != pytest.approx(given["logits"][0], abs=1e-4)
