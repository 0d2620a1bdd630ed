"""Recordings to emotions with a runner whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.errors import AudioError
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.opening import open_runner
from fdan_edge.runtime.recognition import probabilities, recognize_file
from fdan_edge.runtime.runner import Probabilities


class Stub:
    """Says `loud` with the peak of a window as its probability, and notes the sizes of its batches."""

    name = "stub"
    spec = ModelSpec(("loud", "quiet"), 16000, 16000, 8000, 0.0)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        self.batches.append(len(waveforms))
        peak = np.abs(waveforms).max(axis=1)
        return np.stack([peak, 1 - peak], axis=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def steps(*levels: float) -> NDArray[np.float32]:
    """Half a second of each level."""
    return np.repeat(np.array(levels, np.float32), 8000)


def test_probabilities_are_the_mean_over_windows() -> None:
    mean, count = probabilities(Stub(), steps(0.2, 0.4, 0.8))
    assert count == 2  # peaks 0.4 and 0.8
    np.testing.assert_allclose(mean, [0.6, 0.4], atol=1e-6)


def test_many_windows_go_by_the_batch() -> None:
    runner = Stub()
    levels = np.random.default_rng(0).uniform(size=11)
    mean, count = probabilities(runner, steps(*levels), batch=4)
    assert runner.batches == [4, 4, 2]
    assert count == 10
    assert mean[0] == pytest.approx(np.maximum(levels[1:], levels[:-1]).mean())


def test_recognise(tmp_path: Path) -> None:
    path = tmp_path / "ä b.wav"
    soundfile.write(path, steps(0.75, 0.75, 0.75, 0.75), 16000, subtype="FLOAT")
    result = recognize_file(Stub(), path)
    assert (result.path, result.emotion, result.windows, result.seconds) == (path, "loud", 3, 2.0)
    assert result.confidence == pytest.approx(0.75)
    values = json.loads(json.dumps(result.to_dict()))
    assert values == {
        "path": str(path),
        "emotion": "loud",
        "confidence": 0.75,
        "probabilities": {"loud": 0.75, "quiet": 0.25},
        "seconds": 2.0,
        "windows": 3,
    }


def test_the_models_own_rate_and_trimming_are_used(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    quiet = np.zeros(48000, np.float32)
    soundfile.write(path, np.concatenate([quiet, np.full(48000, 0.5, np.float32), quiet]), 48000)
    runner = Stub()
    assert recognize_file(runner, path).seconds == pytest.approx(3.0)
    runner.spec = ModelSpec(("loud", "quiet"), 8000, 8000, 4000, 40.0)
    assert recognize_file(runner, path).seconds == pytest.approx(1.3, abs=0.2)


def test_unusable_file_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(AudioError, match=r"a\.wav: is silent"):
        recognize_file(Stub(), tmp_path / "a.wav")


def test_an_answer_that_is_not_finite_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", steps(0.5), 16000)
    monkeypatch.setattr(Stub, "predict", lambda _, w: np.full((len(w), 2), np.nan, np.float32))
    with pytest.raises(AudioError, match="the model gave probabilities that are not finite"):
        recognize_file(Stub(), tmp_path / "a.wav")


def test_bundle_and_run_name_the_same_emotions(bundle_folder: Path, run_folder: Path, ravdess_tree: Path) -> None:
    paths = sorted(ravdess_tree.rglob("*.wav"))[::8]
    with open_runner(bundle_folder) as onnx, open_runner(run_folder) as torch:
        for path in paths:
            ours, theirs = recognize_file(onnx, path), recognize_file(torch, path)
            assert ours.emotion == theirs.emotion
            assert list(ours.probabilities.values()) == pytest.approx(
                list(theirs.probabilities.values()), abs=1e-4
            )
