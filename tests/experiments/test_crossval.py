"""Cross-validation: every fold once, taken up where it stopped, and the tests pooled."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.config import Config
from fdan_edge.data.corpora import Source
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import CheckpointError, ConfigError, DataError
from fdan_edge.evaluation.predictions import load_predictions
from fdan_edge.experiments.crossval import crossval, fold_config
from fdan_edge.runs.run_folder import load_run, load_split
from fdan_edge.training.run import train
from tests.conftest import TINY
from tests.docs.corpora import write_voice

WORDS = (*TINY, "epochs=1", "folds=2", "calm_as_neutral=false")


def settings(*words: str) -> Config:
    return Config.load(None, [*WORDS, *words], protocol="kfold")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ravdess_tree: Path) -> Path:
    """Two folds of two speakers each. Read only."""
    folder = tmp_path_factory.mktemp("crossval")
    crossval(settings(), [Source("ravdess", ravdess_tree)], [], folder)
    return folder


def values(folder: Path) -> dict[str, dict[str, float]]:
    return dict(json.loads((folder / "crossval.json").read_text()))


def test_each_recording_is_tested_once(finished: Path, ravdess_tree: Path) -> None:
    tested = Counter(key for n in (1, 2) for key in load_split(finished / f"fold-{n}")["test"])
    every = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=False)
    assert tested == Counter(item.key for item in every)
    for n, speakers in ((1, {"01", "02"}), (2, {"03", "04"})):
        rows = load_predictions(finished / f"fold-{n}" / "predictions.json").recordings
        assert {row.key for row in rows} == set(load_split(finished / f"fold-{n}")["test"])
        assert {row.speaker for row in rows} == {f"ravdess:{name}" for name in speakers}
        assert np.allclose([sum(row.probabilities) for row in rows], 1)


def test_pooled_scores_are_of_all_folds(finished: Path) -> None:
    result = json.loads((finished / "crossval.json").read_text())
    folds = [json.loads((finished / f"fold-{n}" / "metrics.json").read_text()) for n in (1, 2)]
    pooled = result["pooled"]
    sums = np.sum([fold["test"]["confusion"] for fold in folds], axis=0)
    assert pooled["confusion"] == sums.tolist()
    assert (pooled["n"], len(pooled["labels"])) == (32, 8)
    assert (pooled["intervals"]["unit"], pooled["intervals"]["units"]) == ("speaker", 4)
    uars = [fold["test"]["uar"] for fold in folds]
    assert pooled["mean"]["uar"] == pytest.approx(np.mean(uars))
    assert pooled["sd"]["uar"] == pytest.approx(np.std(uars, ddof=1))
    assert [fold["test"]["uar"] for fold in result["folds"]] == uars
    assert result["audit"] == folds[0]["audit"]["verdict"]
    assert "clean for speakers" in result["audit"]
    assert [fold["protocol"] for fold in result["folds"]] == [
        "speaker-disjoint fold 1 of 2, speakers 01, 02 held out",
        "speaker-disjoint fold 2 of 2, speakers 03, 04 held out",
    ]


def test_calm_counts_as_neutral_in_the_same_predictions(finished: Path) -> None:
    result = json.loads((finished / "crossval.json").read_text())
    merged, pooled = result["merged"], result["pooled"]
    assert sorted([*merged["labels"], "calm"]) == pooled["labels"]
    assert merged["n"] == pooled["n"]
    neutral = merged["labels"].index("neutral")
    assert sum(merged["confusion"][neutral]) == 8  # 4 speakers, calm and neutral
    names = {f"{name}{ending}" for name in ("confusion", "reliability") for ending in ("", "-merged")}
    assert {path.stem for path in finished.glob("*.png")} == names


def test_finished_folds_are_read_and_the_unfinished_is_resumed(
    finished: Path, ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "c"))
    for name in ("metrics.json", "predictions.json"):
        (folder / "fold-2" / name).unlink()
    (folder / "crossval.json").unlink()
    resumed = []

    def watched(config: Config, speech: list[Source], run: Path, *, faces: list[Source], resume: bool) -> None:
        resumed.append((run.name, config.fold, resume))
        train(config, speech, run, faces=faces, resume=resume)

    monkeypatch.setattr("fdan_edge.experiments.crossval.train", watched)
    again = crossval(settings("fold=2"), [Source("ravdess", ravdess_tree)], [], folder)
    assert resumed == [("fold-2", 2, True)]
    assert values(folder) == values(finished) == json.loads(json.dumps(again.to_dict()))


def test_a_diverged_fold_is_not_finished(
    finished: Path, ravdess_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "c"))
    (folder / "fold-1" / "epochs.jsonl").write_text("")

    def tried(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fdan_edge.experiments.crossval.train", tried)
    with pytest.raises(KeyboardInterrupt):
        crossval(settings(), [Source("ravdess", ravdess_tree)], [], folder)


def test_other_settings_or_corpora_are_refused(finished: Path, ravdess_tree: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(ravdess_tree, tmp_path / "moved"))
    speech = [Source("ravdess", ravdess_tree)]
    with pytest.raises(CheckpointError, match=r"fold-1: was begun with lr = 0\.001, now it is 0\.01; repeat the"):
        crossval(settings("lr=0.01", "batch_size=4", "batch_size=8"), speech, [], finished)
    with pytest.raises(CheckpointError, match="was begun with --speech = "):
        crossval(settings(), [Source("ravdess", moved)], [], finished)
    with pytest.raises(CheckpointError, match=r"was begun with --faces = \[\], now it is \['synthetic:'\]"):
        crossval(settings(), speech, [Source("synthetic", None)], finished)


def test_what_has_no_folds(ravdess_tree: Path, tmp_path: Path) -> None:
    speech = [Source("ravdess", ravdess_tree)]
    with pytest.raises(ConfigError, match="crossval goes with protocol kfold, loso, loco or official, not random"):
        crossval(settings("protocol=random"), speech, [], tmp_path / "c")
    with pytest.raises(DataError, match="needs at least 5 speakers, found 4; use --set folds=4"):
        crossval(settings("folds=5"), speech, [], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_command(
    run: Callable[..., tuple[int, str, str]], finished: Path, ravdess_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("confusion_matrix", "reliability"):  # drawn already, and slow
        monkeypatch.setattr(f"fdan_edge.experiments.crossval.plots.{name}", lambda *_: None)
    words = [word for setting in WORDS for word in ("--set", setting)]
    command = ("crossval", "--out", finished, "--speech", f"ravdess:{ravdess_tree}", *words)
    code, out, err = run(*command)
    lines = [line.rstrip() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0].startswith("plain backbone, 2 folds without a speaker in two of them")
    assert [line.split(":")[0] for line in lines[1:3]] == ["fold-1", "fold-2"]
    assert any(line.startswith("mean and sd over folds: UAR ") for line in lines)
    assert "calm counted as neutral" in lines
    assert lines[-2].startswith("audit: clean for speakers; ")
    assert max(map(len, lines[:-1])) <= 90
    code, out, _ = run(*command, "--json")
    assert json.loads(out) == values(finished)


def test_recordings_that_came_or_went_are_not_pooled_with_the_others(
    finished: Path, ravdess_tree: Path, tmp_path: Path
) -> None:
    """A finished fold never heard what came later, and yet its scores stood for all recordings."""
    folder, tree = tmp_path / "c", Path(shutil.copytree(ravdess_tree, tmp_path / "tree"))
    shutil.copytree(finished, folder)
    for n in (1, 2):
        run = folder / f"fold-{n}" / "run.toml"
        run.write_text(run.read_text().replace(f"ravdess:{ravdess_tree}", f"ravdess:{tree}"))
    speech = [Source("ravdess", tree)]
    crossval(settings("cache=false"), speech, [], folder)  # where features are kept makes no other scores
    path = tree / "Actor_01" / "03-01-01-01-01-01-01.wav"
    shutil.copy(tree / "Actor_01" / "03-01-02-01-01-01-01.wav", tree / "Actor_01" / "03-01-02-01-02-01-01.wav")
    path.unlink()
    match = r"fold-1: was begun with other recordings: its test part would have 1 new ones, and 1 are gone; "
    with pytest.raises(CheckpointError, match=match):
        crossval(settings(), speech, [], folder)


def test_a_run_folder_is_not_overwritten(ravdess_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    with pytest.raises(
        CheckpointError, match="holds one training, which has files of the same names; name another"
    ):
        crossval(settings(), [Source("ravdess", ravdess_tree)], [], tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"protocol": "kfold", "audit": "clean"}'])
def test_a_damaged_fold_is_one_line(finished: Path, ravdess_tree: Path, tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "c"))
    (folder / "fold-2" / "metrics.json").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"metrics.json: missing or damaged \(.*\); without the folder the same"
    ):
        crossval(settings(), [Source("ravdess", ravdess_tree)], [], folder)


def test_each_fold_learns_from_the_same_fold_of_the_teacher() -> None:
    """Another fold's teacher has trained on this one's test."""
    settings = Config.load(None, ["protocol=kfold", "teacher=runs/whisper"])
    result = fold_config(settings, 3)
    assert (result.fold, result.teacher) == (3, str(Path("runs/whisper") / "fold-3"))
    assert fold_config(Config.load(None, ["protocol=kfold"]), 3).teacher == ""


# --- several corpora ---


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Three corpora: of EMO-DB no class but two, of one of its own three, of RAVDESS' layout four."""
    root = tmp_path_factory.mktemp("corpora")
    for speaker in range(2):
        write_voice(root / "emodb" / f"0{speaker + 3}a01Wa.wav", "angry", speaker)
        write_voice(root / "emodb" / f"0{speaker + 3}a01Ta.wav", "sad", speaker)
        for code, emotion in (("01", "neutral"), ("03", "happy"), ("04", "sad"), ("05", "angry")):
            write_voice(root / "ravdess" / f"03-01-{code}-01-01-01-0{speaker + 1}.wav", emotion, speaker + 2)
        for emotion in ("angry", "neutral", "sad", "surprise"):
            write_voice(root / "folder" / emotion / f"{speaker}.wav", emotion, speaker + 4)
    return [Source(name, root / name) for name in ("ravdess", "emodb", "folder")]


def test_each_corpus_is_left_out_once(voices: list[Source], tmp_path: Path) -> None:
    result = crossval(settings("protocol=loco"), voices, [], tmp_path / "c")
    told: dict[str, Any] = json.loads((tmp_path / "c" / "crossval.json").read_text())
    assert told == json.loads(json.dumps(result.to_dict()))
    assert told["protocol"] == "3 corpora, each tested once, whole, by a model that was trained on the others"
    assert [(row["corpus"], row["n"], row["classes"]) for row in told["corpora"]] == [
        ("emodb", 4, ["angry", "sad"]),
        ("folder", 6, ["angry", "neutral", "sad"]),  # nobody else is surprised
        ("ravdess", 6, ["angry", "neutral", "sad"]),  # nor happy
    ]
    assert told["pooled"]["labels"] == ["angry", "neutral", "sad"]
    assert told["pooled"]["mean"]["uar"] == pytest.approx(np.mean([row["uar"] for row in told["corpora"]]))
    assert told["corpora"][0]["intervals"]["unit"] == "speaker"
    # A model of the others knows their classes, and is scored in those that the left-out corpus has.
    classes = [load_run(tmp_path / "c" / f"fold-{n}")[1].classes for n in (1, 2, 3)]
    assert classes[0] == ["angry", "happy", "neutral", "sad", "surprise"]
    assert classes[1] == ["angry", "happy", "neutral", "sad"]
    for n, row in enumerate(told["corpora"], 1):
        run = tmp_path / "c" / f"fold-{n}"
        assert load_predictions(run / "predictions.json").labels == row["classes"]
        assert json.loads((run / "metrics.json").read_text())["test"]["uar"] == row["uar"]


def test_corpora_that_share_nothing(voices: list[Source], tmp_path: Path) -> None:
    write_voice(tmp_path / "dogs" / "bark" / "1.wav", "happy")
    write_voice(tmp_path / "dogs" / "growl" / "1.wav", "angry")
    with pytest.raises(
        DataError, match="protocol loco: emodb and the others share no class; emodb: angry, sad; the"
    ):
        crossval(settings("protocol=loco"), [voices[1], Source("folder", tmp_path / "dogs")], [], tmp_path / "c")


def test_a_single_published_fold(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    for part in ("train", "test"):
        write_voice(folder / part / "angry" / "1.wav", "angry")
        write_voice(folder / part / "sad" / "1.wav", "sad")
    with pytest.raises(DataError) as caught:
        crossval(settings("protocol=official"), [Source("folder", folder)], [], tmp_path / "c")
    assert str(caught.value) == (
        "protocol official has one fold here; `fdan-edge train --set protocol=official` trains it"
    )
