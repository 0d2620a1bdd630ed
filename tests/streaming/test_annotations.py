"""Segments in files for annotators."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fdan_edge.errors import ConfigError
from fdan_edge.streaming.annotations import audacity, csv_table, rttm
from fdan_edge.streaming.events import Ended, Event, Segment, Silence, Speech

LABELS = ("very angry", "sad, or not")
ONE = Segment(0.5, 2.25, "very angry", 0.75, {"very angry": 0.75, "sad, or not": 0.25})
TWO = Segment(3661.0004, 3662.1239, "unknown", 0.5, {"very angry": 0.5, "sad, or not": 0.5})
EVENTS: list[Event] = [Speech(0.5), ONE, Silence(2.25), TWO, Ended(4000.0, "over")]


def test_rttm(tmp_path: Path) -> None:
    with rttm(tmp_path / "x.rttm", "my  talk\t1") as written:
        written(EVENTS)
    lines = (tmp_path / "x.rttm").read_text().splitlines()
    assert lines == [
        "SPEAKER my_talk_1 1 0.500 1.750 <NA> <NA> very_angry <NA> <NA>",
        "SPEAKER my_talk_1 1 3661.000 1.124 <NA> <NA> unknown <NA> <NA>",
    ]
    assert all(len(line.split()) == 10 for line in lines)


def test_rttm_always_has_a_name_and_a_duration(tmp_path: Path) -> None:
    with rttm(tmp_path / "x.rttm", " ") as written:
        written([Segment(1.0, 1.0, "sad", 1.0, {})])
    assert (tmp_path / "x.rttm").read_text() == "SPEAKER - 1 1.000 0.001 <NA> <NA> sad <NA> <NA>\n"


def test_csv(tmp_path: Path) -> None:
    with csv_table(tmp_path / "x.csv", LABELS) as written:
        written(EVENTS)
    with (tmp_path / "x.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["start", "end", "label", "confidence", *LABELS]
    assert rows == [
        ["0.500", "2.250", "very angry", "0.750000", "0.750000", "0.250000"],
        ["3661.000", "3662.124", "unknown", "0.500000", "0.500000", "0.500000"],
    ]


def test_audacity(tmp_path: Path) -> None:
    with audacity(tmp_path / "new" / "x.txt") as written:
        written(EVENTS)
    text = (tmp_path / "new" / "x.txt").read_text()
    assert text == "0.500000\t2.250000\tvery angry\n3661.000400\t3662.123900\tunknown\n"


def test_a_segment_is_there_as_soon_as_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("of an earlier run")
    with csv_table(tmp_path / "x.csv", LABELS) as written:
        written([ONE])
        assert len((tmp_path / "x.csv.part").read_text().splitlines()) == 2
        assert (tmp_path / "x.csv").read_text() == "of an earlier run"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_what_fails_leaves_what_it_has(tmp_path: Path) -> None:
    def fail() -> None:
        with audacity(tmp_path / "x.txt") as written:
            written([ONE])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt.part"]
    assert (tmp_path / "x.txt.part").read_text().count("\n") == 1


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        audacity(tmp_path)


def test_channels_have_a_number_a_column_or_a_name(tmp_path: Path) -> None:
    with (
        rttm(tmp_path / "x.rttm", "call") as lines,
        csv_table(tmp_path / "x.csv", LABELS, channels=True) as table,
        audacity(tmp_path / "x.txt", channels=True) as track,
    ):
        for written in (lines, table, track):
            for channel in ("left", "right", "7", ""):
                written([ONE], channel)
    assert [line.split()[2] for line in (tmp_path / "x.rttm").read_text().splitlines()] == ["1", "2", "7", "1"]
    with (tmp_path / "x.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["channel", "start", "end", "label", "confidence", *LABELS]
    assert [row[:2] for row in rows] == [["left", "0.500"], ["right", "0.500"], ["7", "0.500"], ["", "0.500"]]
    labels = [line.split("\t")[2] for line in (tmp_path / "x.txt").read_text().splitlines()]
    assert labels == ["left: very angry", "right: very angry", "7: very angry", "very angry"]
