"""Judge the level of the sound that comes into a stream, before any filter. Imports no torch.

What is judged are the last three seconds, twice a second; silence after sound is judged over five. A pause in a
quiet room is no fault: the noise of any room and microphone is above the level at which a line counts as dead, and
speech is too quiet only where there is speech.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.decode import SILENCE
from fdan_edge.streaming.events import CLIPPED, NO_SIGNAL, ONLY_DC, TOO_QUIET, InputWarning

_STEP = 0.5  # s
_STEPS = 6  # together long enough that a dropout or a swallowed word is no fault
_DEAD_STEPS = 10  # once there has been sound: noise gates and recordings have zeros in short pauses
_SPEECH_STEPS = 2  # of the last ones end in speech: a short utterance can be too quiet as well
#: dBFS of the loudest sample. Of RAVDESS's 1440 recordings, whose actors also whisper, 1 in 100 is below; at -40,
#: 16 bits leave so little that some 7 of 100 labels change.
_QUIET = -38.0
_NO_LONGER_QUIET = 3.0  # dB above; else one level near the limit would be told again and again
#: Share of samples. Recordings whose loudest sample is at full scale have at most 0.07 % there; those that are cut
#: 6 dB below their peak have 0.7 % in the median.
_CLIPPED = 0.003
_NO_LONGER_CLIPPED = 0.001
_FULL = 0.98  # of full scale; resampling moves what was cut by some per cent


@dataclass(frozen=True)
class _Step:
    """What is known of half a second."""

    low: float
    high: float
    total: float
    full: int  # samples at full scale
    count: int  # samples
    speech: bool


class InputLevel:
    """Says once when the sound becomes too quiet, clipped, a constant offset or nothing at all.

    It depends on the samples alone, as long as blocks end where `left` says.

    Args:
        rate: of the samples, Hz.
    """

    def __init__(self, rate: int) -> None:
        self._size = round(_STEP * rate)
        self._problems: set[str] = set()  # those that have been told and have not ended
        self._dead_steps = _STEPS  # that make a dead line
        self.restart()

    def restart(self) -> None:
        """Forget the samples before: what comes now does not follow them."""
        self._steps: deque[_Step] = deque(maxlen=_DEAD_STEPS)
        self._begin_step()

    def _begin_step(self) -> None:
        self._blocks: list[NDArray[np.float32]] = []
        self.left = self._size  # samples until the next judgement

    def add(self, samples: NDArray[np.float32], time: float, *, speaking: bool) -> list[InputWarning]:
        """Judge the next samples (n,), at most `left` of them.

        Args:
            samples: as they came, full scale 1.
            time: of the last of them, s.
            speaking: whether somebody speaks at that time.
        """
        self._blocks.append(samples)
        self.left -= len(samples)
        if self.left > 0:
            return []
        whole = np.concatenate(self._blocks)
        full = int((np.abs(whole) >= _FULL).sum())
        low, high, total = float(whole.min()), float(whole.max()), float(whole.sum(dtype=np.float64))
        self._steps.append(_Step(low, high, total, full, len(whole), speaking))
        self._begin_step()
        return [InputWarning(time, problem, value) for problem, value in self._judge()]

    def _judge(self) -> list[tuple[str, float]]:
        lately = [*self._steps][-_STEPS:]
        share = sum(step.full for step in lately) / sum(step.count for step in lately)
        return [*self._judge_quiet(lately), *self._judge_clipped(share)]

    def _judge_quiet(self, lately: list[_Step]) -> list[tuple[str, float]]:
        peak = _peak(lately)
        if peak >= SILENCE:
            self._dead_steps = _DEAD_STEPS
            self._problems -= {NO_SIGNAL, ONLY_DC}
        level = float(20 * np.log10(max(peak, 1e-12)))
        if level >= _QUIET + _NO_LONGER_QUIET:
            self._problems.discard(TOO_QUIET)
        if peak >= SILENCE:
            speech = sum(step.speech for step in lately) >= _SPEECH_STEPS
            return self._tell(TOO_QUIET, level) if level < _QUIET and speech else []
        return self._judge_dead([*self._steps][-self._dead_steps :])

    def _judge_dead(self, steps: list[_Step]) -> list[tuple[str, float]]:
        """Judge steps that may be a dead line's."""
        peak = _peak(steps)
        if len(steps) < self._dead_steps or peak >= SILENCE:
            return []
        offset = sum(step.total for step in steps) / sum(step.count for step in steps)
        problem, value = TOO_QUIET, float(20 * np.log10(max(peak, 1e-12)))
        if peak == 0 or abs(offset) >= SILENCE:
            problem, value = (ONLY_DC, offset) if offset else (NO_SIGNAL, 0.0)
        self._problems -= {NO_SIGNAL, ONLY_DC} - {problem}
        return self._tell(problem, value)

    def _judge_clipped(self, share: float) -> list[tuple[str, float]]:
        if share < _NO_LONGER_CLIPPED:
            self._problems.discard(CLIPPED)
        return self._tell(CLIPPED, share) if share >= _CLIPPED and len(self._steps) > 1 else []

    def _tell(self, problem: str, value: float) -> list[tuple[str, float]]:
        """Return a problem unless it has been told."""
        if problem in self._problems:
            return []
        self._problems.add(problem)
        return [(problem, value)]


def _peak(steps: list[_Step]) -> float:
    """Return the peak without a constant offset: half of the range."""
    return (max(step.high for step in steps) - min(step.low for step in steps)) / 2
