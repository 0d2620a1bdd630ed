"""Protocols: who and what is held out by each, and the words for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.protocols import PARTS, Parts, fold_count, origins, parts_of
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import split
from fdan_edge.errors import DataError
from tests.conftest import SHARED

CLASSES = ("angry", "happy", "sad")


def items(speakers: int, corpus: str = "ravdess", texts: tuple[str, ...] = ("01", "02")) -> list[Item]:
    """Each speaker says each sentence in each class."""
    return [
        Item(corpus, f"{n:02}/{emotion}-{text}.wav", Path("none.wav"), emotion, f"{n:02}", text)
        for n in range(1, speakers + 1)
        for emotion in CLASSES
        for text in texts
    ]


def without(speech: list[Item], field: str) -> list[Item]:
    return [replace(item, **{field: None}) for item in speech]  # type: ignore[arg-type]


def speakers(part: list[Item]) -> list[str]:
    return sorted({str(item.speaker_key) for item in part})


def texts(part: list[Item]) -> set[str | None]:
    return {item.text for item in part}


def folds(speech: list[Item], config: Config) -> list[Parts]:
    numbers = range(1, fold_count(speech, config) + 1)
    return [parts_of(speech, replace(config, fold=number))[0] for number in numbers]


def assert_partition(parts: Parts, speech: list[Item]) -> None:
    keys = [item.key for name in PARTS for item in parts[name]]
    assert sorted(keys) == sorted(item.key for item in speech)


# --- folds of speakers ---


def test_ravdess_has_six_folds_of_four_actors() -> None:
    speech = items(24)
    splits = folds(speech, Config(protocol="kfold"))
    assert [speakers(parts["test"]) for parts in splits] == [
        [f"ravdess:{first + n:02}" for n in range(4)] for first in range(1, 24, 4)
    ]
    words = parts_of(speech, Config(protocol="kfold", fold=2))[1]
    assert words == "speaker-disjoint fold 2 of 6, speakers 05, 06, 07, 08 held out"


def test_validation_speakers_are_a_man_and_a_woman_and_change_from_fold_to_fold() -> None:
    splits = folds(items(24), Config(protocol="kfold"))
    chosen = [[int(name[-2:]) for name in speakers(parts["val"])] for parts in splits]
    assert chosen == [[23, 24], [3, 4], [7, 8], [11, 12], [15, 16], [19, 20]]  # odd: men, even: women


@pytest.mark.parametrize("protocol", ["kfold", "loso"])
@pytest.mark.parametrize("count", [3, 4, 7, 10, 24])
def test_every_recording_is_tested_once_and_no_speaker_is_in_two_parts(protocol: str, count: int) -> None:
    speech = [*items(count), *items(5, corpus="emodb")]
    splits = folds(speech, Config(protocol=protocol))
    tested = Counter(item.key for parts in splits for item in parts["test"])
    assert tested == Counter(item.key for item in speech)
    for parts in splits:
        assert_partition(parts, speech)
        who = [set(speakers(parts[name])) for name in PARTS]
        assert all(who)
        assert len(set.union(*who)) == sum(map(len, who)) == count + 5


def test_every_corpus_is_spread_over_the_folds() -> None:
    speech = [*items(10), *items(8, corpus="emodb"), *items(2, corpus="savee")]
    splits = folds(speech, Config(protocol="kfold", folds=4))
    for corpus, sizes in (("ravdess", {2, 3}), ("emodb", {2}), ("savee", {0, 1})):
        own = [len({s for s in speakers(parts["test"]) if s.startswith(corpus)}) for parts in splits]
        assert set(own) == sizes
    assert {len(speakers(parts["test"])) for parts in splits} == {5}
    for parts in splits:
        assert {"ravdess", "emodb"} <= {item.corpus for item in parts["val"]}


def test_leave_one_speaker_out() -> None:
    speech = [*items(3), *items(2, corpus="emodb")]
    config = Config(protocol="loso")
    assert fold_count(speech, config) == 5
    held_out = [speakers(parts["test"]) for parts in folds(speech, config)]
    assert held_out == [["emodb:01"], ["emodb:02"], ["ravdess:01"], ["ravdess:02"], ["ravdess:03"]]
    words = parts_of(speech, replace(config, fold=4))[1]
    assert words == "leave-one-speaker-out fold 4 of 5, speaker ravdess:02 held out"


# --- sentences ---


def test_of_two_sentences_one_is_the_test_and_speakers_of_the_other_the_validation() -> None:
    speech = items(24)
    parts, words = parts_of(speech, Config(protocol="text"))
    assert_partition(parts, speech)
    assert [texts(parts[name]) for name in PARTS] == [{"01"}, {"01"}, {"02"}]
    assert speakers(parts["val"]) == ["ravdess:23", "ravdess:24"]
    assert not set(speakers(parts["val"])) & set(speakers(parts["train"]))
    assert words == "sentence-disjoint, sentence 02 held out, whoever says it"


def test_of_more_sentences_validation_has_its_own() -> None:
    speech = items(3, corpus="emodb", texts=tuple("abcdefghij"))
    parts, _ = parts_of(speech, Config(protocol="text"))
    assert [texts(parts[name]) for name in PARTS] == [set("abcdefgh"), {"i"}, {"j"}]
    parts, words = parts_of(speech, Config(protocol="text", test_texts=("a", "emodb:c")))
    assert texts(parts["test"]) == {"a", "c"}
    assert texts(parts["val"]) == {"j"}
    assert words == "sentence-disjoint, sentences a, c held out, whoever says it"


def test_sentences_of_one_emotion_are_held_out_of_each_emotion() -> None:
    """SAVEE and eNTERFACE: the last sentences of all would be of one class."""
    speech = [
        Item("enterface", f"{s}{emotion}{n}.wav", Path("none.wav"), emotion, s, f"{emotion}{n}")
        for s in "123"
        for emotion in CLASSES
        for n in range(1, 6)
    ]
    parts, _ = parts_of(speech, Config(protocol="text"))
    for name, numbers in (("train", "123"), ("val", "4"), ("test", "5")):
        assert texts(parts[name]) == {f"{emotion}{n}" for emotion in CLASSES for n in numbers}


# --- the publisher's parts ---


def published(*parts: str, corpus: str = "folder") -> list[Item]:
    return [replace(item, id=f"{part}/{item.id}", split=part) for part in parts for item in items(20, corpus)]


def test_the_publishers_parts_stay() -> None:
    speech = published("train", "val", "test")
    parts, words = parts_of(speech, Config(protocol="official"))
    assert_partition(parts, speech)
    assert all(item.split == name for name in PARTS for item in parts[name])
    assert words == "the publisher's parts of folder"


def test_a_validation_part_is_made_where_the_publisher_has_none() -> None:
    speech = published("train", "test")
    parts, words = parts_of(speech, Config(protocol="official"))
    assert_partition(parts, speech)
    assert speakers(parts["val"]) == ["folder:19", "folder:20"]
    assert {item.split for item in parts["val"]} == {"train"}
    assert words == "the publisher's parts of folder; validation by speaker out of the training part of folder"
    parts, words = parts_of(without(speech, "speaker"), Config(protocol="official"))
    assert Counter(item.emotion for item in parts["val"]) == dict.fromkeys(CLASSES, 4)  # a tenth of 40 of each
    assert words.endswith("; validation at random out of the training part of folder")


# --- what cannot be had ---


@pytest.mark.parametrize(
    ("given", "config", "message"),
    [
        (
            [*items(3), *without(items(1, corpus="folder"), "speaker")],
            Config(protocol="kfold"),
            r"protocol kfold needs every speaker, not known of 6 of 24 recordings \(folder\); a table's column "
            "speaker names them; or train with --set protocol=random",
        ),
        (items(4), Config(protocol="kfold"), "needs at least 6 speakers, found 4; use --set folds=4"),
        (
            items(2),
            Config(protocol="loso"),
            "needs at least 3 speakers, found 2; train with --set protocol=random",
        ),
        (items(4), Config(protocol="loso", fold=5), r"fold = 5 is out of range; valid: 1 to 4 \(one for each"),
        (items(3), Config(protocol="kfold", folds=2), "fold 1 of 2 leaves 1 speaker to train and validate"),
        (
            items(3),
            Config(protocol="official"),
            r"official needs the publisher's parts, .* 18 of 18 recordings \(ravdess\); corpora that have them: "
            "meld, esd where .*, msppodcast, emobox, and folder",
        ),
        (without(items(3), "text"), Config(protocol="text"), "text needs every sentence, not known of 18 of 18"),
        (items(3, texts=("a",)), Config(protocol="text"), "text needs at least 2 sentences, found 1"),
        (
            items(3),
            Config(protocol="text", test_texts=("3",)),
            "unknown sentence '3'; sentences: ravdess:01, ravdess:02",
        ),
    ],
)
def test_protocols_that_cannot_be_had(given: list[Item], config: Config, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parts_of(given, config)
    assert "\n" not in str(caught.value)


@pytest.mark.corpora
def test_real_folds() -> None:
    sources = [Source(name, SHARED / name) for name in ("ravdess", "emodb")]
    speech = read_labelled_speech(sources, calm_as_neutral=True)
    for parts in folds(speech, Config(protocol="kfold")):
        held_out = [s for s in speakers(parts["test"]) if s.startswith("ravdess")]
        assert sum(int(s[-2:]) % 2 for s in held_out) == 2  # two men, two women
        assert any(item.corpus == "emodb" for item in parts["test"])


def test_a_corpus_without_speakers_among_others_is_named() -> None:
    speech = [*items(4), Item("folder", "a.wav", Path("a.wav"), "sad")]
    with pytest.raises(
        DataError, match=r"speaker needs every speaker, not known of 1 of \d+ recordings \(folder\)"
    ):
        parts_of(speech, Config())


# --- several corpora ---


def of_corpora(**classes: str) -> list[Item]:
    """Make corpora of four speakers with a recording of each class, named by its first letter."""
    names = {"a": "angry", "h": "happy", "n": "neutral", "s": "sad"}
    return [
        Item(corpus, f"{speaker}{letter}.wav", Path(speaker), names[letter], speaker)
        for corpus, letters in classes.items()
        for speaker in ("1", "2", "3", "4")
        for letter in letters
    ]


def test_loco_tests_a_whole_corpus_in_the_classes_that_others_have() -> None:
    items = of_corpora(x="ahs", y="ahn", z="as")
    assert fold_count(items, Config(protocol="loco")) == 3
    parts, words = parts_of(items, Config(protocol="loco", fold=2))
    assert {item.corpus for item in parts["test"]} == {"y"}
    assert Counter(item.emotion for item in parts["test"]) == {"angry": 4, "happy": 4}  # nobody else has neutral
    assert speakers(parts["val"]) == ["x:4", "z:4"]
    assert len(parts["train"]) + len(parts["val"]) == 4 * 5
    assert words == "leave-one-corpus-out fold 2 of 3: y held out, whole; scored in the 2 classes that others have"
    assert split(items, Config(protocol="loco", fold=2)).promise == "speakers"


def test_loco_validates_at_random_where_speakers_are_not_known() -> None:
    items = [*of_corpora(x="as"), *without(of_corpora(y="as"), "speaker"), *of_corpora(z="as")]
    parts, _ = parts_of(items, Config(protocol="loco", fold=1))
    assert {item.corpus for item in parts["val"]} == {"y", "z"}
    assert {item.emotion for item in parts["val"] if item.corpus == "y"} == {"angry", "sad"}


def test_loco_leaves_out_a_folder_of_several() -> None:
    items = [
        replace(item, source="folder:one" if item.speaker in ("1", "2") else "folder:two")
        for item in of_corpora(x="as")
    ]
    assert origins(items) == ["folder:one", "folder:two"]
    parts, _ = parts_of(items, Config(protocol="loco", fold=1))
    assert speakers(parts["test"]) == ["x:1", "x:2"]


@pytest.mark.parametrize(
    ("given", "config", "message"),
    [
        (
            of_corpora(x="as"),
            Config(protocol="loco"),
            "needs at least 2 corpora; given: x; repeat --speech corpus:path",
        ),
        (of_corpora(x="as", y="as"), Config(protocol="loco", fold=3), r"fold = 3 is out of range; valid: 1 to 2"),
        (
            of_corpora(x="as", y="hn"),
            Config(protocol="loco"),
            "protocol loco: x and the others share no class; x: angry, sad; the others: happy, neutral",
        ),
        (
            of_corpora(x="as", y="sh"),
            Config(protocol="loco"),
            "share class sad alone; x: angry, sad; the others: ",
        ),
        (
            [*of_corpora(x="as"), *(replace(item, folds=("train", "test")) for item in of_corpora(y="as"))],
            Config(protocol="official"),
            "protocol official: the publishers have different numbers of folds: x 1, y 2; give one corpus",
        ),
    ],
)
def test_several_corpora_that_cannot_be_had(given: list[Item], config: Config, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parts_of(given, config)
