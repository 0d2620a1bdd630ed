"""What the device must know of a model's front end, and the network behind it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.runner import Probabilities

#: Name of the metadata entry of a graph that begins after the mel filterbank.
FRONT_END_KEY = "fdan_edge_front_end"


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """The linear part of a log-mel front end: Hann window, DFT, power, mel filterbank.

    What comes after it (logarithm, level, channel) looks at whole windows, and is in the graph.
    """

    n_fft: int  # samples of a frame, and of its Hann window (periodic)
    hop: int  # samples between frames, each centred on a multiple of it
    frames: int  # of a window: 1 + window // hop
    filters: NDArray[np.float32]  # (n_mels, 1 + n_fft // 2)


class FrameRunner(Protocol):
    """A runner whose front end's linear part is outside: frames that two windows share are computed once."""

    name: str
    spec: ModelSpec
    frontend: FrontEnd

    def predict_power(self, power: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of mel power (n, n_mels, frontend.frames) in units of full scale squared."""
        ...
