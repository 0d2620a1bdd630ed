"""The training of a head on frozen features: features, cross-validation, one head on everything, scores."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdan_edge.config import Config, method_name
from fdan_edge.errors import DataError
from fdan_edge.evaluation import calibration, plots, predictions
from fdan_edge.evaluation.predictions import Prediction, Predictions
from fdan_edge.evaluation.score_items import Evaluation, score_items
from fdan_edge.features import extract
from fdan_edge.features.copies import Copy, copies_elsewhere, weak_copies
from fdan_edge.models.backbones.build import frozen_encoder
from fdan_edge.models.backbones.staged import StagedBackbone
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs import run_folder
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training import head
from fdan_edge.training.class_balance import corpus_weights
from fdan_edge.training.corpora import TrainingCorpora
from fdan_edge.training.estimate import encoding_seconds
from fdan_edge.training.head import Recordings
from fdan_edge.training.history import EpochMetrics, duration
from fdan_edge.training.verdict import judge
from fdan_edge.utils.files import write_json, write_text

log = logging.getLogger(__name__)

_NEW_SPEAKERS = "cross-validated: each speaker by a head that was fitted on the others"
_SAME_SPEAKERS = "cross-validated: each recording by a head that was fitted on others, of its speakers too"


class HeadTraining:
    """Fits a head, and leaves a run folder as a network's training does: one epoch, the weights, the scores.

    Args:
        config: the settings, as `head_config` makes them.
        corpora: recordings; those of training and validation are fitted on.
        model: its networks; the frozen encoder is read, its normalisation and the classifier are set.
        folder: the run folder.

    Raises:
        DataError: no recording is usable, or only one class is left.
    """

    def __init__(self, config: Config, corpora: TrainingCorpora, model: Fdan, folder: Path) -> None:
        self.config, self.corpora, self.model, self.folder = config, corpora, model, folder
        self.begun = time.perf_counter()
        given = corpora.parts.train + corpora.parts.val
        encoder = frozen_encoder(model.acoustic.backbone, config)
        assert encoder is not None, "a head's encoder is frozen as a whole"
        weak, elsewhere = weak_copies(), copies_elsewhere(config)
        seconds = (1 + len(weak) + len(elsewhere)) * encoding_seconds(given, config, encoder)
        log.info(f"encoding {len(given)} recordings takes about {duration(seconds)} where no features are kept")
        # The "labels" are places in the list: what is broken is left out, and labels and speakers must follow.
        voices = extract.evaluation_voices(given, list(range(len(given))), config, "training", encoder=encoder)
        owner = voices.owner.numpy()
        places = voices.labels.numpy()[np.unique(owner, return_index=True)[1]]
        self.items = [given[place] for place in places]
        labels = np.array([corpora.classes.index(item.emotion) for item in self.items])
        features = voices.read(0, torch.arange(len(owner))).numpy().astype(np.float64)
        self.recordings = Recordings(features, owner, labels)
        self._check_classes()
        means = np.stack([self._copies(encoder, copy) for copy in (*weak, *elsewhere)])
        weights = np.repeat([head.WEAK_CHANGES, head.CHANGES_ELSEWHERE], [len(weak), len(elsewhere)])
        self.copies = head.Copies(means, weights)
        self.weights = self._weights()

    def _copies(self, encoder: StagedBackbone, copy: Copy) -> head.Array:
        """Encode a copy of every recording, (n, d): what it changes must not count.

        On RAVDESS the labels of every third recording at -60 dBFS in 16 bits changed without weak copies, of every
        eleventh with them, and clean ones were recognised as well (docs/formats/sound.md).
        """
        places, means = list(range(len(self.items))), self.recordings.means()
        try:
            voices = extract.evaluation_voices(
                self.items, places, self.config, copy.what, encoder=encoder, copy=copy
            )
        except DataError:  # nothing is left of any of them
            return means
        owner = voices.owner.numpy()
        there = voices.labels.numpy()[np.unique(owner, return_index=True)[1]]
        features = voices.read(0, torch.arange(len(owner))).numpy().astype(np.float64)
        means[there] = Recordings(features, owner, there).means()
        return means

    def _weights(self) -> head.Array | None:
        """Compute how much each recording counts, (n,): of several corpora, as `corpus_balance` says."""
        names = [item.corpus for item in self.items]
        if not self.config.corpus_balance or len({*names}) < 2:
            return None
        corpora = torch.from_numpy(np.unique(names, return_inverse=True)[1])
        labels = torch.from_numpy(self.recordings.labels)
        return corpus_weights(labels, corpora, self.config.corpus_balance).double().numpy()

    def _check_classes(self) -> None:
        """Raise DataError where all recordings of a class are broken."""
        usable = {item.emotion for item in self.items}
        if gone := [name for name in self.corpora.classes if name not in usable]:
            raise DataError(
                f"no recording of {', '.join(gone)} can be used; usable are those of {', '.join(usable)}"
            )

    def run(self, *, score: bool) -> dict[str, Any]:
        """Fit, score and write; gives what metrics.json holds."""
        logits = self._cross_validated(self._groups())
        spread = head.spread(logits)
        fitted = calibration.fit_temperature(logits / spread, self.recordings.owner, self.recordings.labels)
        unseen = self._evaluation(self._softened(logits / spread), self._how())
        self._save_weights(spread)
        run_folder.save_calibration(self.folder, fitted.to_dict(), 1)
        self._save_epoch(unseen)
        values = self._validation(unseen)
        if score:
            values |= {"calibration": fitted.to_dict(), **self._test(unseen, spread, fitted.temperature)}
            values["verdict"] = judge(values, self.corpora.parts, epochs=1).to_dict()
        write_json(self.folder / "metrics.json", values)
        return values

    def _groups(self) -> head.Indices:
        """Number the speakers; a recording of an unknown one is by itself, and all are where there is only one."""
        speakers = [item.speaker_key or f"unknown {index}" for index, item in enumerate(self.items)]
        if len({*speakers}) < 2:
            return np.arange(len(self.items))
        return np.unique(np.array(speakers), return_inverse=True)[1]

    def _cross_validated(self, groups: head.Indices) -> head.Array:
        return head.cross_validated_logits(
            self.recordings, groups, len(self.corpora.classes), self.config.split_seed, self.copies, self.weights
        )

    def _softened(self, logits: head.Array) -> head.Array:
        """Compute probabilities of recordings (n, C), each half of the groups by the other half's temperature."""
        groups, owner, labels = self._groups(), self.recordings.owner, self.recordings.labels
        names = np.random.default_rng(self.config.split_seed).permutation(np.unique(groups))
        probabilities = np.zeros((len(labels), logits.shape[1]))
        for half, other in ((names[::2], names[1::2]), (names[1::2], names[::2])):
            fitted_on, used_for = (np.flatnonzero(np.isin(groups, part)) for part in (other, half))
            chosen = np.isin(owner, fitted_on)
            place = np.searchsorted(fitted_on, owner[chosen])
            temperature = calibration.fit_temperature(logits[chosen], place, labels[fitted_on]).temperature
            probabilities[used_for] = calibration.soften(logits, owner, temperature)[used_for]
        return probabilities

    def _how(self) -> str:
        """Say what the cross-validated scores are of, for people."""
        speakers = [item.speaker_key for item in self.items]
        unknown, known = speakers.count(None), len({*speakers} - {None})
        if unknown == len(speakers):
            return f"{_SAME_SPEAKERS}; speakers are not known, so expect less on new ones"
        if known == 1 and not unknown:
            return f"{_SAME_SPEAKERS}; all are of one speaker, so expect less on others"
        some = f"; the speakers of {unknown} recordings are not known" if unknown else ""
        return f"{_NEW_SPEAKERS}; {known} speakers{some}"

    def _evaluation(self, probabilities: head.Array, part: str) -> Evaluation:
        """Score the recordings by probabilities, (n, C)."""
        rows = [
            Prediction(item.key, item.emotion, item.speaker_key, [float(p) for p in row])
            for item, row in zip(self.items, probabilities, strict=True)
        ]
        scored = Predictions(self.corpora.classes, rows)
        return Evaluation(
            scores=scored.scores(),
            intervals=scored.intervals(),
            calibration=scored.calibration(),
            part=part,
            broken=[],
            skipped=0,
            predictions=scored,
            audit=self.corpora.audit.line(),
        )

    def _save_weights(self, spread: float) -> None:
        """Fit the head on all recordings, put it into the networks, and write checkpoint.safetensors."""
        recordings, classes = self.recordings, len(self.corpora.classes)
        fitted = head.fit_head(recordings.means(), recordings.labels, classes, self.copies, self.weights)
        fitted = fitted.scaled(1 / spread)
        with torch.no_grad():
            self.model.acoustic.set_statistics(torch.from_numpy(fitted.mean), torch.from_numpy(fitted.variance))
            self.model.classifier.weight.copy_(torch.from_numpy(fitted.weight))
            self.model.classifier.bias.copy_(torch.from_numpy(fitted.bias))
        state = {"epoch": 1, "faces": False}
        path = self.folder / "checkpoint.safetensors"
        run_folder.save_tensors(path, dict(self.model.state_dict()), state)

    def _save_epoch(self, unseen: Evaluation) -> None:
        """Write the one line of epochs.jsonl, by which `runs` shows the training."""
        nll = unseen.calibration.nll
        seconds = round(time.perf_counter() - self.begun, 2)
        record = EpochMetrics(
            epoch=1,
            loss=nll,
            acoustic=nll,
            visual=0.0,
            alignment=0.0,
            train_war=unseen.scores.war,
            val_uar=unseen.scores.uar,
            val_war=unseen.scores.war,
            val_loss=nll,
            lr=0.0,
            seconds=seconds,
            rate=round(len(self.items) / max(seconds, 0.01), 1),
        )
        write_text(self.folder / "epochs.jsonl", json.dumps(asdict(record)) + "\n")

    def _validation(self, unseen: Evaluation) -> dict[str, Any]:
        scores = unseen.scores
        return {
            "method": method_name(self.config, faces=False),
            "protocol": self.corpora.parts.description,
            "audit": self.corpora.audit.to_dict(),
            "best_epoch": 1,
            "epoch_choice": "none: the head is fitted in closed form",
            "val": {"uar": scores.uar, "war": scores.war, "loss": unseen.calibration.nll, "n": len(self.items)},
        }

    def _test(self, unseen: Evaluation, spread: float, temperature: float) -> dict[str, Any]:
        """Score what was held out; where nothing was, the cross-validated scores are the test's."""
        held_out = self.corpora.parts.test
        test, more = unseen, {}
        if held_out:
            with TorchRunner(self.folder) as runner:
                scored = score_items(runner, held_out, "the run's test part", self.corpora.scored)
                test = replace(scored, audit=runner.info.audit)
        elif len(set(self._groups())) < len(self.items):
            more = {"same_speakers": self._same_speakers(spread, temperature)}
        test.predictions.save(self.folder / predictions.FILE)
        title = f"{method_name(self.config, faces=False)}, {test.part.partition(':')[0]}"
        plots.confusion_matrix(test.scores, title, self.folder / "confusion")
        plots.reliability(test.calibration, title, self.folder / "reliability")
        model = "this model" if held_out else "models like this one; it is fitted on all recordings"
        return {"test": test.to_dict(), "scores_of": model, **more}

    def _same_speakers(self, spread: float, temperature: float) -> dict[str, Any]:
        """Score the recordings by heads that know their speakers: what to expect of the people in the data."""
        logits = self._cross_validated(np.arange(len(self.items))) / spread
        probabilities = calibration.soften(logits, self.recordings.owner, temperature)
        known = self._evaluation(probabilities, _SAME_SPEAKERS).to_dict()
        kept = {name: known[name] for name in ("uar", "n", "recall", "confusion")}
        return {**kept, "intervals": {"uar": known["intervals"]["uar"]}}
