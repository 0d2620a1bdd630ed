"""`fdan-edge export`: a run folder to a bundle whose every file has passed the gate."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from fdan_edge._version import __version__
from fdan_edge.data.corpora import Source
from fdan_edge.errors import ExportError, MissingDependencyError
from fdan_edge.export.artifact import Maker, Order
from fdan_edge.export.gate import Check
from fdan_edge.export.model_card import write_card
from fdan_edge.export.plan import Plan, plan
from fdan_edge.export.recordings import Material
from fdan_edge.export.terms import licence
from fdan_edge.export.unknown_threshold import unknown_below
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime import bundle
from fdan_edge.runtime.deploy_targets import Target
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.tensorrt.engines import build_for, find_tensorrt
from fdan_edge.utils.files import sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    folder: Path
    artifacts: list[dict[str, Any]]  # as in bundle.json
    engines: list[dict[str, Any]]
    files: dict[str, int]  # name -> bytes
    check: Check  # of model.onnx


def export(
    run: Path,
    out: Path,
    *,
    targets: Sequence[str] = ("cpu",),
    precisions: Sequence[str] = (),
    speech: list[Source] | None = None,
    force: bool = False,
    required: str = "",
) -> Exported:
    """Write an ONNX file for each target and precision, pass each through the gate, and build engines.

    Args:
        run: a run folder.
        out: the bundle to make; an earlier bundle there stays until the new one has passed.
        targets: names of `fdan_edge.runtime.deploy_targets.TARGETS`; the first one's file is `model.onnx`.
        precisions: see `fdan_edge.export.plan.plan`.
        speech: where the recordings for calibration and gate are; the run's own corpora when None.
        force: keep an int8 that is not faster than the next precision.
        required: a target whose engine must be built; of others those that can be built here are.

    Raises:
        ExportError: an artifact does not pass, or something cannot be built.
        ConfigError: a target or precision that there is not.
    """
    plans = plan(targets, precisions)
    orders = _engines_wanted(plans, required)  # what is missing is said before minutes of work, not after
    with TorchRunner(run) as reference:
        material = Material(run, reference, speech)
        spec = _with_confidence(_with_scores(reference.spec, run), material)
        order = Order(reference, spec, material, force)
        with bundle.new_bundle(out) as folder:
            maker = Maker(order, folder)
            artifacts = [maker.make(one) for one in plans]
            built = [entry for one, target in orders for entry in _build(folder, one, target, required)]
            manifest = _manifest(run, spec, artifacts, built)
            write_card(folder, manifest)
            bundle.write_manifest(folder, manifest)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return Exported(out, artifacts, built, files, maker.checks[0])


def _engines_wanted(plans: list[Plan], required: str) -> list[tuple[Plan, Target]]:
    """The engines to try: those whose TensorRT is installed here, if it is needed to build."""
    wanted = [(one, target) for one in plans for target in one.targets if target.engine]
    if any(target.engine == "rtx" for _, target in wanted):
        try:
            find_tensorrt("rtx")
        except MissingDependencyError as error:
            if required == "rtx":
                raise
            log.warning(f"no engines for RTX cards: {error}")
            return [(one, target) for one, target in wanted if target.engine != "rtx"]
    return wanted


def _build(folder: Path, one: Plan, target: Target, required: str) -> list[dict[str, Any]]:
    """The engines of a file for a target that can be built here, as entries of bundle.json."""
    built, notes = build_for(target, folder / one.file, one.precision)
    for note in notes:
        log.info(f"{one.file}, target {target.name}: {note}")
    if required == target.name and not built:
        raise ExportError(f"{one.file}, target {target.name}: {notes[0]}")
    return [engine.listed(one.file, target.name).to_dict() for engine in built]


def _with_scores(spec: ModelSpec, run: Path) -> ModelSpec:
    """The spec with the run's test scores, which travel inside the ONNX file."""
    try:
        test = json.loads((run / "metrics.json").read_text())["test"]
        scores = {name: round(float(test[name]), 4) for name in ("uar", "war", "wf1")} | {"n": int(test["n"])}
        scores |= _reliability(test)
    except (OSError, ValueError, KeyError, TypeError):
        raise ExportError(
            f"{run}: has no scores yet; `fdan-edge train --resume --out {run}` finishes it"
        ) from None
    return replace(spec, info={**spec.info, "test_scores": scores, "licence": licence(spec)})


def _with_confidence(spec: ModelSpec, material: Material) -> ModelSpec:
    """The spec with the confidence below which streams say `unknown`."""
    return replace(spec, info={**spec.info, "unknown_below": unknown_below(material)})


def _reliability(test: dict[str, Any]) -> dict[str, Any]:
    """How sure scores and probabilities are; runs of earlier versions do not say."""
    if "intervals" not in test:
        return {}
    intervals = {name: [round(edge, 4) for edge in test["intervals"][name]] for name in ("uar", "war", "wf1")}
    recall = {name: round(value, 4) for name, value in test["recall"].items()}
    calibration = {name: round(test["calibration"][name], 4) for name in ("ece", "nll")}
    return {"recall": recall, "intervals": {**intervals, "note": test["intervals"]["note"]}, **calibration}


def _manifest(
    run: Path, spec: ModelSpec, made: list[dict[str, Any]], built: list[dict[str, Any]]
) -> dict[str, Any]:
    versions = {
        "fdan_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    return {
        "run": str(run),
        "split_sha256": sha256(run / "split.json"),  # says which speech may not be scored
        "spec": json.loads(spec.to_json()),
        "licence": spec.info["licence"],
        "versions": versions,
        "artifacts": made,
        "engines": built,
    }
