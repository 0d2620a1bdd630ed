"""Features of voices and faces before the classifier, and their picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fdan_edge.audio import decode
from fdan_edge.audio.windows import cut_windows
from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.speech import pick, read_labelled_speech
from fdan_edge.errors import DataError
from fdan_edge.evaluation.feature_plot import draw_features, face_features, faces_of, project, voice_features
from fdan_edge.runs.torch_runner import TorchRunner

pytestmark = pytest.mark.usefixtures("drawn")


def test_voice_features_are_what_the_classifier_hears(run_folder: Path, ravdess_tree: Path) -> None:
    runner = TorchRunner(run_folder)
    (item,) = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True)[:1]
    broken = Item("x", "b", ravdess_tree / "none.wav", "sad")
    found, classes = voice_features(runner, [broken, item])
    spec = runner.spec
    waveform = decode.load_speech(item.path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
    windows = cut_windows(waveform, runner.spec.window, runner.spec.window_hop)
    with torch.inference_mode():
        logits = runner.path.model.acoustic_logits(runner.path.frontend(torch.from_numpy(windows)))
        made = runner.path.model.classifier(torch.from_numpy(found))
    torch.testing.assert_close(made, logits.mean(dim=0, keepdim=True))
    assert classes == [runner.info.classes.index(item.emotion)]


def test_face_features(run_folder: Path, fer_tree: Path) -> None:
    runner = TorchRunner(run_folder)
    items = [Item("f", str(i), fer_tree / "train" / "sad" / f"{i}.png", "sad") for i in range(3)]
    found, classes = face_features(runner, items)
    assert found.shape == (3, 16)
    assert classes == [runner.info.classes.index("sad")] * 3
    assert float(np.ptp(found, axis=0).max()) > 0
    assert face_features(runner, [])[0].shape == (0, 16)


def test_the_picture_of_a_run(run_folder: Path, ravdess_tree: Path, fer_tree: Path, tmp_path: Path) -> None:
    runner = TorchRunner(run_folder)
    voices = read_labelled_speech([Source("ravdess", ravdess_tree)], calm_as_neutral=True)[:6]
    draw_features(runner, voices, faces_of(runner), tmp_path / "own")
    draw_features(runner, voices, faces_of(runner, [Source("fer2013", fer_tree)]), tmp_path / "given")
    assert {p.name for p in tmp_path.iterdir()} == {"own.png", "own.svg", "given.png", "given.svg"}
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "given.png").read_bytes()  # seeded
    with pytest.raises(DataError, match=r"no such folder .*; say with --faces where the faces are"):
        faces_of(runner, [Source("fer2013", tmp_path / "none")])
    for word in ("my own", "sad"):  # a class that is no known emotion, as `folder` allows
        (tmp_path / "mine" / word).mkdir(parents=True)
        (tmp_path / "mine" / word / "0.png").write_bytes((fer_tree / "train" / "sad" / "0.png").read_bytes())
    assert [face.emotion for face in faces_of(runner, [Source("folder", tmp_path / "mine")])] == ["sad"]


def test_groups_that_are_far_apart_stay_apart() -> None:
    chance = np.random.default_rng(0)
    points = project(np.concatenate([chance.normal(size=(30, 16)), 30 + chance.normal(size=(30, 16))]))
    first, second = points[:30], points[30:]
    gap = np.linalg.norm(first.mean(0) - second.mean(0))
    assert gap > 2 * max(first.std(), second.std())


@pytest.mark.parametrize("n", [5, 8])
def test_few_points_are_laid_out(n: int) -> None:
    points = project(np.random.default_rng(0).normal(size=(n, 16)).astype(np.float32))
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    with pytest.raises(DataError, match="4 recordings and faces are too few for a t-SNE"):
        project(np.zeros((4, 16)))


def test_pick_takes_every_class() -> None:
    items = [Item("x", f"{e}{i:03}", Path("x"), e) for e in ("angry", "happy", "sad") for i in range(50)]
    picked = pick(items, 9)
    assert Counter(item.emotion for item in picked) == {"angry": 3, "happy": 3, "sad": 3}
    assert pick(items[:4], 9) == items[:4]
