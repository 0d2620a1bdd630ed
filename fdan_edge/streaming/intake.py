"""From samples as they come to filtered ones, and to what is found in them. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.full_scale import FullScale
from fdan_edge.audio.high_pass import HighPass
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.streaming.events import INTEGERS, InputWarning
from fdan_edge.streaming.input_level import InputLevel
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import Mark, TurnDetector
from fdan_edge.streaming.vad import open_vad

Samples = NDArray[np.float32]
#: What is found in sound.
Finding: TypeAlias = Mark | InputWarning

BLOCK = 4096  # samples that are filtered at once


class Block(NamedTuple):
    """The next samples of a stream, filtered."""

    samples: Samples  # (n,), n at most BLOCK
    findings: list[Finding]  # up to their end
    factor: float = 1.0  # by which all samples before are to be multiplied: they turned out to be of another scale


class Intake:
    """Brings the sound of one stream to full scale, judges its level, filters it, and finds speech in it.

    What it finds depends on the samples alone, not on the blocks that they come in.

    Args:
        spec: of the model.
        grid: samples; see `TurnDetector`.
        settings: times and thresholds.

    Raises:
        ConfigError: a setting does not fit the model.
        MissingDependencyError: the voice activity detection that is asked for is not installed.
    """

    def __init__(self, spec: ModelSpec, grid: int, settings: StreamSettings) -> None:
        self._rate = spec.sample_rate
        vad = open_vad(settings.vad, self._rate, high_pass=not spec.high_pass)
        self.vad_name = vad.name
        self._detects = vad.name != "none"  # else all is speech, a quiet room too
        self._full_scale = FullScale(self._rate)
        self._level = InputLevel(self._rate)
        self._high_pass = HighPass(spec.high_pass, self._rate)
        self._turns = TurnDetector(self._rate, spec.window, grid, settings, vad)
        self.hop = self._turns.hop  # samples between results

    @property
    def time(self) -> float:
        """Seconds so far, lost ones included."""
        return self._turns.position / self._rate

    def __call__(self, samples: Samples) -> Iterator[Block]:
        """Yield the next samples (n,) in blocks.

        Raises:
            AudioError: no sound has such values.
        """
        known = self._full_scale.scale
        for part in self._full_scale(samples):
            if self._full_scale.scale != known:
                yield self._rescaled(known / self._full_scale.scale)
                known = self._full_scale.scale
            while len(part):
                block, part = np.split(part, [min(BLOCK, self._level.left)])
                yield self._filtered(block)

    def _filtered(self, block: Samples) -> Block:
        filtered = self._high_pass(block)
        findings: list[Finding] = [*self._turns.process(filtered)]
        findings += self._level.add(block, self.time, speaking=self._detects and self._turns.speaking)
        return Block(filtered, findings)

    def _rescaled(self, factor: float) -> Block:
        self._high_pass.rescale(factor)
        self._turns.rescale(factor)
        self._level.restart()
        return Block(np.zeros(0, np.float32), [InputWarning(self.time, INTEGERS, self._full_scale.scale)], factor)

    def end(self) -> list[Finding]:
        """End the speech that goes on: the sound stops here, or what follows is lost."""
        return [*self._turns.end()]

    def skip(self, samples: int) -> None:
        """Skip so many lost samples; call `end` before."""
        self._high_pass.restart()
        self._level.restart()
        self._turns.skip(samples)
