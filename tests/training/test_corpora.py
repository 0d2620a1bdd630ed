"""What a training on several corpora knows of them before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.errors import DataError
from fdan_edge.models.fdan import Fdan
from fdan_edge.training.corpora import TrainingCorpora, TrainingSources, read_corpora, restore_corpora
from fdan_edge.training.features import extract_features
from fdan_edge.training.run_records import save_start
from fdan_edge.training.trainer import build_model
from tests.conftest import TINY
from tests.docs.corpora import write_voice


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> TrainingSources:
    """EMO-DB of three speakers and two classes, and RAVDESS of three and three: happy is in one alone."""
    root = tmp_path_factory.mktemp("corpora")
    for speaker in range(3):
        for letter, emotion in (("W", "angry"), ("T", "sad")):
            write_voice(root / "emodb" / f"0{speaker + 3}a01{letter}a.wav", emotion, speaker)
        for code, emotion in (("03", "happy"), ("04", "sad"), ("05", "angry")):
            write_voice(root / "ravdess" / f"03-01-{code}-01-01-01-0{speaker + 1}.wav", emotion, speaker)
    return TrainingSources.parse([Source(name, root / name) for name in ("emodb", "ravdess")], [], [])


def read(sources: TrainingSources, *words: str) -> TrainingCorpora:
    return read_corpora(Config.load(None, [*TINY, *words]), sources)


def model_of(corpora: TrainingCorpora) -> Fdan:
    return build_model(corpora.config, len(corpora.classes), faces=False)


def test_classes_that_a_corpus_lacks_are_masked(sources: TrainingSources, tmp_path: Path) -> None:
    corpora = read(sources)
    assert corpora.classes == ["angry", "happy", "sad"]
    assert corpora.known is not None
    assert {name: row.tolist() for name, row in corpora.known.items()} == {
        "emodb": [True, False, True],
        "ravdess": [True, True, True],
    }
    assert read(sources, "mask_missing=false").known is None
    assert read(sources, "classes=angry,sad").known is None  # which both have
    save_start(tmp_path, corpora.config, corpora, None)
    restored = restore_corpora(corpora.config, sources, tmp_path).known
    assert restored is not None
    assert all((restored[name] == row).all() for name, row in corpora.known.items())


def test_voices_carry_what_their_corpus_has_and_how_often_they_are_drawn(sources: TrainingSources) -> None:
    corpora = read(sources)
    voices = extract_features(corpora.config, corpora, model_of(corpora), None).train
    items = corpora.parts.train
    assert voices.labels.tolist() == [corpora.classes.index(item.emotion) for item in items]
    assert voices.known is not None
    assert voices.drawn is not None
    own = [corpora.known[item.corpus].tolist() for item in items] if corpora.known else []
    assert voices.known.tolist() == own
    # Three recordings of RAVDESS for two of EMO-DB: drawn less often, each by the root of (classes * recordings).
    emodb, ravdess = (np.array([item.corpus == name for item in items]) for name in ("emodb", "ravdess"))
    ratio = (3 / 2) ** 0.5
    assert voices.drawn[emodb].mean() / voices.drawn[ravdess].mean() == pytest.approx(ratio)
    plain = read(sources, "corpus_balance=0", "mask_missing=false")
    voices = extract_features(plain.config, plain, model_of(plain), None).train
    assert (voices.known, voices.drawn) == (None, None)


def test_a_broken_file_moves_no_label(tmp_path: Path, sources: TrainingSources) -> None:
    broken = tmp_path / "ravdess"
    write_voice(broken / "03-01-03-01-01-01-09.wav", "happy")
    (broken / "03-01-04-01-01-01-08.wav").write_bytes(b"no sound")
    more = TrainingSources([*sources.speech[:1], Source("ravdess", broken)], [], [])
    corpora = read(more, "test_speakers=03", "val_speakers=04", "corpus_balance=1")
    voices = extract_features(corpora.config, corpora, model_of(corpora), None).train
    usable = [item for item in corpora.parts.train if "-08" not in item.id]
    assert voices.labels.tolist() == [corpora.classes.index(item.emotion) for item in usable]


def test_one_corpus_is_neither_masked_nor_balanced(sources: TrainingSources) -> None:
    one = TrainingSources(sources.speech[:1], [], [])
    corpora = read(one)
    voices = extract_features(corpora.config, corpora, model_of(corpora), None).train
    assert (corpora.known, voices.known, voices.drawn) == (None, None, None)


def test_corpora_without_a_class_in_common(sources: TrainingSources, tmp_path: Path) -> None:
    for speaker in range(8, 11):
        write_voice(tmp_path / "bark" / f"{speaker}.wav", "happy", speaker)
        write_voice(tmp_path / "growl" / f"{speaker}.wav", "angry", speaker)
    apart = TrainingSources([sources.speech[0], Source("folder", tmp_path)], [], [])
    words = ("protocol=random", "test_fraction=0.3", "val_fraction=0.5")
    with pytest.raises(
        DataError, match=r"^corpus emodb has no class of the others: angry, sad; they have bark, growl;"
    ):
        read(apart, *words)
    assert read(apart, *words, "mask_missing=false").classes == ["angry", "bark", "growl", "sad"]
