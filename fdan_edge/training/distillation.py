"""A trained run as the teacher of another: what may be learnt from it, and its logits for each recording.

The student learns the teacher's probabilities beside the labels (Hinton, Vinyals and Dean 2015, "Distilling the
Knowledge in a Neural Network"). The teacher gets every training crop once, at each speed, through its own front
end and without augmentation: a student whose crop is masked and shifted learns the probabilities of the whole one.
The teacher's checkpoint is read, nothing in it is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, recording_key
from fdan_edge.data.splits import Split
from fdan_edge.errors import CheckpointError, ConfigError, DataError
from fdan_edge.features import extract
from fdan_edge.models.fdan import Fdan
from fdan_edge.runs.run_folder import load_model, load_split
from fdan_edge.utils.files import sha256
from fdan_edge.utils.progress import track

#: Settings that make a crop, which must be the same for both networks; the front end is each network's own.
_CROP_SETTINGS = ("sample_rate", "window_seconds", "trim_db", "high_pass")
#: Settings that say which crops there are.
_OF_WINDOWS = ("seed", "speed_perturbation", "surroundings", "noise", "rooms", "cache")
_BATCH = 32


@dataclass(frozen=True)
class TeacherTargets:
    """Logits of a teacher for training crops, in the order of the `Voices` that a student trains on."""

    voices: Tensor  # (variants, n, C)
    target: Tensor | None = None  # (variants, n_t, C), of a target without labels


@dataclass(frozen=True)
class Teacher:
    """A finished run."""

    folder: Path
    config: Config
    classes: list[str]
    model: Fdan  # in evaluation mode
    digest: str  # SHA-256 of its checkpoint

    def info(self) -> dict[str, str]:
        """Return what a student's run.toml says of the teacher."""
        return {"run": str(self.folder.resolve()), "backbone": self.config.backbone, "sha256": self.digest}

    def logits(self, items: list[Item], student: Config, what: str) -> Tensor:
        """Compute logits of the crops that `features.training_voices` gives the student, (variants, n, C).

        Raises:
            DataError: no recording is usable.
        """
        same = {name: getattr(student, name) for name in _OF_WINDOWS}
        voices = extract.training_voices(
            items, [0] * len(items), replace(self.config, **same), f"the teacher, {what}"
        )
        return torch.stack([self._variant_logits(voices, variant, what) for variant in range(len(voices.decibel))])

    @torch.no_grad()
    def _variant_logits(self, voices: extract.Voices, variant: int, what: str) -> Tensor:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = self.model.to(device)
        batches = list(torch.split(torch.arange(len(voices.labels)), _BATCH))
        logits = [model.acoustic_logits(voices.read(variant, index, device)) for index in track(batches, what)]
        return torch.cat(logits).cpu()


def load_teacher(folder: Path, digest: str = "") -> Teacher:
    """Load the teacher that a setting names.

    Args:
        folder: its run folder.
        digest: SHA-256 of the checkpoint that a resumed student began with.

    Raises:
        CheckpointError: it is not a finished run, or not the one that the student began with.
        ConfigError: no student can learn from it.
    """
    path, config, info, _ = load_model(folder)
    if not (folder / "metrics.json").is_file():
        raise CheckpointError(
            f"{folder}: the teacher is not finished; `fdan-edge train --resume --out {folder}` finishes it"
        )
    if config.channel == "match":
        raise ConfigError(f"{folder}: a teacher with channel = match knows speech of its target's microphone only")
    actual = sha256(folder / "checkpoint.safetensors")
    if digest not in ("", actual):
        raise CheckpointError(
            f"{folder}: the teacher is not the one that this training began with ({actual[:12]}, then "
            f"{digest[:12]}); give it back, or begin another training with --out NAME"
        )
    return Teacher(folder, config, info.classes, path.model, actual)


def check_teacher(teacher: Teacher, student: Config, classes: list[str], parts: Split, target: list[Item]) -> None:
    """Raise where the student could not learn from the teacher, or would learn something of its test.

    What the teacher trained on is in its probabilities. So the student's test must be of the teacher's own test
    part, under a protocol that holds out the same, and its validation nothing that the teacher trained on.

    Args:
        teacher: of `load_teacher`.
        student: settings of the student.
        classes: of the student.
        parts: of the student.
        target: what the student trains on without labels.

    Raises:
        ConfigError: other classes or crops.
        DataError: the teacher knows recordings, speakers or sentences of the student's test.
    """
    name = f"teacher {teacher.folder}"
    if teacher.classes != classes:
        raise ConfigError(
            f"{name} knows {', '.join(teacher.classes)}; the student's classes are {', '.join(classes)}"
        )
    for setting in _CROP_SETTINGS:
        theirs, own = getattr(teacher.config, setting), getattr(student, setting)
        if theirs != own:
            raise ConfigError(f"{setting} = {own:g}, but {name} hears {theirs:g}: both must hear the same crop")
    _check_parts(teacher, parts, target)


def _check_parts(teacher: Teacher, parts: Split, target: list[Item]) -> None:
    """Raise DataError where the teacher knows something of the student's test or validation."""
    name, split = f"teacher {teacher.folder}", load_split(teacher.folder)
    keys = {part: {recording_key(key) for key in of_part} for part, of_part in split.items()}
    test, val = ({recording_key(item.key) for item in items} for items in (parts.test, parts.val))
    if known := test - keys["test"]:
        raise DataError(
            f"{len(known)} of {len(test)} recordings of the student's test are not of the test of {name}, which "
            "may know them; give both the same corpora, protocol, speakers and fold"
        )
    if known := val & keys["train"]:
        raise DataError(f"{len(known)} recordings of the student's validation are in the training of {name}")
    promised = {"speakers": "speakers", "sentences": "texts"}.get(parts.promise)
    if promised and not split[promised]:
        raise DataError(
            f"{name} holds out no {parts.promise}, and the student's protocol does; train one that does"
        )
    if known := (test & keys["target"]) - {recording_key(item.key) for item in target}:
        known_recordings = f"{len(known)} recordings of the student's test"
        raise DataError(f"{name} heard {known_recordings}; give both the same --adapt-to")


def teacher_targets(
    teacher: Teacher, student: Config, train: list[Item], target: list[Item], usable: tuple[int, int]
) -> TeacherTargets:
    """Compute the teacher's logits for the student's training crops.

    Args:
        teacher: of `load_teacher`, checked by `check_teacher`.
        student: settings of the student.
        train: its labelled recordings.
        target: those that it trains on without labels; none: no such corpus.
        usable: how many of each the student could use.

    Raises:
        DataError: a file came, went or broke in between: the logits would be of other recordings.
    """
    logits = [
        teacher.logits(items, student, what) if items else None
        for items, what in ((train, "training"), (target, "the target"))
    ]
    for of_items, count in zip(logits, usable, strict=True):
        if of_items is not None and of_items.shape[1] != count:
            raise DataError(
                f"the teacher hears {of_items.shape[1]} recordings and the student {count}; train again"
            )
    assert logits[0] is not None
    return TeacherTargets(logits[0], logits[1])
