"""Which files an export makes: targets times precisions, each graph once."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fdan_edge.errors import ConfigError, unknown_choice
from fdan_edge.runtime.bundle import MODEL
from fdan_edge.runtime.deploy_targets import PRECISIONS, TARGETS, Target, check_precision, find_target
from fdan_edge.runtime.tensorrt.compatibility import MODULES
from fdan_edge.runtime.tensorrt.engines import find_tensorrt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One ONNX file and the targets that it is for."""

    file: str
    precision: str
    format: str | None  # of int8
    targets: tuple[Target, ...]

    @property
    def has_stream(self) -> bool:
        """Whether a graph for live streams goes beside it: ONNX Runtime runs these."""
        return any(target.runtime.startswith("onnxruntime") for target in self.targets)


def plan(targets: Sequence[str], precisions: Sequence[str]) -> list[Plan]:
    """List the files to make; the first is `model.onnx`.

    Args:
        targets: names of targets.
        precisions: each target gets those of them that it runs; none: each target's default. A target that runs
            none of them is left out, and said to be.

    Raises:
        ConfigError: an unknown name, or no target runs any of the precisions.
    """
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ConfigError(unknown_choice("precision", precision, PRECISIONS))
    plans: dict[tuple[str, str | None], Plan] = {}
    chosen = [find_target(name) for name in dict.fromkeys(targets)]
    for target in chosen:
        for precision in _precisions(target, precisions, alone=len(chosen) == 1):
            key = (precision, target.int8 if precision == "int8" else None)
            entry = plans.get(key) or Plan(_file(*key) if plans else MODEL, *key, ())
            plans[key] = replace(entry, targets=(*entry.targets, target))
    if not plans:
        check_precision(chosen[0], precisions[0])
    return list(plans.values())


def target_of_tensorrt(module: str, version: str, machine: str) -> Target:
    """Find the target that an installed TensorRT is of: what `--trt` means on this machine.

    Args:
        module: tensorrt_rtx or tensorrt.
        version: its version.
        machine: as `platform.machine` says.
    """
    of_flavour = [t for t in TARGETS.values() if t.engine is not None and MODULES[t.engine] == module]
    of_machine = [t for t in of_flavour if t.processor == machine] or [t for t in of_flavour if not t.processor]
    return next((target for target in of_machine if target.takes_tensorrt(version)), of_machine[-1])


def installed_target() -> Target:
    """Find the target of the TensorRT that is installed here.

    Raises:
        MissingDependencyError: there is none.
    """
    module = find_tensorrt()
    return target_of_tensorrt(module.__name__, module.__version__, platform.machine())


def _precisions(target: Target, wanted: Sequence[str], *, alone: bool) -> list[str]:
    if not wanted:
        return [target.precisions[0]]
    fitting = [precision for precision in dict.fromkeys(wanted) if precision in target.precisions]
    if not fitting and not alone:
        log.warning(f"left out: target {target.name}, which runs {' and '.join(target.precisions)} only")
    return fitting


def _file(precision: str, format_: str | None) -> str:
    return f"model.{precision}{f'-{format_}' if format_ else ''}.onnx"
