"""Ranges of activations for 8 bits: histograms of tensors from one pass over windows, and three ways to cut them.

min-max keeps all that was seen, percentile leaves out the rarest, entropy (Migacz 2017, "8-bit Inference with
TensorRT") loses least of the histogram's information. The same histograms serve every format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from fdan_edge.errors import ExportError
from fdan_edge.runtime.onnx_session import import_onnxruntime, open_session

METHODS = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99  # of the values, kept
BATCH = 4  # windows at once: all their activations are in memory
_BINS = 4096
_LEVELS = 128  # of one sign, in 8 bits
_CANDIDATES = 64

Range = tuple[float, float]
Windows = NDArray[np.float32]


@dataclass
class Histogram:
    """Counts of values in equal bins over -edge..edge; the edge doubles when larger values come."""

    counts: NDArray[np.int64]
    edge: float = 2.0**-10
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        """Count more values.

        Raises:
            ValueError: some are not finite.
        """
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("values that are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while self.edge < max(-low, high):
            middle = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(middle, len(middle) // 2)
            self.edge *= 2
        scale = len(self.counts) / (2 * self.edge)
        index = ((values.ravel() + np.float32(self.edge)) * np.float32(scale)).astype(np.int32)
        np.minimum(index, len(self.counts) - 1, out=index)
        self.counts += np.bincount(index, minlength=len(self.counts))

    def range(self, method: str) -> Range:
        """Return the lowest and highest value that 8 bits should hold, by a method of METHODS; it holds 0."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if method == "minmax":
            return low, high
        if method == "percentile":
            rare = (1 - PERCENTILE / 100) * self.counts.sum()
            cut = np.cumsum(self.counts), np.cumsum(self.counts[::-1])
            below, above = (int(np.searchsorted(sums, rare, side="right")) for sums in cut)
            step = 2 * self.edge / len(self.counts)
            return max(low, min(0.0, below * step - self.edge)), min(high, max(0.0, self.edge - above * step))
        limit = self._threshold()
        return max(low, -limit), min(high, limit)

    def _threshold(self) -> float:
        """Find the threshold behind which least is lost, by Kullback and Leibler's divergence."""
        half = len(self.counts) // 2
        sizes = self.counts[half:] + self.counts[:half][::-1]
        # Zeros are held exactly, and after a ReLU they are half of all values.
        sizes[0] = 0
        used = int(np.flatnonzero(sizes).max(initial=0)) + 1
        ends = np.unique(np.linspace(min(_LEVELS, used), used, _CANDIDATES).astype(int))
        losses = [_divergence(sizes, end) for end in ends]
        return float(ends[int(np.argmin(losses))] / half * self.edge)


def _divergence(sizes: NDArray[np.int64], end: int) -> float:
    """Return the KL divergence of what `_LEVELS` steps up to bin `end` make of a histogram from the histogram."""
    if not sizes[:end].any():
        return np.inf
    wanted = sizes[:end].astype(float)
    starts = np.unique(np.linspace(0, end, _LEVELS, endpoint=False).astype(int))
    widths = np.diff(np.append(starts, end))
    filled = wanted > 0
    mean = np.add.reduceat(wanted, starts) / np.maximum(np.add.reduceat(filled, starts), 1)
    quantised = np.repeat(mean, widths) * filled
    wanted[-1] += sizes[end:].sum()  # what is beyond is held as the largest
    wanted, quantised = wanted / wanted.sum(), quantised / quantised.sum()
    both = wanted > 0
    return float(np.sum(wanted[both] * np.log(wanted[both] / np.maximum(quantised[both], 1e-9))))


def collect(model: onnx.ModelProto, tensors: Iterable[str], windows: Windows) -> dict[str, Histogram]:
    """Return histograms of tensors over windows (n, window), from one pass in ONNX Runtime.

    Raises:
        ExportError: a tensor holds values that are not finite, or there is no window.
    """
    if not len(windows):
        raise ExportError("calibration needs windows of the training part, and there is none")
    names = sorted(set(tensors))
    session = watch(model, names)
    histograms = {name: Histogram(np.zeros(_BINS, np.int64)) for name in names}
    for start in range(0, len(windows), BATCH):
        outputs = session.run(names, {"waveform": windows[start : start + BATCH]})
        for name, values in zip(names, outputs, strict=True):
            try:
                histograms[name].add(np.asarray(values, np.float32))
            except ValueError as error:
                raise ExportError(f"calibration: tensor {name} holds {error}") from None
    return histograms


def peaks(model: onnx.ModelProto, tensors: Iterable[str], windows: Windows) -> dict[str, float]:
    """Return the largest magnitude of tensors over windows (n, window)."""
    names = sorted(set(tensors))
    largest = dict.fromkeys(names, 0.0)
    session = watch(model, names)
    for start in range(0, len(windows), BATCH):
        outputs = session.run(names, {"waveform": windows[start : start + BATCH]})
        for name, values in zip(names, outputs, strict=True):
            largest[name] = float(np.maximum(largest[name], np.abs(np.asarray(values, np.float32)).max()))
    return largest


def watch(model: onnx.ModelProto, tensors: list[str]):  # type: ignore[no-untyped-def]  # ONNX Runtime has no types
    """Return a session that gives inner tensors too; what would fuse them away is off."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    basic = import_onnxruntime().GraphOptimizationLevel.ORT_ENABLE_BASIC
    return open_session(watched.SerializeToString(), graph_optimization_level=basic)


def probabilities(model: onnx.ModelProto, windows: Windows) -> NDArray[np.float32]:
    """Return what a graph gives for windows (n, window), (n, C)."""
    running = open_session(model.SerializeToString())
    parts = [running.run(None, {"waveform": windows[i : i + BATCH]})[0] for i in range(0, len(windows), BATCH)]
    return np.concatenate(parts).astype(np.float32)
