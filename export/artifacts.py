"""One ONNX file of a bundle: lowered, checked against its targets' limits, passed through the gate, timed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fdan_edge.errors import ExportError
from fdan_edge.export.cost import cost
from fdan_edge.export.gate import Check
from fdan_edge.export.graph import check_graph
from fdan_edge.export.lower import Clips, Lowered, blame, lower
from fdan_edge.export.material import Material
from fdan_edge.export.plan import Plan
from fdan_edge.export.speed import Speed, compare_speed
from fdan_edge.files import sha256
from fdan_edge.progress import say
from fdan_edge.runners import OnnxRunner
from fdan_edge.spec import ModelSpec
from fdan_edge.targets import TARGETS
from fdan_edge.torch_runner import TorchRunner

#: On the CPU, where it runs everywhere: a GPU's TF32 would be compared instead of the file.
_CPU = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class Order:
    """What all files of an export share."""

    reference: TorchRunner
    spec: ModelSpec
    material: Material
    calibration: str  # auto or a method
    force: bool  # keep an int8 that is not faster


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
        made = self._lower(plan, file)
        model = onnx.load(str(file))
        for target in plan.targets:
            check_graph(model, target)
        check = self._gate(file, plan)
        speed = self._speed(file, plan)
        self.checks.append(check)
        return {
            "file": plan.file,
            "precision": plan.precision,
            "format": plan.format,
            "targets": [target.name for target in plan.targets],
            "opset": model.opset_import[0].version,
            "gate": {
                **check.to_dict(),
                "line": check.line(),
                "speed": speed.to_dict() if speed else None,
                "onnx_sha256": sha256(file),
            },
            "calibration": made.calibration,
            "kept": list(made.kept),
            "cost": cost(model),
        }

    def _lower(self, plan: Plan, file: Path) -> Lowered:
        order = self.order
        clips = self._clips() if plan.precision == "int8" else None
        spec = replace(order.spec, info={**order.spec.info, "precision": plan.precision})
        return lower(order.reference.path, spec, file, plan.targets[0], plan.precision, clips)

    def _clips(self) -> Clips:
        material = self.order.material

        def loss(file: Path) -> float:
            with OnnxRunner(file, _CPU) as runner:
                return material.validation.check(runner, "int8").loss

        return Clips(material.calibration, loss, self.order.calibration)

    def _gate(self, file: Path, plan: Plan) -> Check:
        with OnnxRunner(file, _CPU) as runner:
            check = self.order.material.held_out.check(runner, plan.precision)
        say(f"{plan.file}, {plan.precision}: {check.line()}")
        if not check.passed:
            layers = ", ".join(blame(self.order.reference.path, file, self.order.material.calibration))
            raise ExportError(
                f"{plan.file} ({plan.precision}) does not reproduce {self.order.reference.name}: {check.line()}; "
                f"most is lost in {layers}"
            )
        return check

    def _speed(self, file: Path, plan: Plan) -> Speed | None:
        """Against the next higher precision on the CPU, the only target that is at hand everywhere."""
        if plan.precision != "int8" or TARGETS["cpu"] not in plan.targets:
            return None
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "fp32.onnx"
            lower(self.order.reference.path, self.order.spec, other, TARGETS["cpu"], "fp32", None)
            with OnnxRunner(file, _CPU) as runner, OnnxRunner(other, _CPU) as next_:
                speed = compare_speed(runner, next_, "fp32")
        say(f"{plan.file}, {plan.precision}: {speed.line()}")
        if speed.ratio >= 1 and not self.order.force:
            raise ExportError(
                f"{plan.file} (int8) is not faster: {speed.line()}; --force keeps it, --precision fp32 is better"
            )
        return speed
