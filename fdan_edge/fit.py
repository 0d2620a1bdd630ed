"""One whole training: corpora, split, features, training, scores, files."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from fdan_edge import __version__, calibration, checkpoint, features, pictures, predictions
from fdan_edge.audit import NOT_AUDITED, Audit, audit
from fdan_edge.config import Config
from fdan_edge.corpora import Item, Source, read_visual
from fdan_edge.emotions import merged
from fdan_edge.errors import CheckpointError, DataError, TrainingError
from fdan_edge.evaluate import evaluate, read_speech
from fdan_edge.files import write_json
from fdan_edge.models.fdan import Fdan
from fdan_edge.progress import say
from fdan_edge.splits import Split, allowed_faces, restore, split
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
        DataError: the corpora or the split cannot be used, or the split is not what its protocol promises.
        CheckpointError: the folder holds a run already, or none to resume, or another process trains in it.
    """
    if not resume and (folder / "run.toml").exists():
        raise CheckpointError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")
    if config.threads:
        torch.set_num_threads(config.threads)
    started = resume and (folder / "last.safetensors").exists()
    corpora = _resumed(config, speech, faces, folder) if resume else _fresh(config, speech, faces)
    # What can fail at once fails before minutes of decoding.
    if not started:
        Fdan(config, len(corpora.classes), faces=bool(corpora.faces))  # finds its weights, and that they fit
    with checkpoint.sole_writer(folder):
        trainer = _trainer(config, corpora, folder, pretrained=not started)
        if started:
            trainer.resume()
            say(f"resuming after epoch {trainer.epoch} of {config.epochs}")
        elif not resume:
            _save_start(config, speech, faces, corpora, folder)
        best = _run(trainer, corpora, folder)
        return Fitted(folder, _score(folder, best, corpora, trainer))


@dataclass(frozen=True)
class _Corpora:
    """What is trained on, before anything is decoded."""

    classes: list[str]
    parts: Split
    audit: Audit
    faces: list[Item]


def _fresh(config: Config, speech: list[Source], faces: list[Source]) -> _Corpora:
    items = read_speech(speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    classes = features.class_names(items)
    parts = split(items, config)
    images = _faces(faces, classes, parts, config)
    return _Corpora(classes, parts, _audited(parts, images), images)


def _resumed(config: Config, speech: list[Source], faces: list[Source], folder: Path) -> _Corpora:
    """As the run began: files that came or went since must not move others from train to test."""
    _, info = checkpoint.load_run(folder)
    items = read_speech(speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    parts = restore(items, checkpoint.load_split(folder), info.protocol)
    images = _faces(faces, info.classes, parts, config)
    audited = _audited(parts, images)
    if info.audit == NOT_AUDITED:  # a run of before
        checkpoint.save_run(folder, config, replace(info, audit=audited.line()))
    return _Corpora(info.classes, parts, audited, images)


def _audited(parts: Split, faces: list[Item]) -> Audit:
    """The leak audit; DataError where the split is not what its protocol promises."""
    audited = audit(parts, faces)
    audited.check()
    return audited


def _trainer(config: Config, corpora: _Corpora, folder: Path, *, pretrained: bool) -> Trainer:
    classes, parts = corpora.classes, corpora.parts
    say(f"audit: {corpora.audit.line()}")
    say(
        f"{len(parts.train)} voices to train, {len(parts.val)} to validate, {len(parts.test)} to test; "
        f"{len(corpora.faces)} faces; {len(classes)} classes; {parts.description}"
    )
    train = features.training_voices(parts.train, _indices(parts.train, classes), config)
    val = features.evaluation_voices(parts.val, _indices(parts.val, classes), config)
    labels = _indices(corpora.faces, classes)
    pixels = features.load_faces(corpora.faces, labels, config) if corpora.faces else None
    return Trainer(config, classes, train, val, pixels, folder, pretrained=pretrained)


def _save_start(
    config: Config, speech: list[Source], faces: list[Source], corpora: _Corpora, folder: Path
) -> None:
    parts, verdict = corpora.parts, corpora.audit.line()
    voices, images = ([absolute(s) for s in given] for given in (speech, faces))
    write_json(folder / "split.json", parts.keys())
    info = checkpoint.RunInfo(corpora.classes, voices, images, parts.description, versions(), verdict)
    checkpoint.save_run(folder, config, info)


def _run(trainer: Trainer, corpora: _Corpora, folder: Path) -> Epoch:
    """Train; what was reached before an interruption stays, and the user hears how to go on."""
    try:
        return trainer.run()
    except TrainingError:
        if trainer.history:
            _score(folder, trainer.best(), corpora, trainer)
        raise
    except (KeyboardInterrupt, OSError):
        if trainer.history:
            whole = trainer.history[-1].epoch
            say(f"{whole} whole epochs are kept; `fdan-edge train --resume --out {folder}` continues")
        raise


def _faces(sources: list[Source], classes: list[str], parts: Split, config: Config) -> list[Item]:
    """The faces that are trained on: of the classes that the speech has, and none that the protocol holds out."""
    if not sources:
        return []
    found = []
    for source in sources:
        for item in read_visual(source, config.video_frames):
            emotion = merged(item.emotion, calm_as_neutral=config.calm_as_neutral)
            found.append(replace(item, emotion=emotion))
    kept = [item for item in found if item.emotion in classes]
    if not kept:
        raise DataError(f"none of {len(found)} faces is of a class that the speech has: {', '.join(classes)}")
    if len(kept) < len(found):
        say(f"{len(found) - len(kept)} faces are of classes that the speech does not have: left out")
    return _allowed(kept, parts, config.protocol)


def _allowed(faces: list[Item], parts: Split, protocol: str) -> list[Item]:
    kept = allowed_faces(faces, parts, protocol)
    if not kept:
        raise DataError(f"protocol {protocol} holds out all {len(faces)} faces; add --faces of another corpus")
    if len(kept) < len(faces):
        say(f"{len(faces) - len(kept)} faces show who or what the protocol holds out: left out")
    return kept


def _score(folder: Path, best: Epoch, corpora: _Corpora, trainer: Trainer) -> dict[str, Any]:
    fitted, parts = _calibrate(folder, best, trainer), corpora.parts
    with TorchRunner(folder) as runner:
        test = evaluate(runner, parts.test, "the run's test part")
        test = replace(test, audit=runner.info.audit)
    test.predictions.save(folder / predictions.FILE)
    values = {
        "method": _method(runner.config, trainer.faces is not None),
        "protocol": parts.description,
        "audit": corpora.audit.to_dict(),
        "best_epoch": best.epoch,
        "val": {"uar": best.val_uar, "war": best.val_war, "loss": best.val_loss, "n": trainer.val_recordings},
        "calibration": fitted.to_dict(),
        "test": test.to_dict(),
    }
    write_json(folder / "metrics.json", values)
    title = f"{values['method']}, {runner.config.backbone}, test part"
    pictures.confusion_matrix(test.scores, title, folder / "confusion")
    pictures.reliability(test.calibration, title, folder / "reliability")
    return values


def _calibrate(folder: Path, best: Epoch, trainer: Trainer) -> calibration.Temperature:
    """Fit the temperature of the best epoch's weights on the validation part, and store it in the run."""
    with TorchRunner(folder) as runner:
        logits = trainer.validation_logits(runner.path.model)
    voices = trainer.val_voices
    owner, labels = voices.owner.numpy(), voices.labels.numpy()
    first_windows = np.unique(owner, return_index=True)[1]
    fitted = calibration.fit_temperature(logits.numpy(), owner, labels[first_windows])
    checkpoint.save_calibration(folder, fitted.to_dict(), best.epoch)
    return fitted


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


def absolute(source: Source) -> str:
    """A source as run.toml names it."""
    return str(Source(source.corpus, source.path.resolve() if source.path else None))
