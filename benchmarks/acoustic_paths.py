"""The README's table of the two acoustic paths: the same weights without faces, and with a bank of fixed ones.

    fdan-edge reproduce table4 --speech ravdess:... --faces fer2013:... --rows fdan_2,fdan --out runs/reproduce ...
    python benchmarks/acoustic_paths.py runs/reproduce/ravdess-speaker-fdan*

Reads finished runs, their corpora from their run.toml. UAR on validation, where the choice between the paths is
made, and on test. Writes benchmarks/results/acoustic_paths.json and .md; each run folder keeps its part.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch

from fdan_edge.config import config_from_dict
from fdan_edge.data.corpora import Item, Source, parse_source, read
from fdan_edge.data.labels import training_class
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.evaluation.score_items import score_items
from fdan_edge.features import extract
from fdan_edge.runs.run_folder import load_run, load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.class_balance import even_sample
from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.machine import machine_info

log = logging.getLogger("fdan_edge.benchmarks")

BANK_PER_CLASS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rows = [made for folder in arguments.runs if (made := one_run(folder))]
    write_json(arguments.results / "acoustic_paths.json", {"machine": machine_info(), "rows": rows})
    text = markdown(rows)
    write_text(arguments.results / "acoustic_paths.md", text)
    print(text)


def one_run(folder: Path) -> dict[str, Any] | None:
    """Both paths of a finished run; None where there is no cross-attention, so only one path."""
    config, info = load_run(folder)
    if not info.faces or not config.attention_layers:
        log.warning(f"{folder}: without faces or cross-attention there is one path only: left out")
        return None
    speech, faces = ([parse_source(word) for word in words] for words in (info.speech, info.faces))
    log.info(str(folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        "run": folder.name,
        "model": metrics["method"],
        "protocol": metrics["protocol"],
        "seed": config.seed,
        "paths": acoustic_paths(folder, speech, faces),
    }


def acoustic_paths(folder: Path, speech: list[Source], visual: list[Source]) -> dict[str, dict[str, float]]:
    """UAR of the same weights with the faces' term skipped, and with a bank of fixed faces.

    On validation, where the choice between them is made, and on test.
    """
    cached = folder / "acoustic_paths.json"
    if cached.exists():
        return dict(json.loads(cached.read_text()))
    items = read_labelled_speech(speech, calm_as_neutral=True)
    parts = {name: set(keys) for name, keys in load_split(folder).items()}
    with TorchRunner(folder) as runner:
        paths = {"skip": _uar(runner, items, parts)}
        _use_bank(runner, [item for item in items if item.key in parts["train"]], visual)
        paths["bank"] = _uar(runner, items, parts)
    write_json(cached, paths)
    return paths


def _uar(runner: TorchRunner, items: list[Item], parts: dict[str, set[str]]) -> dict[str, float]:
    return {
        name: score_items(runner, [item for item in items if item.key in parts[name]], name).scores.uar
        for name in ("val", "test")
    }


def _use_bank(runner: TorchRunner, train: list[Item], visual: list[Source]) -> None:
    """Change a runner's model to attend to 32 training faces of each class, seen beside as many voices."""
    model, classes = runner.path.model, runner.info.classes
    config = config_from_dict({**vars(runner.config), "bank_per_class": BANK_PER_CLASS, "speed_perturbation": 0.0})
    labels = torch.tensor([classes.index(item.emotion) for item in train])
    voices = [train[int(i)] for i in even_sample(labels, BANK_PER_CLASS, len(classes))]
    numbers = [classes.index(item.emotion) for item in voices]
    made = extract.training_voices(voices, numbers, config, "the bank")
    items = [item for source in visual for item in read(source, "faces")]
    face_labels = [classes.index(training_class(item.emotion, calm_as_neutral=True)) for item in items]
    chosen = even_sample(torch.tensor(face_labels), BANK_PER_CLASS, len(classes)).tolist()
    faces = extract.load_faces([items[i] for i in chosen], [face_labels[i] for i in chosen], config)
    shape = (len(model.layers), len(chosen), config.feature_size)
    model.bank_keys, model.bank_values = torch.zeros(shape), torch.zeros(shape)
    model.use_bank = True
    model.fill_bank(made.decibel[0].float(), faces.pixels[...].float() / 255)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for the README: one line for each run."""
    text = "| run | model | skip: val | bank: val | skip: test | bank: test |\n|---|---|---|---|---|---|\n"
    for row in rows:
        paths = row["paths"]
        cells = [f"{100 * paths[path][part]:.1f}" for part in ("val", "test") for path in ("skip", "bank")]
        text += f"| {row['run']} | {row['model']} | {' | '.join(cells)} |\n"
    return f"UAR %; the bank holds {BANK_PER_CLASS} faces of each class.\n\n{text}"


if __name__ == "__main__":
    with messages.shown():
        main()
