"""The README's RAVDESS + FER2013 tables: train every row, score every way of leaving the faces out.

    python benchmarks/ravdess.py --data ../shared/data --runs runs/table --seeds 0 1

Takes up where it was stopped: finished rows are read, the unfinished one is resumed. Writes
benchmarks/results/ravdess.json and ravdess.md. Every row sees the same recipe; only what is named differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fdan_edge import features
from fdan_edge.bench import machine
from fdan_edge.checkpoint import load_run, load_split
from fdan_edge.config import config_from_dict, load_config
from fdan_edge.corpora import Item, Source, read
from fdan_edge.emotions import canonical
from fdan_edge.evaluate import evaluate, read_speech
from fdan_edge.files import write_json, write_text
from fdan_edge.fit import fit
from fdan_edge.progress import say
from fdan_edge.torch_runner import TorchRunner
from fdan_edge.train import spread

RECIPE = ["backbone=mobilenet_v2", "epochs=14", "face_size=64"]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    title: str
    faces: bool
    settings: list[str]
    protocols: tuple[str, ...] = ("speaker",)


ROWS = (
    Row("plain", "plain backbone", False, [], ("speaker", "random")),
    Row("fdan", "FDAN", True, [], ("speaker", "random")),
    Row("fdan_1", "FDAN_1 (no cross-attention)", True, ["attention_layers=0"]),
    Row("fdan_2", "FDAN_2 (no LMMD)", True, ["alpha=0"]),
    Row("dropped", "FDAN, faces' term dropped for half the voices", True, ["visual_dropout=0.5"]),
)
BANK_PER_CLASS = 32  # the 224 faces of the first probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--only", nargs="*", help="train these now, e.g. speaker-fdan_1; the table has what is there"
    )
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    arguments = parser.parse_args()
    rows = []
    for protocol in ("speaker", "random"):
        for seed in arguments.seeds:
            for row in ROWS:
                if protocol in row.protocols:
                    train = arguments.only is None or f"{protocol}-{row.name}" in arguments.only
                    made = one_run(arguments, protocol, row, seed, train=train)
                    rows += [made] if made else []
    write_json(arguments.results / "ravdess.json", {"machine": machine(), "recipe": RECIPE, "rows": rows})
    text = markdown(rows)
    write_text(arguments.results / "ravdess.md", text)
    print(text)


def one_run(
    arguments: argparse.Namespace, protocol: str, row: Row, seed: int, *, train: bool
) -> dict[str, Any] | None:
    """Train a row with one seed (or read what was trained before); None where it is not wanted now."""
    folder = arguments.runs / f"{protocol}-{row.name}-s{seed}"
    speech = [Source("ravdess", arguments.data / "ravdess")]
    visual = [Source("fer2013", arguments.data / "fer2013")] if row.faces else []
    words = [*RECIPE, *arguments.set, *row.settings, f"seed={seed}", f"protocol={protocol}"]
    config = load_config(None, words)
    if not (folder / "metrics.json").exists():
        if not train:
            return None
        say(f"{folder}: {' '.join(words)}")
        fit(config, speech, visual, folder, resume=(folder / "run.toml").exists())
    if load_run(folder)[0] != config:
        raise SystemExit(f"{folder}: was trained with other settings than {' '.join(words)}")
    metrics = json.loads((folder / "metrics.json").read_text())
    paths = acoustic_paths(folder, speech, visual) if row.faces and row.name != "fdan_1" else {}
    test = {k: metrics["test"][k] for k in ("uar", "war", "wf1", "n", "recall")}
    seconds = sum(json.loads(line)["seconds"] for line in (folder / "epochs.jsonl").read_text().splitlines())
    return {
        "protocol": protocol,
        "row": row.title,
        "seed": seed,
        "best_epoch": metrics["best_epoch"],
        "val_uar": metrics["val"]["uar"],
        "seconds": round(seconds),
        "test": test,
        "paths": paths,
        "settings": words,
        "versions": load_run(folder)[1].versions,
    }


def acoustic_paths(folder: Path, speech: list[Source], visual: list[Source]) -> dict[str, dict[str, float]]:
    """UAR of the same weights with the faces' term skipped, and with a bank of fixed faces.

    On validation, where the choice between them is made, and on test.
    """
    cached = folder / "acoustic_paths.json"
    if cached.exists():
        return dict(json.loads(cached.read_text()))
    items = read_speech(speech, calm_as_neutral=True)
    parts = {name: set(keys) for name, keys in load_split(folder).items()}
    with TorchRunner(folder) as runner:
        paths = {"skip": _uar(runner, items, parts)}
        _use_bank(runner, [item for item in items if item.key in parts["train"]], visual)
        paths["bank"] = _uar(runner, items, parts)
    write_json(cached, paths)
    return paths


def _uar(runner: TorchRunner, items: list[Item], parts: dict[str, set[str]]) -> dict[str, float]:
    return {
        name: evaluate(runner, [item for item in items if item.key in parts[name]], name).scores.uar
        for name in ("val", "test")
    }


def _use_bank(runner: TorchRunner, train: list[Item], visual: list[Source]) -> None:
    """Change a runner's model to attend to 32 training faces of each class, seen beside as many voices."""
    model, classes = runner.path.model, runner.info.classes
    config = config_from_dict({**vars(runner.config), "bank_per_class": BANK_PER_CLASS, "speed_perturbation": 0.0})
    labels = torch.tensor([classes.index(item.emotion) for item in train])
    voices = [train[int(i)] for i in spread(labels, BANK_PER_CLASS, len(classes))]
    numbers = [classes.index(item.emotion) for item in voices]
    made = features.training_voices(voices, numbers, config, "the bank")
    items = [item for source in visual for item in read(source, "faces")]
    face_labels = [classes.index(canonical(item.emotion, calm_as_neutral=True)) for item in items]
    chosen = spread(torch.tensor(face_labels), BANK_PER_CLASS, len(classes)).tolist()
    faces = features.load_faces([items[i] for i in chosen], [face_labels[i] for i in chosen], config)
    shape = (len(model.layers), len(chosen), config.feature_size)
    model.bank_keys, model.bank_values = torch.zeros(shape), torch.zeros(shape)
    model.use_bank = True
    model.fill_bank(made.decibel[0].float(), faces.pixels[...].float() / 255)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The tables for the README: mean over the seeds, and each seed."""
    text = ""
    for protocol, title in (("speaker", "actors 21-24 held out"), ("random", "random 8/2 of each class")):
        text += f"\n### {title}\n\n| model | UAR % | WAR % | w-F1 % | seeds |\n|---|---|---|---|---|\n"
        text += _table([row for row in rows if row["protocol"] == protocol])
    paths = [row for row in rows if row["paths"] and row["protocol"] == "speaker"]
    text += "\n### the same weights, two acoustic paths (UAR %, each seed)\n\n"
    text += "| model | skip: val | bank of 224 faces: val | skip: test | bank: test |\n|---|---|---|---|---|\n"
    for name in dict.fromkeys(row["row"] for row in paths):
        cells = [
            " / ".join(f"{100 * row['paths'][path][part]:.1f}" for row in paths if row["row"] == name)
            for part in ("val", "test")
            for path in ("skip", "bank")
        ]
        text += f"| {name} | {' | '.join(cells)} |\n"
    return text


def _table(rows: list[dict[str, Any]]) -> str:
    text = ""
    for name in dict.fromkeys(row["row"] for row in rows):
        cells = []
        for score in ("uar", "war", "wf1"):
            values = [100 * row["test"][score] for row in rows if row["row"] == name]
            cells.append(f"{statistics.mean(values):.1f} ({' / '.join(f'{v:.1f}' for v in values)})")
        seeds = " / ".join(str(row["seed"]) for row in rows if row["row"] == name)
        text += f"| {name} | {' | '.join(cells)} | {seeds} |\n"
    return text


if __name__ == "__main__":
    main()
