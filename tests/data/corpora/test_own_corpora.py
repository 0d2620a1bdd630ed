"""Corpora of users: registered in Python, or of an installed package by its entry point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.data.corpora import (
    SOUNDS,
    Corpus,
    Item,
    Source,
    corpus_names,
    files_below,
    get_corpus,
    known_corpora,
    licence,
    parse_source,
    read,
    register_corpus,
)
from fdan_edge.data.labels import EMOTIONS
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch

Run = Callable[..., tuple[int, str, str]]

PLUGIN = """
from fdan_edge.data.corpora import SOUNDS, Corpus, Item, files_below

def read_speech(root):
    return [Item("NAME", name, path, path.parent.name) for name, path in files_below(root, SOUNDS)]

CORPUS = Corpus(
    name="NAME", title="Calls", licence="CC0", layout="EMOTION/*.wav", origin="the lab", read_speech=read_speech
)
OTHER = 7
"""


def calls(name: str, item_name: str = "") -> Corpus:
    def read_speech(root: Path) -> list[Item]:
        return [
            Item(item_name or name, below, path, path.parent.name) for below, path in files_below(root, SOUNDS)
        ]

    return Corpus(name=name, title="Calls", licence="by contract", layout="EMOTION/*.wav", read_speech=read_speech)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a package with an entry point: its corpus, and what the entry point names."""

    def install(corpus: str, value: str) -> None:
        site = tmp_path / "site"
        info = site / "calls_plugin-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: calls-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fdan_edge.corpora]\n{corpus} = {value}\n")
        (site / f"{value.partition(':')[0]}.py").write_text(PLUGIN.replace("NAME", corpus))
        monkeypatch.syspath_prepend(site)

    return install


def test_a_registered_corpus_is_read_like_any_other(tmp_path: Path) -> None:
    register_corpus(calls("calls-1"))
    touch(tmp_path / "happy" / "1.wav", tmp_path / "tired" / "2.flac")
    source = parse_source(f"calls-1:{tmp_path}")
    assert source == Source("calls-1", tmp_path)
    items = read_labelled_speech([source], calm_as_neutral=True)
    assert [(item.key, item.emotion) for item in items] == [
        ("calls-1:happy/1.wav", "happy"),
        ("calls-1:tired/2.flac", "tired"),
    ]
    assert licence("calls-1") == "by contract"
    assert "calls-1" in corpus_names()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no speech found; expected EMOTION/\*\.wav"):
        read(Source("calls-1", tmp_path / "empty"), "speech")


def test_the_last_that_is_registered_counts() -> None:
    register_corpus(calls("calls-2"))
    register_corpus(replace(calls("calls-2"), licence="CC0"))
    assert licence("calls-2") == "CC0"


def test_names_of_fdan_edge_stay_its_own() -> None:
    with pytest.raises(DataError, match="corpus ravdess is one of fdan-edge's own; take another name"):
        register_corpus(calls("ravdess"))


def test_a_corpus_without_a_licence_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="licence"):
        Corpus(name="x", title="X", layout="*.wav", read_speech=lambda _: [])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": " "}, "corpus calls has no licence"),
        ({"name": "my:calls"}, "corpus name 'my:calls' is not of lower case letters, digits, - and _ alone"),
        ({"read_speech": None}, "corpus calls has none of read_speech, read_faces, read_videos"),
    ],
)
def test_entries_that_cannot_work(change: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(calls("calls"), **change)  # type: ignore[arg-type]


def test_items_of_another_name_are_refused(tmp_path: Path) -> None:
    register_corpus(calls("calls-3", item_name="calls"))
    touch(tmp_path / "happy" / "1.wav")
    with pytest.raises(DataError, match="reader of corpus calls-3 returned an item of corpus 'calls'"):
        read(Source("calls-3", tmp_path), "speech")


def test_the_command_line_finds_the_corpus_of_a_plugin(
    tmp_path: Path, plugin: Callable[[str, str], None], run: Run
) -> None:
    plugin("calls-4", "calls_plugin_4:CORPUS")
    touch(tmp_path / "data" / "sad" / "1.wav")
    code, out, _ = run("data", "scan", f"calls-4:{tmp_path / 'data'}", "--json")
    assert code == 1  # the file is no recording
    (scan,) = json.loads(out)
    assert (scan["source"], scan["classes"]) == (f"calls-4:{tmp_path / 'data'}", {"sad": 1})
    assert licence("calls-4") == "CC0"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "calls-5",
            "calls_plugin_5:CORPSE",
            "corpus calls-5: its plugin calls_plugin_5:CORPSE cannot be loaded: ",
        ),
        ("calls-6", "calls_plugin_6:OTHER", "plugin calls_plugin_6:OTHER is no fdan_edge.data.corpora.Corpus"),
    ],
)
def test_a_plugin_that_is_broken_is_named(
    plugin: Callable[[str, str], None], name: str, value: str, message: str
) -> None:
    plugin(name, value)
    with pytest.raises(DataError, match=message):
        parse_source(f"{name}:/data")


def test_a_plugin_under_another_name_is_refused(tmp_path: Path, plugin: Callable[[str, str], None]) -> None:
    plugin("calls-7", "calls_plugin_7:CORPUS")
    points = tmp_path / "site" / "calls_plugin-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("calls-7 =", "calls-8 ="))
    with pytest.raises(DataError, match="calls itself calls-7; give the entry point that name"):
        parse_source("calls-8:/data")


def test_unknown_names_list_plugins_too(plugin: Callable[[str, str], None]) -> None:
    plugin("calls-9", "calls_plugin_9:CORPUS")
    with pytest.raises(DataError, match=r"unknown corpus 'cals-9' \(did you mean calls-9\?\); valid: savee, "):
        parse_source("cals-9:/data")
    assert licence("nobody-knows") == "see there"


def test_what_every_entry_of_fdan_edge_says() -> None:
    for corpus in known_corpora():
        assert corpus.title
        assert corpus.layout
        assert set(corpus.classes) <= {*EMOTIONS, "frustrated"}, corpus.name
    assert get_corpus("casia").classes == ("angry", "fear", "happy", "neutral", "sad", "surprise")
