"""The verb reproduce: what it prints and writes, its exit codes, and a real training of two rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.experiments.paper_tables import Request
from fdan_edge.runs.run_folder import load_run
from tests.conftest import TINY
from tests.helpers.reproduce_fake import FakeTrain, install, savee_request

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTrain:
    return install(monkeypatch)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return savee_request(tmp_path)


def command(request: Request, *words: str) -> list[str]:
    """`reproduce` with the corpora and the folder of a request."""
    corpora = [word for source in request.speech for word in ("--speech", str(source))]
    corpora += [word for source in request.faces for word in ("--faces", str(source))]
    return ["reproduce", request.table, *corpora, "--out", str(request.out), *words]


def test_the_command_prints_what_it_writes(run: Run, request_: Request, fake: FakeTrain, tmp_path: Path) -> None:
    code, out, err = run(*command(request_, "--seeds", "0,1", "--markdown", str(tmp_path / "t.md")))
    assert code == 0
    assert len(fake.calls) == 2 * 2 * 6
    written = (request_.out / "table1-savee.md").read_text()
    assert out == written + "\n"
    assert (tmp_path / "t.md").read_text() == written
    assert err.splitlines()[-1] == f"written: {request_.out}/table1-savee.md and .json"
    code, out, _ = run(*command(request_, "--seeds", "0,1", "--json"))
    assert code == 0
    assert json.loads(out) == json.loads((request_.out / "table1-savee.json").read_text())
    assert len(fake.calls) == 24


def test_the_command_in_the_table_makes_the_table(run: Run, request_: Request, fake: FakeTrain) -> None:
    import shlex

    words = ["--protocol", "speaker", "--rows", "plain,fdan", "--backbone", "vgg19", "--set", "epochs=3"]
    run(*command(request_, *words, "--paper-recipe"))
    first_values = json.loads((request_.out / "table1-savee.json").read_text())
    again = shlex.split(first_values["command"])
    assert again[0] == "fdan-edge"
    assert run(*again[1:])[0] == 0
    assert json.loads((request_.out / "table1-savee.json").read_text()) == first_values
    assert len(fake.calls) == 2


def test_exit_code_1_where_a_row_cannot_be_run(run: Run, request_: Request, fake: FakeTrain) -> None:
    fake.errors = {"vgg": ConfigError("no such weights")}
    code, out, _ = run(*command(request_, "--protocol", "random"))
    assert code == 1
    assert "(1) no such weights" in out


def test_after_an_interruption_the_table_holds_what_there_is(run: Run, request_: Request, fake: FakeTrain) -> None:
    fake.errors = {"resnet18": KeyboardInterrupt()}
    code, out, err = run(*command(request_))
    assert (code, out) == (130, "")
    assert "table1-savee.md holds what there is; the same command goes on" in " ".join(err.split())
    rows = [line for line in (request_.out / "table1-savee.md").read_text().splitlines() if "| VGG" in line]
    assert "51.0" in rows[0]
    states = [row["state"] for row in json.loads((request_.out / "table1-savee.json").read_text())["rows"]]
    assert states == ["finished"] * 2 + ["not run yet"] * 10


def test_mistakes_are_one_line(fails: Callable[..., str], request_: Request, fake: FakeTrain) -> None:
    assert fails(*command(request_, "--seeds", "0,x")) == (
        "--seeds '0,x' is not whole numbers separated by commas, e.g. 0,1,2"
    )
    assert fails("reproduce", "table1").startswith("no speech given; write --speech corpus:path")
    assert fails(*command(replace(request_, table="tabel1"))).startswith("unknown table 'tabel1' (did you mean")
    assert not fake.calls
    assert not request_.out.exists()


def test_rows_on_a_tree_in_savees_layout(run: Run, tmp_path: Path, fer_tree: Path) -> None:
    """Readers, split, training, scores, and the paper's column beside them."""
    import soundfile

    from fdan_edge.data.corpora.savee import CORPUS, SPEAKERS
    from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

    for index, speaker in enumerate(SPEAKERS):
        (tmp_path / "AudioData" / speaker).mkdir(parents=True)
        for letters, emotion in CORPUS.emotions.items():
            path = tmp_path / "AudioData" / speaker / f"{letters}01.wav"
            soundfile.write(path, voice(emotion, index, 1), SAMPLE_RATE)
    settings = [word for value in (*TINY[1:], "epochs=1") for word in ("--set", value)]
    sources = ("--speech", f"savee:{tmp_path}", "--faces", f"fer2013:{fer_tree}", "--out", str(tmp_path / "out"))
    code, out, _ = run(
        *("reproduce", "table1", *sources, "--backbone", "mobilenet_v2", "--rows", "plain,fdan"),
        *("--protocol", "speaker", *settings),
    )
    assert code == 0
    rows = {line.split("|")[1].strip(): line for line in out.splitlines() if line.startswith("|")}
    (fdan,) = (row for title, row in rows.items() if title.startswith("FDAN, mobilenet_v2 ("))
    (plain,) = (row for title, row in rows.items() if title.startswith("plain backbone, mobilenet_v2"))
    assert "86.7 / 86.2 / 87.0" in fdan
    assert plain.replace(" ", "").endswith("|-|7|")
    assert re.search(r"\(\d\) the paper's row saw the faces of SAVEE, this one those of fer2013", out)
    assert "it answers " in out or "may be chance, 14.3 %" in out  # one epoch on seven recordings
    assert "speaker-independent, speakers KL held out; 7 recordings to choose the epoch, 7 to test" in out
    config, info = load_run(tmp_path / "out" / "savee-speaker-fdan-mobilenet_v2-s0")
    assert config == Config.load(None, [*TINY, "backbone=mobilenet_v2", "epochs=1"])
    assert info.faces == [f"fer2013:{fer_tree}"]
