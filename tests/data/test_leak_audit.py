"""The leak audit: what crosses is found and said; a promise that is broken is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.duplicates import same_sound
from fdan_edge.data.leak_audit import audit
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import Split, split
from fdan_edge.errors import DataError
from tests.conftest import SHARED


def item(name: str, speaker: str | None = None, text: str | None = None, path: Path | None = None) -> Item:
    return Item("r", name, path or Path("none.wav"), "sad", speaker, text)


def parts(promise: str = "", **other: list[Item]) -> Split:
    lists = {
        "train": [item("1", "a", "x"), item("2", "b", "y")],
        "val": [item("3", "c", "x")],
        "test": [item("4", "d", "z"), item("5", "e", "w")],
    } | other
    return Split(lists["train"], lists["val"], lists["test"], "made by hand", promise)


def sound(path: Path, seed: int, level: float = 0.1, rate: int = 16000, channels: int = 1) -> Path:
    """Noise of half a second; the file's name gives its format."""
    noise = (3000 * level * np.random.default_rng(seed).standard_normal(8000)).astype(np.int16)
    soundfile.write(path, np.stack([noise] * channels, axis=1), rate)
    return path


def test_a_clean_split() -> None:
    report = audit(parts("speakers"))
    report.check()
    assert report.line() == "clean for speakers and sentences; no duplicates"
    assert report.val_sentences.names == ["r:x"]  # of validation, which no verdict on the test is about
    values = json.loads(json.dumps(report.to_dict()))
    assert values["verdict"] == report.line()
    assert values["speakers"] == {"crossing": 0, "of": 2, "names": [], "unknown": 0}


@pytest.mark.parametrize("speaker", ["a", "c"])  # of training, of validation
def test_speakers_that_cross(speaker: str) -> None:
    test = [item("4", speaker, "z"), item("5", "e", "w")]
    report = audit(parts(test=test))
    report.check()  # nothing was promised
    assert report.line() == "1 of 2 test speakers also in training; clean for sentences; no duplicates"
    audit(parts("sentences", test=test)).check()
    with pytest.raises(DataError, match=f"audit: speakers in training and test, which .* rules out: r:{speaker};"):
        audit(parts("speakers", test=test)).check()


def test_a_validation_speaker_in_training_breaks_the_promise_too() -> None:
    with pytest.raises(DataError, match=r"speakers in training and validation, .*: r:a; train anew, with --out"):
        audit(parts("speakers", val=[item("3", "a")])).check()


def test_sentences_that_cross() -> None:
    test = [item(f"t{n}", "d", text) for n, text in enumerate("xyz")]
    report = audit(parts("speakers", test=test))
    report.check()
    assert report.line() == "clean for speakers; 2 of 3 test sentences also in training; no duplicates"
    with pytest.raises(DataError, match=r"audit: sentences in training and test, .*: r:x, r:y;"):
        audit(parts("sentences", test=test)).check()
    audit(parts("sentences")).check()  # of train and validation nothing is promised, as with RAVDESS


def test_what_is_not_known_is_not_clean() -> None:
    report = audit(parts(test=[item("4"), item("5", "e", "w")]))
    assert report.line() == "speakers not known of 1 recording; sentences not known of 1 recording; no duplicates"


def test_long_lists_are_cut() -> None:
    test = [item(f"t{n}", f"s{n:02}") for n in range(30)]
    train = [item(f"u{n}", f"s{n:02}") for n in range(30)]
    report = audit(parts("speakers", train=train, test=test))
    assert report.to_dict()["speakers"]["crossing"] == 30
    assert len(report.to_dict()["speakers"]["names"]) == 20
    with pytest.raises(DataError, match="r:s00, r:s01, r:s02 and 27 more; "):
        report.check()


# --- recordings under two names ---


def test_equal_sound_is_found_whatever_the_format(tmp_path: Path) -> None:
    same = [
        sound(tmp_path / "a.wav", 1),
        sound(tmp_path / "b.flac", 1),
        sound(tmp_path / "c.aiff", 1, channels=2),
    ]
    others = [sound(tmp_path / "d.wav", 2), sound(tmp_path / "e.wav", 1, rate=8000)]
    tail = sound(tmp_path / "f.wav", 1)  # differs in its last sample only
    samples = soundfile.read(tail, dtype="int16")[0]
    samples[-1] += 1
    soundfile.write(tail, samples, 16000)
    cut = tmp_path / "g.flac"
    cut.write_bytes(same[1].read_bytes()[:3000])
    (tmp_path / "h.wav").write_bytes(b"")
    every = [*same, *others, tail, cut, tmp_path / "h.wav", tmp_path / "none.wav"]
    groups = same_sound(item(path.name, path=path) for path in every)
    assert [[one.id for one in group] for group in groups] == [["a.wav", "b.flac", "c.aiff"]]


def test_a_file_that_changed_is_heard_again(tmp_path: Path) -> None:
    pair = [item(name, path=sound(tmp_path / name, 1)) for name in ("a.wav", "b.flac")]
    assert len(same_sound(pair)) == 1
    sound(tmp_path / "a.wav", 2)
    assert same_sound(pair) == []


def test_a_duplicate_that_crosses(tmp_path: Path) -> None:
    first, second = sound(tmp_path / "a.wav", 1), sound(tmp_path / "b.flac", 1)
    split_parts = parts(train=[item("a", "a", path=first)], test=[item("b", "d", path=second)])
    report = audit(split_parts)
    report.check()
    assert report.line().endswith("; 1 recording in two parts")
    assert report.duplicates == [["train r:a", "test r:b"]]
    with pytest.raises(DataError, match=r"recordings in two parts under two names, .*: train r:a = test r:b;"):
        audit(Split(split_parts.train, split_parts.val, split_parts.test, "", "speakers")).check()
    inside = parts(train=[item("a", "a", path=first), item("b", "b", path=second)])
    assert audit(inside).duplicates == []


@pytest.mark.corpora
def test_the_pair_in_ravdess() -> None:
    recordings = read_labelled_speech([Source("ravdess", SHARED / "ravdess")], calm_as_neutral=True)
    (group,) = same_sound(recordings)
    pair = {f"Actor_07/03-01-03-01-02-0{n}-07.flac" for n in (1, 2)}
    assert {one.id for one in group} == pair
    for seed in range(8):
        random_parts = split(recordings, Config(protocol="random", split_seed=seed))
        parts_of_pair = {
            name for name in ("train", "val", "test") if pair & {i.id for i in getattr(random_parts, name)}
        }
        assert len(parts_of_pair) == 1
        assert len(random_parts.train + random_parts.val + random_parts.test) == len(recordings)
    verdict = audit(split(recordings, Config(protocol="kfold"))).line()
    assert verdict == "clean for speakers; 2 of 2 test sentences also in training; no duplicates"


def test_equal_videos_are_found(tmp_path: Path) -> None:
    for name, content in (("a.mp4", b"clip" * 999), ("b.mp4", b"clip" * 999), ("c.mp4", b"else" * 999)):
        (tmp_path / name).write_bytes(content)
    train, test = ([item(name, name, path=tmp_path / name)] for name in ("a.mp4", "b.mp4"))
    report = audit(parts(train=train, test=test, val=[item("c.mp4", "c", path=tmp_path / "c.mp4")]))
    assert report.duplicates == [["train r:a.mp4", "test r:b.mp4"]]
