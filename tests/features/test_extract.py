"""Recordings and faces to tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchvision
from PIL import Image
from torch import Tensor

from fdan_edge.audio.windows import Waveform, cut_windows
from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source, read
from fdan_edge.errors import DataError
from fdan_edge.features import extract
from fdan_edge.features.copies import Copy, weak_copies
from fdan_edge.models.backbones.build import (
    build_voice_backbone,
    frozen_encoder,
    is_encoded,
    scaled,
)
from fdan_edge.models.backbones.staged import StagedBackbone, StagedImageNetwork
from fdan_edge.models.backbones.weights import load_weights
from fdan_edge.models.backbones.whisper import WhisperEncoder
from fdan_edge.models.fdan import AcousticBranch, build_frontend
from tests.conftest import TINY

RATE = 16000


def config(**changes: object) -> Config:
    return Config.load(None, [*TINY, *(f"{name}={value}" for name, value in changes.items())])


def noise(seconds: float, seed: int = 0) -> Waveform:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def recordings(folder: Path, *waveforms: Waveform) -> list[Item]:
    for i, waveform in enumerate(waveforms):
        soundfile.write(folder / f"{i}.wav", waveform, RATE, subtype="FLOAT")
    return [Item("x", f"{i}.wav", folder / f"{i}.wav", "sad") for i in range(len(waveforms))]


@pytest.mark.parametrize("make", [extract.training_voices, extract.evaluation_voices])
def test_broken_recordings_are_reported_and_left_out_every_time(
    make: Callable[..., extract.Voices], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recordings(tmp_path, noise(0.5), np.zeros(RATE, np.float32))
    (tmp_path / "text.wav").write_text("not audio")
    items = [Item("x", name, tmp_path / name, "sad") for name in ("text.wav", "0.wav", "1.wav", "none.wav")]
    for _ in range(2):
        voices = make(items, [3, 4, 5, 6], config())
        assert voices.decibel.shape[:2] == (1, 1)
        assert (voices.labels.tolist(), voices.owner.tolist()) == ([4], [0])
        said = capfd.readouterr().err
        assert said.count("left out:") == 3
        assert "1.wav: is silent" in " ".join(said.split())
    with pytest.raises(DataError, match="no usable recording among 2 files for the bank"):
        make([items[0], items[2]], [0, 0], config(), "the bank")


def test_many_broken_files_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    items = [Item("x", str(i), Path(f"/none/{i}.wav"), "sad") for i in range(30)]
    with pytest.raises(DataError):
        extract.training_voices(items, [0] * 30, config())
    assert "20 more broken files" in capfd.readouterr().err


@pytest.mark.parametrize(("perturbation", "variants"), [(0, 1), (0.1, 3)])
@pytest.mark.parametrize("cache", ["true", "false"])
def test_training_voices(perturbation: float, variants: int, cache: str, tmp_path: Path) -> None:
    settings = config(speed_perturbation=perturbation, cache=cache)
    items = recordings(tmp_path, *(noise(seconds, seed) for seed, seconds in enumerate((0.3, 1.0, 2.5))))
    voices = extract.training_voices(items, [0, 2, 1], settings)
    assert voices.decibel.shape == (variants, 3, 1, 32, 1 + RATE // 512)
    assert voices.decibel[...].dtype == torch.float16
    assert len(voices.decibel) == variants
    assert voices.labels.tolist() == [0, 2, 1]
    assert voices.owner.tolist() == [0, 1, 2]


def test_a_window_depends_on_the_seed_and_the_key_alone(tmp_path: Path) -> None:
    """Folds of a cross-validation share what is in the cache, whatever else is in their lists."""
    long = noise(5.0)
    items = recordings(tmp_path, long, long, noise(2.0, 1))
    voices = extract.training_voices(items, [0, 0, 0], config(cache="false")).decibel[...]
    other = extract.training_voices(items[::-1], [0, 0, 0], config()).decibel[...]
    assert torch.equal(voices, other.flip(1))
    assert not torch.equal(voices[0, 0], voices[0, 1])  # equal sound, other key
    seeded = extract.training_voices(items, [0, 0, 0], config(seed=1)).decibel[...]
    assert not torch.equal(voices[0, 0], seeded[0, 0])


def test_speeds_change_the_length_of_what_is_heard(tmp_path: Path) -> None:
    settings = config(speed_perturbation=0.2)
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    voices = extract.training_voices(recordings(tmp_path, tone), [0], settings)
    loudest = voices.decibel[:, 0][:, 0, :, 16].float().argmax(1)
    assert int(loudest[1]) < int(loudest[0]) < int(loudest[2])  # 1.0, 0.8 and 1.2 times as fast


def test_evaluation_voices_are_all_windows_that_inference_cuts(tmp_path: Path) -> None:
    settings = config(trim_db=0, high_pass=0)
    waveforms = [noise(0.3, 1), noise(2.2, 2)]
    voices = extract.evaluation_voices(recordings(tmp_path, *waveforms), [4, 5], settings)
    assert voices.owner.tolist() == [0, 1, 1, 1, 1]
    assert voices.labels.tolist() == [4, 5, 5, 5, 5]
    cut = np.concatenate([cut_windows(w, settings.window, settings.window_hop) for w in waveforms])
    expected = build_frontend(settings)(torch.from_numpy(cut)).half()
    torch.testing.assert_close(voices.decibel[0], expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("copy", weak_copies(), ids=lambda copy: copy.kind)
def test_weak_copies_are_features_of_a_weak_recording(tmp_path: Path, copy: Copy) -> None:
    settings, waveform = config(trim_db=30, high_pass=80), noise(1.4, 3)
    items = recordings(tmp_path, waveform)
    voices = extract.evaluation_voices(items, [2], settings, "weak", copy=copy)
    quiet = waveform * (1e-3 / np.abs(waveform).max())
    soundfile.write(tmp_path / "weak.wav", quiet, RATE)  # rounds down
    if copy.kind == "weakrounded":
        soundfile.write(tmp_path / "weak.wav", np.round(quiet * 2**15) / 2**15, RATE, subtype="FLOAT")
    weak = [replace(items[0], path=tmp_path / "weak.wav", id="weak")]
    expected = extract.evaluation_voices(weak, [2], settings)
    assert voices.labels.tolist() == expected.labels.tolist()
    difference = (voices.decibel[0, torch.arange(1)] - expected.decibel[0, torch.arange(1)]).float().abs()
    assert float(difference.mean()) < 1  # dB: of a copy without its mean, which moves a few roundings


#: A change to each setting that the features of some kind depend on.
CHANGES = {
    "sample_rate": 8000,
    "n_fft": 512,
    "hop": 256,
    "n_mels": 40,
    "window_seconds": 1.2,
    "window_hop_seconds": 0.4,
    "trim_db": 20,
    "level": "speech",
    "channel": "window",
    "speed_perturbation": 0.1,
    "surroundings": 2,
    "seed": 1,
    "face_size": 48,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_is_never_answered_from_the_cache(name: str, tmp_path: Path, fer_tree: Path) -> None:
    """Cached and computed features are equal for every change of one setting."""
    quiet = 0.02 * noise(0.5, 3)
    items = recordings(tmp_path, np.concatenate([quiet, noise(3.0, 1), quiet]))
    faces = read(Source("fer2013", fer_tree), "faces")[:2]
    fits = {"backbone": "mobilenet_v2"}  # vgg8 takes no fewer than 32 frames
    for changes in (fits, {**fits, name: CHANGES[name]}):
        voices = [
            (
                extract.training_voices(items, [0], config(cache=cache, **changes)).decibel[...],
                extract.evaluation_voices(items, [0], config(cache=cache, **changes)).decibel[...],
                extract.load_faces(faces, [0, 0], config(cache=cache, **changes)).pixels[...],
            )
            for cache in ("true", "true", "false")
        ]
        for kind in zip(*voices, strict=True):
            assert all(torch.equal(kind[-1], one) for one in kind)


@pytest.fixture
def frozen(tmp_path: Path) -> Config:
    """A configuration whose encoder, of random weights in a file, is never trained."""
    words = ("backbone=whisper_tiny", "encoder_layers=1", "frozen_stages=2", "masks=0", "speed_perturbation=0.1")
    weights = f"weights={random_weights(tmp_path, 0)}"
    short = ("surroundings=0", "window_seconds=0.5", "window_hop_seconds=0.5", weights)
    return Config.load(None, [*words, *short])


def random_weights(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    state = {k: v for k, v in WhisperEncoder(2, 1).state_dict().items() if k.startswith(("conv", "layers"))}
    state["embed_positions.weight"] = 0.1 * torch.randn(400, 384)
    torch.save(state, folder / f"weights{seed}.pth")
    return folder / f"weights{seed}.pth"


def encoder_of(config: Config) -> StagedBackbone | None:
    network, _ = build_voice_backbone(config, load_weights(config.backbone, config.weights))
    return frozen_encoder(network, config)


def training(items: list[Item], labels: list[int], config: Config, **how: Any) -> extract.Voices:
    return extract.training_voices(items, labels, config, encoder=encoder_of(config), **how)


def evaluation(items: list[Item], labels: list[int], config: Config) -> extract.Voices:
    return extract.evaluation_voices(items, labels, config, encoder=encoder_of(config))


@pytest.mark.parametrize("make", [training, evaluation])
def test_encoded_voices_are_what_the_encoder_gives_of_the_log_mels(
    make: Callable[..., extract.Voices], frozen: Config, tmp_path: Path
) -> None:
    items = recordings(tmp_path, noise(0.3), noise(1.2, 1))
    voices, trained = make(items, [4, 5], frozen), make(items, [4, 5], replace(frozen, masks=1))
    plain = extract.training_voices(items, [4, 5], frozen)
    assert plain.decibel.shape == (3, 2, 1, 80, 51)
    encoder = encoder_of(frozen)
    assert isinstance(encoder, WhisperEncoder)
    with torch.inference_mode():
        expected = [encoder.encode(scaled(variant.float())) for variant in trained.decibel[...]]
    assert voices.labels.tolist() == trained.labels.tolist()
    assert voices.owner.tolist() == trained.owner.tolist()
    assert voices.decibel.shape == (*trained.decibel.shape[:2], encoder.width)
    rows = voices.decibel[...]
    torch.testing.assert_close(rows, torch.stack(expected), rtol=0, atol=2e-3)  # those log-mels are float16
    assert rows.dtype == torch.float32
    assert float(rows.std(1).max()) > 0.05
    branch = AcousticBranch(frozen, None)
    branch.backbone(rows[0].requires_grad_()).sum().backward()
    assert {n for n, p in branch.backbone.named_parameters() if p.grad is not None} == {"norm.weight", "norm.bias"}


def test_encodings_are_computed_once(
    frozen: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature_cache: Path
) -> None:
    items = recordings(tmp_path, noise(1.0, 2))
    first = evaluation(items, [0], frozen).decibel[...]
    stores = set(feature_cache.iterdir())
    assert any(store.name.startswith("encodedevaluation-") for store in stores)
    encoder = encoder_of(frozen)
    with monkeypatch.context() as patch:
        patch.setattr(WhisperEncoder, "encode", None)
        again = extract.evaluation_voices(items, [0], frozen, encoder=encoder)
    assert torch.equal(again.decibel[...], first)
    changes: tuple[dict[str, object], ...] = (
        {"weights": str(random_weights(tmp_path, 1))},
        {"encoder_layers": 2, "frozen_stages": 3},
        {"window_hop_seconds": 0.25},
    )
    for change in changes:
        other = evaluation(items, [0], replace(frozen, **change)).decibel[...]  # type: ignore[arg-type]
        assert other.shape != first.shape or not torch.equal(other, first)
        assert len(set(feature_cache.iterdir()) - stores) == 1
        stores = set(feature_cache.iterdir())


def test_voices_are_matched_before_they_are_encoded(frozen: Config, tmp_path: Path) -> None:
    items = recordings(tmp_path, noise(1.0, 3))
    tilt = torch.linspace(-10, 0, 80)[:, None]

    def match(decibel: Tensor) -> Tensor:
        assert decibel.shape[1:] == (1, 80, 51)
        return decibel + tilt

    plain = training(items, [0], frozen).decibel[...]
    for cache in (True, True, False):
        config = replace(frozen, cache=cache)
        voices = training(items, [0], config, match=match, match_key="tilt").decibel[...]
        assert not torch.allclose(voices, plain, atol=0.01)
        other = training(items, [0], config, match=lambda d: d, match_key="nothing").decibel[...]
        assert torch.equal(other, plain)
    trained = replace(frozen, masks=2)
    assert torch.equal(
        training(items, [0], trained, match=match, match_key="tilt").decibel[...],
        training(items, [0], trained).decibel[...],
    )
    with pytest.raises(ValueError, match="go together"):
        training(items, [0], frozen, match=match)


def test_maps_of_frozen_stages_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature_cache: Path
) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "w.pth")
    words = ("backbone=mobilenet_v2_tiny", f"weights={tmp_path / 'w.pth'}", "frozen_stages=4", "masks=2")
    short = ("window_seconds=0.5", "window_hop_seconds=0.5", "n_mels=32", "surroundings=0")
    config = Config.load(None, [*words, *short])
    items = recordings(tmp_path, noise(0.3), noise(1.2, 1))
    voices, valid = training(items, [4, 5], config), evaluation(items, [4, 5], config)
    log_mels = extract.training_voices(items, [4, 5], config).decibel[...]
    encoder = encoder_of(config)
    assert isinstance(encoder, StagedImageNetwork)
    with torch.inference_mode():
        expected = torch.stack([encoder.encode(scaled(variant.float())) for variant in log_mels])
    assert voices.decibel.shape == expected.shape == (3, 2, 24, 8, 8)
    assert valid.decibel.shape[2:] == (24, 8, 8)
    assert voices.decibel[...].dtype == torch.float16
    torch.testing.assert_close(voices.decibel[...].float(), expected, rtol=0.01, atol=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(StagedImageNetwork, "encode", None)
        again = extract.training_voices(items, [4, 5], config, encoder=encoder)
    assert torch.equal(again.decibel[...], voices.decibel[...])
    other = training(items, [4, 5], replace(config, frozen_stages=6))
    assert other.decibel.shape == (3, 2, 32, 4, 4)
    assert any(path.name.startswith("encodedtraining") for path in feature_cache.iterdir())


def test_maps_larger_than_log_mels_are_not_kept() -> None:
    for backbone, stages, kept in (("mobilenet_v2", 1, False), ("mobilenet_v2", 3, True), ("resnet18", 2, False)):
        config = Config.load(None, [f"backbone={backbone}", f"frozen_stages={stages}"])
        network, _ = build_voice_backbone(config, None)
        assert (frozen_encoder(network, config) is not None) is kept


def test_what_is_trained_or_changed_by_chance_is_not_encoded(frozen: Config) -> None:
    assert is_encoded(frozen)
    assert is_encoded(replace(frozen, weights="pretrained", frozen_stages=5))
    changes: tuple[dict[str, object], ...] = (
        {"weights": "none"},
        {"frozen_stages": 1},
        {"encoder_layers": 2},
        {"masks": 1},
        {"dropout": 0.1},
        {"backbone": "mobilenet_v2", "frozen_stages": 0},
    )
    for change in changes:
        assert not is_encoded(replace(frozen, **change)), change  # type: ignore[arg-type]


def stores(**changes: str) -> list[str]:
    words = {"surroundings": "0", **changes}
    config = Config.load(None, [f"{name}={value}" for name, value in words.items()])
    opened = [extract.feature_store(kind, config) for kind in ("training", "evaluation", "faces")]
    return [store.folder.name for store in opened if store]


def test_names_of_caches_stay() -> None:
    """Else every cache on disk would be computed anew. Matching is no part of what is kept."""
    before = ["training-c7456699fb4cfe6d", "evaluation-993034346a09c4a4", "faces-78e2ab9da48c4a38"]
    assert stores() == stores(channel="match") == before
    others = [stores(level="speech"), stores(level="none"), stores(channel="window")]
    both = [*others, stores(level="speech", channel="window")]
    assert len({name for names in [before, *both] for name in names}) == 5 * 2 + 1
    assert stores(level="speech", channel="match") == others[0]


def test_frames_without_a_face_are_counted_every_time(
    fer_tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As of videos: any number of crops of an item, none too."""
    items = [replace(item, clip=item.id) for item in read(Source("fer2013", fer_tree), "faces")[:3]]

    def crops(item: Item, settings: Config) -> extract.Crops:
        i = items.index(item)
        return extract.Crops(np.full((i, 3, settings.face_size, settings.face_size), i, np.uint8), missed=5 - i)

    monkeypatch.setattr(extract, "crop_faces", crops)
    for _ in range(2):
        faces = extract.load_faces(items, [4, 5, 6], config(face_size=33))
        assert faces.labels.tolist() == [5, 6, 6]
        assert faces.pixels[...][:, 0, 0, 0].tolist() == [1, 2, 2]
        assert "no face in 12 of 15 frames: skipped" in capfd.readouterr().err
    with pytest.raises(DataError, match="no usable face among 1 files"):
        extract.load_faces(items[:1], [0], config(face_size=33))


def test_faces(fer_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(tmp_path / "red.png")
    whole = read(Source("fer2013", fer_tree), "faces")[:3]
    items = [*whole, *(Item("x", name, tmp_path / name, "sad") for name in ("broken.png", "red.png"))]
    faces = extract.load_faces(items, [0, 1, 2, 3, 4], config())
    assert faces.pixels.shape == (4, 3, 32, 32)
    assert faces.pixels[...].dtype == torch.uint8
    assert faces.labels.tolist() == [0, 1, 2, 4]
    assert torch.equal(faces.pixels[0][0], faces.pixels[0][2])  # grey: three equal channels
    assert faces.pixels[3].flatten(1).float().mean(1).tolist() == [200, 0, 0]
    assert "broken.png: not a readable image" in " ".join(capfd.readouterr().err.split())
    with pytest.raises(DataError, match="no usable face among 1 files"):
        extract.load_faces([items[3]], [0], config())
