"""`make models`: what it asks of fdan-edge, and the bundle that it leaves. Nothing is trained here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

from fdan_edge.errors import ExportError
from fdan_edge.runtime.about import read_about
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.utils.small_files import read_toml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import make_models  # noqa: E402
from corpus_digests import Places, read_corpora  # noqa: E402


def test_every_recipe_can_be_read() -> None:
    recipes = make_models.read_recipes(make_models.RECIPES, [])
    assert {*recipes} == {"open", "research"}
    assert recipes["open"].use == "any"
    assert not {"ravdess", "nemo"} & {*recipes["open"].corpora}  # their licences allow no commercial use
    assert {*recipes["open"].corpora}.isdisjoint(recipes["open"].robustness.corpora)


RECIPE = """
title = "German, acted"
use = "any"
terms = "any use"
corpora = ["emodb"]
settings = ["recipe=head", "seed=3"]
precision = "int8"
stream_graph = {stream}
{more}
[robustness]
{robustness}
"""
CORPORA = """
[emodb]
language = "German"
credit = "whoever"
[[emodb.folders]]
name = "emodb"
path = "emodb/wav"

[ravdess]
language = "English"
credit = "another"
[[ravdess.folders]]
name = "ravdess"
path = "ravdess"
"""


class FakeCommands:
    """Answers as fdan-edge would, and keeps what it was asked."""

    def __init__(self, bundle: Path) -> None:
        self.asked: list[list[str]] = []
        self._bundle = bundle

    def __call__(self, words: Sequence[str]) -> Any:
        self.asked.append([*words])
        if words[0] == "export":
            Path(words[-1]).parent.mkdir(parents=True, exist_ok=True)
            Path(words[-1]).symlink_to(self._bundle)
        return {"train": {}, "export": {}, "crossval": _LEFT_OUT, "evaluate": _ROBUST, "bench": _TIMED}[words[0]]


_LEFT_OUT = {
    "corpora": [
        {"corpus": "emodb", "classes": ["angry", "sad"], "n": 7, "uar": 0.5, "intervals": {"uar": [0.4, 0.6]}},
    ]
}
_ROBUST: dict[str, Any] = {
    "labels": ["angry", "sad", "happy"],
    "n": 9,
    "conditions": [
        {"condition": "clean", "kind": "clean", "uar": 0.5, "interval": [0.4, 0.6]},
        {"condition": "babble, 10 dB", "kind": "noise", "uar": 0.25, "interval": [0.2, 0.3]},
    ],
}
_TIMED = {
    "machine": {"processor": "a processor", "cores": 2, "instructions": [], "versions": {}, "load": 0.1},
    "latency": [{"p50": 12.5, "runtime": "onnxruntime-cpu"}],
}


@pytest.fixture
def commands(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    fake = FakeCommands(bundle_folder)
    monkeypatch.setattr(make_models, "command", fake)
    monkeypatch.setattr(make_models, "MOST_BYTES", 100_000_000)  # the tests' bundle is larger
    return fake


@pytest.fixture
def call(tmp_path: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the program over a recipe `mine`, whose corpus has two recordings; gives the folder of the bundle."""
    (tmp_path / "data" / "emodb" / "wav").mkdir(parents=True)
    for name in ("03a01Fa", "08b02Wb"):
        voice = min(ravdess_tree.rglob("*.wav"))
        (tmp_path / "data" / "emodb" / "wav" / f"{name}.wav").write_bytes(voice.read_bytes())
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "corpora.toml").write_text(CORPORA)

    def run(*words: str, stream: str = "true", more: str = "", robustness: str = 'corpora = ["ravdess"]') -> Path:
        text = RECIPE.format(stream=stream, more=more, robustness=robustness)
        (tmp_path / "recipes" / "mine.toml").write_text(text)
        folders = {name: str(tmp_path / name) for name in ("recipes", "data", "work", "out")}
        options = [word for name, folder in folders.items() for word in (f"--{name}", folder)]
        monkeypatch.setattr(sys, "argv", ["make_models.py", *words, *options])
        make_models.main()
        return tmp_path / "out" / "mine"

    return run


def test_what_it_asks_for(call: Any, commands: FakeCommands, tmp_path: Path) -> None:
    call("--any-files", more='left_out = ["classes=angry,sad"]')
    train, export, crossval, evaluate, bench = commands.asked
    speech, work = ["--speech", f"emodb:{tmp_path}/data/emodb/wav"], tmp_path / "work" / "mine"
    settings = ["--set", "recipe=head", "--set", "seed=3"]
    assert train == ["train", *speech, *settings, "--out", f"{work}/run"]
    assert export == ["export", f"{work}/run", "--target", "cpu", "--precision", "int8", "--out", f"{work}/bundle"]
    left_out = [*settings, "--set", "protocol=loco", "--set", "classes=angry,sad"]
    assert crossval == ["crossval", *speech, *left_out, "--out", f"{work}/left-out"]
    other = ["--speech", f"ravdess:{tmp_path}/data/ravdess"]
    assert evaluate == ["evaluate", f"{work}/bundle", *other, "--part", "all", "--robustness"]
    assert bench == ["bench", f"{work}/bundle", "--threads", "1", "--starts", "0"]


def test_commands_for_people_name_no_place_of_this_machine(tmp_path: Path) -> None:
    """A folder may be another one's name and more."""
    known = read_corpora(read_toml(make_models.RECIPES / "corpora.toml"))
    given = {name: tmp_path / name for name in ("emodb", "emodb_rest")}
    recipe = make_models.read_recipes(make_models.RECIPES, ["open"])["open"]
    job = make_models.Job("open", recipe, known, Places(tmp_path, given), tmp_path / "work")
    assert job.shown(["train", *job.speech(["emodb"]), "--out", f"{tmp_path}/work/run"]) == (
        "fdan-edge train --speech emodb:DATA/emodb/wav --speech emodb:DATA/emodb_rest/wav "
        "--out build/models/open/run"
    )


def test_where_no_corpus_is_left_speakers_are_held_out(call: Any, commands: FakeCommands, tmp_path: Path) -> None:
    call("--any-files", robustness='held_out = ["protocol=speaker"]')
    held_out = str(tmp_path / "work" / "mine" / "held-out")
    speech = ["--speech", f"emodb:{tmp_path}/data/emodb/wav"]
    more = ["--set", "recipe=head", "--set", "seed=3", "--set", "protocol=speaker"]
    assert ["train", *speech, *more, "--out", held_out] in commands.asked
    assert ["evaluate", held_out, *speech, "--part", "test", "--robustness"] in commands.asked


def test_the_bundle(call: Any, commands: FakeCommands, tmp_path: Path, bundle_folder: Path) -> None:
    bundle = Bundle.open(call("--any-files"))
    bundle.verify()
    said = read_about(bundle)
    assert said is not None
    assert (said.title, said.use, said.languages) == ("German, acted", "any", ("German",))
    (corpus,) = said.corpora
    assert (corpus.recordings, corpus.speakers, corpus.licence, corpus.credit) == (2, 2, "CC0", "whoever")
    assert [(score.test, score.on, score.uar, score.classes) for score in said.scores] == [
        ("corpora", "EMO-DB, the Berlin Database of Emotional Speech (Burkhardt et al. 2005)", 0.5, 2),
        ("clean", "clean", 0.5, 3),
        ("noise", "babble, 10 dB", 0.25, 3),
    ]
    assert said.scores[0].command.startswith("fdan-edge crossval --speech emodb:DATA/emodb/wav --set recipe=head ")
    assert said.speed[0].ms == 12.5
    assert said.scores[0].command.endswith(" --out build/models/mine/left-out")
    assert str(tmp_path) not in (bundle.path / "about.json").read_text()
    card = (bundle.path / "README.md").read_text()
    assert "## Where it is from" in card
    assert card.index("## New corpora") < card.index("## Limits")
    assert (bundle.path / "model.onnx").read_bytes() == (bundle_folder / "model.onnx").read_bytes()
    assert bundle.artifacts == Bundle.open(bundle_folder).artifacts
    assert len(commands.asked) == 5


def test_graphs_for_streams_may_be_left_out(call: Any, commands: FakeCommands) -> None:
    bundle = Bundle.open(call("--any-files", stream="false"))
    assert {*bundle.manifest.files} == {"README.md", "about.json", "model.onnx"}
    assert [artifact.stream for artifact in bundle.artifacts] == [None]
    assert "model.stream.onnx" not in (bundle.path / "README.md").read_text()
    bundle.verify()
    assert commands.asked


def test_mistakes_end_before_any_training(call: Any, commands: FakeCommands) -> None:
    for words, line, options in (
        ((), r"error: .*emodb/wav: 2 files, .*--any-files takes what is there", {}),
        (("mien",), r"error: unknown model 'mien' \(did you mean mine\?\); valid: mine", {}),
        (("--folder", "emobd=x"), r"error: --folder unknown folder 'emobd' \(did you mean emodb\?\)", {}),
        (
            ("--any-files",),
            r"error: .*mine.toml: robustness: names either corpora or",
            {"robustness": ""},
        ),
        (("--any-files",), r"error: .*mine.toml: unknown entry 'seed'", {"more": "seed = 1"}),
    ):
        with pytest.raises(SystemExit, match=line):
            call(*words, **options)
    assert commands.asked == []


def test_a_bundle_that_is_too_large_replaces_nothing(
    call: Any, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = call("--any-files")
    before = (out / "bundle.json").read_bytes()
    monkeypatch.setattr(make_models, "MOST_BYTES", 1000)
    with pytest.raises(SystemExit, match=r"MB are more than 0\.001; it is not replaced"):
        call("--any-files", stream="false")
    assert (out / "bundle.json").read_bytes() == before
    assert [words[0] for words in commands.asked].count("train") == 2


def test_scores_that_are_not_there_are_no_model(
    call: Any, commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(_ROBUST, "conditions")
    with pytest.raises(SystemExit, match="--robustness: no scores by condition: KeyError 'conditions'"):
        call("--any-files")
    assert commands.asked[-1][0] == "evaluate"


def test_a_command_that_fails_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="exit code 2 of: fdan-edge models nonesuch"):
        make_models.command(["models", "nonesuch"])
    assert "error: " in capfd.readouterr().err


def test_digests_are_printed(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call("--digests")
    assert capsys.readouterr().out.startswith('emodb: files = 2, sha256 = "')
