"""The files of a robustness scoring: what they say, and that damaged ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fdan_edge.errors import CheckpointError
from fdan_edge.evaluation import robustness_report
from fdan_edge.evaluation.robustness import ConditionScores, Robustness
from fdan_edge.evaluation.robustness_report import (
    about,
    draw,
    markdown,
    read_report,
    short_rows,
    short_table,
    write_report,
)


def row(
    condition: str, kind: str, uar: float, snr: int | None = None, right: float | None = 0.9
) -> ConditionScores:
    around = (uar - 0.05, min(1.0, uar + 0.05))
    return ConditionScores(condition, kind, snr, uar, around, uar - 0.8, (uar - 0.85, uar - 0.75), 0.1, 0.2, right)


@pytest.fixture
def scored() -> Robustness:
    noisy = [
        row(f"{kind}, {snr} dB", "noise", 0.3 + snr / 50 + place / 50, snr)
        for place, kind in enumerate(("white noise", "pink noise", "babble"))
        for snr in (20, 10, 5, 0)
    ]
    others = [
        row("room, 0.3 s", "room", 0.75),
        row("room, 0.5 s", "room", 0.7),
        row("telephone, 8 kHz", "line", 0.78),
        row("Opus, 12 kbit/s", "line", 0.79),
        row("peak at -40 dBFS, 16 bits", "level", 0.8, right=None),
    ]
    rows = [row("clean", "clean", 0.8), *noisy, *others]
    return Robustness(
        "m_x $1$", "the test", "clean", ["a", "b"], 40, "2000 resamples", 0, [], [], 0, rows, True, "ab"
    )


def test_the_table_has_every_condition(scored: Robustness) -> None:
    text = markdown(scored)
    assert "| clean | 80.0 | 75.0 to 85.0 | 0.0 | -5.0 to +5.0 | 10.0 | 20.0 | 90.0 |" in text
    assert "| room, 0.5 s | 70.0 | 65.0 to 75.0 | -10.0 | -15.0 to -5.0 | 10.0 | 20.0 | 90.0 |" in text
    assert text.count("\n| ") == len(scored.rows) + 2
    assert "| peak at -40 dBFS, 16 bits | 80.0 | 75.0 to 85.0 | 0.0 | -5.0 to +5.0 | 10.0 | 20.0 |  |" in text


def test_a_card_has_means_over_the_kinds_of_noise(scored: Robustness) -> None:
    rows = short_rows(scored.to_dict()["conditions"])
    lines = short_table(rows).splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == [
        "clean",
        *(f"noise at {snr} dB" for snr in (20, 10, 5, 0)),
        *("room, 0.5 s", "telephone, 8 kHz", "Opus, 12 kbit/s"),
    ]
    assert lines[2] == "| noise at 10 dB | 52.0 | -28.0 | 10.0 | 90.0 |"


def test_files_are_read_again(scored: Robustness, tmp_path: Path) -> None:
    write_report(scored, tmp_path / "deep" / "folder")
    assert sorted(p.name for p in (tmp_path / "deep" / "folder").iterdir()) == [
        f"robustness.{ending}" for ending in ("json", "md", "png", "svg")
    ]
    assert read_report(tmp_path / "deep" / "folder" / "robustness.json") == scored.to_dict()


def _cut(values: dict[str, Any]) -> None:
    del values["conditions"][0]["uar"]


def _text(values: dict[str, Any]) -> None:
    values["conditions"][3]["interval"] = ["low", 1]


@pytest.mark.parametrize(
    "damage",
    [_cut, _text, lambda v: v.update(unseen="yes"), lambda v: v.pop("n"), lambda v: v.update(conditions={})],
)
def test_damaged_ones_are_refused(
    scored: Robustness, tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    values = scored.to_dict()
    damage(values)
    path = tmp_path / "robustness.json"
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"robustness\.json: missing or damaged: "):
        read_report(path)
    with pytest.raises(CheckpointError, match="none: missing or damaged"):
        read_report(tmp_path / "none")


def test_codecs_that_are_left_out_are_named(scored: Robustness) -> None:
    assert about(scored) == "40 recordings, the test; 2000 resamples"
    without = Robustness(**{**vars(scored), "codecs_left_out": ["opus", "amr"]})
    assert about(without).endswith("codecs that are not installed are left out: opus, amr")


def test_the_picture_names_every_condition(
    scored: Robustness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(robustness_report, "save", lambda figure, _: figures.append(figure))
    draw(scored, tmp_path / "robustness")
    noise, bars = figures[0].axes
    assert {text.get_text() for text in noise.get_legend().get_texts()} == {
        *("white noise", "pink noise", "babble", "clean", "guessing")
    }
    assert [text.get_text() for text in bars.get_xticklabels()] == [
        one.condition for one in scored.rows if one.kind not in ("clean", "noise")
    ]
    assert len(bars.patches) == 5
    assert bars.patches[1].get_height() == pytest.approx(70)


@pytest.mark.usefixtures("drawn")
def test_the_picture_is_not_blank(scored: Robustness, tmp_path: Path) -> None:
    draw(scored, tmp_path / "robustness.png")
    with Image.open(tmp_path / "robustness.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 50
