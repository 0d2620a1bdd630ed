"""The second stage of a training: from items to tensors, computed once and kept in the cache."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item
from fdan_edge.data.speech import corpora_of
from fdan_edge.errors import DataError
from fdan_edge.features import extract
from fdan_edge.features.channel import ChannelMatch, in_batches, mean_spectrum
from fdan_edge.models.backbones.build import frozen_encoder
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.models.fdan import Fdan
from fdan_edge.training import distributed
from fdan_edge.training.class_balance import corpus_weights
from fdan_edge.training.corpora import TrainingCorpora
from fdan_edge.training.distillation import Teacher, TeacherTargets, teacher_targets

NO_CLASS = -1  # a loss that took it for a class would fail


@dataclass(frozen=True)
class TrainingFeatures:
    """The tensors of a training."""

    train: extract.Voices
    val: extract.Voices
    faces: extract.Faces | None
    target: extract.Voices | None  # without labels
    teacher: TeacherTargets | None


def extract_features(
    config: Config, corpora: TrainingCorpora, model: Fdan, teacher: Teacher | None
) -> TrainingFeatures:
    """Decode the corpora, or take what the cache has of them.

    Args:
        config: the settings.
        corpora: what is decoded.
        model: whose frozen stages encode the log-mels, where the settings freeze some.
        teacher: whose logits are wanted; None: there is none.

    Raises:
        DataError: a part has no usable file.
    """
    match, encoder = _spectrum_match(corpora, config), frozen_encoder(model.acoustic.backbone, config)
    labelled = _labelled_options(match, encoder)
    if distributed.world_size() > 1 and config.cache:
        _fill_cache_together(corpora, config, labelled, encoder)
    parts, classes = corpora.parts, corpora.classes
    train = _balanced(
        extract.training_voices(parts.train, [*range(len(parts.train))], config, **labelled), corpora
    )
    val = extract.evaluation_voices(parts.val, _indices(parts.val, classes), config, **labelled)
    target = None
    if corpora.target and config.method != "source":
        target = _unlabelled_voices(corpora.target, config, encoder=encoder)
    labels = _indices(corpora.faces, classes)
    faces = extract.load_faces(corpora.faces, labels, config) if corpora.faces else None
    logits = None
    if teacher:
        usable = (len(train.labels), len(target.labels) if target else 0)
        logits = teacher_targets(teacher, config, parts.train, corpora.target if target else [], usable)
    return TrainingFeatures(train, val, faces, target, logits)


def _balanced(voices: extract.Voices, corpora: TrainingCorpora) -> extract.Voices:
    """Give voices their classes, and of several corpora which classes each has and how often a voice is drawn.

    Args:
        voices: of the training part, with their places in it instead of labels: what is broken was left out.
        corpora: what is trained on.
    """
    config, places = corpora.config, voices.labels.tolist()
    items = [corpora.parts.train[place] for place in places]
    labels = torch.tensor(_indices(items, corpora.classes))
    names = corpora_of(items)
    if len(names) < 2:
        return replace(voices, labels=labels)
    owners = torch.tensor([names.index(item.corpus) for item in items])
    known, drawn = corpora.known, None
    if config.corpus_balance:
        drawn = corpus_weights(labels, owners, config.corpus_balance)
    rows = None if known is None else torch.from_numpy(np.stack([known[item.corpus] for item in items]))
    return replace(voices, labels=labels, known=rows, drawn=drawn)


def _spectrum_match(corpora: TrainingCorpora, config: Config) -> ChannelMatch | None:
    """Make what gives speech of the source the target's mean spectrum, where it is wanted."""
    if config.channel != "match":
        return None
    both = {"the source's spectrum": corpora.parts.train, "the target's spectrum": corpora.target}
    voices = (_unlabelled_voices(items, config, what) for what, items in both.items())
    source, target = (mean_spectrum(in_batches(of_corpus.decibel), config) for of_corpus in voices)
    return ChannelMatch(source, target, config)


def _labelled_options(match: ChannelMatch | None, encoder: StagedBackbone | None) -> dict[str, Any]:
    """What features of labelled voices are made with, beside the settings."""
    return {"match": match, "match_key": match.key if match else "", "encoder": encoder}


def _fill_cache_together(
    corpora: TrainingCorpora, config: Config, labelled: dict[str, Any], encoder: StagedBackbone | None
) -> None:
    """Let each process decode its part of the speakers; then all of it is in the cache for every one of them."""
    parts = corpora.parts
    for extract_voices, items in (
        (extract.training_voices, distributed.own_items(parts.train)),
        (extract.evaluation_voices, distributed.own_items(parts.val)),
    ):
        with suppress(DataError):  # no usable file among a share of them says nothing of all
            if items:
                extract_voices(items, [NO_CLASS] * len(items), config, **labelled)
    with suppress(DataError):
        if target := distributed.own_items(corpora.target if config.method != "source" else []):
            _unlabelled_voices(target, config, encoder=encoder)
    with suppress(DataError):
        if faces := distributed.own_items(corpora.faces):
            extract.load_faces(faces, [NO_CLASS] * len(faces), config)
    distributed.barrier()


def _unlabelled_voices(
    items: list[Item], config: Config, what: str = "the target", encoder: StagedBackbone | None = None
) -> extract.Voices:
    """Extract training features without labels."""
    return extract.training_voices(items, [NO_CLASS] * len(items), config, what, encoder=encoder)


def _indices(items: list[Item], classes: list[str]) -> list[int]:
    return [classes.index(item.emotion) for item in items]
