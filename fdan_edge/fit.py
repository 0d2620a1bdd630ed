"""One whole training: corpora, split, features, training, scores, files."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision

from fdan_edge import __version__, checkpoint, features, pictures
from fdan_edge.config import Config
from fdan_edge.corpora import Item, Source, read
from fdan_edge.emotions import canonical
from fdan_edge.errors import CheckpointError, DataError
from fdan_edge.evaluate import evaluate, read_speech
from fdan_edge.files import write_json
from fdan_edge.models.backbones import load_weights
from fdan_edge.models.fdan import build_frontend
from fdan_edge.progress import say
from fdan_edge.splits import Split, split
from fdan_edge.torch_runner import TorchRunner
from fdan_edge.train import Epoch, Trainer


@dataclass(frozen=True)
class Fitted:
    """What a training gave."""

    folder: Path
    metrics: dict[str, Any]  # as in metrics.json


def fit(
    config: Config, speech: list[Source], faces: list[Source], folder: Path, *, resume: bool = False
) -> Fitted:
    """Train on `speech` (guided by `faces`, where given) and leave a run folder.

    With `resume`, the folder's unfinished training is taken up where its last whole epoch ended.

    Raises:
        DataError: the corpora or the split cannot be used.
        CheckpointError: the folder holds a run already, or none to resume.
    """
    if not resume and (folder / "run.toml").exists():
        raise CheckpointError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")
    if config.threads:
        torch.set_num_threads(config.threads)
    trainer, parts = _prepare(config, speech, faces, folder)
    if resume and (folder / "last.safetensors").exists():
        trainer.resume()
        say(f"resuming after epoch {trainer.epoch} of {config.epochs}")
    try:
        best = trainer.run()
    except (KeyboardInterrupt, OSError):
        if trainer.history:
            say(f"{trainer.epoch} whole epochs are kept; `fdan-edge train --resume --out {folder}` continues")
        raise
    return Fitted(folder, _score(folder, best, parts, bool(faces)))


def _prepare(config: Config, speech: list[Source], faces: list[Source], folder: Path) -> tuple[Trainer, Split]:
    items = read_speech(speech, calm_as_neutral=config.calm_as_neutral)
    classes = features.class_names(items)
    parts = split(items, config)
    face_items = _faces(faces, classes, config)
    say(
        f"{len(parts.train)} voices to train, {len(parts.val)} to validate, {len(parts.test)} to test; "
        f"{len(face_items)} faces; {len(classes)} classes; {parts.description}"
    )
    # What can fail at once fails before minutes of decoding.
    load_weights(config.backbone, config.weights)
    folder.mkdir(parents=True, exist_ok=True)
    frontend = build_frontend(config)
    train_items, train_waves = features.load_recordings(parts.train, config, "training")
    val_items, val_waves = features.load_recordings(parts.val, config, "validation")
    train = features.training_voices(train_waves, _indices(train_items, classes), frontend, config)
    val = features.evaluation_voices(val_waves, _indices(val_items, classes), frontend, config)
    pixels = features.load_faces(face_items, _indices(face_items, classes), config) if face_items else None
    trainer = Trainer(config, classes, train, val, pixels, folder)
    info = checkpoint.RunInfo(
        classes, [_absolute(s) for s in speech], [_absolute(s) for s in faces], parts.description, versions()
    )
    checkpoint.save_run(folder, config, info)
    write_json(folder / "split.json", parts.keys())
    return trainer, parts


def _faces(sources: list[Source], classes: list[str], config: Config) -> list[Item]:
    """The faces of the classes that the speech has."""
    if not sources:
        return []
    found = []
    for source in sources:
        for item in read(source, "faces"):
            emotion = canonical(item.emotion, calm_as_neutral=config.calm_as_neutral)
            found.append(replace(item, emotion=emotion))
    kept = [item for item in found if item.emotion in classes]
    if not kept:
        raise DataError(f"none of {len(found)} faces is of a class that the speech has: {', '.join(classes)}")
    if len(kept) < len(found):
        say(f"{len(found) - len(kept)} faces are of classes that the speech does not have: left out")
    return kept


def _score(folder: Path, best: Epoch, parts: Split, faces: bool) -> dict[str, Any]:
    with TorchRunner(folder) as runner:
        test = evaluate(runner, parts.test, "the run's test part")
    values = {
        "method": _method(runner.config, faces),
        "protocol": parts.description,
        "best_epoch": best.epoch,
        "val": {"uar": best.val_uar, "war": best.val_war, "loss": best.val_loss, "n": len(parts.val)},
        "test": test.to_dict(),
    }
    write_json(folder / "metrics.json", values)
    pictures.confusion_matrix(
        test.scores, f"{values['method']}, {runner.config.backbone}", folder / "confusion.png"
    )
    return values


def _method(config: Config, faces: bool) -> str:
    """The paper's name of what a configuration trains."""
    if not faces:
        return "plain backbone"
    if not config.attention_layers:
        return "FDAN_1 (no cross-attention)" if config.alpha else "two backbones, neither attention nor LMMD"
    return "FDAN" if config.alpha else "FDAN_2 (no LMMD)"


def versions() -> dict[str, str]:
    """The versions that a run was made with."""
    return {
        "fdan_edge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _indices(items: list[Item], classes: list[str]) -> list[int]:
    return [classes.index(item.emotion) for item in items]


def _absolute(source: Source) -> str:
    return str(Source(source.corpus, source.path.resolve() if source.path else None))
