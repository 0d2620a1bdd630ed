"""Recordings to emotions, with any runner. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.audio.recording import Recording
from fdan_edge.audio.windows import Waveform, window_batches
from fdan_edge.errors import AudioError
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import FeatureRunner, Features, Probabilities, Runner

BATCH = 4  # windows at once: an hour has over 2000, and 16 take 90 MiB more of Whisper's layers, but no less time


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
    return _mean_probabilities(runner, window_batches(waveform, spec.window, spec.window_hop, batch))


def _mean_probabilities(runner: Runner, batches: Iterable[Waveform]) -> tuple[Probabilities, int]:
    by_window = np.concatenate([runner.predict(windows) for windows in batches])
    return by_window.mean(axis=0), len(by_window)


def recognize_file(runner: Runner, path: Path, channel: str = "auto") -> Recognition:
    """Return the emotion in a sound file of any length; a long one is never in memory as a whole.

    Args:
        runner: of the model.
        path: of the file.
        channel: what becomes of several channels; see `fdan_edge.audio.channels.CHANNELS`.

    Raises:
        AudioError: the file cannot be used; see `fdan_edge.audio.decode.load_speech`.
        ConfigError: there is no such choice of a channel.
    """
    return _of_file(runner.spec, path, channel, lambda batches, n: _recognized(runner, batches, n, path))


def recognize_waveform(runner: Runner, waveform: Waveform, path: Path | None = None) -> Recognition:
    """Return the emotion in a prepared waveform (n,) at the model's rate.

    Raises:
        AudioError: the model gave no numbers.
    """
    return _recognized(runner, _windows(waveform, runner.spec), len(waveform), path)


def embed_file(runner: FeatureRunner, path: Path, channel: str = "auto") -> Recognition:
    """Return the emotion in a sound file, with its embedding; arguments and errors as of `recognize_file`."""
    return _of_file(runner.spec, path, channel, lambda batches, n: _embedded(runner, batches, n, path))


def embed_waveform(runner: FeatureRunner, waveform: Waveform, path: Path | None = None) -> Recognition:
    """Return the emotion in a prepared waveform (n,) at the model's rate, with its embedding.

    Raises:
        AudioError: the model gave no numbers.
    """
    return _embedded(runner, _windows(waveform, runner.spec), len(waveform), path)


def _windows(waveform: Waveform, spec: ModelSpec) -> Iterator[Waveform]:
    return window_batches(waveform, spec.window, spec.window_hop, BATCH)


def _of_file(
    spec: ModelSpec, path: Path, channel: str, recognize: Callable[[Iterable[Waveform], int], Recognition]
) -> Recognition:
    """Recognise a sound file; errors name it."""
    recording = Recording(path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass, channel=channel)
    try:
        return recognize(recording.window_batches(spec.window, spec.window_hop, BATCH), len(recording))
    except AudioError as error:
        named = str(error).startswith(f"{path}: ")
        raise AudioError(str(error) if named else f"{path}: {error}") from None


def _recognized(runner: Runner, batches: Iterable[Waveform], length: int, path: Path | None) -> Recognition:
    mean, count = _mean_probabilities(runner, batches)
    return _recognition(runner.spec, length, path, mean, count)


def _embedded(runner: FeatureRunner, batches: Iterable[Waveform], length: int, path: Path | None) -> Recognition:
    given = [runner.predict_features(windows) for windows in batches]
    by_window, features = (np.concatenate(part) for part in zip(*given, strict=True))
    mean, embedding = by_window.mean(axis=0), features.mean(axis=0)
    if not np.isfinite(embedding).all():
        raise AudioError("the model gave features that are not finite numbers")
    return replace(_recognition(runner.spec, length, path, mean, len(by_window)), embedding=embedding)


def _recognition(
    spec: ModelSpec, length: int, path: Path | None, mean: Probabilities, windows: int
) -> Recognition:
    """Describe what mean probabilities (C,) say of `length` samples; AudioError where they are no numbers."""
    if not np.isfinite(mean).all():
        raise AudioError("the model gave probabilities that are not finite numbers")
    best = int(mean.argmax())
    named = {label: float(p) for label, p in zip(spec.labels, mean, strict=True)}
    return Recognition(path, spec.labels[best], float(mean[best]), named, length / spec.sample_rate, windows)
