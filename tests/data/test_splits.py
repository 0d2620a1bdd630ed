"""Splits: nothing that was trained on is tested."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item
from fdan_edge.data.leak_audit import audit
from fdan_edge.data.protocols import PARTS
from fdan_edge.data.splits import Split, allowed_faces, restore, split
from fdan_edge.errors import DataError

CLASSES = ("angry", "happy", "sad")


def items(speakers: int = 12, takes: int = 5, corpus: str = "ravdess") -> list[Item]:
    return [
        Item(corpus, f"{speaker:02}/{emotion}{take}.wav", Path("x.wav"), emotion, speaker=f"{speaker:02}")
        for speaker in range(1, speakers + 1)
        for emotion in CLASSES
        for take in range(takes)
    ]


def speakers(part: list[Item]) -> set[str | None]:
    return {item.speaker for item in part}


def assert_partition(parts: Split, speech: list[Item]) -> None:
    keys = parts.keys()
    assert set(keys) == {*PARTS, "speakers", "texts"}
    assert sorted(key for part in PARTS for key in keys[part]) == sorted(item.key for item in speech)


def test_speakers_are_in_one_part_only() -> None:
    speech = items()
    parts = split(speech, Config())
    assert_partition(parts, speech)
    assert speakers(parts.test) == {"11", "12"}
    assert speakers(parts.val) == {"10"}
    assert speakers(parts.train) == {f"{n:02}" for n in range(1, 10)}
    assert parts.description == "speaker-independent, speakers 11, 12 held out"


def test_ravdess_holds_out_its_last_four_actors() -> None:
    assert speakers(split(items(24), Config()).test) == {"21", "22", "23", "24"}


@pytest.mark.parametrize("names", [("03", "05"), ("ravdess:03", "ravdess:05")])
def test_named_speakers(names: tuple[str, ...]) -> None:
    parts = split(items(), Config(test_speakers=names, val_speakers=("12",)))
    assert speakers(parts.test) == {"03", "05"}
    assert speakers(parts.val) == {"12"}


def test_speakers_of_two_corpora_with_the_same_number_are_two_people() -> None:
    speech = items(4) + items(4, corpus="emodb")
    parts = split(speech, Config(test_speakers=("emodb:01",), val_speakers=("ravdess:01",)))
    assert_partition(parts, speech)
    assert {item.speaker_key for item in parts.test} == {"emodb:01"}
    assert {item.speaker_key for item in parts.val} == {"ravdess:01"}
    both = split(speech, Config(test_speakers=("01",)))
    assert {item.speaker_key for item in both.test} == {"emodb:01", "ravdess:01"}
    assert both.description == "speaker-independent, speakers emodb:01, ravdess:01 held out"


def test_every_corpus_gives_speakers_to_test_and_validation() -> None:
    parts = split(items(12) + items(4, corpus="emodb"), Config())
    assert {item.speaker_key for item in parts.test} == {"emodb:04", "ravdess:11", "ravdess:12"}
    assert {item.speaker_key for item in parts.val} == {"emodb:03", "ravdess:10"}


def test_seen_speakers_are_kept_where_speakers_are_held_out() -> None:
    keys = split(items(), Config()).keys()
    assert keys["speakers"] == [f"ravdess:{n:02}" for n in range(1, 11)]  # train and val
    assert split(items(), Config(protocol="random")).keys()["speakers"] == []


def test_a_split_is_restored_whatever_came_or_went() -> None:
    speech = items()
    keys = split(speech, Config(protocol="random")).keys()
    gone, new = speech[0], Item("ravdess", "99/sad0.wav", Path("x.wav"), "sad", speaker="99")
    again = restore([new, *speech[1:]], keys, "as before")
    assert again.description == "as before"
    kept = {part: [key for key in keys[part] if key != gone.key] for part in PARTS}
    assert {part: again.keys()[part] for part in PARTS} == kept
    with pytest.raises(DataError, match=r"none of the .* recordings of the run's train part is there any more"):
        restore([item for item in speech if item.key not in keys["train"]], keys, "as before")


def test_random_takes_shares_of_each_class() -> None:
    speech = items(10, takes=10)
    parts = split(speech, Config(protocol="random"))
    assert_partition(parts, speech)
    assert Counter(item.emotion for item in parts.test) == dict.fromkeys(CLASSES, 20)
    assert Counter(item.emotion for item in parts.val) == dict.fromkeys(CLASSES, 8)
    assert Counter(item.emotion for item in parts.train) == dict.fromkeys(CLASSES, 72)
    assert speakers(parts.test) & speakers(parts.train)
    assert parts.description.startswith("random 80/20 of each class: speakers and sentences are in train and test")


def test_random_follows_split_seed_only() -> None:
    speech = items()
    first = split(speech, Config(protocol="random"))
    assert split(speech, Config(protocol="random", seed=5)).keys() == first.keys()
    assert split(speech, Config(protocol="random", split_seed=1)).keys() != first.keys()


def with_copies(folder: Path, pairs: dict[str, str]) -> list[Item]:
    """`items()` in which some have the sound of another, in another format."""
    speech = {item.id: item for item in items()}
    for seed, pair in enumerate(pairs.items()):
        noise = np.random.default_rng(seed).integers(-3000, 3000, 2000, np.int16)
        for name, ending in zip(pair, (".wav", ".flac"), strict=True):
            path = folder / f"{seed}{ending}"
            soundfile.write(path, noise, 16000)
            speech[name] = replace(speech[name], path=path)
    return list(speech.values())


def where(parts: Split, name: str) -> list[str]:
    return [part for part in PARTS if any(item.id == name for item in getattr(parts, part))]


def test_a_recording_under_two_names_is_in_one_part_of_a_random_split(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(protocol="random")
    before = split(items(), config)
    train, val, test = (before.train[:2], before.val[:2], before.test[:2])
    pairs = {train[0].id: test[0].id, val[0].id: test[1].id, train[1].id: val[1].id}
    speech = with_copies(tmp_path, pairs)
    parts = split(speech, config)
    assert_partition(parts, speech)
    assert [where(parts, name) for name in pairs] == [["test"], ["test"], ["val"]]
    assert [where(parts, name) for name in pairs.values()] == [["test"], ["test"], ["val"]]
    assert audit(parts).duplicates == []
    assert "3 recordings are in a second part under another name: kept in one part" in capfd.readouterr().err


def test_the_copy_of_another_speaker_is_left_out_of_training(tmp_path: Path) -> None:
    pairs = {"01/sad0.wav": "12/sad0.wav", "02/sad0.wav": "02/sad1.wav", "10/sad1.wav": "03/sad1.wav"}
    parts = split(with_copies(tmp_path, pairs), Config())
    assert where(parts, "01/sad0.wav") == []
    assert where(parts, "12/sad0.wav") == ["test"]
    assert where(parts, "02/sad0.wav") == where(parts, "02/sad1.wav") == ["train"]
    assert (where(parts, "10/sad1.wav"), where(parts, "03/sad1.wav")) == (["val"], [])
    audit(parts).check()


def test_the_publishers_parts_stay_as_they_are_and_the_audit_says_so(tmp_path: Path) -> None:
    speech = with_copies(tmp_path, {"01/sad0.wav": "12/sad0.wav"})
    part = {"12": "test", "11": "val"}
    parts = split(
        [replace(i, split=part.get(str(i.speaker), "train")) for i in speech], Config(protocol="official")
    )
    assert (where(parts, "01/sad0.wav"), where(parts, "12/sad0.wav")) == (["train"], ["test"])
    audit(parts).check()
    assert (
        audit(parts).line()
        == "clean for speakers; sentences not known of 180 recordings; 1 recording in two parts"
    )


def test_a_promise_is_restored() -> None:
    spoken = [replace(item, text=item.id[-5]) for item in items()]
    for protocol, promise in (("kfold", "speakers"), ("text", "sentences"), ("random", "")):
        parts = split(spoken, Config(protocol=protocol))
        keys = parts.keys()
        assert parts.promise == restore(spoken, keys, "").promise == promise
        assert restore(spoken, keys, parts.description) == parts
    assert split(spoken, Config(protocol="text")).keys()["texts"] == [f"ravdess:{n}" for n in range(4)]


@pytest.mark.parametrize("protocol", ["speaker", "random"])
def test_the_same_split_twice(protocol: str) -> None:
    assert split(items(), Config(protocol=protocol)) == split(items(), Config(protocol=protocol))


@pytest.mark.parametrize(
    ("given", "config", "message"),
    [
        (items(2), Config(), "needs at least 3 known speakers, found 2; a table's column speaker names them"),
        ([*items(3), Item("x", "a", Path("a"), "sad")], Config(), r"needs every speaker, not known of 1 of 46"),
        (items(), Config(test_speakers=("99",)), r"unknown speaker '99'; speakers: ravdess:01, "),
        (items(), Config(val_speakers=("x",)), "unknown speaker 'x'"),
        (
            items(),
            Config(test_speakers=("01", "02"), val_speakers=("02",)),
            "speakers ravdess:02 are in val_speakers and test_speakers",
        ),
        (items(3), Config(test_speakers=("01", "02", "03")), "leaves no speech in the (train|val) part of 45"),
        (items(3), Config(test_speakers=("01",), val_speakers=("02", "03")), "no speech in the train part"),
        (items(1, takes=2), Config(protocol="random"), "protocol random leaves no speech in the (val|test) part"),
    ],
)
def test_splits_that_cannot_be_made(given: list[Item], config: Config, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(given, config)


@pytest.mark.parametrize("count", range(3, 26))
def test_every_number_of_speakers_gives_three_parts(count: int) -> None:
    parted = split(items(count, takes=1), Config())
    parts = [speakers(part) for part in (parted.train, parted.val, parted.test)]
    assert all(parts)
    assert sum(map(len, parts)) == count
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


# --- faces of those who are held out ---


def face(
    speaker: str | None = None, text: str | None = None, part: str | None = None, corpus: str = "ravdess"
) -> Item:
    return Item(corpus, f"{speaker}-{text}-{part}.png", Path("x.png"), "sad", speaker, text, part)


def test_faces_of_held_out_speakers_are_not_trained_on() -> None:
    parts = split(items(), Config())  # test 11 and 12, validation 10
    faces = [face("01"), face("10"), face("11"), face("12"), face(), face("11", corpus="crema")]
    assert allowed_faces(faces, parts, "speaker") == [faces[0], faces[4], faces[5]]
    audit(parts, allowed_faces(faces, parts, "speaker")).check()
    with pytest.raises(
        DataError, match=r"speakers in the faces of training and in the test, .*: ravdess:11, ravd"
    ):
        audit(parts, faces).check()


def test_faces_of_held_out_sentences_and_parts_are_not_trained_on() -> None:
    spoken = [replace(item, text=str(n % 4)) for n, item in enumerate(items(takes=4))]
    parts = split(spoken, Config(protocol="text", test_texts=("3",)))
    faces = [face("12", "3"), face("12", "2"), face("12")]
    assert allowed_faces(faces, parts, "text") == faces[1:]
    published = [replace(item, split="test" if item.speaker == "12" else "train") for item in items()]
    parts = split(published, Config(protocol="official"))
    faces = [face(part="train"), face(part="val"), face(part="test"), face(part="test", corpus="fer2013")]
    assert allowed_faces(faces, parts, "official") == [faces[0], faces[3]]


def test_random_trains_on_all_faces_as_the_paper_does_and_says_so() -> None:
    parts = split(items(), Config(protocol="random"))
    faces = [face("01"), face("12")]
    assert allowed_faces(faces, parts, "random") == faces
    tested = {item.speaker_key for item in parts.test}
    shown = sum(item.speaker_key in tested for item in faces)
    assert shown
    assert audit(parts, faces).line().endswith(f"; faces of {shown} of {len(tested)} test speakers in training")
