"""Train every fold of a protocol, one after another, and score their test predictions together."""

from __future__ import annotations

import logging
import statistics
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fdan_edge.config import DECISIVE, Config, choose_recipe
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.protocols import FOLDED, PARTS, fold_count, origins
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import split
from fdan_edge.errors import CheckpointError, ConfigError, DataError, one_line
from fdan_edge.evaluation import plots
from fdan_edge.evaluation.metrics import Scores
from fdan_edge.evaluation.predictions import FILE, Predictions, load_predictions
from fdan_edge.runs.run_folder import load_run, load_split
from fdan_edge.training.run import train
from fdan_edge.training.run_records import absolute
from fdan_edge.utils.files import write_json
from fdan_edge.utils.small_files import read_json, read_json_lines

log = logging.getLogger(__name__)

RESULT = "crossval.json"


@dataclass(frozen=True)
class Fold:
    """One finished fold."""

    folder: Path
    metrics: dict[str, Any]  # as in metrics.json
    predictions: Predictions  # of its test part

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        names = ("protocol", "best_epoch", "val", "calibration")
        chosen = {name: self.metrics[name] for name in names}
        verdict, test = self.metrics["audit"]["verdict"], self.predictions.scores().to_dict()
        return {"run": self.folder.name, **chosen, "audit": verdict, "test": test}


@dataclass(frozen=True)
class Pooled:
    """Scores over the test recordings of all folds, of which each is tested once."""

    predictions: Predictions
    folds: list[Scores]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON: pooled scores, and mean and standard deviation (n - 1) over the folds."""
        each = {name: [getattr(scores, name) for scores in self.folds] for name in ("uar", "war", "wf1")}
        return {
            **self.predictions.scores().to_dict(),
            "intervals": self.predictions.intervals().to_dict(),
            "calibration": self.predictions.calibration().to_dict(),
            "mean": {name: statistics.mean(values) for name, values in each.items()},
            "sd": {name: statistics.stdev(values) for name, values in each.items()},
        }


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation."""

    folder: Path
    protocol: str  # one of FOLDED
    folds: list[Fold]
    pooled: Pooled
    merged: Pooled | None  # the same predictions with calm counted as neutral, where the classes hold both
    corpora: list[str] = field(default_factory=list)  # the one that each fold leaves out; [] but for loco

    @property
    def audit(self) -> str:
        """Give the verdict of the folds' leak audits; where they differ, each with its folds."""
        by_verdict: dict[str, list[str]] = defaultdict(list)
        for number, fold in enumerate(self.folds, 1):
            by_verdict[fold.metrics["audit"]["verdict"]].append(str(number))
        if len(by_verdict) == 1:
            return next(iter(by_verdict))
        return " | ".join(f"fold {', '.join(numbers)}: {verdict}" for verdict, numbers in by_verdict.items())

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "method": self.folds[0].metrics["method"],
            "protocol": f"{len(self.folds)} {FOLDED[self.protocol]}",
            "audit": self.audit,
            **({"corpora": self._by_corpus()} if self.corpora else {}),
            "pooled": self.pooled.to_dict(),
            "merged": self.merged.to_dict() if self.merged else None,
            "folds": [fold.to_dict() for fold in self.folds],
        }

    def _by_corpus(self) -> list[dict[str, Any]]:
        """Give the scores of each corpus that was left out, in the classes that others have too."""
        return [
            {**fold.predictions.corpus_row(name), "audit": fold.metrics["audit"]["verdict"]}
            for name, fold in zip(self.corpora, self.folds, strict=True)
        ]


def crossval(config: Config, speech: list[Source], faces: list[Source], folder: Path) -> CrossValidation:
    """Train every fold of `config.protocol`, one of `FOLDED`, as `folder`/fold-1 and so on, and pool the tests.

    Called again with the same settings it reads the finished folds and resumes the unfinished one. Leaves
    crossval.json and pictures in `folder`. `config.fold` has no meaning here, and `config.teacher` is
    another cross-validation's folder, whose fold-1 teaches fold 1 and so on.

    Raises:
        ConfigError: another protocol.
        CheckpointError: a fold was begun with other settings, corpora or recordings, or `folder` is a run folder.
        DataError: speakers are not known or too few, or the protocol has one fold.
    """
    if config.protocol not in FOLDED:
        *names, last = FOLDED
        raise ConfigError(f"crossval goes with protocol {', '.join(names)} or {last}, not {config.protocol}")
    if config.method != "fdan" or config.channel == "match":
        raise ConfigError(
            f"crossval has no target, which method = {config.method}, channel = {config.channel} needs; "
            "valid: method = fdan, channel = none or window"
        )
    if (folder / "run.toml").exists():
        raise CheckpointError(
            f"{folder}: holds one training, which has files of the same names; name another --out"
        )
    items = read_labelled_speech(
        speech, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom, classes=config.classes
    )
    choice = choose_recipe(config, len(items), faces=bool(faces))
    if config.recipe == "auto":
        log.info(f"recipe: {choice.reason}")
    config = choice.config
    numbers = range(1, fold_count(items, config) + 1)
    if len(numbers) == 1:
        one = f"`fdan-edge train --set protocol={config.protocol}` trains it"
        raise DataError(f"protocol {config.protocol} has one fold here; {one}")
    corpora = origins(items) if config.protocol == "loco" else []
    runs = {folder / f"fold-{number}": fold_config(config, number) for number in numbers}
    for run, wanted in runs.items():
        _check_same(run, wanted, speech, faces)
        _check_recordings(run, items, wanted)
    folds = [_trained_fold(run, wanted, speech, faces) for run, wanted in runs.items()]
    result = replace(_pool_folds(folder, config.protocol, folds), corpora=corpora)
    _write(result)
    return result


def fold_config(config: Config, number: int) -> Config:
    """Make the settings of one fold, from 1. A teacher is the same fold of its own cross-validation."""
    teacher = str(Path(config.teacher) / f"fold-{number}") if config.teacher else ""
    return replace(config, fold=number, teacher=teacher)


def _trained_fold(folder: Path, config: Config, speech: list[Source], faces: list[Source]) -> Fold:
    """Train a fold unless it is finished, and read what it left."""
    if not _finished(folder, config):
        log.info(f"fold {config.fold}, in {folder}")
        try:
            train(config, speech, folder, faces=faces, resume=(folder / "run.toml").exists())
        except KeyboardInterrupt:
            log.info("finished folds are kept; the same crossval command goes on from here")
            raise
    try:
        metrics: dict[str, Any] = read_json(folder / "metrics.json", finite=False)
        fold = Fold(folder, metrics, load_predictions(folder / FILE))
        fold.to_dict()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / 'metrics.json'}: missing or damaged ({one_line(error)}); without the folder the same "
            "command trains the fold anew"
        ) from None
    return fold


def _finished(folder: Path, config: Config) -> bool:
    """Tell whether a fold is finished. One that diverged has scores too, but not all epochs."""
    if not all((folder / name).is_file() for name in ("metrics.json", FILE, "epochs.jsonl")):
        return False
    try:
        return len(read_json_lines(folder / "epochs.jsonl")) == config.epochs
    except ValueError:
        return False


def _check_same(folder: Path, config: Config, speech: list[Source], faces: list[Source]) -> None:
    """Raise CheckpointError where a fold was begun with other settings or corpora than these."""
    if not (folder / "run.toml").exists():
        return
    begun, info = load_run(folder)
    values = {name: (getattr(begun, name), getattr(config, name)) for name in DECISIVE}
    values["--speech"] = (info.speech, [absolute(source) for source in speech])
    values["--faces"] = (info.faces, [absolute(source) for source in faces])
    for name, (old, new) in values.items():
        if old != new:
            raise CheckpointError(
                f"{folder}: was begun with {name} = {old!r}, now it is {new!r}; repeat the command that it was "
                "begun with, or name another --out"
            )


def _check_recordings(folder: Path, items: list[Item], config: Config) -> None:
    """Raise CheckpointError where a fold was begun with other recordings than there are now.

    Pooled with folds of today's, its test would lack the new ones, or they would have been trained differently.
    """
    if not (folder / "run.toml").exists():
        return
    begun, now = load_split(folder), split(items, config).keys()
    for part in PARTS:
        came, gone = set(now[part]) - set(begun[part]), set(begun[part]) - set(now[part])
        if came or gone:
            raise CheckpointError(
                f"{folder}: was begun with other recordings: its {part} part would have {len(came)} new ones, and "
                f"{len(gone)} are gone; give it those that it was begun with, or name another --out"
            )


def _pool_folds(folder: Path, protocol: str, folds: list[Fold]) -> CrossValidation:
    each = [fold.predictions for fold in folds]
    if protocol == "loco":  # each is scored in the classes that its corpus has
        every = sorted({name for predictions in each for name in predictions.labels})
        each = [predictions.among(every) for predictions in each]
    labels, keys = each[0].labels, [recording.key for predictions in each for recording in predictions.recordings]
    if any(predictions.labels != labels for predictions in each) or len(set(keys)) < len(keys):
        raise DataError(
            f"{folder}: its folds know different classes, or test a recording twice: the corpora changed between "
            "them; name another --out"
        )
    both = {"calm", "neutral"} <= set(labels)
    merged = _pooled([predictions.merged("calm", "neutral") for predictions in each]) if both else None
    return CrossValidation(folder, protocol, folds, _pooled(each), merged)


def _pooled(each: list[Predictions]) -> Pooled:
    every = [recording for predictions in each for recording in predictions.recordings]
    return Pooled(Predictions(each[0].labels, every), [predictions.scores() for predictions in each])


def _write(result: CrossValidation) -> None:
    write_json(result.folder / RESULT, result.to_dict())
    title = f"{result.folds[0].metrics['method']}, {len(result.folds)} folds pooled"
    for name, pooled in (("", result.pooled), ("-merged", result.merged)):
        if pooled:
            predictions = pooled.predictions
            plots.confusion_matrix(predictions.scores(), title, result.folder / f"confusion{name}")
            plots.reliability(predictions.calibration(), title, result.folder / f"reliability{name}")
