"""What a bundle says of its run's scores in noise, rooms and over lines."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fdan_edge.evaluation.robustness import FILE
from fdan_edge.evaluation.robustness_report import read_report, short_rows
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.utils.files import sha256

log = logging.getLogger(__name__)


def with_noise_scores(spec: ModelSpec, run: Path) -> ModelSpec:
    """Add some of the scores that `evaluate --robustness` left in a run folder to the spec's `info`.

    Those of other weights, or of speech that these were trained on, are left out, with a line.

    Raises:
        CheckpointError: robustness.json is damaged.
    """
    path = run / FILE
    if not path.exists():
        return spec
    scored = read_report(path)
    if not scored["unseen"] or scored["checkpoint_sha256"] != sha256(run / "checkpoint.safetensors"):
        log.warning(
            f"{path}: not in the model card: of other weights, or of speech that they were trained on; "
            f"`fdan-edge evaluate {run} --robustness --speech ...` makes it anew"
        )
        return spec
    values = {"n": scored["n"], "part": scored["part"], "conditions": short_rows(scored["conditions"])}
    return replace(spec, info={**spec.info, "robustness": values})
