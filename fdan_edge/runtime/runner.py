"""What every way to run a model looks like: waveforms in, probabilities out. Imports no torch."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

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


def checked_windows(waveforms: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return the windows as float32.

    Raises:
        ValueError: their shape is not (n, spec.window).
    """
    waveforms = np.asarray(waveforms, np.float32)
    if waveforms.ndim != 2 or waveforms.shape[1] != spec.window:
        raise ValueError(f"expected windows of shape (n, {spec.window}), got {waveforms.shape}")
    return waveforms
