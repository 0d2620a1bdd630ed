"""A target corpus: the classes that both corpora have, and that no label of it reaches the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from fdan_edge.config import Config
from fdan_edge.data import corpora
from fdan_edge.data.corpora import Corpus, Item, Source, register_corpus
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.data.splits import Split, allowed_faces
from fdan_edge.data.target_corpus import (
    UNLABELLED,
    check_target,
    make_task,
    read_target,
    restore_target,
    with_labels,
    without_labels,
)
from fdan_edge.errors import ConfigError, DataError
from fdan_edge.evaluation.predictions import load_predictions
from fdan_edge.evaluation.score_model import evaluate
from fdan_edge.export.pipeline import export_bundle
from fdan_edge.export.recordings import RunRecordings
from fdan_edge.features import extract
from fdan_edge.runs.run_folder import load_run, load_split, load_tensors
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.training.run import train
from fdan_edge.training.trainer import Trainer
from tests.conftest import TINY

#: EMO-DB's letters; disgust, anger, fear and boredom have no counterpart in `SHARED` or are left out.
LETTERS = {"W": "angry", "F": "happy", "N": "neutral", "T": "sad", "L": "neutral"}
SHARED = ["angry", "happy", "neutral", "sad"]


@pytest.fixture(scope="module")
def emodb_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 speakers x 4 emotions and boredom of synthetic voices under EMO-DB's names."""
    root = tmp_path_factory.mktemp("emodb")
    (root / "wav").mkdir()
    for speaker in (3, 8, 9):
        for letter, emotion in LETTERS.items():
            waveform = voice(emotion, 20 + speaker, ord(letter))
            soundfile.write(root / "wav" / f"{speaker:02}a01{letter}a.wav", waveform, SAMPLE_RATE)
    return root


def config(*words: str, method: str = "didan") -> Config:
    return Config.load(None, [*TINY, f"method={method}", "alpha_ramp=0", *words])


def speech(root: Path) -> list[Item]:
    return read_labelled_speech([Source("ravdess", root)], calm_as_neutral=True)


def trained(
    folder: Path, source: Path, target: list[Source], *words: str, method: str = "didan"
) -> dict[str, Any]:
    done = train(config(*words, method=method), [Source("ravdess", source)], folder, target=target)
    return done.metrics


def register_field(renamed: dict[str, str]) -> None:
    """Make `emodb_tree` known as the corpus `field`, with some of its labels exchanged for others."""

    def read_speech(root: Path) -> list[Item]:
        items = corpora.read(Source("emodb", root), "speech")
        return [replace(i, corpus="field", emotion=renamed.get(i.emotion, i.emotion)) for i in items]

    entry = Corpus(name="field", title="of a test", licence="CC0", layout="wav/*.wav", read_speech=read_speech)
    register_corpus(entry)


def test_a_task_is_of_the_classes_that_both_corpora_have(ravdess_tree: Path, emodb_tree: Path) -> None:
    task = make_task(speech(ravdess_tree), [Source("emodb", emodb_tree)], config())
    assert task.classes == SHARED
    assert {item.emotion for item in task.parts.train + task.parts.val} == set(SHARED)
    assert len(task.parts.train) + len(task.parts.val) == 4 * 5  # nothing kept back for a test
    assert {item.speaker for item in task.parts.val}.isdisjoint(item.speaker for item in task.parts.train)
    assert task.of_target
    assert len(task.target) == len(task.parts.test) == 3 * 4  # without boredom
    assert "ravdess to the whole of emodb, whose speech was heard in training without labels" in (
        task.parts.description
    )


def test_no_item_of_the_target_carries_its_label(ravdess_tree: Path, emodb_tree: Path) -> None:
    target = [Source("emodb", emodb_tree)]
    task = make_task(speech(ravdess_tree), target, config())
    assert {item.emotion for item in task.target + task.parts.test} == {UNLABELLED}
    labelled = with_labels(task.parts.test, target, config())
    assert [item.key for item in labelled] == [item.key for item in task.parts.test]
    assert {item.emotion for item in labelled} == set(SHARED)


@pytest.mark.parametrize("method", ["didan", "lmmd"])
def test_other_labels_of_the_target_change_nothing_of_what_is_trained(
    tmp_path: Path, ravdess_tree: Path, emodb_tree: Path, method: str
) -> None:
    """The proof that labels of the target are not read: with all of them wrong the weights are the same bits."""
    target = [Source("field", emodb_tree)]
    register_field({})
    honest = trained(tmp_path / "honest", ravdess_tree, target, method=method)
    register_field(dict(zip(SHARED, [*SHARED[1:], SHARED[0]], strict=True)))
    lied = trained(tmp_path / "lied", ravdess_tree, target, method=method)
    for name in ("checkpoint.safetensors", "last.safetensors"):
        first, second = (load_tensors(tmp_path / run / name)[0] for run in ("honest", "lied"))
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert (honest["target"], honest["val"], honest["best_epoch"]) == (
        lied["target"],
        lied["val"],
        lied["best_epoch"],
    )
    scored = [load_predictions(tmp_path / run / "predictions.json").recordings for run in ("honest", "lied")]
    assert all(a.emotion != b.emotion for a, b in zip(*scored, strict=True))


def test_a_run_towards_a_target_is_scored_exported_and_resumed_as_others(
    tmp_path: Path, ravdess_tree: Path, emodb_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "run", Source("emodb", emodb_tree)
    running = Trainer.run

    def interrupted(self: Trainer) -> Any:
        self.config = replace(self.config, epochs=1)
        running(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(folder, ravdess_tree, [target])
    settings, info = load_run(folder)
    assert info.target == [f"emodb:{emodb_tree}"]
    resumed = train(settings, [Source("ravdess", ravdess_tree)], folder, target=[target], resume=True).metrics
    whole = trained(tmp_path / "whole", ravdess_tree, [target])
    assert resumed == whole
    assert (resumed["method"], resumed["best_epoch"], resumed["test"]["n"]) == ("DIDAN", 2, 12)
    assert resumed["target"]["n"] == 12
    assert 0 <= resumed["target"]["information"] <= 1.4
    scored = evaluate(folder, [target], "test")
    assert scored.part == "the run's test part, given to the training without labels"
    assert scored.scores.confusion == resumed["test"]["confusion"]
    assert scored.audit == info.audit
    assert len(load_split(folder)["target"]) == 12
    bundle = export_bundle(folder, tmp_path / "bundle")
    gate = bundle.artifacts[0].gate
    assert gate
    assert gate.flips == 0
    assert bundle.manifest.spec.info["target"] == ["emodb"]
    assert "emodb: CC0" in bundle.manifest.licence


def test_source_only_does_not_use_the_target(
    tmp_path: Path, ravdess_tree: Path, emodb_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()

    def watched(items: list[Item], *arguments: Any, **others: Any) -> extract.Voices:
        used.update(item.corpus for item in items)
        return training_voices(items, *arguments, **others)

    training_voices = extract.training_voices
    monkeypatch.setattr(extract, "training_voices", watched)
    target = [Source("emodb", emodb_tree)]
    metrics = trained(tmp_path / "run", ravdess_tree, target, method="source")
    assert metrics["method"] == "source only"
    assert "not heard in training" in metrics["protocol"]
    assert len(load_split(tmp_path / "run")["unheard"]) == 12
    assert evaluate(tmp_path / "run", target, "test").part == "the run's test part"
    assert used == {"ravdess"}
    trained(tmp_path / "other", ravdess_tree, target)
    assert used == {"ravdess", "emodb"}


def test_recordings_of_ones_own_without_labels_are_a_target(tmp_path: Path, ravdess_tree: Path) -> None:
    field = tmp_path / "field"
    field.mkdir()
    for index in range(4):
        soundfile.write(field / f"{index}.wav", voice("happy", 30, index), SAMPLE_RATE)
    metrics = trained(tmp_path / "run", ravdess_tree, [Source("unlabelled", field)], "transfer_weight=0.1")
    parts = load_split(tmp_path / "run")
    assert len(parts["target"]) == 4
    assert {key.partition(":")[0] for key in parts["test"]} == {"ravdess"}  # nothing else has labels
    assert metrics["target"]["n"] == 4
    assert metrics["test"]["n"] == 8
    with TorchRunner(tmp_path / "run") as runner:
        compared = RunRecordings(tmp_path / "run", runner).compared  # what an export is checked on
    assert (len(compared.items), compared.answers.source) == (8, "of the test part")


def test_a_test_recording_in_the_target_under_another_name_is_found(tmp_path: Path, ravdess_tree: Path) -> None:
    field = tmp_path / "field"
    field.mkdir()
    path = sorted((ravdess_tree / "Actor_04").glob("*.wav"))[0]
    (field / "copy.wav").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"a recording is in speech and target under two names: .* = "):
        trained(tmp_path / "run", ravdess_tree, [Source("unlabelled", field)])


def test_corpora_without_two_common_classes_are_refused(ravdess_tree: Path, emodb_tree: Path) -> None:
    others = [item for item in speech(ravdess_tree) if item.emotion in ("happy", "surprise")]
    with pytest.raises(DataError, match="share 1 classes; speech: happy, surprise; target: angry, happy, "):
        make_task(others, [Source("emodb", emodb_tree)], config())


def test_a_recording_is_not_in_speech_and_target(ravdess_tree: Path, tmp_path: Path) -> None:
    own = speech(ravdess_tree)
    with pytest.raises(DataError, match=r"32 recordings are in speech and target by the same name, e"):
        make_task(own, [Source("ravdess", ravdess_tree)], config("protocol=random"))
    first, second = (tmp_path / name / "wav" for name in ("a", "b"))
    for folder in (first, second):
        folder.mkdir(parents=True)
        soundfile.write(folder / "x.wav", voice("sad", 40, len(str(folder))), SAMPLE_RATE)
    with pytest.raises(DataError, match=r"equal names in folders of equal names: .*a/wav, .*b/wav; rename one"):
        make_task(own, [Source("unlabelled", first), Source("unlabelled", second)], config())


def test_faces_of_the_target_are_held_out_whatever_the_protocol() -> None:
    def item(corpus: str, name: str, speaker: str | None) -> Item:
        return Item(corpus, name, Path(name), "sad", speaker)

    target = [item("enterface", "s1/a.avi", "1"), item("folder", "mine/b.mp4", None)]
    faces = [
        *target,
        item("enterface", "s1/c.avi", "1"),
        item("enterface", "s2/a.avi", "2"),
        item("fer2013", "d", None),
    ]
    parts = Split([item("ravdess", "x", "9")], [], without_labels(target), "", "")
    assert allowed_faces(faces, parts, "random", without_labels(target)) == faces[3:]


def test_what_is_gone_of_a_target_is_said_or_refused(
    ravdess_tree: Path, emodb_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(emodb_tree, tmp_path / "emodb"))
    target = [Source("emodb", tree)]
    task = make_task(speech(ravdess_tree), target, config())
    keys = {"target": [item.key for item in task.target], "unheard": []}
    for path in sorted((tree / "wav").glob("03*")):
        path.unlink()
    left = without_labels(read_target(target, config())[0])
    assert len(restore_target(left, keys)) == 8
    assert "4 of 12 recordings of the run's target are not there any more" in capsys.readouterr().err
    assert len(with_labels(task.parts.test, target, config())) == 8
    assert "4 of 12 recordings of the target are not there any more" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of the 12 recordings of the run's target is there any more"):
        restore_target([], keys)


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        ({"method": "didan"}, "", "method didan needs --adapt-to"),
        ({"method": "fdan"}, "target", "method fdan needs --faces as the bridge"),
        ({"method": "fdan", "channel": "match"}, "", "channel = match needs --adapt-to"),
    ],
)
def test_what_does_not_go_together_is_refused(words: dict[str, str], given: str, message: str) -> None:
    settings = Config.load(None, [f"{name}={value}" for name, value in words.items()])
    target = [Source("emodb", Path("x"))] if given else []
    with pytest.raises(ConfigError, match=message):
        check_target(settings, target, [])


def test_the_command_trains_towards_a_target(
    tmp_path: Path, ravdess_tree: Path, emodb_tree: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    words = [word for setting in TINY for word in ("--set", setting)]
    command = ["train", "--speech", f"ravdess:{ravdess_tree}", "--target", f"emodb:{emodb_tree}", *words]
    code, out, _ = run(*command, "--out", tmp_path / "didan", "--json")
    values = json.loads(out)
    assert (code, values["method"]) == (1 if values["verdict"]["useless"] else 0, "DIDAN")
    code, out, _ = run(*command, "--method", "coral", "--out", tmp_path / "coral", "--json")
    values = json.loads(out)
    assert (code, values["method"]) == (1 if values["verdict"]["useless"] else 0, "CORAL")
    code, out, err = run("train", "--resume", "--out", tmp_path / "coral", "--method", "didan")
    assert code == 2
    assert "--resume takes settings and corpora from the run folder" in err
