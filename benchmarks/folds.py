"""Cross-validations of RAVDESS beside what large frozen networks reach under the same protocol.

    fdan-edge crossval --speech ravdess:PATH --out runs/folds ...
    python benchmarks/folds.py runs/folds [OTHER ...]

Reads crossval.json of each folder; writes benchmarks/results/folds.json and folds.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fdan_edge.config import Config, config_to_dict
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs.run_folder import load_run
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.machine import machine_info

#: UAR of 8 classes in % and parameters in millions, RAVDESS, 6 speaker-disjoint folds, frozen features (EmoBox,
#: Ma et al. 2024; ../shared/design/facts.md).
ANCHORS = (("wav2vec2-base", 95, 54.33), ("WavLM-Large", 316, 72.00), ("Whisper-Large-v3", None, 75.32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    entries = [entry(folder) for folder in arguments.folders]
    write_json(arguments.results / "folds.json", {"machine": machine_info(), "rows": entries, "anchors": ANCHORS})
    text = markdown(entries)
    write_text(arguments.results / "folds.md", text)
    print(text)


def entry(folder: Path) -> dict[str, Any]:
    """What one cross-validation says of itself."""
    values = json.loads((folder / "crossval.json").read_text())
    config, info = load_run(folder / "fold-1")
    default = config_to_dict(Config())
    changed = {k: v for k, v in config_to_dict(config).items() if v != default[k] and k not in ("fold", "threads")}
    lines = [path.read_text().splitlines() for path in folder.glob("fold-*/epochs.jsonl")]
    return {
        "title": f"{values['method']}, {config.backbone}",
        "parameters": parameters(config, len(info.classes), faces=bool(info.faces)),
        "classes": len(info.classes),
        "seed": config.seed,
        "settings": changed,
        "versions": info.versions,
        "seconds": round(sum(json.loads(line)["seconds"] for epochs in lines for line in epochs)),
        "best_epochs": [fold["best_epoch"] for fold in values["folds"]],
        **{name: values[name] for name in ("protocol", "audit", "pooled", "merged")},
    }


def parameters(config: Config, classes: int, *, faces: bool) -> int:
    """How many numbers leave for the device: all but the faces' side."""
    model = Fdan(config, classes, faces=faces, pretrained=False)
    return sum(p.numel() for name, p in model.named_parameters() if "visual" not in name)


def markdown(entries: list[dict[str, Any]]) -> str:
    """One line for each cross-validation and each anchor."""
    text = "| model | parameters | 8 classes: UAR % (95 % interval) | WAR % | 7 classes: UAR % (95 % interval) | "
    text += "WAR % |\n"
    text += "|---|---|---|---|---|---|\n"
    for made in entries:
        both = [made["pooled"] if made["classes"] == 8 else None, made["merged"] or made["pooled"]]
        cells = " | ".join(scores(part) for part in both)
        text += f"| {made['title']} (seed {made['seed']}) | {made['parameters'] / 1e6:.1f} M | {cells} |\n"
    for name, millions, uar in ANCHORS:
        size = f"{millions} M" if millions else "-"
        text += f"| {name}, frozen (EmoBox) | {size} | {uar:.1f} | - | - | - |\n"
    for made in entries:
        recall = ", ".join(f"{name} {100 * value:.0f}" for name, value in made["pooled"]["recall"].items())
        folds = made["pooled"]
        text += (
            f"\n- {made['title']}: {made['protocol']}; audit: {made['audit']}. UAR over the folds "
            f"{100 * folds['mean']['uar']:.1f} +- {100 * folds['sd']['uar']:.1f}. Recall %: {recall}. "
            f"Trained in {made['seconds'] / 60:.0f} min. Settings: {made['settings']}.\n"
        )
    return text


def scores(part: dict[str, Any] | None) -> str:
    """UAR with its interval, and WAR."""
    if part is None:
        return "- | -"
    low, high = (100 * edge for edge in part["intervals"]["uar"])
    return f"{100 * part['uar']:.1f} ({low:.1f} to {high:.1f}) | {100 * part['war']:.1f}"


if __name__ == "__main__":
    main()
