"""Below which confidence a stream says that it does not know: where the model is as often wrong as right.

That depends on how much was heard: of 240 recordings Whisper tiny recognises 40 % by their first 0.8 s, of which
it says 53 %; by 2 s and more 73 %, of which it says 71 %.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.windows import Waveform
from fdan_edge.errors import AudioError
from fdan_edge.evaluation.predictions import Predictions
from fdan_edge.evaluation.unknown_fit import fit_unknown, usual_threshold
from fdan_edge.export.recordings import ReferenceClips, RunRecordings
from fdan_edge.features.copies import copies_elsewhere, load_copy
from fdan_edge.runtime import recognition
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.streaming.session import center_window
from fdan_edge.streaming.speech_turns import window_grid

#: Seconds of speech that a stream has heard before it has heard all.
BEGINNINGS = (0.75, 1.25, 2.0)
_BATCH = 16


def unknown_below(recordings: RunRecordings) -> dict[str, Any]:
    """Return the confidence for the spec's `info`, from the recordings of the run's validation part.

    They are asked as they are, in part, and as copies in noise and rooms, over lines and through codecs, where the
    training had such copies: so what is said in noise is right about as often as what is said in quiet.

    Like its temperature: the best epoch was chosen on them too, so they flatter the model a little. A run that
    trained on all it had has none: then from what models that were not trained on them said of its recordings.
    """
    if own := recordings.reference.spec.info.get("unknown_below"):  # of a head: fitted in its cross-validation
        return dict(own)
    if predictions := recordings.cross_validated:
        return _of_cross_validation(predictions, recordings.reference.spec)
    if not recordings.has_validation:  # what the model was trained on says nothing of how sure it may be
        return usual_threshold("no recording of the validation part is at hand")
    validation = recordings.validation
    answers = validation.answers
    if not answers.has_labels:
        return usual_threshold("the validation part has no labels of the model's classes")
    spec, judged = recordings.reference.spec, answers.judged
    longest = spec.window / spec.sample_rate
    true, waveforms = np.array(answers.true, int), validation.waveforms[:judged]
    whole = (answers.expected[:judged], true, np.minimum(validation.seconds, longest)[:judged])
    copies, of = _copies(validation, recordings)
    parts = [whole, *_begun(waveforms, true, recordings), *_whole(copies, true[of], recordings)]
    parts += _begun(copies, true[of], recordings)
    probabilities, labels, seconds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return fit_unknown(probabilities, labels, seconds, judged, longest)


_Part: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # probabilities, classes, seconds


def _copies(validation: ReferenceClips, recordings: RunRecordings) -> tuple[list[Waveform], list[int]]:
    """Load the judged recordings as they might be in noise and rooms, over lines and through codecs.

    Returns:
        Waveforms, and which recording each is of: none where the training did without such copies too.
    """
    config = recordings.reference.config
    kept: list[tuple[Waveform, int]] = []
    for copy in copies_elsewhere(config)[:1]:  # as many as there are recordings
        for number, item in enumerate(validation.items[: validation.answers.judged]):
            with suppress(AudioError):  # nothing is left of it
                kept.append((load_copy(item, config, copy), number))
    return [waveform for waveform, _ in kept], [number for _, number in kept]


def _whole(waveforms: list[Waveform], true: NDArray[Any], recordings: RunRecordings) -> list[_Part]:
    """Return what the model says of whole copies; [] where there are none."""
    if not waveforms:
        return []
    spec, runner = recordings.reference.spec, recordings.reference
    given = np.stack([recognition.probabilities(runner, waveform)[0] for waveform in waveforms])
    lengths = np.array([len(waveform) for waveform in waveforms])
    return [(given, true, np.minimum(lengths, spec.window) / spec.sample_rate)]


def _of_cross_validation(predictions: Predictions, spec: ModelSpec) -> dict[str, Any]:
    """Fit to whole recordings alone: nobody asked those models of their beginnings, so length changes nothing."""
    probabilities = np.array([one.probabilities for one in predictions.recordings], np.float32)
    count, longest = len(probabilities), spec.window / spec.sample_rate
    fitted = fit_unknown(probabilities, np.array(predictions.true), np.full(count, longest), count, longest)
    part = "the training (each heard by a model that was not trained on it)"
    return fitted if "note" in fitted else {**fitted, "part": part}


def _begun(waveforms: list[Waveform], true: NDArray[Any], recordings: RunRecordings) -> list[_Part]:
    """Return what the model says of the beginnings of longer recordings, for each length of `BEGINNINGS`."""
    return [_begun_for(seconds, waveforms, true, recordings) for seconds in BEGINNINGS]


def _begun_for(seconds: float, waveforms: list[Waveform], true: NDArray[Any], recordings: RunRecordings) -> _Part:
    spec, runner = recordings.reference.spec, recordings.reference
    length, grid = round(seconds * spec.sample_rate), window_grid(spec)
    longer = [number for number, waveform in enumerate(waveforms) if len(waveform) > length]
    if length > spec.window // grid * grid:
        longer = []
    predicted = [np.zeros((0, len(spec.labels)), np.float32)]
    for first in range(0, len(longer), _BATCH):
        beginnings = [waveforms[number][:length] for number in longer[first : first + _BATCH]]
        predicted.append(
            runner.predict(np.stack([center_window(waveform, spec.window, grid) for waveform in beginnings]))
        )
    return np.concatenate(predicted), true[longer], np.full(len(longer), seconds)
