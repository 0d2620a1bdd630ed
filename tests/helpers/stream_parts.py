"""Models and sounds for the tests of streams."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities

RATE = 16000
LABELS = ("angry", "happy", "sad")


def spec(window: int = 16000, labels: tuple[str, ...] = LABELS, **info: Any) -> ModelSpec:
    """Of a model at 16 kHz whose front end steps 256 samples."""
    return ModelSpec(labels, RATE, window, window // 2, 40.0, {"log_mel": {"hop": 256}, **info})


class Fake:
    """A runner that notes what it hears and says what `answer` makes of it: (window,) to (C,)."""

    name = "fake"

    def __init__(self, answer: Callable[[NDArray[np.float32]], Any] | None = None, **kinds: Any) -> None:
        self.spec = spec(**kinds)
        self.heard: list[NDArray[np.float32]] = []
        self._answer = answer or (lambda _: np.full(len(self.spec.labels), 1 / len(self.spec.labels)))

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        self.heard.extend(waveforms.copy())
        return np.stack([np.asarray(self._answer(waveform), np.float32) for waveform in waveforms])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def by_loudness(waveform: NDArray[np.float32]) -> list[float]:
    """Angry when loud, sad when soft: an answer that depends on all of a window."""
    power = float(np.square(waveform, dtype=np.float64).sum())
    share = power / (power + 100)
    return [0.1 + 0.8 * share, 0.1, 0.8 - 0.8 * share]


def babble(*stretches: tuple[float, float], seed: int = 0, noise: float = 1e-3) -> NDArray[np.float32]:
    """Stretches of (seconds, level) one after the other; level 0 is a pause with nothing but noise."""
    random = np.random.default_rng(seed)
    parts = [random.normal(0, np.hypot(level, noise), round(seconds * RATE)) for seconds, level in stretches]
    return np.concatenate(parts).astype(np.float32).clip(-1, 1)
