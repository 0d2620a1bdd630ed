"""One ONNX file of a bundle: lowered, checked against its targets' limits, passed through the gate, timed."""

from __future__ import annotations

import functools
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from fdan_edge.errors import BundleError, ExportError, one_line
from fdan_edge.export.fp16 import largest_half
from fdan_edge.export.gate import Check, compare
from fdan_edge.export.onnx_graph import check_graph
from fdan_edge.export.plan import Plan
from fdan_edge.export.precision import CalibrationSet, lower
from fdan_edge.export.recordings import RunRecordings
from fdan_edge.export.sensitivity import noisiest_layers
from fdan_edge.export.speed import Speed, compare_speed
from fdan_edge.export.stream_graph import check_stream, write_stream_graph
from fdan_edge.export.to_onnx import export_graph, with_front_end
from fdan_edge.models.fdan import build_frontend
from fdan_edge.profiling.graph_cost import cost
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.deploy_targets import S8S8
from fdan_edge.runtime.manifest import Artifact, StreamReport
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_session import CPU
from fdan_edge.runtime.runner import Probabilities
from fdan_edge.utils.files import sha256

log = logging.getLogger(__name__)

_RANGED = 32  # windows whose values halves must hold
#: Of the distance that int8 may have, while its layers are chosen: other recordings must pass too.
_MARGIN = 0.9
#: On the CPU, where it runs everywhere: a GPU's TF32 would be compared instead of the file.
_CPU = (CPU,)


@dataclass(frozen=True)
class ExportInputs:
    """What all files of an export share."""

    reference: TorchRunner
    spec: ModelSpec
    recordings: RunRecordings
    force: bool  # keep an int8 that is not faster

    @functools.cached_property
    def graph(self) -> onnx.ModelProto:
        """The model in fp32."""
        return export_graph(self.reference.path, self.spec)

    @functools.cached_property
    def lean(self) -> onnx.ModelProto:
        """The same with the faster front end, from which lower precisions are made."""
        frontend = build_frontend(self.reference.config, exact=False)
        return with_front_end(self.graph, frontend, self.spec.window)

    @functools.cached_property
    def calibration(self) -> CalibrationSet:
        """What int8 is calibrated on and judged by; the test part is not among it."""
        validation = self.recordings.validation

        def judge(file: Path) -> Check:
            with OnnxRunner(file, _CPU) as runner:
                return validation.check(runner, "int8", _MARGIN)

        windows = self.recordings.calibration
        return CalibrationSet(windows, validation.windows, judge, validation.answers.source)


class ArtifactWriter:
    """Writes the ONNX files of a bundle.

    Args:
        inputs: what they share.
        folder: where they go.
    """

    def __init__(self, inputs: ExportInputs, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder

    def write(self, plan: Plan) -> Artifact:
        """Write the file of a plan, and its graph for live streams; give its entry of bundle.json.

        Raises:
            ExportError: a target cannot read it, it does not pass the gate, or it is int8 and not faster.
        """
        file = self.folder / plan.file
        graph = self.inputs.graph if plan.precision == "fp32" else self.inputs.lean
        calibration = self.inputs.calibration if plan.precision == "int8" else None
        lowered = lower(graph, file, plan.targets[0], plan.precision, calibration)
        model = onnx.load(str(file))
        for target in plan.targets[1:]:  # `lower` has checked the first
            check_graph(model, target)
        largest = self._largest_half(graph, model, plan)
        check, probabilities = self._gate(file, model, plan)
        stream = self._write_stream(file, plan, probabilities)
        speed = self._compare_speed(file, plan)
        name, report = stream or (None, None)
        return Artifact(
            file=plan.file,
            precision=plan.precision,
            format=plan.format,
            targets=tuple(target.name for target in plan.targets),
            opset=lowered.opset,
            gate=check.report(sha256(file), largest, speed.report() if speed else None, report),
            calibration=lowered.calibration,
            kept=lowered.kept,
            cost=cost(model),
            stream=name,
        )

    def _largest_half(self, graph: onnx.ModelProto, model: onnx.ModelProto, plan: Plan) -> float | None:
        """Give the largest value that the file must hold in half precision; None where it has no halves."""
        if plan.precision != "fp16" and plan.format != S8S8:
            return None
        return largest_half(graph, model, self.inputs.recordings.compared.windows[:_RANGED])

    def _gate(self, file: Path, model: onnx.ModelProto, plan: Plan) -> tuple[Check, Probabilities]:
        """Compare the file with PyTorch; give the result, and the file's probabilities of each recording."""
        clips = self.inputs.recordings.compared
        try:
            with OnnxRunner(file, _CPU) as runner:
                probabilities = clips.probabilities(runner)
        except BundleError as error:  # such as NaN, of half precision that overflows
            layers = "; ".join(map(str, noisiest_layers(self.inputs.graph, model, clips.windows)))
            raise ExportError(f"{one_line(error)}; most is lost in {layers}") from None
        check = compare(clips.answers, probabilities, plan.precision)
        log.info(f"{plan.file}, {plan.precision}: {check.line()}")
        if not check.passed:
            layers = "; ".join(map(str, noisiest_layers(self.inputs.graph, model, clips.windows)))
            raise ExportError(
                f"{plan.file} ({plan.precision}) does not reproduce {self.inputs.reference.name}: {check.line()}; "
                f"most is lost in {layers}"
            )
        return check, probabilities

    def _write_stream(
        self, file: Path, plan: Plan, probabilities: Probabilities
    ) -> tuple[str, StreamReport] | None:
        """Write the graph for live streams, where ONNX Runtime runs them; give its name and its comparison."""
        if not plan.has_stream:
            return None
        stream = write_stream_graph(file, self.inputs.reference.path.frontend, self.inputs.spec.window)
        report = check_stream(self.inputs.recordings.compared, stream, probabilities, plan.precision, _CPU)
        log.info(f"{stream.name}: {report.clips} real clips: largest difference {report.max_difference:.1e}")
        return stream.name, report

    def _compare_speed(self, file: Path, plan: Plan) -> Speed | None:
        """Time int8 against fp32 on the CPU, the only machine that is at hand everywhere."""
        if plan.precision != "int8":
            return None
        on_cpu = [target for target in plan.targets if target.runtime == "onnxruntime-cpu"]
        if not on_cpu:
            log.info(f"{plan.file}, int8: whether it is faster is for `fdan-edge bench` on the device to say")
            return None
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "fp32.onnx"
            lower(self.inputs.graph, other, on_cpu[0], "fp32")
            with OnnxRunner(file, _CPU) as runner, OnnxRunner(other, _CPU) as fp32:
                speed = compare_speed(runner, fp32, "fp32")
        log.info(f"{plan.file}, {plan.precision}: {speed.line()}")
        if speed.ratio >= 1 and not self.inputs.force:
            raise ExportError(
                f"{plan.file} (int8) is not faster: {speed.line()}; --force keeps it, --precision fp32 is better"
            )
        return speed
