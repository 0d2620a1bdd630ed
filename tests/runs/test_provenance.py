"""What is written down of a run: data, seeds, sessions; and what is said of a run that goes on otherwise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY

pytest.importorskip("torch")

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source
from fdan_edge.runs import provenance
from fdan_edge.runs.provenance import changed, gather, load, record
from fdan_edge.training.run import train
from fdan_edge.training.trainer import Trainer

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=m")


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    return [Item("x", name, tmp_path / name, "sad") for name in ("a", "b")]


def hashes(items: list[Item], **others: list[Item]) -> Any:
    return gather(Config(), {"speech": items, **others})["data"]


def test_a_runs_first_session(tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/fdan-edge", "train", "--out", "my run"])
    monkeypatch.setenv("SECRET", "hunter2")
    now = gather(
        Config(seed=3, split_seed=4), {"speech": items, "faces": [], "target": []}, processes=2, computes_in="bf16"
    )
    assert record(tmp_path / "run", now, resume=False) == []
    text = (tmp_path / "run" / provenance.FILE).read_text()
    assert "hunter2" not in text
    values = json.loads(text)
    assert values["seeds"] == {"seed": 3, "split_seed": 4}
    assert list(values["data"]) == ["speech"]
    assert values["data"]["speech"]["count"] == 2
    assert values["complete"]
    (session,) = values["sessions"]
    assert (session["command"], session["processes"]) == ("fdan-edge train --out 'my run'", 2)
    assert session["date"].endswith("+00:00")
    assert {"torch", "torchvision", "python", "fdan_edge", "numpy", "soxr"} <= session["versions"].keys()
    assert session["machine"]["processor"]
    assert session["machine"]["computes_in"] == "bf16"


def test_the_hash_is_of_names_labels_and_content(tmp_path: Path, items: list[Item]) -> None:
    first = hashes(items)
    assert hashes(items[::-1]) == first
    moved = Path(shutil.copytree(tmp_path, tmp_path.with_name("moved")))
    assert hashes([Item("x", i.id, moved / i.id, "sad") for i in items]) == first
    seen = [first["speech"]["sha256"]]
    for changes in ([items[0]], [items[0], Item("x", "c", items[1].path, "sad")], [items[0], items[0]]):
        seen.append(hashes(changes)["speech"]["sha256"])
    seen.append(hashes([items[0], Item("x", "b", items[1].path, "happy")])["speech"]["sha256"])
    items[1].path.write_text("other")
    seen.append(hashes(items)["speech"]["sha256"])
    items[1].path.unlink()
    seen.append(hashes(items)["speech"]["sha256"])
    assert len(set(seen)) == len(seen)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hashes(items)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("fdan_edge.utils.files.FRESH_NANOSECONDS", 0)
    assert hashes(items) == first


def test_sessions_of_a_run_that_goes_on(tmp_path: Path, items: list[Item]) -> None:
    now = gather(Config(), {"speech": items})
    record(tmp_path, now, resume=False)
    assert record(tmp_path, now, resume=True) == []
    items[0].path.write_text("other")
    later = gather(Config(), {"speech": items})
    told = record(tmp_path, later, resume=True)
    assert told == [
        "other speech than the run began with (2 as then, of other content or labels): "
        "the result will not be bit for bit that of an undisturbed run"
    ]
    values = load(tmp_path)
    assert values
    assert values["data"] == now["data"]
    assert ["data" in session for session in values["sessions"]] == [False, False, True]
    assert values["sessions"][2]["data"] == later["data"]


def test_what_differs_is_named(tmp_path: Path, items: list[Item]) -> None:
    now = gather(Config(), {"speech": items})
    session = now["session"]
    session |= {"commit": "a" * 40, "dirty": False}
    session["machine"] |= {"cores": 2, "load": 0.1, "gpus": [{"name": "A", "driver": "1"}]}
    record(tmp_path, now, resume=False)
    there = {**session["machine"], "cores": 64, "load": 9.0, "gpus": [{"name": "B", "driver": "1"}]}
    there["computes_in"] = "bf16"
    other = {**session, "commit": "b" * 40, "processes": 4, "machine": there}
    other["versions"] = {**session["versions"], "torch": "0.1"}
    lines = changed(tmp_path, {"data": {**now["data"], "faces": {"count": 7, "sha256": "0"}}, "session": other})
    assert [line.partition(": the result will not be")[0] for line in lines] == [
        "other faces than the run began with (0 then, 7 now)",
        f"other versions (torch {session['versions']['torch']} then, 0.1 now)",
        "another machine (cores 2 then, 64 now; gpus A then, B now; computes_in fp32 then, bf16 now)",
        "another number of processes (processes 1 then, 4 now)",
        f"other code (commit {'a' * 40} then, {'b' * 40} now)",
    ]


def test_a_new_run_forgets_what_was_in_its_folder(tmp_path: Path, items: list[Item]) -> None:
    now = gather(Config(), {"speech": items})
    (tmp_path / provenance.FILE).write_text("{")
    assert record(tmp_path, now, resume=False) == []
    record(tmp_path, now, resume=False)
    assert len(json.loads((tmp_path / provenance.FILE).read_text())["sessions"]) == 1


def test_a_run_without_the_file_goes_on(tmp_path: Path, items: list[Item]) -> None:
    now = gather(Config(), {"speech": items})
    assert load(tmp_path) is None
    assert record(tmp_path, now, resume=True) == []
    values = load(tmp_path)
    assert values
    assert (values["complete"], len(values["sessions"])) == (False, 1)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"data": {}, "sessions": []}', '{"data": {}, "sessions": [3]}', "\udcff"]
)
def test_a_damaged_file_is_said_and_begun_anew(tmp_path: Path, items: list[Item], text: str) -> None:
    (tmp_path / provenance.FILE).write_bytes(text.encode(errors="surrogateescape"))
    (line,) = record(tmp_path, gather(Config(), {"speech": items}), resume=True)
    assert line.startswith(f"{tmp_path / provenance.FILE}: damaged (")
    assert "\n" not in line
    values = load(tmp_path)
    assert values
    assert not values["complete"]


def commit(folder: Path) -> str:
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip()


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_the_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    package = tmp_path / "repo" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert provenance._checkout(package) == {"commit": None, "dirty": None}
    made = commit(tmp_path / "repo")
    assert provenance._checkout(package) == {"commit": made, "dirty": False}
    (tmp_path / "repo" / "run").write_text("what a training leaves is no change of the code")
    assert provenance._checkout(package) == {"commit": made, "dirty": False}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook
    (package / "__init__.py").write_text("changed")
    assert provenance._checkout(package) == {"commit": made, "dirty": True}
    monkeypatch.delenv("GIT_DIR")
    installed = tmp_path / "repo" / "venv" / "package"  # not tracked: below somebody's checkout
    shutil.copytree(package, installed)
    assert provenance._checkout(installed) == {"commit": None, "dirty": None}


def test_without_git_or_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec sleep 5\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(provenance, "_GIT_SECONDS", 0.1)
    assert provenance._checkout(tmp_path) == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert provenance._checkout(tmp_path) == {"commit": None, "dirty": None}


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("target", [False, True])
def test_a_training_writes_it_and_a_resumed_one_finds_it_unchanged(
    target: bool,
    tmp_path: Path,
    ravdess_tree: Path,
    fer_tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Trainer, "run", interrupt)
    tree = Path(shutil.copytree(ravdess_tree, tmp_path / "ravdess"))
    faces = [] if target else [Source("fer2013", fer_tree)]
    config = Config.load(None, [*TINY, *(["method=mmd"] if target else [])])
    others = [Source("synthetic", None)] if target else []
    for resume in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            train(config, [Source("ravdess", tree)], tmp_path / "run", faces=faces, target=others, resume=resume)
        if resume:
            wrote = capsys.readouterr().err
            sessions = json.loads((tmp_path / "run" / provenance.FILE).read_text())["sessions"]
            assert ("undisturbed" in wrote) == ("data" in sessions[-1]) == (len(sessions) == 3)
            first = next(tree.rglob("*.wav"))
            shutil.copy(next(path for path in tree.rglob("*.wav") if path != first), first)
    values = load(tmp_path / "run")
    assert values
    assert set(values["data"]) == ({"speech", "target"} if target else {"speech", "faces"})
    assert values["complete"]
