"""Recordings and faces to tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY
from PIL import Image

from fdan_edge import audio, features
from fdan_edge.config import Config, load_config
from fdan_edge.corpora import Item, Source, read
from fdan_edge.errors import DataError
from fdan_edge.models.fdan import build_frontend

RATE = 16000


def config(**changes: object) -> Config:
    return load_config(None, [*TINY, *(f"{name}={value}" for name, value in changes.items())])


def noise(seconds: float, seed: int = 0) -> audio.Waveform:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def test_broken_recordings_are_reported_and_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "good.wav", noise(0.5), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    (tmp_path / "text.wav").write_text("not audio")
    items = [
        Item("x", name, tmp_path / name, "sad") for name in ("text.wav", "good.wav", "silent.wav", "none.wav")
    ]
    good, waveforms = features.load_recordings(items, config(), "training")
    assert [item.id for item in good] == ["good.wav"]
    assert len(waveforms) == 1
    said = capfd.readouterr().err
    assert said.count("left out:") == 3
    assert "silent.wav" in said
    with pytest.raises(DataError, match="no usable recording among 2 files for training"):
        features.load_recordings([items[0], items[2]], config(), "training")


def test_many_broken_files_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    items = [Item("x", str(i), Path(f"/none/{i}.wav"), "sad") for i in range(30)]
    with pytest.raises(DataError):
        features.load_recordings(items, config(), "training")
    assert "20 more broken files" in capfd.readouterr().err


@pytest.mark.parametrize(("perturbation", "variants"), [(0, 1), (0.1, 3)])
def test_training_voices(perturbation: float, variants: int) -> None:
    settings = config(speed_perturbation=perturbation)
    waveforms = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 1.0, 2.5))]
    made = features.training_voices(waveforms, [0, 2, 1], build_frontend(settings), settings)
    assert made.decibel.shape == (variants, 3, 1, 32, 1 + RATE // 512)
    assert made.decibel.dtype == torch.float16
    assert made.labels.tolist() == [0, 2, 1]
    assert made.owner.tolist() == [0, 1, 2]
    again = features.training_voices(waveforms, [0, 2, 1], build_frontend(settings), settings)
    assert torch.equal(made.decibel, again.decibel)


def test_speeds_change_the_length_of_what_is_heard() -> None:
    settings = config(speed_perturbation=0.2)
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    made = features.training_voices([tone], [0], build_frontend(settings), settings)
    loudest = made.decibel[:, 0, 0, :, 16].float().argmax(1)
    assert int(loudest[1]) < int(loudest[0]) < int(loudest[2])  # 1.0, 0.8 and 1.2 times as fast


def test_evaluation_voices_are_all_windows_that_inference_cuts() -> None:
    settings = config()
    waveforms = [noise(0.3, 1), noise(2.2, 2)]
    made = features.evaluation_voices(waveforms, [4, 5], build_frontend(settings), settings)
    assert made.owner.tolist() == [0, 1, 1, 1, 1]
    assert made.labels.tolist() == [4, 5, 5, 5, 5]
    cut = np.concatenate([audio.windows(w, settings.window, settings.window_hop) for w in waveforms])
    expected = build_frontend(settings)(torch.from_numpy(cut)).half()
    torch.testing.assert_close(made.decibel[0], expected, rtol=0, atol=0.1)


def test_faces(fer_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(tmp_path / "red.png")
    whole = read(Source("fer2013", fer_tree), "faces")[:3]
    items = [*whole, *(Item("x", name, tmp_path / name, "sad") for name in ("broken.png", "red.png"))]
    made = features.load_faces(items, [0, 1, 2, 3, 4], config())
    assert made.pixels.shape == (4, 3, 32, 32)
    assert made.pixels.dtype == torch.uint8
    assert made.labels.tolist() == [0, 1, 2, 4]
    assert torch.equal(made.pixels[0, 0], made.pixels[0, 2])  # grey: three equal channels
    assert made.pixels[3].flatten(1).float().mean(1).tolist() == [200, 0, 0]
    assert "broken.png: not a readable image" in " ".join(capfd.readouterr().err.split())
    with pytest.raises(DataError, match="no usable face among 1 files"):
        features.load_faces([items[3]], [0], config())


def test_class_names() -> None:
    items = [Item("x", str(i), Path("x"), emotion) for i, emotion in enumerate(("sad", "angry", "sad"))]
    assert features.class_names(items) == ["angry", "sad"]
    with pytest.raises(DataError, match=r"one class only \(sad\)"):
        features.class_names([items[0], items[2]])
