"""The settings of the data: which recordings are trained on and tested, and what is computed of them."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.features import FeatureSettings
from fdan_edge.config.setting import setting
from fdan_edge.errors import ConfigError


@dataclass(frozen=True)
class DataSettings(FeatureSettings):
    """The split into training, validation and test, the classes, and the features."""

    protocol: str = setting(
        "auto",
        "auto: all with recipe = head, else speaker; all: everything is trained on, and the scores are "
        "cross-validated; speaker: no speaker in two parts; loso: one speaker is the test; kfold: one of `folds` "
        "groups of speakers is; loco: one corpus is, whole; text: no sentence of the test in training; official: "
        "the publisher's parts or folds; random: the paper's 8/2",
        choices=("auto", "all", "speaker", "loso", "kfold", "loco", "text", "official", "random"),
    )
    test_speakers: tuple[str, ...] = setting(
        (), "speakers of the test, for protocol speaker; empty: the last sixth of the sorted speakers"
    )
    val_speakers: tuple[str, ...] = setting(
        (), "speakers of the validation, for protocol speaker; empty: the last tenth of the others"
    )
    folds: int = setting(
        6,
        "for protocol kfold: groups of speakers in sorted order (RAVDESS: actors 01-04, 05-08, ...)",
        low=2,
        high=1000,
    )
    fold: int = setting(
        1,
        "which is the test: for kfold the group, from 1; for loso the sorted speaker; for loco the sorted corpus; "
        "for official the publisher's fold",
        low=1,
        high=100_000,
    )
    test_texts: tuple[str, ...] = setting(
        (), "sentences of the test, for protocol text; empty: the last sixth of the sorted sentences"
    )
    test_fraction: float = setting(0.2, "share of the test, for protocol random", low=0.01, high=0.9)
    val_fraction: float = setting(
        0.1, "share of the validation, for protocol random and where it is drawn at random", low=0.01, high=0.9
    )
    calm_as_neutral: bool = setting(True, "calm counts as neutral; false: it is a class")
    boredom: bool = setting(False, "EMO-DB's boredom is a class; false: its recordings are left out")
    classes: tuple[str, ...] = setting(
        (), "classes that are trained on; recordings of others are left out; empty: all"
    )
    mask_missing: bool = setting(
        True, "of several corpora: a class that a recording's corpus does not have is no wrong answer for it"
    )
    corpus_balance: float = setting(
        0.5,
        "of several corpora: how far each counts the same in training, and each class of it; 0: as many as there "
        "are; 1: all the same",
        low=0,
        high=1,
    )

    def check(self) -> None:
        """Refuse a setting that the protocol would not look at: it is a mistake, not a wish to be ignored."""
        super().check()
        if self.protocol == "kfold" and self.fold > self.folds:
            raise ConfigError(f"fold = {self.fold} is out of range; valid: 1 to {self.folds} (folds)")
        if self.test_texts and self.protocol not in ("auto", "text"):
            raise ConfigError(f"test_texts goes with protocol text, not {self.protocol}")
        for name in ("test_speakers", "val_speakers"):
            if getattr(self, name) and self.protocol not in ("auto", "speaker"):
                raise ConfigError(f"{name} goes with protocol speaker, not {self.protocol}")
