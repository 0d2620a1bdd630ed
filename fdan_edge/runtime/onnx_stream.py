"""A graph that begins after the mel filterbank, in ONNX Runtime. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.errors import BundleError, one_line
from fdan_edge.runtime.log_mel import FRONT_END_KEY, FrontEnd
from fdan_edge.runtime.onnx import OnnxSession
from fdan_edge.runtime.runner import POWER, Probabilities
from fdan_edge.utils.small_files import parse_json

_LONGEST = 1 << 16  # samples of a frame: damage shall not cost gigabytes


class OnnxFrameRunner(OnnxSession):
    """Mel power to probabilities; a `FrameRunner`.

    Args:
        path: an .onnx file that `fdan-edge export` wrote for live streams.
        providers, threads, precision, content: see `OnnxSession`.

    Raises:
        BundleError, MissingDependencyError: as of `OnnxSession`; or what it says of its front end is damaged.
    """

    _taken = POWER

    def _check_graph(self, path: Path) -> None:
        self.frontend = read_front_end(self.metadata.get(FRONT_END_KEY), self.spec.window, str(path))
        self._shape = (len(self.frontend.filters), self.frontend.frames)
        self._check_shapes(path, [*self._shape], f"{self._shape[0]} bands of {self._shape[1]} frames")

    def predict_power(self, power: NDArray[np.float32]) -> Probabilities:
        """Return probabilities (n, C) of mel power (n, n_mels, frontend.frames) in units of full scale squared.

        Raises:
            ValueError: the power is of another shape.
        """
        power = np.asarray(power, np.float32)
        if power.ndim != 3 or power.shape[1:] != self._shape:
            expected = f"(n, {self._shape[0]}, {self._shape[1]})"
            raise ValueError(f"expected mel power of shape {expected}, got {power.shape}")
        return self._run(power)


def write_front_end(frontend: FrontEnd) -> str:
    """Return one line of JSON for a graph's metadata; of each band the first bin and the weights from there on."""
    values = {"n_fft": frontend.n_fft, "hop": frontend.hop, "frames": frontend.frames}
    return json.dumps({**values, "filters": [_sparse(band) for band in frontend.filters]})


def read_front_end(text: str | None, window: int, where: str) -> FrontEnd:
    """Read what `write_front_end` wrote, every weight as it was.

    Args:
        text: the metadata entry; None where there is none.
        window: samples that the model hears at once.
        where: for the message.

    Raises:
        BundleError: missing or damaged.
    """
    if not text:
        raise BundleError(f"{where}: does not say what its front end is; export it anew")
    try:
        values = parse_json(text)
        n_fft, hop, frames = (_whole(values[name], name) for name in ("n_fft", "hop", "frames"))
        if n_fft > _LONGEST or frames != 1 + window // hop:
            raise ValueError(f"{frames} frames of {n_fft} samples, {hop} apart, are not {window} samples")
        return FrontEnd(n_fft, hop, frames, np.stack([_dense(band, 1 + n_fft // 2) for band in values["filters"]]))
    except KeyError as error:
        raise BundleError(f"{where}: what it says of its front end is damaged: no {error}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{where}: what it says of its front end is damaged: {one_line(error)}") from None


def _sparse(band: NDArray[np.float32]) -> list[Any]:
    used = np.flatnonzero(band)
    if not len(used):
        return [0, []]
    # A float32's own digits are the shortest that give it back.
    return [int(used[0]), [float(str(weight)) for weight in band[used[0] : used[-1] + 1]]]


def _dense(band: Any, bins: int) -> NDArray[np.float32]:
    first, weights = band
    with np.errstate(over="ignore"):  # inf is refused below
        used = np.asarray(weights, np.float32)
    band_weights = np.zeros(bins, np.float32)
    if type(first) is not int or used.ndim != 1 or not 0 <= first <= bins - len(used):
        raise ValueError(f"a band of {used.size} weights from bin {first!r} on, of {bins} bins")
    if not (np.isfinite(used) & (used >= 0)).all():
        raise ValueError("a weight is not a positive number")
    band_weights[first : first + len(used)] = used
    return band_weights


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} {value!r} is not a positive whole number")
    return value
