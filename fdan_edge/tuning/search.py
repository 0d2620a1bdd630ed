"""Search for the settings that train best, with Optuna, judged on validation folds alone.

A trial is a training with some settings, and its value the mean over validation folds of the UAR of the epoch
that is kept. The test part is never looked at, so it stays fit to say what the best settings are worth; the value
itself does not: the best of many noisy numbers is too good.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import math
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import torch
from optuna.trial import Trial, TrialState

from fdan_edge.config import Config, network_config
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.protocols import PROMISES, speaker_groups
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import split
from fdan_edge.data.target_corpus import check_target
from fdan_edge.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
    is_out_of_memory,
    one_line,
    unknown_choice,
)
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.run import train
from fdan_edge.training.run_records import absolute
from fdan_edge.tuning.results import TuningResult, best_of, short_value, write
from fdan_edge.tuning.search_space import parse, with_values
from fdan_edge.tuning.study import PRUNERS, SAMPLERS, Study, StudySetup, TrialGivenUpError, TrialRecord, count
from fdan_edge.utils.progress import nested
from fdan_edge.utils.small_files import read_json, read_json_lines

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """How settings are searched."""

    space: tuple[str, ...] = ()  # words of `fdan_edge.tuning.search_space`; none: its default
    trials: int = 20  # of all processes together
    folds: int = 3  # groups of speakers, of which each validates once; 1: the protocol's own validation part
    sampler: str = "tpe"
    pruner: str = "median"


def tune(config: Config, speech: list[Source], faces: list[Source], folder: Path, search: Search) -> TuningResult:
    """Work on the study in `folder` until it has all its trials, and leave tables and pictures there.

    Called again, or by another process meanwhile, it works on the same study. A trial whose process was killed is
    taken up where its last epoch ended. One that diverges counts as failed.

    Raises:
        ConfigError: settings, space or search do not go together.
        DataError: the corpora or the folds cannot be used.
        CheckpointError: the study was begun with something else, or `folder` is a run folder.
    """
    if config.recipe == "head":
        raise ConfigError("recipe = head has no settings to search; valid: recipe = network")
    config = network_config(config)
    setup, items = _set_up(config, speech, faces, folder, search)
    job = _Job(fold_configs(config, items, search.folds), speech, faces, int(min(search.trials, count(setup))))
    study = Study(folder, setup)
    _log_start(study, job.trials)
    try:
        while _work_on_trial(study, job):
            with study.locked():
                write(study)
    except (KeyboardInterrupt, OSError):
        log.info("the study is kept: the same tune command goes on from here")
        raise
    with study.locked():
        result = write(study)
    others = sum(trial.state == "running" for trial in result.trials)
    if others:
        log.info(f"of other processes, {others} still train; this is what is known till now")
    return result


def fold_configs(config: Config, items: list[Item], folds: int) -> list[Config]:
    """Make the settings of each fold: the speakers that are not tested, dealt in sorted order, validate in turn.

    Raises:
        ConfigError: the protocol holds no speakers out, or names those that validate.
        DataError: there are too few speakers.
    """
    if folds == 1:
        return [config]
    if PROMISES[config.protocol] != "speakers":
        valid = ", ".join(name for name, promise in PROMISES.items() if promise == "speakers" and name != "auto")
        raise ConfigError(
            f"folds are of speakers, and protocol {config.protocol} holds none out; valid: {valid}, or --folds 1 "
            "for its own validation part"
        )
    if config.val_speakers:
        raise ConfigError("val_speakers goes with --folds 1: in folds, all that are not tested validate in turn")
    if len({item.speaker_key for item in items if item.speaker_key}) < 3:
        raise DataError(
            "validation folds need at least 3 known speakers; use --folds 1 with --set protocol=random"
        )
    test = sorted({str(item.speaker_key) for item in split(items, config).test})
    others = sorted({str(item.speaker_key) for item in items} - set(test))
    if len(others) < folds:
        raise DataError(
            f"{folds} folds need as many speakers that are not tested, found {len(others)}; use --folds 1"
        )
    groups = speaker_groups(others, folds)
    base = replace(config, protocol="speaker", test_speakers=tuple(test))
    return [replace(base, val_speakers=tuple(group)) for group in groups]


def _set_up(
    config: Config, speech: list[Source], faces: list[Source], folder: Path, search: Search
) -> tuple[StudySetup, list[Item]]:
    """Check settings, space and corpora; give what the study is begun with, and its recordings."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "tune shares trials between processes by itself: start it in several terminals, not by torchrun"
        )
    if (folder / "run.toml").exists():
        raise CheckpointError(f"{folder}: holds one training; name another --out")
    for what, value, valid in (("sampler", search.sampler, SAMPLERS), ("pruner", search.pruner, PRUNERS)):
        if value not in valid:
            raise ConfigError(unknown_choice(what, value, valid))
    space = parse(search.space, config, faces=bool(faces))
    check_target(config, [], faces)
    for dimension in space:
        for value in dimension.ends:
            check_target(with_values(config, {dimension.name: value}), [], faces)
    items = read_labelled_speech(
        speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom, classes=config.classes
    )
    names = "\n".join(sorted(item.key for item in items))
    recordings = f"{len(items)} ({hashlib.sha256(names.encode()).hexdigest()[:12]})"
    voices, images = (tuple(absolute(source) for source in sources) for sources in (speech, faces))
    setup = StudySetup(
        config, tuple(space), search.folds, search.sampler, search.pruner, voices, images, recordings
    )
    count(setup)  # a grid of ranges has no count
    return setup, items


@dataclass(frozen=True)
class _Job:
    """What all trials share."""

    folds: list[Config]  # before a trial's own settings
    speech: list[Source]
    faces: list[Source]
    trials: int  # in all

    def configs(self, trial: Trial) -> list[Config]:
        """Give the settings of each fold of a trial."""
        try:
            return [with_values(config, trial.params) for config in self.folds]
        except ConfigError as error:
            raise TrialGivenUpError(str(error)) from None


def _log_start(study: Study, trials: int) -> None:
    known = len(study.trials())
    space = "  ".join(map(str, study.setup.space))
    began = f", {known} of them begun" if known else ""
    folds = "the validation part" if study.setup.folds == 1 else f"{study.setup.folds} validation folds"
    log.info(f"{trials} trial{'s' if trials > 1 else ''} on {folds}{began}: {space}")


def _work_on_trial(study: Study, job: _Job) -> bool:
    """Train a trial, from its start or from where it was left; False: none is left."""
    with study.next_trial(job.trials) as trial:
        if trial is None:
            return False
        try:
            study.start(trial)
            uar = _Folds(study, trial, job).run()
        except optuna.TrialPruned:
            study.optuna.tell(trial, state=TrialState.PRUNED)
        except (KeyboardInterrupt, OSError):
            with contextlib.suppress(OSError):  # a full disk
                trial.set_user_attr("starts", [])
            raise
        except (TrainingError, TrialGivenUpError, RuntimeError, MemoryError) as error:
            _fail(study, trial, error)
        else:
            study.optuna.tell(trial, uar)
        _log_trial(study.trials(), trial.number + 1, job.trials, study.setup)
    return True


def _fail(study: Study, trial: Trial, error: Exception) -> None:
    """Count a trial as failed, if it is its settings that failed."""
    if not isinstance(error, (TrainingError, TrialGivenUpError)) and not is_out_of_memory(error):
        raise error
    trial.set_user_attr("reason", one_line(error))
    study.optuna.tell(trial, state=TrialState.FAIL)
    error.__traceback__ = None  # its frames hold the network
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Folds:
    """Trains the folds of one trial, and reports each epoch to Optuna."""

    def __init__(self, study: Study, trial: Trial, job: _Job) -> None:
        self.study, self.trial, self.job = study, trial, job
        self.epochs = study.setup.config.epochs
        self.reported = study.reported(trial)
        self.uars: list[float] = []  # of finished folds
        self.seen: dict[int, tuple[float, float]] = {}  # epoch of this fold -> its validation's loss and UAR

    def run(self) -> float:
        """Train the folds that are not finished; give the mean UAR of all.

        Raises:
            optuna.TrialPruned: the trial is poor.
            TrialGivenUpError: its settings do not go together.
            TrainingError: it diverged.
        """
        configs = self.job.configs(self.trial)
        for number, config in enumerate(configs, 1):
            folder = self.study.run_folder(self.trial, number)
            uar = _finished(folder, self.epochs)
            if uar is None:
                fold = f" fold {number}/{len(configs)}" if len(configs) > 1 else ""
                with nested(f"trial {self.trial.number + 1}/{self.job.trials}{fold}"):
                    uar = self._train(config, folder)
            self.uars.append(uar)
            self.trial.set_user_attr("folds", self.uars)
        return statistics.mean(self.uars)

    def _train(self, config: Config, folder: Path) -> float:
        self.seen = {}
        for epoch in _epochs(folder):
            self.report(epoch)
        resume = (folder / "run.toml").exists()
        speech, faces = self.job.speech, self.job.faces
        try:
            result = train(config, speech, folder, faces=faces, resume=resume, score=False, on_epoch=self.report)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; if damaged, remove {folder}: the fold is trained anew") from None
        return float(result.metrics["val"]["uar"])

    def report(self, epoch: EpochMetrics) -> None:
        """Report the UAR that the trial would have if it ended now; raise TrialPruned where that is poor."""
        self.seen[epoch.epoch] = epoch.val_loss, epoch.val_uar
        kept = min(self.seen.values(), key=lambda validation: validation[0])[1]
        step = len(self.uars) * self.epochs + epoch.epoch
        if step in self.reported:
            return
        self.trial.report(statistics.mean([*self.uars, kept]), step)
        last = step == self.study.setup.steps
        if not last and self.trial.should_prune():
            raise optuna.TrialPruned


def _epochs(folder: Path) -> list[EpochMetrics]:
    """Read the epochs that a fold was trained already."""
    path = folder / "epochs.jsonl"
    return [EpochMetrics(**values) for values in (read_json_lines(path) if path.exists() else [])]


def _finished(folder: Path, epochs: int) -> float | None:
    """Read the UAR of a finished fold, else None. One that diverged has metrics too, but not all epochs."""
    try:
        if len(_epochs(folder)) < epochs:
            return None
        uar = read_json(folder / "metrics.json", finite=False)["val"]["uar"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(uar) if math.isfinite(uar) else None


def _log_trial(trials: list[TrialRecord], number: int, planned: int, setup: StudySetup) -> None:
    last, best = trials[number - 1], best_of(trials)
    if last.state == "complete" and best:
        result = f"UAR {100 * (last.uar or 0):.1f} % (best {100 * (best.uar or 0):.1f}, trial {best.number})"
    elif last.state == "pruned":
        result = f"pruned after {last.step} of {setup.steps} epochs at UAR {100 * (last.uar or 0):.1f} %"
    else:
        result = f"failed: {last.reason}"
    settings = "  ".join(f"{name} {short_value(value)}" for name, value in last.settings.items())
    log.info(f"trial {number}/{max(planned, len(trials))}  {result}  {settings}")
