"""One whole training: data, features, trainer, scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.config import Config
from fdan_edge.data.corpora import SourceLike
from fdan_edge.data.target_corpus import check_target, uses_target
from fdan_edge.errors import CheckpointError, TrainingError
from fdan_edge.models.backbones.build import is_encoded
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import run_folder
from fdan_edge.training import checkpoints, distributed, run_records
from fdan_edge.training.corpora import (
    TrainingCorpora,
    TrainingSources,
    read_corpora,
    restore_corpora,
)
from fdan_edge.training.device import device_name, precision_name, prepare_device
from fdan_edge.training.distillation import Teacher, check_teacher, load_teacher
from fdan_edge.training.features import extract_features
from fdan_edge.training.head_training import HeadTraining
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.scores import write_scores
from fdan_edge.training.trainer import OnEpoch, OnStep, Trainer, build_model
from fdan_edge.training.verdict import validation_decides

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """A finished training."""

    folder: Path  # of the run
    metrics: dict[str, Any]  # as in metrics.json; {} in all processes but the first


def train(
    config: Config,
    speech: Sequence[SourceLike],
    out: str | Path,
    faces: Sequence[SourceLike] = (),
    target: Sequence[SourceLike] = (),
    *,
    resume: bool = False,
    score: bool = True,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> TrainingResult:
    """Train on `speech`, guided by `faces` and towards `target` where given, and leave a run folder.

    Labels of the target are not in what the training gets: see `data.target_corpus`. With a teacher in the
    settings, its probabilities are learnt too: see `training.distillation`.

    Args:
        config: the settings.
        speech: labelled corpora, each `"corpus:path"` or a `Source`.
        out: the run folder.
        faces: corpora of labelled faces; none: the plain backbone is trained.
        target: speech to adapt to, without labels.
        resume: go on with the unfinished training in `out` where its last saved step ended.
        score: look at the test part in the end. Without, metrics.json has no `calibration` and no `test`.
        on_epoch: called with each epoch when it is on disk. What it raises ends the training, which `resume`
            takes up again.
        on_step: called after each step with its number, from 1, and the seconds that it took.

    Raises:
        ConfigError: the method or the teacher does not go with what is given.
        DataError: the corpora or the split cannot be used, or the split is not what its protocol promises, or the
            teacher knows something of the test.
        CheckpointError: the folder holds a run already, or none to resume, or another process trains in it.
        TrainingError: it diverged, or a batch does not fit into memory. What earlier epochs left stays.
    """
    folder, sources = Path(out), TrainingSources.parse(speech, faces, target)
    _check_folder(folder, resume=resume)
    check_target(config, sources.target, sources.faces)
    prepare_device(config)
    started = resume and (folder / checkpoints.LAST).exists()
    # What can fail at once fails before minutes of decoding: data, teacher and weights come before features.
    corpora = restore_corpora(config, sources, folder) if resume else read_corpora(config, sources)
    config = corpora.config
    teacher = _teacher(config, corpora, folder, resume=resume)
    model = _model(config, corpora, folder, started=started)
    with _sole_writer(folder):
        if corpora.recipe:
            log.info(f"recipe: {corpora.recipe}")
        log.info(corpora.describe())
        if config.recipe == "head":
            return _train_head(folder, config, corpora, model, resume=resume, score=score)
        features = extract_features(config, corpora, model, teacher)
        trainer = Trainer(
            config,
            corpora.classes,
            features.train,
            features.val,
            features.faces,
            folder,
            target=features.target,
            teacher=features.teacher,
            model=model,
            keep_last=not validation_decides(corpora.parts),
            on_epoch=on_epoch,
            on_step=on_step,
        )
        precision = precision_name(config, trainer.device)
        log.info(f"computes in {precision} on {device_name(trainer.device)}")
        if started:
            _go_on(trainer)
        if distributed.is_main():
            if not resume:
                run_records.save_start(folder, config, corpora, teacher)
            run_records.save_session(folder, config, corpora, precision, resume=resume)
        best = _run(trainer, corpora, score=score)
        if not distributed.is_main():
            return TrainingResult(folder, {})
        return TrainingResult(folder, write_scores(folder, best, corpora, trainer, test=score))


def _train_head(
    folder: Path, config: Config, corpora: TrainingCorpora, model: Fdan, *, resume: bool, score: bool
) -> TrainingResult:
    """Fit a head; it takes seconds, so the first of several processes does it alone."""
    if not distributed.is_main():
        distributed.barrier()
        return TrainingResult(folder, {})
    try:
        training = HeadTraining(config, corpora, model, folder)
        if not resume:
            run_records.save_start(folder, config, corpora, None)
        run_records.save_session(folder, config, corpora, "fp32", resume=resume)
        return TrainingResult(folder, training.run(score=score))
    except KeyboardInterrupt:
        log.info("features that were computed are kept; the same command goes on from there")
        raise
    finally:
        distributed.barrier()  # the others wait for it, also where it fails


def _check_folder(folder: Path, *, resume: bool) -> None:
    if not resume and (folder / "run.toml").exists():
        raise CheckpointError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")
    distributed.barrier()  # until all have looked, none may write


def _teacher(config: Config, corpora: TrainingCorpora, folder: Path, *, resume: bool) -> Teacher | None:
    """Load the teacher of the settings, or of the run that goes on, if it may teach this student."""
    if not config.teacher:
        return None
    begun = run_folder.load_run(folder)[1].teacher if resume else {}
    teacher = load_teacher(Path(begun.get("run", config.teacher)), begun.get("sha256", ""))
    target = corpora.target if uses_target(config) else []
    check_teacher(teacher, config, corpora.classes, corpora.parts, target)
    return teacher


def _model(config: Config, corpora: TrainingCorpora, folder: Path, *, started: bool) -> Fdan:
    """Build the networks; `started`: their weights are in the run folder."""
    model = build_model(config, len(corpora.classes), faces=bool(corpora.faces), pretrained=not started)
    if started and is_encoded(config):
        # The run's own frozen stages encode the features: the source of their weights may hold others by now.
        checkpoints.load_weights(folder / checkpoints.LAST, model)
    return model


def _sole_writer(folder: Path) -> AbstractContextManager[None]:
    return run_folder.sole_writer(folder) if distributed.is_main() else nullcontext()


def _go_on(trainer: Trainer) -> None:
    trainer.resume()
    step = f", step {trainer.done} of {trainer.steps} of the next" if trainer.done else ""
    log.info(f"resuming after epoch {trainer.epoch} of {trainer.config.epochs}{step}")


def _run(trainer: Trainer, corpora: TrainingCorpora, *, score: bool) -> EpochMetrics:
    """Train; what was reached before an interruption stays, and the user is told how to go on."""
    try:
        return trainer.run()
    except TrainingError:
        if score and trainer.history and distributed.is_main():
            write_scores(trainer.folder, trainer.best(), corpora, trainer, test=True)
        distributed.barrier()  # torchrun ends all processes when the first of them ends
        raise
    except (KeyboardInterrupt, OSError):
        if trainer.saved:
            go_on = f"`fdan-edge train --resume --out {trainer.folder}` continues"
            log.info(f"{trainer.saved} whole epochs are kept; {go_on}")
        raise
