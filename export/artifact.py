"""One ONNX file of a bundle: lowered, checked against its targets' limits, passed through the gate, timed."""

from __future__ import annotations

import functools
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from fdan_edge.errors import ExportError
from fdan_edge.export.fp16 import largest_half
from fdan_edge.export.gate import LOSS, Check, compare
from fdan_edge.export.onnx_graph import check_graph
from fdan_edge.export.plan import Plan
from fdan_edge.export.precision import Clips, lower
from fdan_edge.export.recordings import Material
from fdan_edge.export.sensitivity import blame
from fdan_edge.export.speed import Speed, compare_speed
from fdan_edge.export.stream_graph import check_stream, write_stream_graph
from fdan_edge.export.to_onnx import export_graph, with_front_end
from fdan_edge.models.fdan import build_frontend
from fdan_edge.profiling.graph_cost import cost
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.deploy_targets import S8S8, TARGETS
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.opening import OnnxRunner, Probabilities
from fdan_edge.utils.files import sha256

log = logging.getLogger(__name__)

_RANGED = 32  # windows whose values halves must hold
#: On the CPU, where it runs everywhere: a GPU's TF32 would be compared instead of the file.
_CPU = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class Order:
    """What all files of an export share."""

    reference: TorchRunner
    spec: ModelSpec
    material: Material
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
    def clips(self) -> Clips:
        """What int8 is calibrated on and judged by; the test part is not among it."""
        material = self.material

        def loss(file: Path) -> float:
            with OnnxRunner(file, _CPU) as runner:
                return material.validation.check(runner, "int8").loss

        validation = material.validation
        return Clips(material.calibration, validation.windows, loss, LOSS["int8"], validation.source)


class Maker:
    """Makes the files of a bundle.

    Args:
        order: what they share.
        folder: where they go.
    """

    def __init__(self, order: Order, folder: Path) -> None:
        self.order, self.folder = order, folder
        self.checks: list[Check] = []

    def make(self, plan: Plan) -> dict[str, Any]:
        """Write the file of a plan; gives its entry of bundle.json.

        Raises:
            ExportError: a target cannot read it, it does not pass the gate, or it is int8 and not faster.
        """
        file = self.folder / plan.file
        clips = self.order.clips if plan.precision == "int8" else None
        graph = self.order.graph if plan.precision == "fp32" else self.order.lean
        made = lower(graph, file, plan.targets[0], plan.precision, clips)
        model = onnx.load(str(file))
        for target in plan.targets[1:]:  # `lower` has checked the first
            check_graph(model, target)
        halves = plan.precision == "fp16" or plan.format == S8S8
        largest = largest_half(graph, model, self.order.material.held_out.windows[:_RANGED]) if halves else None
        check, given = self._gate(file, model, plan)
        stream, compared = self._stream(file, plan, given)
        speed = self._speed(file, plan)
        self.checks.append(check)
        return {
            "file": plan.file,
            "precision": plan.precision,
            "format": plan.format,
            "targets": [target.name for target in plan.targets],
            "opset": made.opset,
            "gate": {
                **check.to_dict(),
                "line": check.line(),
                "largest_half": largest,
                "speed": speed.to_dict() if speed else None,
                "onnx_sha256": sha256(file),
                "stream": compared,
            },
            "calibration": made.calibration,
            "kept": list(made.kept),
            "cost": cost(model),
            "stream": stream,
        }

    def _gate(self, file: Path, model: onnx.ModelProto, plan: Plan) -> tuple[Check, Probabilities]:
        """What was found, and what the file gives for each recording."""
        held = self.order.material.held_out
        with OnnxRunner(file, _CPU) as runner:
            given = held.probabilities(runner)
        check = compare(held, given, plan.precision)
        log.info(f"{plan.file}, {plan.precision}: {check.line()}")
        if not check.passed:
            layers = "; ".join(map(str, blame(self.order.graph, model, held.windows)))
            raise ExportError(
                f"{plan.file} ({plan.precision}) does not reproduce {self.order.reference.name}: {check.line()}; "
                f"most is lost in {layers}"
            )
        return check, given

    def _stream(self, file: Path, plan: Plan, given: Probabilities) -> tuple[str | None, dict[str, Any] | None]:
        """The name and the report of the graph for live streams, where ONNX Runtime runs them."""
        if not any(target.runtime.startswith("onnxruntime") for target in plan.targets):
            return None, None
        made = write_stream_graph(file, self.order.reference.path.frontend, self.order.spec.window)
        report = check_stream(self.order.material.held_out, made, given, plan.precision, _CPU)
        log.info(f"{made.name}: {report['clips']} real clips: largest difference {report['max_difference']:.1e}")
        return made.name, report

    def _speed(self, file: Path, plan: Plan) -> Speed | None:
        """Against the next higher precision on the CPU, the only target that is at hand everywhere."""
        if plan.precision == "int8" and TARGETS["cpu"] not in plan.targets:
            log.info(f"{plan.file}, int8: whether it is faster is for `fdan-edge bench` on the device to say")
        if plan.precision != "int8" or TARGETS["cpu"] not in plan.targets:
            return None
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "fp32.onnx"
            lower(self.order.graph, other, TARGETS["cpu"], "fp32")
            with OnnxRunner(file, _CPU) as runner, OnnxRunner(other, _CPU) as next_:
                speed = compare_speed(runner, next_, "fp32")
        log.info(f"{plan.file}, {plan.precision}: {speed.line()}")
        if speed.ratio >= 1 and not self.order.force:
            raise ExportError(
                f"{plan.file} (int8) is not faster: {speed.line()}; --force keeps it, --precision fp32 is better"
            )
        return speed
