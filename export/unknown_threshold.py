"""Below which confidence a stream says that it does not know: where the model is as often wrong as right.

That depends on how much was heard: of 240 recordings Whisper tiny recognises 40 % by their first 0.8 s, of which
it says 53 %; by 2 s and more 73 %, of which it says 71 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.export.recordings import ReferenceClips, RunRecordings
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.streaming.session import center_window
from fdan_edge.streaming.speech_turns import window_grid
from fdan_edge.streaming.unknown_threshold import DEFAULT_THRESHOLD, ThresholdCurve

#: Seconds of speech that a stream has heard before it has heard all.
BEGINNINGS = (0.75, 1.25, 2.0)
_SMALLEST = 1e-6  # distance of a confidence from 0 and 1, whose logits are no numbers
_BATCH = 16


def unknown_below(recordings: RunRecordings) -> dict[str, Any]:
    """Return the confidence for the spec's `info`, from the recordings of the run's validation part.

    Like its temperature: the best epoch was chosen on them too, so they flatter the model a little. A run that
    trained on all it had has none: then from what models that were not trained on them said of its recordings.
    """
    if predictions := recordings.cross_validated:
        return _of_cross_validation(predictions, recordings.reference.spec)
    if not recordings.has_validation:  # what the model was trained on says nothing of how sure it may be
        return _usual("no recording of the validation part is at hand")
    validation = recordings.validation
    answers = validation.answers
    if not answers.has_labels:
        return _usual("the validation part has no labels of the model's classes")
    spec = recordings.reference.spec
    longest = spec.window / spec.sample_rate
    whole = np.minimum(validation.seconds, longest)[: answers.judged]
    parts = [
        (answers.expected[: answers.judged], np.array(answers.true), whole),
        *(_begun(validation, recordings, s) for s in BEGINNINGS),
    ]
    probabilities, labels, seconds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return fit(probabilities, labels, seconds, answers.judged, longest)


def _of_cross_validation(predictions: Predictions, spec: ModelSpec) -> dict[str, Any]:
    """Fit to whole recordings alone: nobody asked those models of their beginnings, so length changes nothing."""
    probabilities = np.array([one.probabilities for one in predictions.recordings], np.float32)
    count, longest = len(probabilities), spec.window / spec.sample_rate
    fitted = fit(probabilities, np.array(predictions.true), np.full(count, longest), count, longest)
    part = "the training (each heard by a model that was not trained on it)"
    return fitted if "note" in fitted else {**fitted, "part": part}


def _begun(
    validation: ReferenceClips, recordings: RunRecordings, seconds: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return what the model says of the beginnings of longer recordings: probabilities, classes, seconds."""
    spec, runner = recordings.reference.spec, recordings.reference
    length, grid = round(seconds * spec.sample_rate), window_grid(spec)
    waveforms = validation.waveforms[: validation.answers.judged]
    longer = [number for number, waveform in enumerate(waveforms) if len(waveform) > length]
    if length > spec.window // grid * grid:
        longer = []
    predicted = [np.zeros((0, len(spec.labels)), np.float32)]
    for first in range(0, len(longer), _BATCH):
        beginnings = [waveforms[number][:length] for number in longer[first : first + _BATCH]]
        predicted.append(
            runner.predict(np.stack([center_window(waveform, spec.window, grid) for waveform in beginnings]))
        )
    labels = np.array(validation.answers.true, int)[longer]
    return np.concatenate(predicted), labels, np.full(len(longer), seconds)


def fit(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    seconds: NDArray[np.floating[Any]],
    recordings: int,
    longest: float,
) -> dict[str, Any]:
    """Fit the confidence c at which P(right | c, s) is one half (Platt 1999).

    P is logistic in ln(c / (1 - c)) and ln(s).

    Args:
        probabilities: of recordings and of their beginnings, (n, C).
        labels: their classes, (n,).
        seconds: what was heard of them, (n,).
        recordings: how many of them, the first, are heard in full.
        longest: seconds that the model hears at most.

    Returns:
        logit: offset and slope in ln(s) of the logit of that confidence, for `streaming.unknown_threshold`;
        confidence: after `longest`; recordings; covered: share of whole recordings at or above it; accuracy: share
        of these that are recognised rightly. Where nothing can be fitted: `DEFAULT_THRESHOLD`, with a note that
        says why.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    if right.all() or not right.any():
        return _usual(f"all of {recordings} recordings are {'right' if right.all() else 'wrong'}")
    inside = np.clip(confidence.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    known = np.stack([np.log(inside / (1 - inside)), np.log(seconds)], axis=1)
    fitted = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000).fit(known, right)
    sureness, length = (float(value) for value in fitted.coef_[0])
    if sureness <= 0:
        return _usual("the sure answers are not more often right than the others")
    logit = [round(-float(fitted.intercept_[0]) / sureness, 4), round(-length / sureness, 4)]
    doubt = ThresholdCurve(logit[0], logit[1], 1 / probabilities.shape[1], longest)
    limits = np.array([doubt(spoken) for spoken in seconds[:recordings]])
    sure, right = confidence[:recordings] >= limits, right[:recordings]
    return {
        "confidence": round(doubt(longest), 4),
        "logit": logit,
        "recordings": recordings,
        "covered": round(float(sure.mean()), 4),
        "accuracy": round(float(right[sure].mean()), 4) if sure.any() else None,
    }


def _usual(note: str) -> dict[str, Any]:
    return {"confidence": DEFAULT_THRESHOLD, "note": note}
