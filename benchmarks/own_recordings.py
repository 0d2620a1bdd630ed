"""Whether the default command makes a working model of a few of one's own recordings.

    python benchmarks/own_recordings.py folder:/data/javased.csv emodb:/data/emodb --out results.json

For each corpus, 60, 132 and 300 clips of 2 to 6 speakers are drawn at random, 20 times. Each draw is written as a
table, `fdan-edge train --speech folder:table.csv` is run on it with its defaults, and the model is scored on the
other clips of the same speakers and on all clips of the other speakers. Beside it stands logistic regression on
the same frozen features (standardised, C = 0.01, balanced).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fdan_edge import cli
from fdan_edge.config import Config, head_config
from fdan_edge.data.corpora import Item, parse_source
from fdan_edge.data.speech import class_names, read_labelled_speech
from fdan_edge.evaluation import calibration
from fdan_edge.features import extract
from fdan_edge.models.backbones.build import frozen_encoder
from fdan_edge.runs.run_folder import load_model
from fdan_edge.training.head import Recordings
from fdan_edge.training.trainer import build_model
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

SIZES = (60, 132, 300)
SPEAKERS = (2, 6)
_TRIES = 1000  # draws of speakers, of whom some have too few clips
_LEFT = 20  # clips of the same speakers that must remain to be tested


@dataclass(frozen=True)
class Corpus:
    """A corpus and the frozen features of all its windows."""

    name: str
    items: list[Item]
    classes: list[str]
    recordings: Recordings
    speakers: np.ndarray  # names, (n,)


@dataclass(frozen=True)
class Draw:
    """Places of the clips to train on, and of those to test on."""

    train: np.ndarray
    same: np.ndarray
    others: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    options = build_parser().parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for source in options.sources:
        corpus = load_corpus(source)
        for size in options.sizes:
            draws = [draw(corpus, size, seed) for seed in range(options.draws)]
            if None in draws:
                print(f"{corpus.name}: {SPEAKERS[1]} speakers have fewer than {size} clips", flush=True)
                continue
            results = [measure(corpus, chosen) for chosen in draws if chosen]
            rows.append(summary(corpus, size, results))
            print(line(rows[-1]), flush=True)
            write_json(options.out, {"draws": options.draws, "machine": machine_info(), "rows": rows})


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="CORPUS:PATH[+CORPUS:PATH]")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/own-recordings.json"))
    return parser


def load_corpus(word: str) -> Corpus:
    """Read a corpus, of which parts may lie in several places joined by +, and encode all of it."""
    sources = [parse_source(part) for part in word.split("+")]
    items = read_labelled_speech(sources, calm_as_neutral=True, boredom=False)
    config = head_config(Config())
    classes = class_names(items)
    model = build_model(config, len(classes), faces=False)
    encoder = frozen_encoder(model.acoustic.backbone, config)
    # The "labels" are places in the list, since broken recordings are left out.
    voices = extract.evaluation_voices(items, list(range(len(items))), config, "benchmark", encoder=encoder)
    owner = voices.owner.numpy()
    items = [items[place] for place in voices.labels.numpy()[np.unique(owner, return_index=True)[1]]]
    labels = [classes.index(item.emotion) for item in items]
    features = voices.read(0, torch.arange(len(owner))).numpy().astype(np.float64)
    speakers = np.array([str(item.speaker_key) for item in items])
    return Corpus(sources[0].corpus, items, classes, Recordings(features, owner, np.array(labels)), speakers)


def draw(corpus: Corpus, size: int, seed: int) -> Draw | None:
    """Draw clips of 2 to 6 speakers, of all classes; None where hardly any speakers have so many."""
    chance = np.random.default_rng([size, seed])
    names = np.unique(corpus.speakers)
    labels = corpus.recordings.labels
    for _ in range(_TRIES):
        chosen = chance.choice(names, chance.integers(SPEAKERS[0], SPEAKERS[1] + 1), replace=False)
        pool = np.flatnonzero(np.isin(corpus.speakers, chosen))
        if len(pool) < size + _LEFT:
            continue
        train = chance.choice(pool, size, replace=False)
        if len(np.unique(labels[train])) == len(corpus.classes):
            others = np.flatnonzero(~np.isin(corpus.speakers, chosen))
            return Draw(np.sort(train), np.setdiff1d(pool, train), others)
    return None


def measure(corpus: Corpus, chosen: Draw) -> dict[str, Any]:
    """Train by the default command on a draw; UAR of ours and of logistic regression, in percent."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = train(corpus, chosen.train, folder)
        path, _, info, values = load_model(folder / "run")
        metrics = json.loads((folder / "run/metrics.json").read_text())
        shutil.rmtree(folder / "run")
    features = torch.from_numpy(corpus.recordings.features).float()
    with torch.inference_mode():
        logits = path.model.acoustic_logits(features).numpy()
    ours = calibration.soften(logits, corpus.recordings.owner, values["temperature"]).argmax(1)
    assert info.classes == corpus.classes
    linear = logistic(corpus, chosen.train)
    truth = corpus.recordings.labels
    scores = {
        f"{who} {where}": 100 * recall_score(truth[places], answers[places], average="macro")
        for where, places in (("same", chosen.same), ("new", chosen.others))
        for who, answers in (("ours", ours), ("linear", linear))
    }
    cross_validated = 100 * metrics["test"]["uar"]
    return {
        "exit code": code,
        "speakers": len(np.unique(corpus.speakers[chosen.train])),
        **scores,
        "cross-validated": cross_validated,
    }


def train(corpus: Corpus, places: np.ndarray, folder: Path) -> int:
    """Run the default command on a table of these clips, and return its exit code."""
    table = folder / "labels.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "emotion", "speaker"])
        for place in places:
            item = corpus.items[place]
            writer.writerow([item.path.resolve(), item.emotion, corpus.speakers[place]])
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            cli.main(["train", "--speech", f"folder:{table}", "--out", str(folder / "run"), "--json"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def logistic(corpus: Corpus, places: np.ndarray) -> np.ndarray:
    """Fit logistic regression on the mean features of these clips; what it answers for every clip."""
    means, labels = corpus.recordings.means(), corpus.recordings.labels
    regression = LogisticRegression(C=0.01, class_weight="balanced", max_iter=500)
    fitted = make_pipeline(StandardScaler(), regression).fit(means[places], labels[places])
    answers: np.ndarray = fitted.predict(means)
    return answers


def summary(corpus: Corpus, size: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the draws; the difference with its 95 % interval over the draws."""
    row: dict[str, Any] = {"corpus": corpus.name, "clips": size, "results": results}
    for where in ("same", "new"):
        ours, linear = (np.array([result[f"{who} {where}"] for result in results]) for who in ("ours", "linear"))
        chance = np.random.default_rng(0)
        drawn = chance.choice(ours - linear, (2000, len(ours))).mean(axis=1)
        row[where] = {
            "ours": float(ours.mean()),
            "linear": float(linear.mean()),
            "difference": float((ours - linear).mean()),
            "interval": [float(edge) for edge in np.percentile(drawn, [2.5, 97.5])],
        }
    row["refused"] = sum(result["exit code"] == 1 for result in results)
    near_chance = 100 / len(corpus.classes) + 5
    row["at chance, not refused"] = sum(
        result["exit code"] == 0 and result["ours new"] < near_chance for result in results
    )
    return row


def line(row: dict[str, Any]) -> str:
    """Write a row of the documents' table."""
    cells = [row["corpus"], str(row["clips"])]
    for where in ("new", "same"):
        values = row[where]
        low, high = values["interval"]
        cells.append(f"{values['ours']:.1f}")
        cells.append(f"{values['linear']:.1f}")
        cells.append(f"{values['difference']:+.1f} ({low:+.1f} to {high:+.1f})")
    return f"| {' | '.join([*cells, str(row['refused']), str(row['at chance, not refused'])])} |"


if __name__ == "__main__":
    main()
