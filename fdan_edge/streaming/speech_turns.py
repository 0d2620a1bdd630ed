"""Finds speech in a stream, and when which window is due, from positions and voice activity. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.vad import Vad

ONSET = 3  # steps in a row: a click is no speech
PAD = 0.1  # s kept before and after what the detection calls speech: it misses soft ends
#: Samples between the frames of front ends that do not tell theirs.
DEFAULT_GRID = 256


@dataclass(frozen=True)
class TurnStart:
    """Speech starts at this sample."""

    at: int


@dataclass(frozen=True)
class WindowDue:
    """The model has to infer the emotion in these samples, the last excluded."""

    start: int
    end: int
    final: bool = False  # at the end of the speech


@dataclass(frozen=True)
class TurnEnd:
    """Speech ends at this sample."""

    at: int


Mark: TypeAlias = TurnStart | WindowDue | TurnEnd


def window_grid(spec: ModelSpec) -> int:
    """Return the samples between the frames of a model's front end; windows lie on whole multiples of them."""
    log_mel = spec.info.get("log_mel")
    hop = log_mel.get("hop") if isinstance(log_mel, dict) else None
    return hop if isinstance(hop, int) and 0 < hop <= spec.window else DEFAULT_GRID


class TurnDetector:
    """Follows a stream sample by sample; marks depend on positions only, not on the blocks that samples come in.

    Args:
        rate: Hz.
        window: samples of the model's window.
        grid: samples; windows and speech begin and end on multiples of it.
        settings: times and thresholds.
        vad: gives the probability of speech.
    """

    def __init__(self, rate: int, window: int, grid: int, settings: StreamSettings, vad: Vad) -> None:
        self.position = 0  # samples so far, lost ones included
        self.hop = max(1, round(settings.hop * rate / grid)) * grid
        self._window = window // grid * grid
        self._grid, self._settings, self._vad = grid, settings, vad
        self._pad, self._pause, self._min_speech = (
            max(1, round(seconds * rate)) for seconds in (PAD, settings.pause, settings.min_speech)
        )
        self._restart()

    def _restart(self) -> None:
        """Forget what came before."""
        self._vad.reset()
        self._step = np.zeros(0, np.float32)  # samples of the next step of the voice activity detection
        self._earliest = -(-self.position // self._grid) * self._grid  # start of the next speech at the earliest
        self._start: int | None = None  # of the speech that goes on
        self._onset = 0  # steps in a row that are speech
        self._last_speech = 0  # end of the last step that was speech
        self._last_window = 0  # end of the last window that was due

    def process(self, samples: NDArray[np.float32]) -> Iterator[Mark]:
        """Find the marks within the next samples (n,), in their order."""
        while len(samples):
            until_due = self.hop - self.position % self.hop
            taken = samples[: min(until_due, self._vad.step - len(self._step))]
            samples = samples[len(taken) :]
            self.position += len(taken)
            self._step = np.concatenate([self._step, taken])
            if len(self._step) == self._vad.step:
                yield from self._judge(self._vad(self._step))
                self._step = self._step[:0]
            if self.position % self.hop == 0:
                yield from self._due()

    def end(self) -> Iterator[Mark]:
        """End the speech that goes on: the sound stops here, or what follows is lost."""
        if self._start is not None:
            yield from self._stop(self.position if self.speaking else self._last_speech + self._pad)
        self._restart()

    def skip(self, samples: int) -> None:
        """Skip so many lost samples; call `end` before."""
        self.position += samples
        self._restart()

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied: they turned out to be of another scale."""
        self._step = self._step * np.float32(factor)
        self._vad.rescale(factor)

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks, and there is no pause at the moment."""
        return self._start is not None and self._last_speech >= self.position - len(self._step)

    def _judge(self, probability: float) -> Iterator[Mark]:
        """Use the probability of speech in a whole step."""
        if self._start is not None:
            if probability >= self._settings.speech_off:
                self._last_speech = self.position
            elif self.position - self._last_speech >= self._pause:
                yield from self._stop(self._last_speech + self._pad)
            return
        self._onset = self._onset + 1 if probability >= self._settings.speech_on else 0
        if self._onset == ONSET:
            first = self.position - ONSET * self._vad.step - self._pad
            self._start = max(self._earliest, first // self._grid * self._grid)
            self._last_speech, self._last_window = self.position, 0
            yield TurnStart(self._start)

    def _due(self) -> Iterator[Mark]:
        if self._start is not None and self.speaking and self.position - self._start >= self._min_speech:
            yield from self._window_to(self.position // self._grid * self._grid)

    def _window_to(self, end: int, *, final: bool = False) -> Iterator[Mark]:
        assert self._start is not None
        self._last_window = end
        yield WindowDue(max(self._start, end - self._window), end, final)

    def _stop(self, at: int) -> Iterator[Mark]:
        assert self._start is not None
        end = min(at, self.position) // self._grid * self._grid
        end = max(end, self._start + self._grid)
        if end > self._last_window:  # so that every sample of the speech is in a window, also of a short word
            yield from self._window_to(end, final=True)
        self._start, self._onset, self._earliest = None, 0, end
        yield TurnEnd(end)
