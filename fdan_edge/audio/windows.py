"""Trim the quiet ends of waveforms, and cut waveforms into windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Waveform: TypeAlias = NDArray[np.float32]

_FRAME, _HOP = 2048, 512  # samples, of librosa.effects.trim
_PART = 64  # samples; a click is over within two of them
_CLICK = 16.0  # times the energy of all steps within 64 to 128 ms: speech does not stand out so alone
_QUIET_FRAMES = 8  # 256 ms at 16 kHz
_ABOVE_NOISE = 10 ** (4 / 10)  # of power: what is louder than noise by that is speech
_LEAST_LOUD = 10 ** (-18 / 10)  # of the loudest frame: that is speech whatever the noise
_AT_ONCE = 0.7  # of the energy of a click's step and its neighbours that comes at once


class LoudPart:
    """Finds what is left of a recording when its quiet ends are cut, from blocks that follow each other.

    Ends are cut that are more than `top_db` below the loudest frame. Frames of 2048 samples, 512 apart; the result
    is that of `librosa.effects.trim`, without librosa.
    """

    def __init__(self) -> None:
        self._energies: list[NDArray[np.float64]] = []  # of steps of 512 samples in 8 parts
        self._rest = np.zeros(0, np.float32)
        self.length = 0  # samples so far

    def add(self, block: Waveform) -> None:
        """Add the next samples (n,)."""
        self.length += len(block)
        samples = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(samples) // _HOP * _HOP
        self._energies.append(_energy(samples[:whole].reshape(-1, _PART)).reshape(-1, _HOP // _PART))
        self._rest = samples[whole:].copy()

    def bounds(self, top_db: float, *, noisy: bool = False) -> tuple[int, int]:
        """Return the first sample that stays, and the one after the last.

        Args:
            top_db: see above.
            noisy: expect clicks and noise. A click at the start, as of a switch, is louder than speech, and is cut
                with the silence around it. Where noise is louder than `top_db` says, ends are cut just above it.
        """
        # A frame is 4 hops long and centred on one, so its energy is a sum over 4 of them.
        before, count = _FRAME // _HOP // 2, self.length // _HOP + 1
        parts = np.concatenate([*self._energies, np.zeros((1, _HOP // _PART))])
        steps = parts.sum(axis=1)
        steps[-1] = _energy(self._rest[None])[0]
        if noisy:
            quiet = steps.copy()
            quiet[_clicks(steps, parts)] = 0
            steps = quiet if quiet.any() else steps  # a recording of one click has nothing else to show
        hops = np.pad(steps, (before, _FRAME // _HOP))
        power = np.sum([hops[i : i + count] for i in range(_FRAME // _HOP)], axis=0) / _FRAME
        loudest = power.max()
        if not loudest:
            return 0, self.length
        share = 10 ** (-top_db / 10)
        if noisy:
            share = min(max(share, _ABOVE_NOISE * _noise(power) / loudest), max(share, _LEAST_LOUD))
        loud = np.flatnonzero(power > share * loudest)
        return int(loud[0]) * _HOP, min(self.length, (int(loud[-1]) + 1) * _HOP)


def _noise(power: NDArray[np.float64]) -> float:
    """Estimate the power of a recording's noise: that of its quietest quarter of a second; 0 in a short one."""
    inner = power[_FRAME // _HOP // 2 : -(_FRAME // _HOP // 2)]  # frames at the ends are partly zeros
    if len(inner) < 2 * _QUIET_FRAMES:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(inner)])
    return max(0.0, float((sums[_QUIET_FRAMES:] - sums[:-_QUIET_FRAMES]).min()) / _QUIET_FRAMES)


def _clicks(steps: NDArray[np.float64], parts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the steps that hold a click, and their neighbours: energies (n,), and the same in parts, (n, 8)."""
    around = np.pad(steps, 4)
    others = np.max([around[4 + shift : 4 + shift + len(steps)] for shift in (-4, -3, -2, 2, 3, 4)], axis=0)
    alone = np.flatnonzero(steps > _CLICK * others)
    clicks: list[int] = []
    for step in alone.tolist():
        near = parts[max(0, step - 1) : step + 2].ravel()
        if near.sum() and (near[:-1] + near[1:]).max() > _AT_ONCE * near.sum():
            clicks += [step - 1, step, step + 1]
    return np.unique([step for step in clicks if 0 <= step < len(steps)]).astype(np.int64)


def trim(waveform: Waveform, top_db: float, *, noisy: bool = False) -> Waveform:
    """Cut the ends that are more than `top_db` below the loudest frame; see `LoudPart`."""
    part = LoudPart()
    part.add(waveform)
    first, end = part.bounds(top_db, noisy=noisy)
    return waveform[first:end]


def cut_windows(waveform: Waveform, size: int, hop: int) -> Waveform:
    """Cut a waveform into windows of `size` samples, `hop` apart.

    Shorter than one window: centred in zeros. Longer: the last window ends with the waveform.

    Returns:
        float32, shape (n >= 1, size).
    """
    return next(window_batches(waveform, size, hop, batch=0))


def window_batches(waveform: Waveform, size: int, hop: int, batch: int) -> Iterator[Waveform]:
    """Yield the windows of `cut_windows` by the batch (0: all at once), so that an hour needs no second copy."""
    if len(waveform) <= size:
        yield _centred(waveform, size)
        return
    starts = window_starts(len(waveform), size, hop)
    step = batch or len(starts)
    for first in range(0, len(starts), step):
        yield np.stack([waveform[start : start + size] for start in starts[first : first + step]])


def window_starts(length: int, size: int, hop: int) -> NDArray[np.int64]:
    """Return where the windows of a waveform begin that is longer than one."""
    spare = length - size
    return np.minimum(np.arange(0, spare + hop, hop), spare)


def window_batches_of_blocks(
    blocks: Iterator[Waveform], bounds: tuple[int, int], size: int, hop: int, batch: int
) -> Iterator[Waveform]:
    """Yield the windows of `window_batches`, of sound that comes in blocks: only a few windows are in memory.

    Args:
        blocks: the sound, from its beginning.
        bounds: the part of it that is cut into windows, longer than one window.
        size, hop, batch: see `window_batches`.
    """
    first, end = bounds
    starts = (window_starts(end - first, size, hop) + first).tolist()
    kept, at, waiting = np.zeros(0, np.float32), 0, []  # `at`: number of the first kept sample
    for block in blocks:
        kept = np.concatenate([kept, block])
        while starts and starts[0] + size <= at + len(kept):
            start = starts.pop(0) - at
            waiting.append(kept[start : start + size])
            if len(waiting) == batch:
                yield np.stack(waiting)
                waiting = []
        drop = min(len(kept), (starts[0] if starts else end) - at)
        if drop > 0:
            kept, at = kept[drop:].copy(), at + drop
    if waiting:
        yield np.stack(waiting)


def _centred(waveform: Waveform, size: int) -> Waveform:
    spare = size - len(waveform)
    return np.pad(waveform, (spare // 2, spare - spare // 2))[None]


def _energy(rows: Waveform) -> NDArray[np.float64]:
    """Return the sum of squares of each row, in double precision without a copy in it."""
    energy: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return energy
