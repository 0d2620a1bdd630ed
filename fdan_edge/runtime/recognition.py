"""Recordings to emotions, with any runner. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.errors import AudioError
from fdan_edge.runtime.runner import Probabilities, Runner

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


def probabilities(runner: Runner, waveform: decode.Waveform, batch: int = BATCH) -> tuple[Probabilities, int]:
    """Give the mean probabilities (C,) over a prepared waveform's windows, and the number of windows.

    Args:
        runner: of the model.
        waveform: (n,) at the model's rate.
        batch: windows at once.
    """
    spec = runner.spec
    batches = decode.window_batches(waveform, spec.window, spec.window_hop, batch)
    by_window = np.concatenate([runner.predict(windows) for windows in batches])
    return by_window.mean(axis=0), len(by_window)


def recognize_file(runner: Runner, path: Path) -> Recognition:
    """Return the emotion in a sound file.

    Raises:
        AudioError: the file cannot be used; see `fdan_edge.audio.decode.load_speech`.
    """
    spec = runner.spec
    waveform = decode.load_speech(path, spec.sample_rate, spec.trim_db)
    try:
        return recognize_waveform(runner, waveform, path)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def recognize_waveform(runner: Runner, waveform: decode.Waveform, path: Path | None = None) -> Recognition:
    """Return the emotion in a prepared waveform (n,) at the model's rate.

    Raises:
        AudioError: the model gave no numbers.
    """
    spec = runner.spec
    mean, count = probabilities(runner, waveform)
    if not np.isfinite(mean).all():
        raise AudioError("the model gave probabilities that are not finite numbers")
    best = int(mean.argmax())
    named = {label: float(p) for label, p in zip(spec.labels, mean, strict=True)}
    seconds = len(waveform) / spec.sample_rate
    return Recognition(path, spec.labels[best], float(mean[best]), named, seconds, count)
