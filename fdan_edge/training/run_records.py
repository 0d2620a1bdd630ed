"""What a training writes into its run folder before the first step: settings, split, provenance."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.target_corpus import uses_target
from fdan_edge.runs import provenance, run_folder
from fdan_edge.training import distributed
from fdan_edge.training.corpora import TrainingCorpora
from fdan_edge.training.distillation import Teacher
from fdan_edge.utils.files import write_json

log = logging.getLogger(__name__)


def save_start(folder: Path, config: Config, corpora: TrainingCorpora, teacher: Teacher | None) -> None:
    """Write split.json, config.toml and run.toml of a new run."""
    keys = sorted(item.key for item in corpora.target)
    target_keys = {"target" if uses_target(config) else "unheard": keys} if keys else {}
    write_json(folder / "split.json", corpora.parts.keys() | target_keys)
    sources = corpora.sources
    info = run_folder.RunInfo(
        classes=corpora.classes,
        speech=[absolute(source) for source in sources.speech],
        faces=[absolute(source) for source in sources.faces],
        protocol=corpora.parts.description,
        versions=provenance.versions(),
        audit=corpora.audit.line(),
        target=[absolute(source) for source in sources.target],
        teacher=teacher.info() if teacher else {},
    )
    run_folder.save_run(folder, config, info)


def save_session(folder: Path, config: Config, corpora: TrainingCorpora, precision: str, *, resume: bool) -> None:
    """Write who trains now, and on what; warn of what a resumed run has other than it had.

    Args:
        folder: of the run.
        config: the settings.
        corpora: what is trained on.
        precision: the number format that is computed in.
        resume: whether an earlier session began the run.
    """
    run_folder.save_launcher(folder)
    parts = corpora.parts
    speech = [*parts.train, *parts.val, *parts.test]
    data = {"speech": speech, "faces": corpora.faces, "target": corpora.target}
    now = provenance.gather(config, data, processes=distributed.world_size(), computes_in=precision)
    for line in provenance.record(folder, now, resume=resume):
        log.warning(line)


def absolute(source: Source) -> str:
    """Write a source as run.toml names it: with an absolute path."""
    path, audio = (place.resolve() if place else None for place in (source.path, source.audio))
    return str(replace(source, path=path, audio=audio))
