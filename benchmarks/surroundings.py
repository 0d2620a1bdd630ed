"""What heads on frozen features keep in noise, rooms, telephones and codecs, with and without copies in training.

    python benchmarks/surroundings.py --speech ravdess:../shared/data/ravdess --noise ../shared/data/noise

Six folds of speakers, three times over. Each fold's head is fitted on the other folds' recordings alone, or on
their copies too: far too weak ones, and ones in other surroundings, whose noise is generated. It is tested on the
recordings as they are, and under conditions of `fdan_edge.audio.conditions.named`; their recorded noise is new to
it. Writes surroundings.json and .md into benchmarks/results.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdan_edge.audio.conditions.named import Condition, conditions
from fdan_edge.audio.conditions.recorded import load_recordings
from fdan_edge.audio.windows import Waveform
from fdan_edge.config import Config
from fdan_edge.config.recipes import HEAD_LAYERS, head_config
from fdan_edge.data.corpora import Item, parse_source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.features import extract
from fdan_edge.features.copies import Copy, copies_elsewhere, weak_copies
from fdan_edge.models.backbones.build import frozen_encoder
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.training import head
from fdan_edge.training.head import Copies, Recordings, fit_head
from fdan_edge.training.trainer import build_model
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.machine import machine_info

RESULTS = Path(__file__).resolve().parent / "results"
FOLDS, SEEDS, RESAMPLES = 6, 3, 2000
TESTED = ("clean", "recorded noise", "room, 0.5 s", "telephone", "Opus")

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ConditionCopy:
    """A condition of the tests as the features' cache knows it."""

    condition: Condition
    noise: str  # what the recorded noise is, for the cache
    kind: str = "condition"

    @property
    def what(self) -> str:
        return self.condition.name

    @property
    def key(self) -> dict[str, Any]:
        return {"condition": self.condition.name, "noise": self.noise}

    def changed(self, waveform: Waveform, item: Item) -> Waveform:
        return self.condition(waveform, item.key)


@dataclass(frozen=True)
class Data:
    """Mean features of all recordings: as they are, of copies to fit on, and under conditions to test."""

    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    clean: Array  # (n, d)
    weak: Array  # (k, n, d)
    elsewhere: Array
    tested: dict[str, Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=parse_source, required=True)
    parser.add_argument("--noise", type=Path, required=True, help="folder of recorded noise to test in")
    parser.add_argument("--calm", action="store_true", help="RAVDESS' calm is a class of its own")
    parser.add_argument("--layers", type=int, default=HEAD_LAYERS, help="of Whisper tiny")
    arguments = parser.parse_args()
    config = head_config(replace(Config(), encoder_layers=arguments.layers, calm_as_neutral=not arguments.calm))
    items = read_labelled_speech([parse_source(str(arguments.speech))], calm_as_neutral=not arguments.calm)
    data = features(items, config, arguments.noise)
    ways = {
        "recordings alone": Copies(data.weak[:0], np.empty(0)),
        "and weak copies": Copies(data.weak, np.full(len(data.weak), head.WEAK_CHANGES)),
        "and copies elsewhere": Copies(
            np.concatenate([data.weak, data.elsewhere]),
            np.repeat([head.WEAK_CHANGES, head.CHANGES_ELSEWHERE], [len(data.weak), len(data.elsewhere)]),
        ),
    }
    right = {way: answers(data, copies) for way, copies in ways.items()}
    rows = [row(data, way, name, right) for name in data.tested for way in ways]
    name = f"surroundings{'-calm' if arguments.calm else ''}"
    values = {"rows": rows, "classes": int(data.labels.max() + 1), "layers": arguments.layers}
    write_json(RESULTS / f"{name}.json", {**values, "folds": FOLDS, "seeds": SEEDS, "machine": machine_info()})
    text = table(rows, list(ways), list(data.tested))
    write_text(RESULTS / f"{name}.md", text)
    print(text)


def features(items: list[Item], config: Config, noise: Path) -> Data:
    """Encode all recordings, their copies, and both under every condition."""
    names = sorted({item.emotion for item in items})
    torch.manual_seed(0)
    encoder = frozen_encoder(build_model(config, len(names), faces=False).acoustic.backbone, config)
    assert encoder is not None
    clean = means(items, config, encoder, None)
    recorded = load_recordings([noise])
    wanted = [c for c in conditions(recorded) if c.name.startswith(TESTED)]
    tested = {c.name: means(items, config, encoder, ConditionCopy(c, str(len(recorded)))) for c in wanted[1:]}
    weak = np.stack([means(items, config, encoder, copy) for copy in weak_copies()])
    elsewhere = np.stack([means(items, config, encoder, copy) for copy in copies_elsewhere(config)])
    labels = np.array([names.index(item.emotion) for item in items])
    speakers = np.array([str(item.speaker_key) for item in items])
    return Data(labels, speakers, clean, weak, elsewhere, {"clean": clean, **tested})


def means(items: list[Item], config: Config, encoder: StagedBackbone, copy: Copy | None) -> Array:
    """Encode every recording, (n, d)."""
    what = copy.what if copy else "recordings"
    voices = extract.evaluation_voices(items, list(range(len(items))), config, what, encoder=encoder, copy=copy)
    owner = voices.owner.numpy()
    values = voices.read(0, torch.arange(len(owner))).numpy().astype(np.float64)
    averages = Recordings(values, owner, np.arange(len(items))).means()
    assert len(averages) == len(items), "a recording is broken"
    return averages


def answers(data: Data, copies: Copies) -> dict[str, NDArray[np.int64]]:
    """Tell what heads answer that were not fitted on a recording, by condition: class indices (seeds, n)."""
    given = {name: np.zeros((SEEDS, len(data.labels)), np.int64) for name in data.tested}
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(np.unique(data.speakers))
        for fold in range(FOLDS):
            held_out = np.isin(data.speakers, order[fold::FOLDS])
            train = np.flatnonzero(~held_out)
            fitted = fit_head(data.clean[train], data.labels[train], data.labels.max() + 1, copies.of(train))
            for name, values in data.tested.items():
                given[name][seed, held_out] = fitted.logits(values[held_out]).argmax(axis=1)
    return given


def row(data: Data, way: str, name: str, given: dict[str, dict[str, NDArray[np.int64]]]) -> dict[str, Any]:
    """Score a condition: UAR, its interval by speaker, and the change against recordings alone, paired."""
    first = next(iter(given))
    scores = resampled(data, given[way][name])
    gain = scores - resampled(data, given[first][name])
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return {
        "condition": name,
        "heads": way,
        "uar": scores[0],
        "interval": [low, high],
        "gain": gain[0],
        "gain_interval": list(np.percentile(gain[1:], [2.5, 97.5])),
    }


def resampled(data: Data, given: NDArray[np.int64]) -> Array:
    """UAR in percent, mean of the seeds: of all speakers first, then of speakers drawn with repetition."""
    names, classes = np.unique(data.speakers), int(data.labels.max() + 1)
    hits, counts = np.zeros((len(names), classes)), np.zeros((len(names), classes))
    place = np.searchsorted(names, data.speakers)
    np.add.at(hits, (place, data.labels), (given == data.labels).mean(axis=0))
    np.add.at(counts, (place, data.labels), 1)
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    draws = np.concatenate([np.ones((1, len(names)), np.int64), draws])
    recalls = (draws @ hits) / np.maximum(draws @ counts, 1e-9)
    scores: Array = 100 * recalls.mean(axis=1)
    return scores


def table(rows: list[dict[str, Any]], ways: list[str], names: list[str]) -> str:
    """Write the table as Markdown: conditions down, ways of training across."""
    by = {(r["condition"], r["heads"]): r for r in rows}
    lines = ["| tested | " + " | ".join(ways) + " | gain |", "|---|" + "--:|" * (len(ways) + 1)]
    for name in names:
        cells = [f"{by[name, way]['uar']:.1f}" for way in ways]
        last = by[name, ways[-1]]
        low, high = last["gain_interval"]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {last['gain']:+.1f} ({low:+.1f} to {high:+.1f}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
