"""One whole training: corpora, split, features, training, scores, files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source, read_visual, recording_key
from fdan_edge.data.labels import training_class
from fdan_edge.data.leak_audit import NOT_AUDITED, Audit, audit
from fdan_edge.data.speech import class_names, read_labelled_speech
from fdan_edge.data.splits import Split, allowed_faces, restore, split
from fdan_edge.data.target_corpus import (
    CrossCorpus,
    check_target,
    is_heard,
    make_task,
    read_target,
    restore_target,
    with_labels,
    without_labels,
)
from fdan_edge.errors import CheckpointError, DataError, TrainingError
from fdan_edge.evaluation import calibration, metrics, plots, predictions
from fdan_edge.evaluation.evaluate import evaluate
from fdan_edge.features import extract
from fdan_edge.features.channel import Match, batches, mean_spectrum
from fdan_edge.methods import method_name
from fdan_edge.models.backbones.registry import Encoder, frozen_encoder, is_encoded
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import provenance, run_folder
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training import distributed
from fdan_edge.training.device import computes_in, described, prepare
from fdan_edge.training.distillation import Teacher, check_teacher, lessons, load_teacher
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.trainer import OnEpoch, Trainer, build_model, average_by_recording, check_state, load_weights
from fdan_edge.utils.files import write_json

log = logging.getLogger(__name__)

_NO_CLASS = -1


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    folder: Path
    metrics: dict[str, Any]  # as in metrics.json


@dataclass(frozen=True)
class Given:
    """What a training is given, as on the command line."""

    speech: list[Source]
    faces: list[Source]
    target: list[Source]


def fit(
    config: Config,
    speech: list[Source],
    faces: list[Source],
    folder: Path,
    *,
    target: Sequence[Source] = (),
    resume: bool = False,
    score: bool = True,
    on_epoch: OnEpoch | None = None,
) -> TrainingResult:
    """Train on `speech` (guided by `faces`, towards `target`, where given) and leave a run folder.

    With `resume`, the folder's unfinished training is taken up where its last whole epoch ended. Labels of the
    target are not in what the training gets: see `data.target_corpus`. With a teacher, its probabilities are
    learnt too: see `training.distillation`.

    Without `score` the test part is not looked at, and metrics.json has no `calibration` and no `test`. `on_epoch`
    is told each epoch when it is on disk; what it raises ends the training, which `resume` takes up again.

    Raises:
        ConfigError: the method or the teacher does not go with what is given.
        DataError: the corpora or the split cannot be used, or the split is not what its protocol promises, or the
            teacher knows something of the test.
        CheckpointError: the folder holds a run already, or none to resume, or another process trains in it.
    """
    if not resume and (folder / "run.toml").exists():
        raise CheckpointError(f"{folder}: holds a run already; --resume continues it, --out NAME starts another")
    distributed.barrier()  # until all have looked, none may write
    given = Given(speech, faces, list(target))
    check_target(config, given.target, faces)
    prepare(config)
    last = folder / "last.safetensors"
    started = resume and last.exists()
    if started:
        check_state(last, run_folder.load_state(last), config)
    corpora = _resumed(config, given, folder) if resume else _fresh(config, given)
    # What can fail at once fails before minutes of decoding.
    teacher = _teacher(config, corpora, folder, resume=resume)
    model = build_model(config, len(corpora.classes), faces=bool(corpora.faces), pretrained=not started)
    if started and is_encoded(config):  # its own weights encode: those of the source may be others by now
        load_weights(last, model)
    with _sole_writer(folder):
        trainer = _trainer(config, corpora, folder, teacher, model)
        log.info(f"computes in {precision_name(config, trainer.device)} on {described(trainer.device)}")
        trainer.on_epoch = on_epoch
        if started:
            trainer.resume()
            step = f", step {trainer.done} of {trainer.steps} of the next" if trainer.done else ""
            log.info(f"resuming after epoch {trainer.epoch} of {config.epochs}{step}")
        elif not resume and distributed.is_main():
            _save_start(config, given, corpora, folder, teacher)
        if distributed.is_main():
            run_folder.save_launcher(folder)
            _record(config, corpora, folder, precision_name(config, trainer.device), resume=resume)
        best = _run(trainer, corpora, folder, score=score)
        if not distributed.is_main():
            return TrainingResult(folder, {})
        if score:
            return TrainingResult(folder, _score(folder, best, corpora, trainer))
        validated = _validated(best, corpora, trainer)
        write_json(folder / "metrics.json", validated)
        return TrainingResult(folder, validated)


def _sole_writer(folder: Path) -> AbstractContextManager[None]:
    return run_folder.sole_writer(folder) if distributed.is_main() else nullcontext()


@dataclass(frozen=True)
class _Corpora:
    """What is trained on, before anything is decoded."""

    given: Given
    classes: list[str]
    parts: Split
    audit: Audit
    faces: list[Item]
    target: list[Item]  # without labels
    of_target: bool  # whether the test is the target: its items carry no labels either


def _fresh(config: Config, given: Given) -> _Corpora:
    items = read_labelled_speech(given.speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    if given.target:
        task = make_task(items, given.target, config)
    else:
        task = CrossCorpus(class_names(items), split(items, config), [], of_target=False)
    images = _faces(given.faces, task, config)
    verdict = _audited(task.parts, images, task)
    return _Corpora(given, task.classes, task.parts, verdict, images, task.target, task.of_target)


def _resumed(config: Config, given: Given, folder: Path) -> _Corpora:
    """As the run began: files that came or went since must not move others from train to test."""
    _, info = run_folder.load_run(folder)
    keys = run_folder.load_split(folder)
    items = read_labelled_speech(given.speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
    labelled, others = read_target(given.target, config)
    target = restore_target(without_labels(labelled + others), keys)
    parts = restore(items + without_labels(labelled), keys, info.protocol)
    test = {recording_key(key) for key in keys["test"]}
    task = CrossCorpus(info.classes, parts, target, any(recording_key(item.key) in test for item in labelled))
    images = _faces(given.faces, task, config)
    audited = _audited(parts, images, task)
    if info.audit == NOT_AUDITED and distributed.is_main():  # a run of before
        run_folder.save_run(folder, config, replace(info, audit=audited.line()))
    return _Corpora(given, info.classes, parts, audited, images, target, task.of_target)


def _audited(parts: Split, faces: list[Item], task: CrossCorpus) -> Audit:
    """The leak audit; DataError where the split is not what its protocol promises.

    A target that is not the test counts as training: speech of the test must not be in it either.
    """
    audited = audit(parts if task.of_target else replace(parts, train=parts.train + task.target), faces)
    audited.check()
    return audited


def _teacher(config: Config, corpora: _Corpora, folder: Path, *, resume: bool) -> Teacher | None:
    """The teacher of the settings, or of the run that goes on, if it may teach this student."""
    if not config.teacher:
        return None
    begun = run_folder.load_run(folder)[1].teacher if resume else {}
    teacher = load_teacher(Path(begun.get("run", config.teacher)), begun.get("sha256", ""))
    heard = corpora.target if is_heard(config) else []
    check_teacher(teacher, config, corpora.classes, corpora.parts, heard)
    return teacher


def _trainer(config: Config, corpora: _Corpora, folder: Path, teacher: Teacher | None, model: Fdan) -> Trainer:
    classes, parts = corpora.classes, corpora.parts
    log.info(f"audit: {corpora.audit.line()}")
    heard = f"; {len(corpora.target)} of the target without labels" if corpora.target else ""
    log.info(
        f"{len(parts.train)} voices to train, {len(parts.val)} to validate, {len(parts.test)} to test{heard}; "
        f"{len(corpora.faces)} faces; {len(classes)} classes; {parts.description}"
    )
    match, encoder = _match(corpora, config), frozen_encoder(model.acoustic.backbone, config)
    if distributed.world_size() > 1 and config.cache:
        _divide(corpora, config, match, encoder)
    how = _hearing(match, encoder)
    train = extract.training_voices(parts.train, _indices(parts.train, classes), config, **how)
    val = extract.evaluation_voices(parts.val, _indices(parts.val, classes), config, **how)
    target = None
    if corpora.target and config.method != "source":
        target = _unlabelled_voices(corpora.target, config, encoder=encoder)
    labels = _indices(corpora.faces, classes)
    pixels = extract.load_faces(corpora.faces, labels, config) if corpora.faces else None
    taught = None
    if teacher:
        counts = (len(train.labels), len(target.labels) if target else 0)
        taught = lessons(teacher, config, parts.train, corpora.target if target else [], counts)
    return Trainer(config, classes, train, val, pixels, folder, target=target, lessons=taught, model=model)


def _divide(corpora: _Corpora, config: Config, match: Match | None, encoder: Encoder | None) -> None:
    """Let each process decode its part of the speakers; then all of it is in the cache for every one of them."""
    parts, how = corpora.parts, _hearing(match, encoder)
    heard = config.method != "source"
    for make, items in (
        (extract.training_voices, distributed.own_items(parts.train)),
        (extract.evaluation_voices, distributed.own_items(parts.val)),
    ):
        with suppress(DataError):  # no usable file among a share of them says nothing of all
            if items:
                make(items, [_NO_CLASS] * len(items), config, **how)
    with suppress(DataError):
        if target := distributed.own_items(corpora.target if heard else []):
            _unlabelled_voices(target, config, encoder=encoder)
    with suppress(DataError):
        if faces := distributed.own_items(corpora.faces):
            extract.load_faces(faces, [_NO_CLASS] * len(faces), config)
    distributed.barrier()


def _hearing(match: Match | None, encoder: Encoder | None) -> dict[str, Any]:
    """What features of the labelled voices are made with, beside the settings."""
    return {"match": match, "match_key": match.key if match else "", "encoder": encoder}


def _match(corpora: _Corpora, config: Config) -> Match | None:
    """What gives speech of the source the target's mean spectrum, where it is wanted."""
    if config.channel != "match":
        return None
    both = {"the source's spectrum": corpora.parts.train, "the target's spectrum": corpora.target}
    heard = (_unlabelled_voices(items, config, what) for what, items in both.items())
    source, target = (mean_spectrum(batches(voices.decibel), config) for voices in heard)
    return Match(source, target, config)


def _unlabelled_voices(
    items: list[Item], config: Config, what: str = "the target", encoder: Encoder | None = None
) -> extract.Voices:
    """Training features without labels; a loss that took -1 for a class would fail."""
    return extract.training_voices(items, [_NO_CLASS] * len(items), config, what, encoder=encoder)


def _save_start(config: Config, given: Given, corpora: _Corpora, folder: Path, teacher: Teacher | None) -> None:
    parts, verdict = corpora.parts, corpora.audit.line()
    voices, images, target = ([absolute(s) for s in sources] for sources in vars(given).values())
    keys = sorted(item.key for item in corpora.target)
    target_keys = {"target" if is_heard(config) else "unheard": keys} if keys else {}
    write_json(folder / "split.json", parts.keys() | target_keys)
    taught = teacher.info() if teacher else {}
    info = run_folder.RunInfo(
        corpora.classes, voices, images, parts.description, provenance.versions(), verdict, target, taught
    )
    run_folder.save_run(folder, config, info)


def _record(config: Config, corpora: _Corpora, folder: Path, number_format: str, *, resume: bool) -> None:
    """Write down what the run is made from and with; say what a resumed one has other than it had."""
    parts = corpora.parts
    speech = [*parts.train, *parts.val, *parts.test]
    data = {"speech": speech, "faces": corpora.faces, "target": corpora.target}
    now = provenance.gather(config, data, processes=distributed.world_size(), computes_in=number_format)
    for line in provenance.record(folder, now, resume=resume):
        log.warning(line)


def _run(trainer: Trainer, corpora: _Corpora, folder: Path, *, score: bool) -> EpochMetrics:
    """Train; what was reached before an interruption stays, and the user hears how to go on."""
    try:
        return trainer.run()
    except TrainingError:
        if score and trainer.history and distributed.is_main():
            _score(folder, trainer.best(), corpora, trainer)
        distributed.barrier()  # torchrun ends all processes when the first of them ends
        raise
    except (KeyboardInterrupt, OSError):
        if trainer.saved:
            log.info(f"{trainer.saved} whole epochs are kept; `fdan-edge train --resume --out {folder}` continues")
        raise


def _faces(sources: list[Source], task: CrossCorpus, config: Config) -> list[Item]:
    """The faces that are trained on: of the classes that the speech has, and none that the protocol holds out."""
    if not sources:
        return []
    found = []
    for source in sources:
        for item in read_visual(source, config.video_frames):
            emotion = training_class(item.emotion, calm_as_neutral=config.calm_as_neutral)
            found.append(replace(item, emotion=emotion))
    kept = [item for item in found if item.emotion in task.classes]
    if not kept:
        classes = ", ".join(task.classes)
        raise DataError(f"none of {len(found)} faces is of a class that the speech has: {classes}")
    if len(kept) < len(found):
        log.warning(f"{len(found) - len(kept)} faces are of classes that the speech does not have: left out")
    return _allowed(kept, task, config.protocol)


def _allowed(faces: list[Item], task: CrossCorpus, protocol: str) -> list[Item]:
    kept = allowed_faces(faces, task.parts, protocol, task.target)
    if not kept:
        raise DataError(f"protocol {protocol} holds out all {len(faces)} faces; add --faces of another corpus")
    if len(kept) < len(faces):
        log.warning(f"{len(faces) - len(kept)} faces show who or what the protocol holds out: left out")
    return kept


def _validated(best: EpochMetrics, corpora: _Corpora, trainer: Trainer) -> dict[str, Any]:
    """What metrics.json holds before the test is looked at."""
    return {
        "method": method_name(trainer.config, faces=trainer.faces is not None),
        "protocol": corpora.parts.description,
        "audit": corpora.audit.to_dict(),
        "best_epoch": best.epoch,
        "val": {"uar": best.val_uar, "war": best.val_war, "loss": best.val_loss, "n": trainer.val_recordings},
    }


def _score(folder: Path, best: EpochMetrics, corpora: _Corpora, trainer: Trainer) -> dict[str, Any]:
    fitted, parts = _calibrate(folder, best, trainer), corpora.parts
    information = _information(folder, corpora, trainer)
    with TorchRunner(folder) as runner:
        # The training is over: only now are labels of a target read.
        items = parts.test
        if corpora.of_target:
            items = with_labels(items, corpora.given.target, runner.config)
        test = evaluate(runner, items, "the run's test part")
        test = replace(test, audit=runner.info.audit)
    test.predictions.save(folder / predictions.FILE)
    values = _validated(best, corpora, trainer) | {
        "calibration": fitted.to_dict(),
        "test": test.to_dict(),
        **information,
    }
    write_json(folder / "metrics.json", values)
    title = f"{values['method']}, {runner.config.backbone}, test part"
    plots.confusion_matrix(test.scores, title, folder / "confusion")
    plots.reliability(test.calibration, title, folder / "reliability")
    return values


def _calibrate(folder: Path, best: EpochMetrics, trainer: Trainer) -> calibration.Temperature:
    """Fit the temperature of the best epoch's weights on the validation part, and store it in the run."""
    with TorchRunner(folder) as runner:
        logits = trainer.logits(runner.path.model, trainer.val_voices)
    voices = trainer.val_voices
    owner, labels = voices.owner.numpy(), voices.labels.numpy()
    first_windows = np.unique(owner, return_index=True)[1]
    fitted = calibration.fit_temperature(logits.numpy(), owner, labels[first_windows])
    run_folder.save_calibration(folder, fitted.to_dict(), best.epoch)
    return fitted


def _information(folder: Path, corpora: _Corpora, trainer: Trainer) -> dict[str, Any]:
    """What the target says of the model without its labels: {} where there is no target."""
    if not corpora.target:
        return {}
    items, config = corpora.target, trainer.config
    with TorchRunner(folder) as runner:
        encoder = frozen_encoder(runner.path.model.acoustic.backbone, config)
        labels, what = [_NO_CLASS] * len(items), "the target's scores"
        voices = extract.evaluation_voices(items, labels, config, what, encoder=encoder)
        windows = trainer.logits(runner.path.model, voices).softmax(1)
    made = metrics.information(average_by_recording(windows, voices.owner).numpy())
    return {"target": {"information": made, "n": int(voices.owner.max()) + 1}}


def _indices(items: list[Item], classes: list[str]) -> list[int]:
    return [classes.index(item.emotion) for item in items]


def absolute(source: Source) -> str:
    """A source as run.toml names it."""
    return str(Source(source.corpus, source.path.resolve() if source.path else None))
