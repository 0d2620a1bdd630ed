"""Below which confidence a stream does not know: where the model is as often wrong as right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item
from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.evaluation.unknown_fit import fit_unknown
from fdan_edge.export.gate import Answers
from fdan_edge.export.recordings import RunRecordings
from fdan_edge.export.unknown_threshold import unknown_below
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.streaming.unknown_threshold import ThresholdCurve
from tests.helpers.stream_parts import spec


def fit(probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Of whole recordings of 3 s alone."""
    n = len(labels)
    return fit_unknown(probabilities, labels, np.full(n, 3.0), n, 3.0)


def answers(confidence: NDArray[np.floating[Any]], classes: int = 4) -> NDArray[np.float32]:
    """Probabilities whose first class has the given one, and the others share the rest."""
    rest = np.repeat((1 - confidence[:, None]) / (classes - 1), classes - 1, axis=1)
    return np.concatenate([confidence[:, None], rest], axis=1).astype(np.float32)


def drawn(half: float, n: int = 4000, classes: int = 4) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Recordings that are right as often as wrong at a confidence of `half`."""
    chance = np.random.default_rng(0)
    confidence = chance.uniform(1 / classes + 0.01, 0.99, n)
    odds = 2.0 * (np.log(confidence / (1 - confidence)) - np.log(half / (1 - half)))
    right = chance.random(n) < 1 / (1 + np.exp(-odds))
    return answers(confidence, classes), np.where(right, 0, 1)


@pytest.mark.parametrize("half", [0.35, 0.5, 0.7])
def test_where_right_and_wrong_are_equally_likely(half: float) -> None:
    probabilities, labels = drawn(half)
    made = fit(probabilities, labels)
    assert made["confidence"] == pytest.approx(half, abs=0.03)
    sure = probabilities.max(1) >= made["confidence"]
    assert made["recordings"] == 4000
    assert made["covered"] == pytest.approx(sure.mean(), abs=1e-3)
    assert made["accuracy"] == pytest.approx((labels[sure] == 0).mean(), abs=1e-3)
    assert made["accuracy"] > (labels == 0).mean()


@pytest.mark.parametrize(("half", "limit"), [(0.1, 0.25), (0.97, 0.9)])
def test_it_stays_between_chance_and_what_is_still_said(half: float, limit: float) -> None:
    assert fit(*drawn(half))["confidence"] == limit


def test_nothing_above_the_limit() -> None:
    labels = np.ones(60, int)
    labels[[20, 40, 50, 55, 58]] = 0  # seldom right, and more often where it is surer
    made = fit(answers(np.linspace(0.3, 0.6, 60)), labels)
    assert 0.6 < made["confidence"] <= 0.9
    assert (made["covered"], made["accuracy"], made["recordings"]) == (0, None, 60)


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ([0] * 6, "all of 6 recordings are right"),
        ([1] * 6, "all of 6 recordings are wrong"),
        ([0, 0, 0, 1, 1, 1], "the sure answers are not more often right than the others"),
    ],
)
def test_where_nothing_can_be_fitted_the_usual_one_is_taken(labels: list[int], note: str) -> None:
    made = fit(answers(np.linspace(0.4, 1.0, 6)), np.array(labels))
    assert made == {"confidence": 0.5, "note": note}


def test_a_sure_answer_of_one_is_no_infinity() -> None:
    made = fit(answers(np.array([1.0, 1.0, 0.3, 0.35, 0.4])), np.array([0, 0, 1, 1, 1]))
    assert 0.4 < made["confidence"] <= 0.9


def test_what_is_said_of_half_a_word_counts_less() -> None:
    chance, n = np.random.default_rng(0), 4000
    seconds = np.where(np.arange(n) < n // 2, 3.0, 0.75)
    sure = chance.uniform(0.3, 0.99, n)
    odds = 2.0 * np.log(sure / (1 - sure)) + np.where(seconds == 3.0, 0.0, -2.0)
    labels = np.where(chance.random(n) < 1 / (1 + np.exp(-odds)), 0, 1)
    made = fit_unknown(answers(sure), labels, seconds, n // 2, 3.0)
    doubt = ThresholdCurve(made["logit"][0], made["logit"][1], 0.25, 3.0)
    assert doubt(3.0) == pytest.approx(0.5, abs=0.03)
    assert doubt(0.75) == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
    assert made["recordings"] == n // 2
    assert made["covered"] == pytest.approx((sure[: n // 2] >= made["confidence"]).mean(), abs=1e-3)


def test_the_beginnings_of_longer_recordings_are_heard_too() -> None:
    heard: list[NDArray[np.float32]] = []

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        heard.extend(windows)
        return np.tile(np.array([0.9, 0.1], np.float32), (len(windows), 1))

    waveforms = [np.ones(length, np.float32) for length in (8000, 16000, 24000, 40000)]
    held = clips(np.array([[0.6, 0.4]] * 4, np.float32), [0, 1, 1, 0], waveforms)
    reference = model(("a", "b"), predict=predict)
    unknown_below(given(has_validation=True, validation=held, reference=reference))
    assert [int(window.sum()) for window in heard] == [12000, 12000, 12000, 20000, 20000, 32000]


def clips(expected: NDArray[np.float32], true: list[int], waveforms: list[NDArray[np.float32]]) -> Any:
    """Recordings with PyTorch's answers, of which the first have labels."""
    labels = tuple("abcdefgh"[: expected.shape[1]])
    speakers: list[str | None] = [None] * len(true)
    seconds = np.array([len(one) / 16000 for one in waveforms])
    answers = Answers(expected, true, labels, speakers, "of the validation part")
    return SimpleNamespace(answers=answers, seconds=seconds, waveforms=waveforms)


def model(labels: tuple[str, ...], **values: Any) -> Any:
    """A run's model, which was trained without copies in other surroundings."""
    return SimpleNamespace(spec=spec(window=48000, labels=labels), config=Config(surroundings=0), **values)


def given(**values: Any) -> RunRecordings:
    usual = {"cross_validated": None, "reference": model(("a", "b"))}
    return cast(RunRecordings, SimpleNamespace(**usual | values))


def test_only_labelled_recordings_of_the_validation_part_count() -> None:
    probabilities, labels = drawn(0.5, 200)
    # The last ones were trained on, and serve distances only.
    held = clips(probabilities, labels[:180].tolist(), [np.zeros(8000, np.float32)] * len(labels))
    reference = model(("a", "b", "c", "d"))
    made = unknown_below(given(has_validation=True, validation=held, reference=reference))
    assert made["recordings"] == 180
    assert made["confidence"] == pytest.approx(fit(probabilities[:180], labels[:180])["confidence"], abs=0.01)
    without = unknown_below(given(has_validation=False))
    assert without == {"confidence": 0.5, "note": "no recording of the validation part is at hand"}
    held.answers = replace(held.answers, truth="what PyTorch recognises")
    unlabelled = unknown_below(given(has_validation=True, validation=held))
    assert unlabelled == {"confidence": 0.5, "note": "the validation part has no labels of the model's classes"}


def test_a_run_without_a_validation_part_asks_models_that_did_not_train_on_the_recordings() -> None:
    probabilities, labels = drawn(0.4, 400)
    rows = zip(labels, probabilities.astype(float).tolist(), strict=True)
    predicted = [Prediction(f"x:{n}", "abcd"[label], None, row) for n, (label, row) in enumerate(rows)]
    reference = model(("a", "b", "c", "d"))
    recordings = given(cross_validated=Predictions([*"abcd"], predicted), reference=reference)
    made = unknown_below(recordings)
    assert made.pop("part") == "the training (each heard by a model that was not trained on it)"
    assert made == fit(probabilities, labels)
    assert made["logit"][1] == 0  # what is said of half a word is not known
    alike = given(cross_validated=Predictions([*"abcd"], predicted[:1]), reference=reference)
    assert unknown_below(alike)["confidence"] == 0.5


def test_what_a_head_knows_of_itself_is_taken_as_it_is() -> None:
    own = {"confidence": 0.61, "logit": [0.4, 0.0], "recordings": 9, "covered": 0.5, "accuracy": None}
    reference = model(("a", "b"))
    reference.spec = replace(reference.spec, info={"unknown_below": own})
    assert unknown_below(given(reference=reference)) == own


def test_copies_in_noise_are_heard_too(tmp_path: Path) -> None:
    """A model that is sure of whatever it hears, and wrong in noise, has to be surer."""
    chance, n = np.random.default_rng(0), 14
    sounds = [np.sin(np.arange(9600) / 5) * 0.1 * (1 + number / n) for number in range(n)]
    items = []
    for number, sound in enumerate(sounds):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, sound, 16000)
        items.append(Item("x", str(number), path, "a"))

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Say b of what is not a tone, as surely as a of a tone."""
        power = np.square(np.abs(np.fft.rfft(windows)))
        tone = np.sort(power)[:, -40:].sum(axis=1) / power.sum(axis=1) > 0.8
        sure = chance.uniform(0.55, 0.95, len(windows))
        a = np.where(tone, sure, 1 - sure)
        return np.stack([a, 1 - a], axis=1).astype(np.float32)

    waveforms = [np.asarray(sound, np.float32) for sound in sounds]
    windows = np.stack([np.pad(waveform, 19200) for waveform in waveforms])
    held = clips(predict(windows), [0] * n, waveforms)
    held.items = items
    reference = model(("a", "b"), predict=predict)
    recordings = given(has_validation=True, validation=held, reference=reference)
    clean = unknown_below(recordings)
    assert clean == {"confidence": 0.5, "note": f"all of {n} recordings are right"}
    reference.config = Config(surroundings=2)
    noisy = unknown_below(recordings)
    assert noisy["recordings"] == n
    assert (noisy["accuracy"], len(noisy["logit"])) == (1, 2)


def test_it_travels_with_the_bundle_and_inside_its_graphs(bundle_folder: Path) -> None:
    from fdan_edge.runtime.opening import open_runner, open_stream_runner

    found = Bundle.open(bundle_folder).manifest.spec.info["unknown_below"]
    assert 0 < found["confidence"] <= 0.9
    assert json.loads(json.dumps(found)) == found
    with open_runner(bundle_folder) as whole, open_stream_runner(bundle_folder) as part:
        assert whole.spec.info["unknown_below"] == part.spec.info["unknown_below"] == found
    card = (bundle_folder / "README.md").read_text(encoding="utf-8")
    assert f"A live stream says `unknown` below a confidence of {found['confidence']:.2f}" in card
