"""Recordings to emotions, with any runner. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.audio.windows import Waveform, window_batches
from fdan_edge.errors import AudioError
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import FeatureRunner, Features, Probabilities, Runner

BATCH = 16  # windows at once: an hour-long file has over 2000


@dataclass(frozen=True)
class Recognition:
    """What one recording is recognised as."""

    path: Path | None  # None: it came as samples
    emotion: str
    confidence: float  # probability of `emotion`
    probabilities: dict[str, float]  # mean over the windows
    seconds: float  # length of what was listened to, without quiet ends
    windows: int
    #: (d,), mean over the windows of the features before the classifier; None where nobody asked for them.
    embedding: Features | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rounded = {label: round(p, 6) for label, p in self.probabilities.items()}
        return {
            "path": str(self.path) if self.path else None,
            "emotion": self.emotion,
            "confidence": round(self.confidence, 6),
            "probabilities": rounded,
            "seconds": round(self.seconds, 3),
            "windows": self.windows,
        }


def probabilities(runner: Runner, waveform: Waveform, batch: int = BATCH) -> tuple[Probabilities, int]:
    """Give the mean probabilities (C,) over a prepared waveform's windows, and the number of windows.

    Args:
        runner: of the model.
        waveform: (n,) at the model's rate.
        batch: windows at once.
    """
    spec = runner.spec
    batches = window_batches(waveform, spec.window, spec.window_hop, batch)
    by_window = np.concatenate([runner.predict(windows) for windows in batches])
    return by_window.mean(axis=0), len(by_window)


def recognize_file(runner: Runner, path: Path) -> Recognition:
    """Return the emotion in a sound file.

    Raises:
        AudioError: the file cannot be used; see `fdan_edge.audio.decode.load_speech`.
    """
    return _of_file(runner.spec, path, lambda waveform: recognize_waveform(runner, waveform, path))


def recognize_waveform(runner: Runner, waveform: Waveform, path: Path | None = None) -> Recognition:
    """Return the emotion in a prepared waveform (n,) at the model's rate.

    Raises:
        AudioError: the model gave no numbers.
    """
    mean, count = probabilities(runner, waveform)
    return _recognition(runner.spec, waveform, path, mean, count)


def embed_file(runner: FeatureRunner, path: Path) -> Recognition:
    """Return the emotion in a sound file, with its embedding; errors as of `recognize_file`."""
    return _of_file(runner.spec, path, lambda waveform: embed_waveform(runner, waveform, path))


def embed_waveform(runner: FeatureRunner, waveform: Waveform, path: Path | None = None) -> Recognition:
    """Return the emotion in a prepared waveform (n,) at the model's rate, with its embedding.

    Raises:
        AudioError: the model gave no numbers.
    """
    spec = runner.spec
    batches = window_batches(waveform, spec.window, spec.window_hop, BATCH)
    given = [runner.predict_features(windows) for windows in batches]
    by_window, features = (np.concatenate(part) for part in zip(*given, strict=True))
    mean, embedding = by_window.mean(axis=0), features.mean(axis=0)
    if not np.isfinite(embedding).all():
        raise AudioError("the model gave features that are not finite numbers")
    return replace(_recognition(spec, waveform, path, mean, len(by_window)), embedding=embedding)


def _of_file(spec: ModelSpec, path: Path, recognize: Callable[[Waveform], Recognition]) -> Recognition:
    """Recognise a sound file; errors name it."""
    waveform = decode.load_speech(path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
    try:
        return recognize(waveform)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def _recognition(
    spec: ModelSpec, waveform: Waveform, path: Path | None, mean: Probabilities, windows: int
) -> Recognition:
    """Describe what mean probabilities (C,) say; raises AudioError where they are no numbers."""
    if not np.isfinite(mean).all():
        raise AudioError("the model gave probabilities that are not finite numbers")
    best = int(mean.argmax())
    named = {label: float(p) for label, p in zip(spec.labels, mean, strict=True)}
    seconds = len(waveform) / spec.sample_rate
    return Recognition(path, spec.labels[best], float(mean[best]), named, seconds, windows)
