"""The terms of the corpora that a model was trained on."""

from __future__ import annotations

from fdan_edge.data import corpora
from fdan_edge.runtime.model_spec import ModelSpec


def licence(spec: ModelSpec) -> str:
    """Say which terms the weights inherit, corpus by corpus."""
    names = dict.fromkeys([*spec.info["speech"], *spec.info["faces"], *spec.info["target"]])
    terms = [f"{name}: {corpora.licence(name)}" for name in names]
    return f"weights inherit the terms of their data: {'; '.join(terms)}"
