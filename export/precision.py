"""One fp32 graph to the precision that a target wants: halves, or 8 bits but for the layers that they harm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fdan_edge.errors import ExportError
from fdan_edge.export import activation_ranges, sensitivity
from fdan_edge.export.activation_ranges import Histogram, Range, Windows
from fdan_edge.export.fp16 import to_half
from fdan_edge.export.gate import Check
from fdan_edge.export.int8 import FORMATS, WEIGHT_BITS, plan, quantize
from fdan_edge.export.onnx_graph import check_graph
from fdan_edge.runtime.deploy_targets import Target, check_precision
from fdan_edge.runtime.manifest import Calibration, RangeComparison
from fdan_edge.utils.files import write_bytes

log = logging.getLogger(__name__)

#: Windows to compare calibrations on: every method runs over them.
COMPARED = 24
_ROUNDS = 6  # of keeping more layers: 1, 2, 4, ... of them

Judge = Callable[[Path], Check]


@dataclass
class CalibrationSet:
    """Windows to calibrate 8 bits on, and what judges the result; of one model.

    Args:
        calibration: windows (n, window) of the training part.
        validation: windows (m, window) of the validation part, to compare calibrations and layers on.
        judge: runs a file over the validation part, and says whether it passes. None: nothing is judged.
        source: which recordings these are, for people and for the record.
    """

    calibration: Windows
    validation: Windows
    judge: Judge | None = None
    source: str = "of the validation part"  # what `validation` and the judge's recordings are
    _histograms: dict[str, Histogram] = field(default_factory=dict, repr=False)
    _expected: NDArray[np.float32] | None = field(default=None, repr=False)

    def histograms(self, model: onnx.ModelProto) -> dict[str, Histogram]:
        """Measure all activations that a format needs, once."""
        if not self._histograms:
            tensors = {name for form in FORMATS for name in plan(model, form).tensors}
            self._histograms.update(activation_ranges.collect(model, tensors, self.calibration))
        return self._histograms

    def expected(self, model: onnx.ModelProto) -> NDArray[np.float32]:
        """Return what fp32 gives for the windows that calibrations are compared on, run once."""
        if self._expected is None:
            self._expected = activation_ranges.probabilities(model, self.compared)
        return self._expected

    @property
    def compared(self) -> Windows:
        """The windows that calibrations are compared on."""
        return self.validation[:COMPARED]


@dataclass(frozen=True)
class Lowered:
    """An artifact."""

    file: Path
    precision: str
    format: str | None  # of int8
    opset: int
    calibration: Calibration | None  # how the ranges of int8 were chosen
    kept: tuple[str, ...]  # layers above 8 bits, by sensitivity


def lower(
    model: onnx.ModelProto, file: Path, target: Target, precision: str, samples: CalibrationSet | None = None
) -> Lowered:
    """Write a graph in a precision for a target.

    Args:
        model: in fp32, from `to_onnx.export_graph`.
        file: to write.
        precision: fp32, fp16 or int8; empty: the target's default.
        samples: needed for int8.

    Raises:
        ConfigError: the target does not take the precision.
        ExportError: the target cannot run the graph, or 8 bits lose too much whatever is kept higher.
    """
    precision = check_precision(target, precision)
    if precision == "int8":
        if samples is None:
            raise ExportError("int8 is calibrated on recordings of the training part, and there are none")
        return _lower_to_int8(model, file, target, samples)
    graph = to_half(model) if precision == "fp16" else model
    _write(graph, file, target)
    return Lowered(file, precision, None, _opset(graph), None, ())


def _lower_to_int8(model: onnx.ModelProto, file: Path, target: Target, samples: CalibrationSet) -> Lowered:
    form = target.int8
    ranges, record = _calibrate(model, form, samples)
    order: list[str] = []
    kept: tuple[str, ...] = ()
    for attempt in range(_ROUNDS + 1):
        graph = quantize(model, plan(model, form, frozenset(kept)), ranges, form)
        _write(graph, file, target)
        if samples.judge is None or (check := samples.judge(file)).passed:
            return Lowered(file, "int8", form, _opset(graph), record, kept)
        if not order:
            order = list(sensitivity.costs(model, ranges, form, samples.validation))
        if len(kept) >= len(order) - 1 or attempt == _ROUNDS:
            break
        kept = tuple(order[: 2**attempt])
        log.warning(f"int8 is too far from PyTorch: {check.line()}; kept higher: {', '.join(kept)}")
    file.unlink(missing_ok=True)
    worst = "; ".join(map(str, sensitivity.noisiest_layers(model, graph, samples.validation)))
    raise ExportError(
        f"int8 is too far from PyTorch with {len(kept)} of {len(order)} layers kept higher: {check.line()}; most "
        f"noise comes from {worst}; valid: --precision "
        f"{' or '.join(name for name in target.precisions if name != 'int8')}"
    )


def _calibrate(model: onnx.ModelProto, form: str, samples: CalibrationSet) -> tuple[dict[str, Range], Calibration]:
    """Choose the ranges of the method that is nearest to fp32; give them, and what was compared."""
    wanted, histograms = plan(model, form), samples.histograms(model)
    expected = samples.expected(model)
    ranges, compared = {}, {}
    for method in activation_ranges.METHODS:
        ranges[method] = {name: histograms[name].range(method) for name in wanted.tensors}
        graph = quantize(model, wanted, ranges[method], form, half=False)
        probabilities = activation_ranges.probabilities(graph, samples.compared)
        difference = np.abs(probabilities - expected)
        compared[method] = RangeComparison(
            mean_difference=_rounded(difference.mean()),
            max_difference=_rounded(difference.max()),
            agreement=round(float((probabilities.argmax(1) == expected.argmax(1)).mean()), 4),
        )
    nearest = min(compared, key=lambda name: _or_infinite(compared[name].mean_difference))
    record = Calibration(
        method=nearest,
        compared=compared,
        windows=len(samples.calibration),
        compared_on=f"{len(expected)} windows {samples.source}",
        weight_bits=WEIGHT_BITS[form],
    )
    return ranges[nearest], record


def _rounded(value: np.floating[Any]) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _or_infinite(value: float | None) -> float:
    return np.inf if value is None else value


def _write(model: onnx.ModelProto, file: Path, target: Target) -> None:
    check_graph(model, target)
    write_bytes(file, model.SerializeToString())


def _opset(model: onnx.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
