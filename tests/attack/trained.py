"""A small training, and its exports: for attacks on what is written, and on what a run folder holds."""

from __future__ import annotations

from pathlib import Path

import soundfile

from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from tests.attack.command import run_command
from tests.attack.place import once, scratch

_SETTINGS: tuple[str, ...] = (
    "backbone=vgg8",
    "weights=none",
    "epochs=1",
    "batch_size=8",
    "n_mels=32",
    "hop=512",
    "threads=1",
)
_SETTINGS += ("window_seconds=1.0", "window_hop_seconds=0.5", "feature_size=16")
_SETTINGS += ("speed_perturbation=0", "surroundings=0")

#: Name of a class, in HTML and Markdown.
HOSTILE = "<img src=x onerror=alert(1)>|[a](javascript:alert(1))"


@once
def corpus() -> Path:
    """Return a folder of 4 speakers and 2 classes, one of which has a hostile name; read only."""
    folder = scratch() / "corpus"
    lines = ["path,emotion,speaker"]
    for emotion in ("angry", "sad"):
        (folder / emotion).mkdir(parents=True)
        for number in range(12):
            name = f"{emotion}/{number}.wav"
            soundfile.write(folder / name, voice(emotion, number % 4, number), SAMPLE_RATE)
            lines.append(f"{name},{HOSTILE if emotion == 'sad' else emotion},speaker{number % 4}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@once
def run_folder() -> Path:
    """Return a run folder of a training of one epoch; read only.

    Raises:
        RuntimeError: the training failed.
    """
    folder = scratch() / "run"
    settings = [word for value in _SETTINGS for word in ("--set", value)]
    done = run_command(["train", "--speech", f"folder:{corpus() / 'labels.csv'}", "--out", folder, *settings], 120)
    if done.code not in (0, 1):  # 1: no better than chance
        raise RuntimeError(f"the training failed: {done.err[-300:]}")
    return folder
