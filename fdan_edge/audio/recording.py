"""The speech of a recording of any length, in the memory of some minutes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fdan_edge.audio.decode import check_sound, expects_noise, mono_blocks
from fdan_edge.audio.windows import LoudPart, Waveform, window_batches, window_batches_of_blocks
from fdan_edge.errors import AudioError

MOST_KEPT = 5 * 60.0  # s of sound that stay in memory; a longer recording is decoded a second time


class Recording:
    """A recording with its quiet ends cut, ready to be cut into windows; `len` is its length in samples.

    What `decode.load_speech` gives, but a long recording is not in memory: it is decoded once to see where its
    speech begins and ends, and again each time its windows are asked for.

    Args:
        path: of the file.
        sample_rate, trim_db, high_pass, channel: see `decode.load_speech`.

    Raises:
        AudioError, MissingDependencyError: as `decode.load_speech`.
    """

    def __init__(
        self, path: Path, sample_rate: int, trim_db: float, *, high_pass: float = 0.0, channel: str = "auto"
    ) -> None:
        self._path, self._rate, self._high_pass, self._channel = path, sample_rate, high_pass, channel
        loud, peak = LoudPart(), 0.0
        kept: list[Waveform] | None = []
        for block in self._blocks():
            loud.add(block)
            peak = float(np.maximum(peak, np.abs(block).max(initial=0)))
            if kept is not None:
                kept.append(block)
                kept = kept if loud.length <= MOST_KEPT * sample_rate else None
        try:
            check_sound(loud.length, peak, sample_rate)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from None
        self._bounds = loud.bounds(trim_db, noisy=expects_noise(high_pass)) if trim_db else (0, loud.length)
        self._waveform = np.concatenate(kept)[slice(*self._bounds)] if kept is not None else None

    def __len__(self) -> int:
        return self._bounds[1] - self._bounds[0]

    def window_batches(self, size: int, hop: int, batch: int) -> Iterator[Waveform]:
        """Yield the windows by the batch; see `windows.window_batches`."""
        if self._waveform is not None:
            return window_batches(self._waveform, size, hop, batch)
        if len(self) <= size:  # a word in an hour of silence
            parts = list(window_batches_of_blocks(self._blocks(), self._bounds, len(self), hop, batch))
            return window_batches(parts[0][0], size, hop, batch)
        return window_batches_of_blocks(self._blocks(), self._bounds, size, hop, batch)

    def _blocks(self) -> Iterator[Waveform]:
        return mono_blocks(self._path, self._rate, high_pass=self._high_pass, channel=self._channel)
