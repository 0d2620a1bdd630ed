"""`fdan-edge export`: a run folder to a bundle whose every file has passed the gate."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch

from fdan_edge._version import __version__
from fdan_edge.data import corpora
from fdan_edge.data.corpora import Source, parse_source
from fdan_edge.errors import ExportError, MissingDependencyError
from fdan_edge.export.artifact import ArtifactWriter, ExportInputs
from fdan_edge.export.model_card import THIS_MODEL, write_card
from fdan_edge.export.noise_scores import with_noise_scores
from fdan_edge.export.plan import Plan, plan
from fdan_edge.export.recordings import RunRecordings
from fdan_edge.export.unknown_threshold import unknown_below
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import Bundle, new_bundle, write_manifest
from fdan_edge.runtime.deploy_targets import Target
from fdan_edge.runtime.manifest import EngineFile, Manifest
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx_session import import_onnxruntime
from fdan_edge.runtime.tensorrt.engines import build_for, find_tensorrt
from fdan_edge.utils.files import sha256
from fdan_edge.utils.small_files import read_json

log = logging.getLogger(__name__)


def export_bundle(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    targets: Sequence[str] = ("cpu",),
    precisions: Sequence[str] = (),
    speech: Sequence[Source | str] = (),
    force: bool = False,
    required: str = "",
) -> Bundle:
    """Export a run: an ONNX file for each target and precision, each past the gate, and TensorRT engines.

        bundle = export_bundle("runs/mine", "bundle", targets=["cpu"], precisions=["int8"])

    Args:
        run: a run folder.
        out: the bundle to make; an earlier bundle there stays until the new one has passed.
        targets: names of `fdan_edge.runtime.deploy_targets.TARGETS`; the first one's file is `model.onnx`.
        precisions: fp32, fp16 or int8: each target gets those of them that it runs; none: each target's default.
        speech: where the recordings for calibration and gate are, as in `ravdess:/data/ravdess`; none: the
            run's own corpora. Unlabelled speech adds to the clips that fp16 and int8 are judged by.
        force: keep an int8 that is not faster than fp32.
        required: a target whose engine must be built; of others those that can be built here are.

    Returns:
        The new bundle.

    Raises:
        ExportError: a file does not pass, or something cannot be built.
        ConfigError: an unknown target or precision.
        BundleError: `out` holds something that is not a bundle's, or another process writes it.
    """
    run, out = Path(run), Path(out)
    plans = plan(targets, precisions)
    import_onnxruntime()  # what is missing is said before minutes of work, not after
    engine_plans = _engines_to_build(plans, required)
    sources = [parse_source(source) if isinstance(source, str) else source for source in speech]
    # The place is taken first: a second export into it would else work for minutes in vain.
    with TorchRunner(run) as reference, new_bundle(out) as folder:
        lower = any(entry.precision != "fp32" for entry in plans)
        recordings = RunRecordings(run, reference, sources, distances=lower)
        _ = recordings.compared  # too few of them are said before minutes of work
        spec = _with_confidence(with_noise_scores(_with_scores(reference.spec, run), run), recordings)
        writer = ArtifactWriter(ExportInputs(reference, spec, recordings, force), folder)
        artifacts = tuple(writer.write(entry) for entry in plans)
        engines = [engine for entry, target in engine_plans for engine in _build(folder, entry, target, required)]
        manifest = Manifest(
            run=str(run),
            split_sha256=sha256(run / "split.json"),
            spec=spec,
            licence=spec.info["licence"],
            versions=_versions(),
            artifacts=artifacts,
            engines=tuple(engines),
        )
        write_card(folder, manifest)
        write_manifest(folder, manifest)
    if useless := spec.info["test_scores"]["useless"]:
        log.warning(f"{out}: this model should not be used: {useless}")
    return Bundle.open(out)


def _engines_to_build(plans: list[Plan], required: str) -> list[tuple[Plan, Target]]:
    """List the engines to try: those whose TensorRT is installed here, if it is needed to build."""
    wanted = [(entry, target) for entry in plans for target in entry.targets if target.engine]
    for_rtx = [target.name for _, target in wanted if target.engine == "rtx"]
    if for_rtx:
        try:
            find_tensorrt("rtx")
        except MissingDependencyError as error:
            if required in for_rtx:
                raise
            log.warning(f"no engines for RTX cards: {error}")
            return [(entry, target) for entry, target in wanted if target.engine != "rtx"]
    return wanted


def _build(folder: Path, entry: Plan, target: Target, required: str) -> list[EngineFile]:
    """Build the engines of a file for a target that can be built here."""
    engines, notes = build_for(target, folder / entry.file, entry.precision)
    for note in notes:
        log.info(f"{entry.file}, target {target.name}: {note}")
    if required == target.name and not engines:
        raise ExportError(f"{entry.file}, target {target.name}: {notes[0]}")
    return [engine.listed(entry.file, target.name) for engine in engines]


def _with_scores(spec: ModelSpec, run: Path) -> ModelSpec:
    """Add the run's test scores and its terms, which travel inside the ONNX file."""
    try:
        scores = _scores(read_json(run / "metrics.json", finite=False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ExportError(
            f"{run}: has no scores yet; `fdan-edge train --resume --out {run}` finishes it"
        ) from None
    return replace(spec, info={**spec.info, "test_scores": scores, "licence": _licence(spec)})


def _scores(metrics: dict[str, Any]) -> dict[str, Any]:
    """Round a run's test scores, their intervals and its calibration for the spec, and say whose they are."""
    test, names = metrics["test"], ("uar", "war", "wf1")
    known = {}
    if same := metrics.get("same_speakers"):
        known = {"same_speakers": {"uar": same["uar"], "interval": same["intervals"]["uar"], "n": same["n"]}}
    intervals = {name: [round(edge, 4) for edge in test["intervals"][name]] for name in names}
    return {
        **{name: round(float(test[name]), 4) for name in names},
        "n": int(test["n"]),
        "recall": {name: round(value, 4) for name, value in test["recall"].items()},
        "intervals": {**intervals, "note": test["intervals"]["note"]},
        **{name: round(test["calibration"][name], 4) for name in ("ece", "nll")},
        "part": test["part"],
        "scores_of": metrics.get("scores_of", THIS_MODEL),
        "epoch_choice": metrics.get("epoch_choice", ""),
        "useless": metrics.get("verdict", {}).get("useless", ""),
        **known,
    }


def _licence(spec: ModelSpec) -> str:
    """Say which terms the weights inherit, corpus by corpus."""
    names = dict.fromkeys([*spec.info["speech"], *spec.info["faces"], *spec.info["target"]])
    terms = [f"{name}: {corpora.licence(name)}" for name in names]
    return f"weights inherit the terms of their data: {'; '.join(terms)}"


def _with_confidence(spec: ModelSpec, recordings: RunRecordings) -> ModelSpec:
    """Add the confidence below which streams say `unknown`."""
    return replace(spec, info={**spec.info, "unknown_below": unknown_below(recordings)})


def _versions() -> dict[str, str]:
    return {
        "fdan_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": import_onnxruntime().__version__,
    }
