"""`fdan-edge export`: a run folder to a bundle that has passed its check."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from fdan_edge import __version__, bundle
from fdan_edge.bundle import Artifact
from fdan_edge.checkpoint import load_split
from fdan_edge.corpora import Item, Source, parse_source, recording
from fdan_edge.engines import Engine, build_for, find_tensorrt
from fdan_edge.errors import DataError, ExportError
from fdan_edge.evaluate import pick, read_speech
from fdan_edge.export.to_onnx import OPSET, write_onnx
from fdan_edge.export.verify import CLIPS, Check, verify
from fdan_edge.files import sha256
from fdan_edge.progress import say
from fdan_edge.runners import OnnxRunner
from fdan_edge.spec import ModelSpec
from fdan_edge.targets import find_target
from fdan_edge.torch_runner import TorchRunner

#: What each corpus allows, as said with the models trained on it.
TERMS = {
    "savee": "research use",
    "meld": "GPL-3.0 for the labels; the scenes belong to their owner",
    "ravdess": "CC BY-NC-SA 4.0, non-commercial",
    "emodb": "CC0",
    "crema": "Open Database License",
    "enterface": "research use",
    "casia": "by agreement with its publisher",
    "fer2013": "research use",
    "ck": "by agreement with its publisher, non-commercial research",
    "folder": "your own",
    "unlabelled": "your own",
    "synthetic": "made by fdan-edge",
}


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    folder: Path
    check: Check
    engine: Engine | None
    files: dict[str, int]  # name -> bytes


def export(run: Path, out: Path, *, trt: bool, speech: list[Source] | None = None) -> Exported:
    """Write `model.onnx`, check it against PyTorch on real clips, and build an engine if wanted.

    Args:
        run: a run folder.
        out: the bundle to make; an earlier bundle there stays until the new one has passed.
        trt: build a TensorRT engine too.
        speech: where clips for the check are; the run's own corpora when None.

    Raises:
        ExportError: the artifact differs from the model, or something cannot be built.
    """
    if trt:
        find_tensorrt()  # before minutes of work, not after
    with TorchRunner(run) as reference:
        clips, source = _clips(run, reference, speech)
        spec = _with_scores(reference.spec, run)
        with bundle.new_bundle(out) as folder:
            write_onnx(reference.path, spec, folder / bundle.MODEL)
            # On the CPU: a GPU's TF32 would be compared instead of the file.
            with OnnxRunner(folder / bundle.MODEL, ("CPUExecutionProvider",)) as exported:
                check = verify(reference, exported, clips, source)
            say(f"{bundle.MODEL}: {check.line()}")
            built = build_for(find_target("rtx"), folder / bundle.MODEL, "fp32")[0] if trt else []
            engine = built[0] if built else None
            bundle.write_manifest(folder, _manifest(run, spec, check, engine))
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return Exported(out, check, engine, files)


def _clips(run: Path, reference: TorchRunner, speech: list[Source] | None) -> tuple[list[Item], str]:
    """Recordings for the check: the run's test part, or any of the speech given."""
    own = [*reference.info.speech, *reference.info.target]  # the test may be of the target
    sources = speech or [parse_source(text) for text in own if not text.startswith("unlabelled:")]
    try:
        config = reference.config
        items = read_speech(sources, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    except DataError as error:
        raise ExportError(f"the export is checked on real clips, but {error}; name some with --speech") from None
    test = {recording(key) for key in load_split(run)["test"]}
    held_out = [item for item in items if recording(item.key) in test]
    return (pick(held_out, CLIPS), "of the test part") if held_out else (pick(items, CLIPS), "of the given speech")


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
    return replace(spec, info={**spec.info, "test_scores": scores, "licence": _licence(spec)})


def _reliability(test: dict[str, Any]) -> dict[str, Any]:
    """How sure scores and probabilities are; runs of earlier versions do not say."""
    if "intervals" not in test:
        return {}
    intervals = {name: [round(edge, 4) for edge in test["intervals"][name]] for name in ("uar", "war", "wf1")}
    recall = {name: round(value, 4) for name, value in test["recall"].items()}
    calibration = {name: round(test["calibration"][name], 4) for name in ("ece", "nll")}
    return {"recall": recall, "intervals": {**intervals, "note": test["intervals"]["note"]}, **calibration}


def _licence(spec: ModelSpec) -> str:
    """The terms that the weights inherit, by corpus."""
    corpora = dict.fromkeys([*spec.info["speech"], *spec.info["faces"], *spec.info["target"]])
    terms = [f"{name}: {TERMS.get(name, 'see there')}" for name in corpora]
    return f"weights inherit the terms of their data: {'; '.join(terms)}"


def _manifest(run: Path, spec: ModelSpec, check: Check, engine: Engine | None) -> dict[str, Any]:
    versions = {
        "fdan_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    artifact = Artifact(bundle.MODEL, "fp32", None, ("cpu", "rtx") if engine else ("cpu",), OPSET, check.to_dict())
    return {
        "run": str(run),
        "split_sha256": sha256(run / "split.json"),  # says which speech may not be scored
        "spec": json.loads(spec.to_json()),
        "artifacts": [artifact.to_dict()],
        "engines": [engine.listed(bundle.MODEL, "rtx").to_dict()] if engine else [],
        "versions": versions,
    }
