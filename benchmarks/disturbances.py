"""How many labels of recordings change when microphones, mains, levels, channels and codecs disturb the sound.

    python benchmarks/disturbances.py BUNDLE --speech ravdess:../shared/data/ravdess --speakers 21 22 23 24

BUNDLE is a bundle or a run folder that did not learn from these speakers. Each recording is written as a plain WAV
and in every disturbed way, and read from its file. Writes disturbances.json and .md into benchmarks/results.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import fdan_edge
from fdan_edge.audio import decode
from fdan_edge.data.corpora import Item, parse_source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import AudioError
from fdan_edge.evaluation.metrics import score
from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.progress import track

Sound = NDArray[np.float32]
RATE = 16_000

log = logging.getLogger("fdan_edge.benchmarks")


@dataclass(frozen=True)
class Disturbance:
    """A way to spoil a recording, (n,) to (n,) or (n, channels), and how it is written."""

    name: str
    spoil: Callable[[Sound], Sound]
    subtype: str = "FLOAT"
    format: str = "WAV"


def _peak(sound: Sound) -> float:
    return float(np.abs(sound).max())


def _hum(hertz: float, *overtones: float) -> Callable[[Sound], Sound]:
    def spoil(sound: Sound) -> Sound:
        time = np.arange(len(sound)) / RATE
        waves = [np.sin(2 * np.pi * hertz * time + 1)]
        waves += [gain * np.sin(2 * np.pi * (n + 2) * hertz * time) for n, gain in enumerate(overtones)]
        hum: Sound = (_peak(sound) * 10 ** (-30 / 20) * np.sum(waves, axis=0)).astype(np.float32)
        return sound + hum

    return spoil


def _at(decibel: float) -> Callable[[Sound], Sound]:
    def spoil(sound: Sound) -> Sound:
        scaled: Sound = (sound * (10 ** (decibel / 20) / _peak(sound))).astype(np.float32)
        return scaled

    return spoil


def _rounded(decibel: float) -> Callable[[Sound], Sound]:
    """Quantise to 16 bits by rounding; libsndfile, which writes the others, rounds down."""

    def spoil(sound: Sound) -> Sound:
        steps: Sound = np.round(_at(decibel)(sound) * 2**15).astype(np.float32)
        return steps / np.float32(2**15)

    return spoil


def _opposite(sound: Sound) -> Sound:
    noise = np.random.default_rng(0).normal(0, 1e-4, (len(sound), 2))
    return (np.stack([sound, -sound], axis=1) + noise).astype(np.float32)


def _click(sound: Sound) -> Sound:
    clicked = sound.copy()
    clicked[800:820] = 0.99
    return clicked


DISTURBANCES = (
    Disturbance("16 bits, the level as it is", lambda sound: sound, "PCM_16"),
    Disturbance("constant offset 0.02", lambda sound: sound + np.float32(0.02)),
    Disturbance("constant offset 0.1", lambda sound: sound + np.float32(0.1)),
    Disturbance("hum of 50 Hz, 30 dB below the peak", _hum(50)),
    Disturbance("hum of 60 Hz, 30 dB below the peak", _hum(60)),
    Disturbance("the same at 50 Hz with overtones of 100 and 150 Hz", _hum(50, 0.3, 0.2)),
    Disturbance("peak at 0 dBFS, float", _at(0)),
    Disturbance("peak at -40 dBFS, float", _at(-40)),
    Disturbance("peak at -60 dBFS, float", _at(-60)),
    Disturbance("16-bit values in float", lambda sound: sound * np.float32(2**15)),
    Disturbance("peak at -40 dBFS, 16 bits", _at(-40), "PCM_16"),
    Disturbance("peak at -60 dBFS, 16 bits, rounded", _rounded(-60)),
    Disturbance("peak at -60 dBFS, 16 bits, rounded down", _at(-60), "PCM_16"),
    Disturbance("opposite channels with a little noise", _opposite),
    Disturbance("opposite channels, Vorbis", _opposite, "VORBIS", "OGG"),
    Disturbance("opposite channels, Opus", _opposite, "OPUS", "OGG"),
    Disturbance("one channel, Opus", lambda sound: sound, "OPUS", "OGG"),
    Disturbance("a dead channel", lambda sound: np.stack([sound, np.zeros_like(sound)], axis=1)),
    Disturbance("a click of 1 ms before the speech", _click),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--speech", type=parse_source, required=True)
    parser.add_argument("--speakers", nargs="*", default=[], help="default: all")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    items = read_labelled_speech([arguments.speech], calm_as_neutral=True)
    items = [item for item in items if not arguments.speakers or item.speaker in arguments.speakers]
    with fdan_edge.load(arguments.bundle, threads=1) as recognizer, tempfile.TemporaryDirectory() as folder:
        rows = measure(recognizer, items, Path(folder))
    values = {
        "bundle": arguments.bundle.name,
        "info": {name: recognizer.spec.info.get(name) for name in ("backbone", "recipe", "protocol")},
        "speakers": arguments.speakers,
        "recordings": len(items),
        "rows": rows,
    }
    write_json(arguments.results / "disturbances.json", values)
    write_text(arguments.results / "disturbances.md", markdown(rows))
    print(markdown(rows))


def measure(recognizer: fdan_edge.Recognizer, items: list[Item], folder: Path) -> list[dict[str, Any]]:
    """Recognise every recording plain and disturbed; one row for each way, the plain one first."""
    sounds = [decode.load(item.path, RATE) for item in items]
    ways = (Disturbance("plain WAV, float", lambda sound: sound), *DISTURBANCES)
    labels = {way.name: _labels(recognizer, way, sounds, folder) for way in ways}
    plain, true = labels[ways[0].name], [item.emotion for item in items]
    return [
        {
            "way": way.name,
            "changed": sum(a != b for a, b in zip(labels[way.name], plain, strict=True)) / len(items),
            "uar": _uar(true, labels[way.name], recognizer.labels),
        }
        for way in ways
    ]


def _labels(recognizer: fdan_edge.Recognizer, way: Disturbance, sounds: list[Sound], folder: Path) -> list[str]:
    labels = []
    path = folder / f"a.{'ogg' if way.format == 'OGG' else 'wav'}"
    for sound in track(sounds, way.name):
        soundfile.write(path, way.spoil(sound), RATE, subtype=way.subtype, format=way.format)
        try:
            labels.append(recognizer.recognize_file(path).emotion)
        except AudioError as error:
            log.warning(f"{way.name}: {error}")
            labels.append("refused")
    return labels


def _uar(true: list[str], labels: list[str], classes: tuple[str, ...]) -> float | None:
    if "refused" in labels or not {*true} <= {*classes}:
        return None
    index = {name: number for number, name in enumerate(classes)}
    return float(score([index[name] for name in true], [index[name] for name in labels], list(classes)).uar)


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line a way."""
    text = "| sound | labels changed % | UAR % |\n|---|--:|--:|\n"
    for row in rows:
        uar = "" if row["uar"] is None else f"{100 * row['uar']:.1f}"
        text += f"| {row['way']} | {100 * row['changed']:.1f} | {uar} |\n"
    return text


if __name__ == "__main__":
    with messages.shown():
        main()
