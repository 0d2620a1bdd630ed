"""EmoBox' lists and folds: of a small dataset, and of the real ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, get_corpus, licence, name_of, parse_source, read
from fdan_edge.data.protocols import fold_count, parts_of
from fdan_edge.data.scan import scan
from fdan_edge.errors import DataError
from tests.conftest import SHARED
from tests.data.corpora.test_registry import touch

Run = Callable[..., tuple[int, str, str]]

WORDS = {"1": "anger", "2": "Freude", "3": "exc", "4": "xxx"}
MAP = {"Anger": "Angry", "freude": "Happy", "exc": "Excited", "xxx": "No-agreement"}


def row(number: str, word: str, **more: object) -> dict[str, object]:
    wav = f"downloads/tiny/audio/Actor_{number}/{number}.wav"
    return {"key": f"tiny-{number}", "dataset": "tiny", "wav": wav, "emo": word, "channel": 1, **more}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(values) + "\n" for values in rows))


def write_fold(data: Path, fold: int, **parts: str) -> None:
    for part, numbers in parts.items():
        rows = [row(number, WORDS[number]) for number in numbers]
        write(data / "tiny" / f"fold_{fold}" / f"tiny_{part}_fold_{fold}.jsonl", rows)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder data with one dataset of four recordings in two folds; its sound lies in another folder."""
    data = tmp_path / "EmoBox" / "data"
    write(data / "tiny" / "tiny.jsonl", [row(number, word) for number, word in WORDS.items()])
    (data / "tiny" / "label_map.json").write_text(json.dumps(MAP))
    write_fold(data, 1, train="124", valid="3", test="")
    write_fold(data, 2, train="3", test="12")
    touch(*(tmp_path / "sound" / f"Actor_{number}" / f"{number}.flac" for number in WORDS))
    return tmp_path


def items_of(box: Path, path: str = "EmoBox/data") -> list[Item]:
    return read(parse_source(f"emobox:{box / path}#tiny={box / 'sound'}"), "speech")


@pytest.mark.parametrize("path", ["EmoBox/data", "EmoBox", "."])
def test_lists_label_map_and_folds(box: Path, path: str) -> None:
    items = items_of(box, path)
    assert [(item.id, item.emotion, item.folds) for item in items] == [
        ("tiny-1.flac", "angry", ("train", "test")),
        ("tiny-2.flac", "happy", ("train", "test")),
        ("tiny-3.flac", "excited", ("val", "train")),
    ]
    assert {item.corpus for item in items} == {"emobox#tiny"}
    assert items[0].path == box / "sound" / "Actor_1" / "1.flac"


def test_folds_alone_are_enough(box: Path) -> None:
    (box / "EmoBox" / "data" / "tiny" / "tiny.jsonl").unlink()
    assert [item.id for item in items_of(box, "EmoBox")] == ["tiny-1.flac", "tiny-2.flac", "tiny-3.flac"]


def test_where_emobox_itself_puts_the_sound(box: Path) -> None:
    with pytest.raises(DataError) as caught:
        parse_source(f"emobox:{box}/EmoBox/data#tiny")
    assert str(caught.value) == (
        f"emobox:{box}/EmoBox/data#tiny: no folder downloads/tiny beside data; name where the sound lies: "
        f"emobox:{box}/EmoBox/data#tiny=FOLDER"
    )
    touch(box / "EmoBox" / "downloads" / "tiny" / "audio" / "Actor_1" / "1.wav")
    (item,) = read(parse_source(f"emobox:{box}/EmoBox/data#tiny"), "speech")
    assert item.path.suffix == ".wav"


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("", "names no dataset; write emobox:PATH#DATASET; there are tiny"),
        ("#tinny", r"unknown dataset 'tinny' \(did you mean tiny\?\); valid: tiny; expected data/DATASET"),
        ("#tiny=/nowhere", r"#tiny=/nowhere: no folder /nowhere, where its sound would lie"),
        ("/fold#tiny", r"/fold: no such folder"),
    ],
)
def test_words_that_name_nothing(box: Path, ending: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_source(f"emobox:{box}/EmoBox{ending}")


def test_a_folder_without_datasets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder of a dataset is there; expected data/DATASET/DATASET\.jsonl"):
        parse_source(f"emobox:{tmp_path}#ravdess")


def test_sound_that_is_not_there(box: Path, tmp_path: Path) -> None:
    (box / "sound" / "Actor_2" / "2.flac").unlink()
    result = scan(parse_source(f"emobox:{box}#tiny={box / 'sound'}"))[0]
    assert result.left_out == {"a table names it, and it is not there": [f"tiny.jsonl: {row('2', '')['wav']}"]}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        read(parse_source(f"emobox:{box}#tiny={tmp_path / 'empty'}"), "speech")
    first = row("1", "")["wav"]
    assert (
        str(caught.value)
        == f"{tmp_path / 'empty'}: none of the 4 recordings of EmoBox' tiny is there, e.g. {first}"
    )


def test_files_of_equal_names(box: Path) -> None:
    sound = box / "sound"
    (sound / "Actor_9").mkdir()
    (sound / "Actor_9" / "1.flac").write_bytes(b"another")  # the folder tells them apart
    assert items_of(box)[0].path == sound / "Actor_1" / "1.flac"
    (sound / "Actor_1").rename(sound / "one")
    assert [item.id for item in items_of(box)] == ["tiny-2.flac", "tiny-3.flac"]  # nothing does: neither is taken
    (sound / "Actor_9" / "1.flac").write_bytes(b"x")  # two copies
    assert len(items_of(box)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "tiny.jsonl").write_text("{\n"), r"tiny\.jsonl: not a list of EmoBox: line 1: "),
        (lambda data: (data / "tiny.jsonl").write_text("{}\n"), r"line 1: \{\} has no texts key, wav and emo"),
        (
            lambda data: write(data / "tiny.jsonl", [row("1", "anger", start_time=0.5, end_time=2.0)]),
            r"line 1: a part of a longer file \(start_time\), which is not cut here",
        ),
        (lambda data: (data / "label_map.json").write_text("[]"), r"label_map\.json: cannot be used: not a table"),
        (
            lambda data: (data / "fold_2" / "tiny_test_fold_2.jsonl").unlink(),
            r"tiny_test_fold_2\.jsonl: cannot be read: No such file",
        ),
        (lambda data: (data / "fold_1").rename(data / "fold_3"), r"tiny: fold_1 is not there, but fold_3 is"),
    ],
)
def test_damaged_lists(box: Path, change: Callable[[Path], object], message: str) -> None:
    change(box / "EmoBox" / "data" / "tiny")
    with pytest.raises(DataError, match=message):
        items_of(box)


def test_published_folds_are_the_official_protocol(box: Path) -> None:
    items = items_of(box)
    assert fold_count(items, Config(protocol="official")) == 2
    parts, words = parts_of(items, Config(protocol="official", fold=2))
    assert {name: [item.id for item in part] for name, part in parts.items()} == {
        "train": ["tiny-3.flac"],  # one of a class stays there: none is left to validate
        "val": [],
        "test": ["tiny-1.flac", "tiny-2.flac"],
    }
    assert words == (
        "the publisher's parts of emobox#tiny; fold 2 of 2; validation at random out of the training part of "
        "emobox#tiny"
    )
    with pytest.raises(DataError, match=r"fold = 3 is out of range; valid: 1 to 2 \(as published\)"):
        parts_of(items, Config(protocol="official", fold=3))


def test_names_and_terms_in_lists_of_corpora(box: Path) -> None:
    source = parse_source(f"emobox:{box}/EmoBox/data#tiny={box / 'sound'}")
    assert str(source) == f"emobox:{box}/EmoBox/data#tiny={box}/sound"
    assert parse_source(str(source)) == source
    assert (source.name, name_of(str(source))) == ("emobox#tiny", "emobox#tiny")
    assert [name_of(word) for word in ("ravdess:/data/r#1", "nobody:/x#y")] == ["ravdess", "nobody"]
    assert licence("emobox#ravdess") == get_corpus("ravdess").licence
    assert licence("emobox#cremad") == get_corpus("crema").licence
    assert licence("emobox#tiny") == "the publisher's: see there"


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("dataset", "count", "folds", "speakers"), [("ravdess", 1440, 6, 24), ("emodb", 339, 5, 10)]
)
def test_the_real_lists(dataset: str, count: int, folds: int, speakers: int) -> None:
    items = read(parse_source(f"emobox:{SHARED / 'emobox'}#{dataset}={SHARED / dataset}"), "speech")
    assert (len(items), len({item.speaker for item in items})) == (count, speakers)
    assert {len(item.folds) for item in items} == {folds}
    assert {Counter(item.folds)["test"] for item in items} == {1}  # each is tested once
    own = {item.path: item.emotion for item in read(parse_source(f"{dataset}:{SHARED / dataset}"), "speech")}
    assert {item.path: item.emotion for item in items} == own


def test_scan_names_the_dataset(run: Run, box: Path) -> None:
    code, out, _ = run("data", "scan", f"emobox:{box}#tiny={box / 'sound'}", "--json")
    assert code == 1  # the files of this test are no sound
    assert re.fullmatch(r"emobox:.*#tiny=.*/sound", json.loads(out)[0]["source"])


def test_only_folders_of_the_list_are_looked_at_for_files_that_it_lacks(box: Path) -> None:
    touch(box / "sound" / "Actor_1" / "9.flac", box / "sound" / "elsewhere" / "1000.flac")
    result = scan(parse_source(f"emobox:{box}#tiny={box / 'sound'}"))[0]
    assert result.unlabelled == {
        "not in EmoBox' list of tiny, or of no class there": [
            str(box / "sound" / "Actor_1" / "9.flac"),
        ]
    }
