"""The model card of a bundle (Mitchell et al. 2019, "Model Cards for Model Reporting"), from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdan_edge.runtime.deploy_targets import TARGETS
from fdan_edge.utils.files import write_text

CARD = "README.md"

_LIMITS = """\
- It hears how something is said, in classes that were acted or annotated by others. It does not know what
  anybody feels.
- The scores are of the test named above. Other microphones, rooms, languages, ages and spontaneous speech give
  others; `fdan-edge evaluate` scores it on your own recordings.
- Decisions about people need more than this. In the European Union, inferring emotions at work and in education is
  prohibited, but for medical or safety reasons (Regulation (EU) 2024/1689, article 5).
"""


def write_card(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the card of the bundle in `folder` from the content of its bundle.json."""
    spec = manifest["spec"]
    info = spec["info"]
    parts = [
        f"# {info['backbone']}: speech emotion recognition",
        f"Waveform in ({spec['window'] / spec['sample_rate']:g} s at {spec['sample_rate']} Hz, mono), "
        f"probabilities of {len(spec['labels'])} classes out: {', '.join(spec['labels'])}. Made by fdan-edge "
        f"{manifest['versions']['fdan_edge']}.",
        "```\nfdan-edge infer . recording.wav\nfdan-edge bench .\n```",
        "## Training",
        _training(info),
        "## Scores",
        _scores(info["test_scores"]),
        _unknown(info.get("unknown_below", {})),
        "## Files",
        _files(folder, manifest["artifacts"]),
        _engines(manifest["engines"]),
        "## Limits",
        _LIMITS,
        "## Terms",
        f"The {manifest['licence']}.",
    ]
    write_text(folder / CARD, "\n\n".join(part.strip() for part in parts if part) + "\n")


def _training(info: dict[str, Any]) -> str:
    rows = {
        "speech": ", ".join(info["speech"]),
        "faces": ", ".join(info["faces"]) or "none",
        "heard without labels": ", ".join(info["target"]) or "none",
        "method": info["method"] if info["target"] or info["faces"] else "plain backbone",
        "protocol": info["protocol"],
        "audit of the split": info["audit"],
    }
    if teacher := info.get("teacher"):
        rows["teacher"] = f"{teacher['backbone']}, checkpoint {teacher['sha256'][:12]}"
    return _table(("", ""), list(rows.items()))


def _scores(scores: dict[str, Any]) -> str:
    intervals = scores.get("intervals", {})
    rows = []
    for name, title in (("uar", "UAR"), ("war", "WAR"), ("wf1", "w-F1")):
        low, high = intervals.get(name, (None, None))
        between = f"{100 * low:.1f} to {100 * high:.1f}" if low is not None else "not known"
        rows.append((title, f"{100 * scores[name]:.1f}", between))
    rows += [(f"recall of {name}", f"{100 * value:.1f}", "") for name, value in scores.get("recall", {}).items()]
    note = f" ({intervals['note']})" if "note" in intervals else ""
    about = f"PyTorch model, {scores['n']} recordings that it was not trained on{note}."
    if "ece" in scores:
        about += f" Expected calibration error {100 * scores['ece']:.1f} %."
    return f"{about}\n\n{_table(('score', '%', '95 % interval'), rows)}"


def _unknown(found: dict[str, Any]) -> str:
    """What a live stream takes for too unsure; nothing for bundles of before."""
    if not found:
        return ""
    about = f"A live stream says `unknown` below a confidence of {found['confidence']:.2f}"
    if "logit" in found:
        about += ", higher before a full window was heard"
    if "note" in found:
        return f"{about}, the usual one ({found['note']})."
    above = (
        f"{100 * found['covered']:.0f} % of {found['recordings']} recordings of the validation part are above it"
    )
    right = f", and {100 * found['accuracy']:.0f} % of these are right" if found["accuracy"] is not None else ""
    return f"{about}: there the model is more often wrong than right; {above}{right}."


def _files(folder: Path, artifacts: list[dict[str, Any]]) -> str:
    rows = []
    for one in artifacts:
        gate = one["gate"]
        size = f"{(folder / one['file']).stat().st_size / 1e6:.2f}"
        rows.append((f"`{one['file']}`", _precision(one), size, ", ".join(one["targets"]), gate["line"]))
        if name := one.get("stream"):
            size = f"{(folder / name).stat().st_size / 1e6:.2f}"
            rows.append((f"`{name}`", _precision(one), size, "live streams", _stream(one)))
    about = (
        "Each file was run over held-out recordings beside the PyTorch model before it was let into this bundle."
    )
    return f"{about}\n\n{_table(('file', 'precision', 'MB', 'for', 'what was found'), rows)}"


def _stream(artifact: dict[str, Any]) -> str:
    found = artifact["gate"]["stream"]
    return (
        f"`{artifact['file']}` from the mel power on, which the device computes once for each frame: largest "
        f"probability difference from it {found['max_difference']:.1e} on {found['clips']} clips"
    )


def _precision(artifact: dict[str, Any]) -> str:
    count = len(artifact["kept"])
    kept = f", {count} layer{'s' if count > 1 else ''} kept higher" if count else ""
    chosen = (artifact["calibration"] or {}).get("method")
    return f"{artifact['precision']}{f' ({chosen})' if chosen else ''}{kept}"


def _engines(engines: list[dict[str, Any]]) -> str:
    rows = [
        (f"`{one['file']}`", f"`{one['artifact']}`", TARGETS[one["target"]].title, _words(one["fingerprint"]))
        for one in engines
    ]
    return _table(("engine", "built from", "for", "with"), rows) if rows else ""


def _words(fingerprint: dict[str, Any]) -> str:
    """The version and the card; the rest is in bundle.json."""
    capability = fingerprint["compute_capability"]
    return f"{fingerprint['flavour']} {fingerprint['version']}, compute capability {capability}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
