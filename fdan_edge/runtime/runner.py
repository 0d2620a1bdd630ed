"""What every way to run a model looks like: waveforms in, probabilities out. Imports no torch."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from fdan_edge.errors import BundleError
from fdan_edge.runtime.model_spec import ModelSpec

Probabilities = NDArray[np.float32]
Features = NDArray[np.float32]

#: Names of the input and the output of every graph and engine.
INPUT, OUTPUT = "waveform", "probabilities"
#: Name of the input of a graph that begins after the mel filterbank.
POWER = "mel_power"
#: Parts of a prediction whose milliseconds a runner's `times` may give.
COPY_IN, COMPUTE, COPY_OUT = "copy in", "compute", "copy out"


class Runner(Protocol):
    """Something that names emotions; a context manager.

    A runner that can tell has `times: dict[str, float]` too: milliseconds of its last prediction by part.
    """

    name: str  # runtime and precision, for tables
    spec: ModelSpec

    def predict(self, waveforms: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of windows (n, spec.window) at spec.sample_rate."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class FeatureRunner(Runner, Protocol):
    """A runner that gives the features before the classifier, too."""

    def predict_features(self, waveforms: NDArray[np.float32]) -> tuple[Probabilities, Features]:
        """Return probabilities (n, C) and features (n, d) of windows (n, spec.window) at spec.sample_rate."""
        ...


#: How far a sum of probabilities may be from 1: halves have three digits.
_SUM_ERROR = 0.02
_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
#: Up to so many numbers, Python's own arithmetic is quicker than NumPy's calls.
_FEW = 100
#: Input whose squares can be summed in float32; full scale is 1. Of louder input a sound model may give NaN.
_SANE = 1e6


def checked_probabilities(given: object, taken: NDArray[np.float32], spec: ModelSpec, where: str) -> Probabilities:
    """Return what a model gave (n, C) as float32; NaN may stand where its input was NaN, infinite or far too loud.

    Args:
        given: by the model.
        taken: by it, (n, ...).
        spec: of the model.
        where: its file, for messages.

    Raises:
        BundleError: of another type or shape, not finite, below 0, above 1, or of another sum than 1.
    """
    if not isinstance(given, np.ndarray) or given.dtype not in _FLOATS:
        kind = given.dtype if isinstance(given, np.ndarray) else type(given).__name__
        raise BundleError(f"{where}: gave {kind}, not float32")
    expected = (len(taken), len(spec.labels))
    if given.shape != expected:
        raise BundleError(f"{where}: gave probabilities of shape {given.shape}, not {expected}")
    probabilities: Probabilities = given if given.dtype == _FLOATS[0] else given.astype(np.float32)
    if probabilities.size <= _FEW and all(map(_is_right, probabilities.tolist())):
        return probabilities
    with np.errstate(invalid="ignore", over="ignore"):
        right = (probabilities >= -_SUM_ERROR).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) <= _SUM_ERROR)
        if not right.all():
            _check_input(probabilities[~right], taken[~right], where)
    return probabilities


def _is_right(row: list[float]) -> bool:
    """Tell whether numbers are probabilities; a NaN fails one of the comparisons."""
    return min(row) >= -_SUM_ERROR and abs(sum(row) - 1) <= _SUM_ERROR


def _check_input(wrong: Probabilities, taken: NDArray[np.float32], where: str) -> None:
    """Raise BundleError unless the input explains why these rows are no probabilities."""
    loud = ~(abs(taken.reshape(len(taken), -1)).max(axis=1, initial=0) < _SANE)  # NaN too
    for row in wrong[~(loud & ~np.isfinite(wrong).all(axis=1))]:
        if np.isfinite(row).all():
            sums = f"{row.min():g} to {row.max():g}, with the sum {row.sum():g}"
            raise BundleError(f"{where}: gave what are no probabilities: {sums}")
        raise BundleError(f"{where}: gave probabilities that are not finite numbers")


def checked_windows(waveforms: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return the windows as float32.

    Raises:
        ValueError: their shape is not (n, spec.window).
    """
    waveforms = np.asarray(waveforms, np.float32)
    if waveforms.ndim != 2 or waveforms.shape[1] != spec.window:
        raise ValueError(f"expected windows of shape (n, {spec.window}), got {waveforms.shape}")
    return waveforms
