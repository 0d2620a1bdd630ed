"""The model card of a bundle (Mitchell et al. 2019, "Model Cards for Model Reporting"), from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdan_edge.evaluation.robustness_report import short_table
from fdan_edge.runtime.deploy_targets import TARGETS
from fdan_edge.runtime.manifest import Artifact, EngineFile, GateReport, Manifest, StreamReport
from fdan_edge.runtime.tensorrt.compatibility import Fingerprint
from fdan_edge.utils.files import write_text
from fdan_edge.utils.markdown import Markdown, code, escaped, table

CARD = "README.md"
#: Whose the scores are, where a part of the speech was held out; else models of a cross-validation were scored.
THIS_MODEL = "this model"

_LIMITS = """\
- It hears how something is said, in classes that were acted or annotated by others. It does not know what
  anybody feels.
- The scores are of the test named above. Other microphones, rooms, languages, ages and spontaneous speech give
  others; `fdan-edge evaluate` scores it on your own recordings.
- Decisions about people need more than this. In the European Union, inferring emotions at work and in education is
  prohibited, but for medical or safety reasons (Regulation (EU) 2024/1689, article 5).
"""


def write_card(folder: Path, manifest: Manifest) -> None:
    """Write the card of the bundle in `folder`, whose files are there."""
    spec, info = manifest.spec, manifest.spec.info
    parts = [
        f"# {escaped(info['backbone'])}: speech emotion recognition",
        f"Waveform in ({spec.window / spec.sample_rate:g} s at {spec.sample_rate} Hz, mono), "
        f"probabilities of {len(spec.labels)} classes out: {', '.join(map(escaped, spec.labels))}. "
        f"Made by fdan-edge {escaped(manifest.versions['fdan_edge'])}.",
        "```\nfdan-edge infer . recording.wav\nfdan-edge bench .\n```",
        "## Training",
        _training(info),
        "## Scores",
        _scores(info["test_scores"]),
        _unknown(info["unknown_below"]),
        *_robustness(info.get("robustness")),
        "## Files",
        _files(folder, manifest.artifacts),
        _engines(manifest.engines),
        "## Limits",
        _LIMITS,
        "## Terms",
        f"The {escaped(manifest.licence)}.",
    ]
    write_text(folder / CARD, "\n\n".join(part.strip() for part in parts if part) + "\n")


def _training(info: dict[str, Any]) -> str:
    rows = {
        "speech": ", ".join(info["speech"]),
        "faces": ", ".join(info["faces"]) or "none",
        "heard without labels": ", ".join(info["target"]) or "none",
        "method": _method(info),
        "protocol": info["protocol"],
        "audit of the split": info["audit"],
    }
    if choice := info["test_scores"].get("epoch_choice"):
        rows["epoch that is kept"] = choice
    if teacher := info.get("teacher"):
        rows["teacher"] = f"{teacher['backbone']}, checkpoint {teacher['sha256'][:12]}"
    return table(("", ""), list(rows.items()))


def _method(info: dict[str, Any]) -> str:
    if info.get("recipe") == "head":
        return "head on frozen features"
    return str(info["method"]) if info["target"] or info["faces"] else "plain backbone"


def _scores(scores: dict[str, Any]) -> str:
    intervals = scores["intervals"]
    rows = []
    for name, title in (("uar", "UAR"), ("war", "WAR"), ("wf1", "w-F1")):
        low, high = intervals[name]
        rows.append((title, f"{100 * scores[name]:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"))
    rows += [(f"recall of {name}", f"{100 * value:.1f}", "") for name, value in scores["recall"].items()]
    if known := scores.get("same_speakers"):
        low, high = known["interval"]
        rows.append(("UAR, same speakers", f"{100 * known['uar']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"))
    warning = f"**Do not use this model:** {escaped(scores['useless'])}.\n\n" if scores.get("useless") else ""
    about = f"{_scored(scores)} ({escaped(intervals['note'])}). "
    about += f"Expected calibration error {100 * scores['ece']:.1f} %."
    return f"{warning}{about}\n\n{table(('score', '%', '95 % interval'), rows)}"


def _scored(scores: dict[str, Any]) -> str:
    """Say what was scored, and on what."""
    if scores.get("scores_of", THIS_MODEL) == THIS_MODEL:
        return f"PyTorch model, {scores['n']} recordings that it was not trained on"
    return (
        "**This model was trained on all recordings and has no scores of its own.** These are of models like it, "
        f"{escaped(scores['part'])}; {scores['n']} recordings"
    )


def _unknown(threshold: dict[str, Any]) -> str:
    """Say below which confidence a live stream says `unknown`, and how that was chosen."""
    about = f"A live stream says `unknown` below a confidence of {threshold['confidence']:.2f}"
    if "logit" in threshold and threshold["logit"][1]:
        about += ", higher before a full window was heard"
    if "note" in threshold:
        return f"{about}, the usual one ({escaped(threshold['note'])})."
    above = (
        f"{100 * threshold['covered']:.0f} % of {threshold['recordings']} recordings of "
        f"{escaped(threshold.get('part', 'the validation part'))} are above it"
    )
    accuracy = threshold["accuracy"]
    right = f", and {100 * accuracy:.0f} % of these are right" if accuracy is not None else ""
    return f"{about}: there the model is more often wrong than right; {above}{right}."


def _robustness(scored: dict[str, Any] | None) -> list[str]:
    """Give the section on noise, rooms and lines; nothing where the run was not scored there."""
    if not scored:
        return []
    about = (
        f"PyTorch model; {scored['n']} recordings, {escaped(scored['part'])}, disturbed before the model's filter "
        "(`fdan-edge evaluate --robustness`). Noise: mean over its kinds. Change: against the same recordings as "
        "they are. Right: of the answers that a stream would not call `unknown`."
    )
    return ["## In noise, rooms and over lines", f"{about}\n\n{short_table(scored['conditions'])}"]


def _files(folder: Path, artifacts: Sequence[Artifact]) -> str:
    rows = []
    for artifact in artifacts:
        precision = _precision(artifact)
        line = artifact.gate.line if artifact.gate else "not compared"
        rows.append(
            (
                code(artifact.file),
                precision,
                _megabytes(folder / artifact.file),
                ", ".join(artifact.targets),
                line,
            )
        )
        if artifact.stream and artifact.gate and artifact.gate.stream:
            size = _megabytes(folder / artifact.stream)
            rows.append(
                (
                    code(artifact.stream),
                    precision,
                    size,
                    "live streams",
                    _stream(artifact.file, artifact.gate.stream),
                )
            )
    gates = [artifact.gate for artifact in artifacts if artifact.gate]
    about = "Each file was run over real recordings beside the PyTorch model before it was let into this bundle."
    about += _trained_on(gates) + _distance(gates)
    return f"{about}\n\n{table(('file', 'precision', 'MB', 'for', 'what was found'), rows)}"


def _trained_on(gates: Sequence[GateReport]) -> str:
    """Say where no recording of the comparison was unseen."""
    if not any(gate.trained_on for gate in gates):
        return ""
    return (
        " **The model was trained on these recordings**: the run kept none apart. So the comparison says how near "
        "the files are to the PyTorch model, and nothing of how well they recognise other voices."
    )


def _distance(gates: Sequence[GateReport]) -> str:
    """Explain the distance that lower precisions are judged by."""
    if not any(gate.distance for gate in gates):
        return ""
    return (
        " The total variation distance of two answers is half the sum of the differences of their probabilities: "
        "0 where they are equal, 1 where they have nothing in common."
    )


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.2f}"


def _stream(file: str, report: StreamReport) -> Markdown:
    return Markdown(
        f"{code(file)} from the mel power on, which the device computes once for each frame: largest "
        f"probability difference from it {report.max_difference:.1e} on {report.clips} clips"
    )


def _precision(artifact: Artifact) -> str:
    count = len(artifact.kept)
    kept = f", {count} layer{'s' if count > 1 else ''} kept higher" if count else ""
    method = f" ({artifact.calibration.method})" if artifact.calibration else ""
    return f"{artifact.precision}{method}{kept}"


def _engines(engines: Sequence[EngineFile]) -> str:
    rows = [
        (
            code(engine.file),
            code(engine.artifact),
            TARGETS[engine.target].title,
            _fingerprint(engine.fingerprint),
        )
        for engine in engines
    ]
    return table(("engine", "built from", "for", "with"), rows) if rows else ""


def _fingerprint(fingerprint: Fingerprint) -> str:
    """Give the version and the card; the rest is in bundle.json."""
    return f"{fingerprint.flavour} {fingerprint.version}, compute capability {fingerprint.compute_capability}"
