"""`fdan-edge runs`: what is found, what is said of each run, and how it is shown at several widths."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fdan_edge.cli.render import console
from fdan_edge.config import Config, config_to_dict
from fdan_edge.errors import CheckpointError, ConfigError
from fdan_edge.runs.index import RunRow, data_letters, differing, find_runs, read_run, sort_runs

Command = Callable[..., tuple[int, str, str]]


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    values = {"epoch": number, "val_uar": number / 10, "val_loss": 1 / number, "seconds": 2.0 * number}
    return {**values, **changes}


def make(
    folder: Path,
    *settings: str,
    epochs: list[dict[str, Any]] | None = None,
    test: float | None = None,
    **info: Any,
) -> Path:
    """A run folder without weights."""
    folder.mkdir(parents=True)
    config = Config.load(None, ["epochs=3", *settings])
    (folder / "config.toml").write_text(tomli_w.dumps(config_to_dict(config)))
    begun = {"format": "fdan-edge run 1", "speech": ["ravdess:/r"], "faces": [], "target": [], **info}
    (folder / "run.toml").write_text(tomli_w.dumps(begun))
    lines = [epoch(1), epoch(2), epoch(3)] if epochs is None else epochs
    (folder / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if test is not None:
        scores = {"uar": test, "intervals": {"uar": [test - 0.1, test + 0.1]}}
        (folder / "metrics.json").write_text(json.dumps({"val": {"uar": 0.3}, "test": scores}))
    return folder


def begun(folder: Path, speech: str = "1", faces: str = "", **changes: Any) -> None:
    parts = {"speech": speech, "faces": faces}
    data = {part: {"count": 5, "sha256": digest} for part, digest in parts.items() if digest}
    session = {"date": "2026-11-22T06:41:44+00:00", "commit": "abcdef0123", "dirty": False, **changes}
    session |= {"versions": {}, "machine": {}}
    (folder / "provenance.json").write_text(json.dumps({"data": data, "sessions": [session]}))


@contextmanager
def training(folder: Path) -> Iterator[None]:
    """As `checkpoint.sole_writer` in another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


def row(folder: Path) -> RunRow:
    return read_run(folder, folder.name)


def test_a_finished_run(tmp_path: Path) -> None:
    lines = [epoch(1, skipped=2, rate=80.0), epoch(2, val_loss=0.1, rate=90.0), epoch(3)]
    folder = make(tmp_path / "a", "seed=7", epochs=lines, test=0.5, faces=["fer2013:/f"])
    begun(folder, dirty=True)
    found = row(folder)
    assert (found.state, found.done, found.epochs, found.best_epoch) == ("finished", 3, 3, 2)
    assert (found.val_uar, found.test_uar, found.test_interval) == (0.2, 0.5, [0.4, 0.6])
    assert (found.method, found.backbone, found.seed) == ("FDAN", "resnet34", 7)
    assert (found.seconds, found.rate, found.skipped) == (4.0, 85.0, 2)
    assert (found.commit, found.dirty, found.date) == ("abcdef0123", True, "2026-11-22T06:41:44+00:00")
    assert found.data == {"speech": {"count": 5, "sha256": "1"}}


def test_a_run_without_provenance_has_blanks(tmp_path: Path) -> None:
    found = row(make(tmp_path / "a", test=0.5))
    assert (found.commit, found.dirty, found.date, found.rate, found.data) == (None, None, None, None, {})
    assert (found.skipped, found.state) == (0, "finished")


def test_a_damaged_provenance_takes_nothing_else(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", test=0.5)
    (folder / "provenance.json").write_text("{")
    assert (row(folder).state, row(folder).date, row(folder).test_uar) == ("finished", None, 0.5)


def test_towards_a_target_the_last_epoch_counts(tmp_path: Path) -> None:
    lines = [epoch(1, val_loss=0.1), epoch(2)]
    assert row(make(tmp_path / "a", epochs=lines)).best_epoch == 1
    assert row(make(tmp_path / "b", epochs=lines, target=["emodb:/e"])).best_epoch == 2
    assert row(make(tmp_path / "c", "method=dann", epochs=lines)).best_epoch == 2


def test_states(tmp_path: Path) -> None:
    fresh = make(tmp_path / "fresh", epochs=[])
    half = make(tmp_path / "half", epochs=[epoch(1)])
    diverged = make(tmp_path / "diverged", epochs=[epoch(1)], test=0.2)
    assert [row(f).state for f in (fresh, half, diverged)] == ["unfinished", "unfinished", "diverged"]
    assert row(fresh).val_uar is None
    with training(half), training(diverged):
        assert [row(f).state for f in (half, diverged, fresh)] == ["training", "training", "unfinished"]
    assert row(half).state == "unfinished"


def test_who_looks_is_no_training(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", epochs=[])
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)  # as another `fdan-edge runs` does
    assert row(folder).state == "unfinished"
    os.close(handle)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("run.toml", "", "run.toml: not of fdan-edge"),
        ("run.toml", "format = ", "run.toml: not a TOML file"),
        ("run.toml", 'format = "fdan-edge run 1"', "KeyError: 'faces'"),
        ("config.toml", "lr = 'x'", "lr = 'x' is not a number"),
        ("config.toml", None, "config.toml: cannot be read: No such file"),
        ("epochs.jsonl", '{"epoch": 1}\n', "epochs.jsonl: line 1 is not that of an epoch"),
        ("epochs.jsonl", "{", ""),
        ("epochs.jsonl", "3", ""),
        ("metrics.json", '{"test": {', "metrics.json: "),
        ("metrics.json", "[1]", "metrics.json: "),
        ("metrics.json", '{"test": 3}', ""),
        ("metrics.json", '{"test": {"intervals": {}}}', "KeyError: 'uar'"),
        ("metrics.json", '{"test": {"uar": {}}}', "test_uar = {} is not a number"),
        ("metrics.json", '{"test": {"intervals": {"uar": [1]}}}', "the interval [1] is not two numbers"),
        ("metrics.json", "[" * 100_000, "metrics.json: "),
        ("epochs.jsonl", "[" * 100_000, "epochs.jsonl: line 1: nested deeper than 64"),
    ],
)
def test_damaged(tmp_path: Path, file: str, text: str | None, words: str) -> None:
    folder = make(tmp_path / "a", test=0.5)
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    found = row(folder)
    assert (found.state, found.name, found.val_uar) == ("damaged", "a", None)
    assert found.problem.startswith(words)
    assert found.problem


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    for name in ("b", "cv/fold-10", "cv/fold-2", "a/deep/er"):
        make(tmp_path / name)
    (tmp_path / "other").mkdir()
    make(tmp_path / ".new-run")
    make(tmp_path / "b" / "inside")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "alias").symlink_to(tmp_path / "b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert [r.name for r in find_runs([tmp_path])] == ["a/alias", "a/deep/er", "cv/fold-2", "cv/fold-10"]
    assert [r.name for r in find_runs([tmp_path / "cv", tmp_path / "b"])] == ["b", "cv/fold-2", "cv/fold-10"]
    assert [r.name for r in find_runs([tmp_path / "b"])] == ["b"]


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none: no such folder; `fdan-edge train --out .*none/NAME`"):
        find_runs([tmp_path / "none"])


def test_orders(tmp_path: Path) -> None:
    for name, uar, date in (("a", 0.2, "2026-01-02"), ("b", 0.9, "2026-01-01"), ("c", 0.3, "2026-01-03")):
        begun(make(tmp_path / name, epochs=[epoch(1, val_uar=uar)]), date=date)
    make(tmp_path / "d", epochs=[])
    rows = find_runs([tmp_path])
    assert {by: "".join(r.name for r in sort_runs(rows, by)) for by in ("name", "uar", "date")} == {
        "name": "abcd",
        "uar": "bcad",
        "date": "cabd",
    }
    with pytest.raises(ConfigError, match="unknown order 'test'; valid: name, uar, date"):
        sort_runs(rows, "test")


def test_settings_that_differ(tmp_path: Path) -> None:
    make(tmp_path / "a", "lr=0.1", "cache=false", faces=["fer2013:/f", "ck:/c"])
    make(tmp_path / "b", "test_speakers=04")
    (make(tmp_path / "c") / "run.toml").write_text("")
    assert differing(find_runs([tmp_path])) == {
        "lr": [0.1, Config.lr, None],
        "test_speakers": [[], ["04"], None],
        "faces": ["ck + fer2013", "none", None],
    }


def test_data_are_told_apart() -> None:
    def of(**parts: str) -> RunRow:
        return RunRow(
            "a", "a", "finished", data={p: {"count": 1, "sha256": digest} for p, digest in parts.items()}
        )

    rows = [of(speech="1"), of(speech="1", faces="2"), of(speech="3"), of(), of(speech="1", target="4")]
    assert data_letters(rows) == ["A", "A", "B", "", "C"]
    assert data_letters([of(speech=str(n)) for n in range(53)])[25:28] == ["Z", "AA", "AB"]


def wide(run: Command, monkeypatch: pytest.MonkeyPatch, width: int, *arguments: str | Path) -> str:
    monkeypatch.setattr(console.out, "width", width)
    code, out, err = run("runs", *arguments)
    assert (code, err) == (0, "")
    assert all(len(line.rstrip()) <= width for line in out.splitlines())
    return "\n".join(line.rstrip() for line in out.splitlines())


@pytest.fixture
def three(tmp_path: Path) -> Path:
    begun(make(tmp_path / "plain", test=0.5))
    begun(make(tmp_path / "faces", "lr=0.002", faces=["fer2013:/f"], epochs=[epoch(1, skipped=1)]), faces="7")
    (make(tmp_path / "broken") / "config.toml").unlink()
    return tmp_path


def test_the_table(three: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = """
                              val   test          95 %    steps
run     state       epochs  UAR %  UAR %      interval  skipped  method
broken  damaged
faces   unfinished     1/3   10.0                             1  FDAN
plain   finished       3/3   30.0   50.0  40.0 to 60.0           plain backbone

settings that differ  lr     faces
faces                 0.002  fer2013
plain                 0.001  none

broken: config.toml: cannot be read: No such file or directory"""
    first, _, rest = wide(run, monkeypatch, 80, three).partition("\n")
    assert first == "all: resnet34, seed 0, commit abcdef0"
    assert rest == expected.removeprefix("\n")


def test_one_width_after_another(three: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (40, 60, 100, 120, 200):
        text = wide(run, monkeypatch, width, three)
        assert "unfinished" in text
        assert "config.toml: cannot be read" in " ".join(text.split())
        assert ("2026-11-22 06:41" in text) == (width >= 120)


def test_what_all_have_in_common_is_said_once(
    tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        begun(make(tmp_path / f"s{seed}", f"seed={seed}", test=0.5))
    text = wide(run, monkeypatch, 80, tmp_path)
    assert text.splitlines()[0] == "all: epochs 3/3, plain backbone, resnet34, commit abcdef0"
    assert text.count("resnet34") == 1
    assert "settings that differ" not in text  # the seed has its column


def test_many_settings_are_told_against_the_usual_ones(
    tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    make(tmp_path / "c", "lr=0.002", "alpha=0.5", "masks=3", "label_smoothing=0.2", "weight_decay=0.1")
    text = wide(run, monkeypatch, 60, tmp_path)
    assert "settings that differ; most often: alpha=0.001," in text
    assert " ".join(text.partition("otherwise:")[2].split()) == (
        "c alpha=0.5, label_smoothing=0.2, lr=0.002, weight_decay=0.1, masks=3"
    )


def test_other_data_are_pointed_out(tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, speech, faces in (("a", "1", ""), ("b", "1", "5"), ("c", "2", "6")):
        begun(make(tmp_path / name), speech, faces)
    text = wide(run, monkeypatch, 120, tmp_path)
    assert "data: runs of different letters were made from different recordings: do not compare" in text
    assert "not all runs with faces saw the same ones" in text
    begun(tmp_path / "c", "1", "5")
    text = wide(run, monkeypatch, 100, tmp_path)
    assert "data" not in text
    assert "saw the same" not in text


def test_json(three: Path, run: Command) -> None:
    code, out, _ = run("runs", three, "--sort", "uar", "--json")
    values = json.loads(out)
    assert code == 0
    assert [(v["name"], v["state"]) for v in values] == [
        ("plain", "finished"),
        ("faces", "unfinished"),
        ("broken", "damaged"),
    ]
    assert values[0]["test_interval"] == [0.4, 0.6]
    assert values[1]["settings"]["lr"] == 0.002


def test_nothing_there(tmp_path: Path, run: Command, fails: Callable[..., str]) -> None:
    code, out, err = run("runs", tmp_path)
    assert (code, out) == (0, "")
    assert err.startswith("no run folders there; ")
    assert fails("runs", tmp_path / "x").startswith(f"{tmp_path / 'x'}: no such folder; ")
    assert fails("runs", tmp_path, "--sort", "x").startswith("unknown order 'x'")


def test_a_real_run(run_folder: Path, run: Command) -> None:
    code, out, _ = run("runs", run_folder, "--json")
    (found,) = json.loads(out)
    assert (code, found["name"], found["state"], found["done"], found["method"]) == (
        0,
        "run",
        "finished",
        2,
        "FDAN",
    )
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert found["val_uar"] == metrics["val"]["uar"]
    assert found["best_epoch"] == metrics["best_epoch"]
    assert (found["test_uar"], found["test_interval"]) == (
        metrics["test"]["uar"],
        metrics["test"]["intervals"]["uar"],
    )


def test_reading_runs_imports_no_torch() -> None:
    modules = "fdan_edge.runs.index, fdan_edge.cli.render.runs"
    code = f"import sys; import {modules}; print({{'torch', 'numpy'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
