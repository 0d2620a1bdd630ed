"""What each corpus allows, as said with the models trained on it."""

from __future__ import annotations

from fdan_edge.runtime.model_spec import ModelSpec

TERMS = {
    "savee": "research use",
    "meld": "GPL-3.0 for the labels; the scenes belong to their owner",
    "ravdess": "CC BY-NC-SA 4.0, non-commercial",
    "emodb": "CC0",
    "crema": "Open Database License",
    "enterface": "research use",
    "casia": "by agreement with its publisher",
    "fer2013": "research use",
    "ck": "by agreement with its publisher, non-commercial research",
    "folder": "your own",
    "unlabelled": "your own",
    "synthetic": "made by fdan-edge",
}


def licence(spec: ModelSpec) -> str:
    """The terms that the weights inherit, by corpus."""
    corpora = dict.fromkeys([*spec.info["speech"], *spec.info["faces"], *spec.info["target"]])
    terms = [f"{name}: {TERMS.get(name, 'see there')}" for name in corpora]
    return f"weights inherit the terms of their data: {'; '.join(terms)}"
