"""Intervals and calibration of finished runs: what one temperature, fitted on validation, does on test.

    python benchmarks/calibration.py runs/table/* --speech ravdess:../shared/data/ravdess

Writes benchmarks/results/calibration.json and calibration.md. Works on runs of before temperatures, too.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdan_edge.audio import decode
from fdan_edge.audio.windows import cut_windows
from fdan_edge.data.corpora import Item, Source, parse_source
from fdan_edge.data.speech import choose_part, read_labelled_speech
from fdan_edge.evaluation.calibration import Array, Indices, fit_temperature, measure, soften
from fdan_edge.evaluation.confidence_intervals import intervals
from fdan_edge.evaluation.metrics import score
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.progress import track

log = logging.getLogger("fdan_edge.benchmarks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--speech", type=parse_source, action="append", required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    rows = [one_run(folder, arguments.speech) for folder in arguments.runs]
    write_json(arguments.results / "calibration.json", {"rows": rows})
    text = markdown(rows)
    write_text(arguments.results / "calibration.md", text)
    print(text)


def one_run(folder: Path, speech: list[Source]) -> dict[str, Any]:
    """Scores with intervals, and ECE and NLL on test at temperature 1 and at the fitted one."""
    log.info(str(folder))
    runner = TorchRunner(folder)
    items = read_labelled_speech(speech, calm_as_neutral=runner.config.calm_as_neutral)
    split, labels = load_split(folder), list(runner.spec.labels)
    val, test = (choose_part(items, split, part)[0] for part in ("val", "test"))
    fitted = fit_temperature(*logits(runner, val))
    windows, owner, true = logits(runner, test)
    before, after = (soften(windows, owner, t) for t in (1.0, fitted.temperature))
    predicted = before.argmax(axis=1).tolist()
    speakers = [item.speaker_key for item in test]
    return {
        "run": folder.name,
        "scores": score(true.tolist(), predicted, labels).to_dict(),
        "intervals": intervals(true.tolist(), predicted, labels, speakers).to_dict(),
        "validation": fitted.to_dict(),
        "before": measure(before, true).to_dict(),
        "after": measure(after, true).to_dict(),
        "labels_changed": int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
    }


def logits(runner: TorchRunner, items: list[Item]) -> tuple[Array, Indices, Indices]:
    """Logits of all windows, which recording each is from, and the class of each recording."""
    made, spec = [], runner.spec
    for item in track(items, "logits"):
        waveform = decode.load_speech(item.path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
        windows = torch.from_numpy(cut_windows(waveform, spec.window, spec.window_hop))
        with torch.inference_mode():
            made.append(runner.path.model.acoustic_logits(runner.path.frontend(windows)).numpy())
    owner = np.repeat(np.arange(len(made)), [len(windows) for windows in made])
    return np.concatenate(made), owner, np.array([spec.labels.index(item.emotion) for item in items])


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line a run."""
    text = "| run | UAR % (95 % interval) | T | ECE % on test: T = 1 / T | NLL on test: T = 1 / T |\n"
    text += "|---|---|---|---|---|\n"
    for row in rows:
        low, high = (100 * edge for edge in row["intervals"]["uar"])
        ece = " / ".join(f"{100 * row[when]['ece']:.1f}" for when in ("before", "after"))
        nll = " / ".join(f"{row[when]['nll']:.3f}" for when in ("before", "after"))
        uar = f"{100 * row['scores']['uar']:.1f} ({low:.1f} to {high:.1f})"
        text += f"| {row['run']} | {uar} | {row['validation']['temperature']:.2f} | {ece} | {nll} |\n"
    return text + f"\nIntervals: {rows[0]['intervals']['note']} ({rows[0]['run']}).\n"


if __name__ == "__main__":
    with messages.shown():
        main()
