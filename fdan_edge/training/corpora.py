"""The first stage of a training: its corpora, split into parts and audited, before anything is decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdan_edge.config import Config, choose_recipe
from fdan_edge.data.corpora import Item, Source, SourceLike, parse_sources, read_visual, recording_key
from fdan_edge.data.labels import training_class
from fdan_edge.data.leak_audit import Audit, audit
from fdan_edge.data.speech import (
    check_overlap,
    class_names,
    corpora_of,
    known_classes,
    read_labelled_speech,
)
from fdan_edge.data.splits import Split, allowed_faces, restore, split
from fdan_edge.data.target_corpus import (
    CrossCorpus,
    make_task,
    read_target,
    restore_target,
    without_labels,
)
from fdan_edge.errors import DataError
from fdan_edge.runs import run_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSources:
    """The corpora that a training is given."""

    speech: list[Source]
    faces: list[Source]
    target: list[Source]

    @classmethod
    def parse(
        cls, speech: Sequence[SourceLike], faces: Sequence[SourceLike], target: Sequence[SourceLike]
    ) -> TrainingSources:
        """Parse `corpus:path` words; sources stay as they are.

        Raises:
            DataError: a word cannot be understood, or there is no speech.
        """
        if not speech:
            raise DataError('no speech given; valid: corpus:path, e.g. speech=["synthetic:"]')
        return cls(*(parse_sources(sources) for sources in (speech, faces, target)))


@dataclass(frozen=True)
class TrainingCorpora:
    """The items that are trained on, before anything is decoded."""

    config: Config  # with the recipe and the protocol that were chosen
    sources: TrainingSources
    classes: list[str]
    parts: Split
    audit: Audit
    faces: list[Item]
    target: list[Item]  # without labels
    tests_target: bool  # whether the test is the target: its items carry no labels either
    recipe: str = ""  # what is trained and why, for people; "" where a training goes on

    @property
    def known(self) -> dict[str, NDArray[np.bool_]] | None:
        """Corpus -> which of the C classes it has, bool, (C,); None where nothing is to be masked."""
        labelled = [*self.parts.train, *self.parts.val, *self.parts.test]
        rows = known_classes(labelled, self.classes)
        if not self.config.mask_missing or rows.all():
            return None
        return dict(zip(corpora_of(labelled), rows, strict=True))

    @property
    def scored(self) -> list[str] | None:
        """The classes that the test is scored in, where they are not all: with loco those that its corpus has."""
        if self.config.protocol != "loco":
            return None
        return sorted({item.emotion for item in self.parts.test})

    def describe(self) -> str:
        """Describe them in one line, for people."""
        parts = self.parts
        if self.config.recipe == "head":
            fitted = parts.train + parts.val
            return (
                f"{len(fitted)} voices{_of_speakers(fitted)} to fit a head on, {len(parts.test)} held out; "
                f"{len(self.classes)} classes; {parts.description}"
            )
        target = f"; {len(self.target)} of the target without labels" if self.target else ""
        return (
            f"{len(parts.train)} voices{_of_speakers(parts.train)} to train, {len(parts.val)} to validate, "
            f"{len(parts.test)} to test{target}; {len(self.faces)} faces; {len(self.classes)} classes; "
            f"{parts.description}"
        )


def _of_speakers(items: list[Item]) -> str:
    """Say of how many speakers recordings are; nothing where that is not known of all."""
    speakers = {item.speaker_key for item in items}
    if not speakers or None in speakers:
        return ""
    return f" of {len(speakers)} speaker{'s' if len(speakers) > 1 else ''}"


def read_corpora(config: Config, sources: TrainingSources) -> TrainingCorpora:
    """Read the corpora of a new training, and split them.

    Raises:
        DataError: they cannot be used, or the split is not what its protocol promises.
    """
    speech = _read_speech(config, sources)
    choice = choose_recipe(config, len(speech), faces=bool(sources.faces), target=bool(sources.target))
    config = choice.config
    task = make_task(speech, sources.target, config) if sources.target else _own_task(speech, config)
    return replace(_with_faces(config, sources, task), recipe=choice.reason)


def restore_corpora(config: Config, sources: TrainingSources, folder: Path) -> TrainingCorpora:
    """Read the corpora of a training that goes on, split as its run folder says.

    Files that came or went since must not move others from train to test.

    Raises:
        CheckpointError: there is no such run.
        DataError: too little of its corpora is there any more.
    """
    _, info = run_folder.load_run(folder)
    keys = run_folder.load_split(folder)
    speech = _read_speech(config, sources)
    labelled, unlabelled = read_target(sources.target, config)
    target = restore_target(without_labels(labelled + unlabelled), keys)
    parts = restore(speech + without_labels(labelled), keys, info.protocol)
    test = {recording_key(key) for key in keys["test"]}
    tests_target = any(recording_key(item.key) in test for item in labelled)
    return _with_faces(config, sources, CrossCorpus(info.classes, parts, target, tests_target))


def _own_task(speech: list[Item], config: Config) -> CrossCorpus:
    """Split the speech; a class that only the left-out corpus has is none of the model's."""
    parts = split(speech, config)
    trained = parts.train + parts.val if config.protocol == "loco" else speech
    if config.mask_missing:
        check_overlap(trained)
    return CrossCorpus(class_names(trained), parts, [], of_target=False)


def _read_speech(config: Config, sources: TrainingSources) -> list[Item]:
    return read_labelled_speech(
        sources.speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom, classes=config.classes
    )


def _with_faces(config: Config, sources: TrainingSources, task: CrossCorpus) -> TrainingCorpora:
    """Add the faces that fit the task, and audit all of it."""
    faces = _read_faces(sources.faces, task, config)
    verdict = _audit(task, faces)
    return TrainingCorpora(config, sources, task.classes, task.parts, verdict, faces, task.target, task.of_target)


def _audit(task: CrossCorpus, faces: list[Item]) -> Audit:
    """Audit for leaks; DataError where the split is not what its protocol promises.

    A target that is not the test counts as training: speech of the test must not be in it either.
    """
    parts = task.parts
    verdict = audit(parts if task.of_target else replace(parts, train=parts.train + task.target), faces)
    verdict.check()
    return verdict


def _read_faces(sources: list[Source], task: CrossCorpus, config: Config) -> list[Item]:
    """Read the faces of classes that the speech has, but for those that the protocol holds out."""
    if not sources:
        return []
    faces = []
    for source in sources:
        for item in read_visual(source, config.video_frames):
            emotion = training_class(item.emotion, calm_as_neutral=config.calm_as_neutral)
            faces.append(replace(item, emotion=emotion))
    kept = [item for item in faces if item.emotion in task.classes]
    if not kept:
        classes = ", ".join(task.classes)
        raise DataError(f"none of {len(faces)} faces is of a class that the speech has: {classes}")
    if len(kept) < len(faces):
        log.warning(f"{len(faces) - len(kept)} faces are of classes that the speech does not have: left out")
    return _allowed(kept, task, config.protocol)


def _allowed(faces: list[Item], task: CrossCorpus, protocol: str) -> list[Item]:
    kept = allowed_faces(faces, task.parts, protocol, task.target)
    if not kept:
        raise DataError(f"protocol {protocol} holds out all {len(faces)} faces; add --faces of another corpus")
    if len(kept) < len(faces):
        log.warning(f"{len(faces) - len(kept)} faces show who or what the protocol holds out: left out")
    return kept
