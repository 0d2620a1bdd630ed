"""The verb evaluate: what it prints and draws, and recordings that are broken."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fdan_edge.audio.conditions.named import Condition, conditions
from fdan_edge.audio.windows import Waveform
from fdan_edge.data.labels import EMOTIONS

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("drawn")
def test_evaluate(run: Run, run_folder: Path, bundle_folder: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    speech = ("--speech", f"ravdess:{ravdess_tree}")
    code, out, err = run("evaluate", run_folder, *speech)
    assert (code, err) == (0, "")
    assert out.startswith("the run's test part\nUAR ")
    lines = [line.rstrip() for line in out.splitlines()]
    assert re.fullmatch(r"95 % intervals: UAR [\d.]+ to [\d.]+, WAR [\d.]+ to .*, w-F1 .* %", lines[2])
    assert lines[3] == "(2000 resamples of 8 recordings; of one speaker only; few: likely too narrow)"
    assert lines[4].split() == ["class", "recall", "95", "%", "interval"]
    assert [line.split()[0] for line in lines[5:12]] == sorted(set(EMOTIONS) - {"boredom", "calm", "contempt"})
    assert re.fullmatch(r"probabilities: ECE [\d.]+ %   NLL [\d.]+", lines[12])
    assert "rows: true emotion, columns: recognised as" in out
    assert lines[-1].startswith("audit: clean for speakers; ")
    assert max(map(len, lines)) <= 80
    code, out, err = run("evaluate", bundle_folder, *speech, "--json", "--pictures", tmp_path / "p")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values["n"] == sum(map(sum, values["confusion"]))
    assert values["audit"].startswith("clean for speakers; ")
    assert values["intervals"]["units"] == 8
    assert sum(b["n"] for b in values["calibration"]["bins"]) == 8
    assert (tmp_path / "p" / "confusion.svg").stat().st_size > 1000
    assert (tmp_path / "p" / "reliability.png").stat().st_size > 1000


def test_evaluate_names_broken_recordings_and_goes_on(
    run: Run, run_folder: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(ravdess_tree, tmp_path / "v")
    broken = sorted((tmp_path / "v" / "Actor_04").iterdir())[0]
    broken.write_bytes(b"")
    code, out, err = run("evaluate", run_folder, "--speech", f"ravdess:{tmp_path / 'v'}", "--part", "all")
    assert code == 1
    assert "(n = 31)" in out
    assert err == f"left out: {broken}: is empty (0 bytes)\n"


def test_names_of_classes_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    from fdan_edge.cli.render.console import out
    from fdan_edge.cli.render.scores import confusion_table

    names = ["[/red]", "[bold]a[/]", ":angry:", "\x1b[31m"]
    out.print(confusion_table(names, [[1] * 4] * 4))
    text = capsys.readouterr().out
    for name in (*names[:3], r"\x1b[31m"):
        assert text.count(name) == 2
    assert "\x1b" not in text


def test_robustness(
    run: Run, bundle_folder: Path, ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fdan_edge.evaluation import robustness

    def few(noises: Sequence[Waveform] = ()) -> list[Condition]:
        return [*conditions(noises)[:2], conditions(noises)[16]]

    monkeypatch.setattr(robustness, "conditions", few)
    noise = sorted((ravdess_tree / "Actor_01").iterdir())[0]
    options = ("--robustness", "--limit", "3", "--noise", noise, "--speech", f"ravdess:{ravdess_tree}")
    code, out, err = run("evaluate", bundle_folder, *options, "--out", tmp_path / "o")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "3 of 8, the run's test part"
    assert lines[1].split()[:3] == ["condition", "UAR", "%"]
    assert [line.split("  ")[0] for line in lines[2:5]] == ["clean", "white noise, 20 dB", "recorded noise, 0 dB"]
    assert lines[-1] == f"written: {tmp_path / 'o'}/robustness.json, .md, .png, .svg"
    assert max(map(len, lines[:-1])) <= 80
    code, out, err = run("evaluate", bundle_folder, *options, "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values == json.loads((tmp_path / "o" / "robustness.json").read_text())
    assert [row["kind"] for row in values["conditions"]] == ["clean", "noise", "noise"]
