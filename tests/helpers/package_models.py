"""Models in the place of those of the package, quick to make: one bundle under two names, with an about.json."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fdan_edge.runtime.about import About, CorpusEntry, Score, Speed, write_about
from fdan_edge.runtime.bundle import Bundle, write_manifest


def corpus(**changes: Any) -> CorpusEntry:
    """A corpus that a model was trained on."""
    values: dict[str, Any] = {
        "name": "emodb",
        "title": "EMO-DB",
        "language": "German",
        "licence": "CC0",
        "credit": "Burkhardt et al. 2005",
        "recordings": 535,
        "speakers": 10,
        "sha256": "ab" * 32,
    }
    return CorpusEntry(**values | changes)


def about(**changes: Any) -> About:
    """What a model for any use says of itself."""
    scores = (
        Score("corpora", "EMO-DB", 0.625, (0.6, 0.65), 535, 5, "fdan-edge crossval"),
        Score("corpora", "Java-SED", 0.375, None, 1680, 5, "fdan-edge crossval"),
        Score("noise", "pink noise, 10 dB", 0.5, None, 535, 7, "fdan-edge evaluate"),
        Score("noise", "babble, 10 dB", 0.25, None, 535, 7, "fdan-edge evaluate"),
        Score("noise", "pink noise, 0 dB", 0.125, None, 535, 7, "fdan-edge evaluate"),
        Score("room", "room, 0.5 s", 0.375, None, 535, 7, "fdan-edge evaluate"),
    )
    values: dict[str, Any] = {
        "title": "Two languages, acted",
        "use": "any",
        "terms": "any use, with credit",
        "languages": ("German", "Javanese"),
        "corpora": (corpus(),),
        "scores": scores,
        "speed": (Speed(12.5, 1, "onnxruntime-cpu", "a processor, 2 cores", "fdan-edge bench"),),
        "command": "make models",
    }
    return About(**values | changes)


def write_package_models(folder: Path, bundle: Path) -> None:
    """Write `open` and `research` into a folder."""
    write_package_model(folder / "open", bundle, about())
    terms = "research use only, because of RAVDESS"
    write_package_model(
        folder / "research", bundle, about(use="non-commercial", terms=terms, languages=("English",))
    )


def write_package_model(folder: Path, bundle: Path, said: About) -> None:
    """Write one, whose large files are those of the bundle."""
    folder.mkdir(parents=True)
    source = Bundle.open(bundle)
    for name in source.manifest.files:
        os.link(bundle / name, folder / name)
    write_about(folder, said)
    write_manifest(folder, replace(source.manifest, files={}))
