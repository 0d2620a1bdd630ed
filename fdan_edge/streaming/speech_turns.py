"""When somebody speaks, and which windows are due: from positions and voice activity alone. Imports no torch."""

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
#: Step of front ends that do not tell theirs, samples.
DEFAULT_GRID = 256


@dataclass(frozen=True)
class TurnStart:
    """Speech, from this sample."""

    at: int


@dataclass(frozen=True)
class WindowDue:
    """The model is to hear these samples."""

    start: int
    end: int
    final: bool = False  # at the end of the speech


@dataclass(frozen=True)
class TurnEnd:
    """The speech ended with this sample."""

    at: int


Mark: TypeAlias = TurnStart | WindowDue | TurnEnd


def window_grid(spec: ModelSpec) -> int:
    """Samples between the frames of a model's front end; windows begin and end on whole multiples of them."""
    log_mel = spec.info.get("log_mel")
    hop = log_mel.get("hop") if isinstance(log_mel, dict) else None
    return hop if isinstance(hop, int) and 0 < hop <= spec.window else DEFAULT_GRID


class TurnDetector:
    """Follows a stream sample by sample; what it tells depends on positions only, not on the blocks they come in.

    Args:
        rate: Hz.
        window: samples that the model hears at most.
        grid: samples; windows and speech begin and end on multiples of it.
        settings: times and thresholds.
        vad: tells speech from silence.
    """

    def __init__(self, rate: int, window: int, grid: int, settings: StreamSettings, vad: Vad) -> None:
        self.position = 0  # samples so far, lost ones included
        self.hop = max(1, round(settings.hop * rate / grid)) * grid
        self._window = window // grid * grid
        self._grid, self._settings, self._vad = grid, settings, vad
        self._pad, self._pause, self._least = (
            max(1, round(seconds * rate)) for seconds in (PAD, settings.pause, settings.min_speech)
        )
        self._restart()

    def _restart(self) -> None:
        """What comes now does not follow what came before."""
        self._vad.reset()
        self._step = np.zeros(0, np.float32)  # what is heard of the next step
        self._floor = -(-self.position // self._grid) * self._grid  # speech begins here at the earliest
        self._begin: int | None = None  # of the speech that goes on
        self._onset = 0  # steps in a row that sound like speech
        self._last = 0  # end of the last step that did
        self._told = 0  # end of the last window that was due

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Mark]:
        """What happens within the next samples, in its order."""
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
        """The sound stops here, or what follows is lost."""
        if self._begin is not None:
            yield from self._stop(self.position if self._speaking else self._last + self._pad)
        self._restart()

    def skip(self, samples: int) -> None:
        """After `end`: so many samples are lost."""
        self.position += samples
        self._restart()

    @property
    def _speaking(self) -> bool:
        """No pause at the moment."""
        return self._last >= self.position - len(self._step)

    def _judge(self, probability: float) -> Iterator[Mark]:
        """A step is heard in full."""
        if self._begin is not None:
            if probability >= self._settings.speech_off:
                self._last = self.position
            elif self.position - self._last >= self._pause:
                yield from self._stop(self._last + self._pad)
            return
        self._onset = self._onset + 1 if probability >= self._settings.speech_on else 0
        if self._onset == ONSET:
            first = self.position - ONSET * self._vad.step - self._pad
            self._begin = max(self._floor, first // self._grid * self._grid)
            self._last, self._told = self.position, 0
            yield TurnStart(self._begin)

    def _due(self) -> Iterator[Mark]:
        if self._begin is not None and self._speaking and self.position - self._begin >= self._least:
            yield from self._window_to(self.position // self._grid * self._grid)

    def _window_to(self, end: int, *, final: bool = False) -> Iterator[Mark]:
        assert self._begin is not None
        self._told = end
        yield WindowDue(max(self._begin, end - self._window), end, final)

    def _stop(self, at: int) -> Iterator[Mark]:
        assert self._begin is not None
        end = min(at, self.position) // self._grid * self._grid
        end = max(end, self._begin + self._grid)
        if end > self._told:  # all of it is heard once, and a short word at all
            yield from self._window_to(end, final=True)
        self._begin, self._onset, self._floor = None, 0, end
        yield TurnEnd(end)
