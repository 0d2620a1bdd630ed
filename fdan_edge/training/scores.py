"""The last stage of a training: its temperature, the scores of its test, and pictures of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.config import method_name
from fdan_edge.data.target_corpus import with_labels
from fdan_edge.errors import DataError
from fdan_edge.evaluation import calibration, metrics, plots, predictions
from fdan_edge.evaluation.score_items import score_items
from fdan_edge.features import extract
from fdan_edge.features.copies import copies_elsewhere
from fdan_edge.models.backbones.build import frozen_encoder
from fdan_edge.runs import run_folder
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.corpora import TrainingCorpora
from fdan_edge.training.features import NO_CLASS
from fdan_edge.training.history import EpochMetrics
from fdan_edge.training.trainer import Trainer
from fdan_edge.training.validation import average_by_recording
from fdan_edge.training.verdict import judge
from fdan_edge.utils.files import write_json


def write_scores(
    folder: Path, best: EpochMetrics, corpora: TrainingCorpora, trainer: Trainer, *, test: bool
) -> dict[str, Any]:
    """Write metrics.json, and with `test` what else the scores of the test leave in the run folder.

    Args:
        folder: of the run.
        best: the epoch whose weights are kept.
        corpora: the parts of the data.
        trainer: that trained it.
        test: whether the test part is looked at. Without, there is no `calibration` and no `test`.

    Returns:
        What metrics.json holds.
    """
    scores = _validation_scores(best, corpora, trainer)
    if test:
        scores |= _test_scores(folder, best, corpora, trainer, scores["method"])
        scores["verdict"] = judge(scores, corpora.parts, trainer.config.epochs).to_dict()
    write_json(folder / "metrics.json", scores)
    return scores


def _validation_scores(best: EpochMetrics, corpora: TrainingCorpora, trainer: Trainer) -> dict[str, Any]:
    """What metrics.json holds before the test is looked at."""
    return {
        "method": method_name(trainer.config, faces=trainer.faces is not None),
        "protocol": corpora.parts.description,
        "audit": corpora.audit.to_dict(),
        "best_epoch": best.epoch,
        "epoch_choice": _epoch_choice(best, corpora, trainer),
        "val": {"uar": best.val_uar, "war": best.val_war, "loss": best.val_loss, "n": trainer.val_recordings},
    }


def _epoch_choice(best: EpochMetrics, corpora: TrainingCorpora, trainer: Trainer) -> str:
    """Say why the weights of this epoch are kept, for people."""
    if trainer.config.method != "fdan" or corpora.target:
        return "the last: voices of the source do not say when those of the target are understood"
    if trainer.keep_last:
        return "the last: too few speakers or recordings validate to choose one"
    return f"epoch {best.epoch} of {len(trainer.history)}, with the lowest validation loss"


def _test_scores(
    folder: Path, best: EpochMetrics, corpora: TrainingCorpora, trainer: Trainer, method: str
) -> dict[str, Any]:
    """Score the test part with the calibrated model; leaves predictions and pictures in the run folder."""
    temperature = _calibrate(folder, best, corpora, trainer)
    target = _target_information(folder, corpora, trainer)
    with TorchRunner(folder) as runner:
        # The training is over: only now are labels of a target read.
        items = corpora.parts.test
        if corpora.tests_target:
            items = with_labels(items, corpora.sources.target, runner.config)
        test = score_items(runner, items, "the run's test part", corpora.scored)
        test = replace(test, audit=runner.info.audit)
    test.predictions.save(folder / predictions.FILE)
    title = f"{method}, {runner.config.backbone}, test part"
    plots.confusion_matrix(test.scores, title, folder / "confusion")
    plots.reliability(test.calibration, title, folder / "reliability")
    return {"calibration": temperature.to_dict(), "test": test.to_dict(), **target}


def _calibrate(
    folder: Path, best: EpochMetrics, corpora: TrainingCorpora, trainer: Trainer
) -> calibration.Temperature:
    """Fit the temperature of the best epoch's weights on the validation part, and store it in the run."""
    with TorchRunner(folder) as runner:
        known = _heard(trainer.val_voices, trainer, runner)
        elsewhere = _copies(corpora, trainer, runner)
        copies = _heard(elsewhere, trainer, runner) if elsewhere else None
    temperature = calibration.fit_temperature(known.logits, known.owner, known.true, copies)
    run_folder.save_calibration(folder, temperature.to_dict(), best.epoch)
    return temperature


def _heard(voices: extract.Voices, trainer: Trainer, runner: TorchRunner) -> calibration.Copies:
    """Compute the logits of windows, and the classes of the recordings that they are from."""
    owner, labels = voices.owner.numpy(), voices.labels.numpy()
    true = labels[np.unique(owner, return_index=True)[1]]
    return calibration.Copies(trainer.logits(runner.path.model, voices).numpy(), owner, true)


def _copies(corpora: TrainingCorpora, trainer: Trainer, runner: TorchRunner) -> extract.Voices | None:
    """Extract a copy of each validation recording, where the training had copies in other surroundings.

    None where the spectra of two corpora are matched: a copy's own spectrum is no more that of its corpus.
    """
    config, items = trainer.config, corpora.parts.val
    copies = copies_elsewhere(config)[:1]
    if not copies or config.channel == "match":
        return None
    labels = [corpora.classes.index(item.emotion) for item in items]
    encoder = frozen_encoder(runner.path.model.acoustic.backbone, config)
    try:
        return extract.evaluation_voices(
            items, labels, config, f"validation, {copies[0].what}", encoder=encoder, copy=copies[0]
        )
    except DataError:  # nothing is left of any of them
        return None


def _target_information(folder: Path, corpora: TrainingCorpora, trainer: Trainer) -> dict[str, Any]:
    """Compute what the target says of the model without its labels: {} where there is no target."""
    if not corpora.target:
        return {}
    items, config = corpora.target, trainer.config
    with TorchRunner(folder) as runner:
        encoder = frozen_encoder(runner.path.model.acoustic.backbone, config)
        labels, what = [NO_CLASS] * len(items), "the target's scores"
        voices = extract.evaluation_voices(items, labels, config, what, encoder=encoder)
        windows = trainer.logits(runner.path.model, voices).softmax(1)
    information = metrics.information(average_by_recording(windows, voices.owner).numpy())
    return {"target": {"information": information, "n": int(voices.owner.max()) + 1}}
