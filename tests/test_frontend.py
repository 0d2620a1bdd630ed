"""The log-mel front end against librosa, in PyTorch and as an exported graph."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import librosa
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import SHARED
from numpy.typing import NDArray

from fdan_edge import audio, frontend
from fdan_edge.corpora.synth_voices import voice
from fdan_edge.frontend import LogMel

TOLERANCE = 1e-3  # dB, what the project promises; what it keeps is some 20 times better
RATE = 16000
SECONDS = np.arange(3 * RATE) / RATE

Samples = NDArray[np.float32]


def librosa_decibel(y: Samples, n_fft: int = 1024, hop: int = 256, n_mels: int = 128) -> Samples:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about signals shorter than n_fft, which are meant
        mel = librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=n_fft, hop_length=hop, n_mels=n_mels)
        return np.asarray(librosa.power_to_db(mel, ref=np.max), np.float32)


def ours(y: Samples, **settings: int) -> Samples:
    with torch.inference_mode():
        return np.asarray(LogMel(RATE, **settings)(torch.from_numpy(y[None]))[0, 0].numpy())


def assert_equal(y: Samples, got: Samples, tolerance: float = TOLERANCE, **settings: int) -> None:
    expected = librosa_decibel(y, **settings)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@cache
def signals() -> dict[str, Samples]:
    chance = np.random.default_rng(0)
    speech = voice("angry", 3, 0)
    tone = np.sin(2 * np.pi * 440 * SECONDS)
    made = {
        "speech": speech,
        "clipped": np.clip(300 * speech, -1, 1),
        "quiet": 1e-4 * speech,
        "below_amin": 1e-7 * speech,
        "loud": 1e4 * speech,
        "offset": 0.5 + 0.2 * speech,  # a cheap microphone's DC
        "silence": np.zeros(RATE),
        "tone": tone,
        "low_tone": 0.9 * np.sin(2 * np.pi * 62.5 * SECONDS),
        "high_tone": np.sin(2 * np.pi * 7000 * SECONDS),
        "square": np.sign(tone),
        "chirp": librosa.chirp(fmin=50, fmax=8000, sr=RATE, duration=3),
        "impulse": np.eye(1, RATE, 7000)[0],
        "first_sample": np.eye(1, RATE, 0)[0],
        "noise": chance.standard_normal(RATE),
        "one_sample": np.array([0.5]),
        "two_samples": np.array([0.5, -0.3]),
        "one_hop_less_one": chance.standard_normal(255),
    }
    return {name: np.asarray(y, np.float32) for name, y in made.items()}


@pytest.mark.parametrize("name", signals())
def test_equals_librosa(name: str) -> None:
    y = signals()[name]
    assert_equal(y, ours(y), tolerance=1e-4)


@pytest.mark.parametrize(
    ("n_fft", "hop", "n_mels"),
    [
        (1024, 512, 32),
        (512, 128, 64),
        (400, 160, 40),
        (2048, 512, 128),
        (1000, 333, 40),
        (256, 256, 20),
        (64, 16, 8),
    ],
)
def test_other_settings_equal_librosa(n_fft: int, hop: int, n_mels: int) -> None:
    y = signals()["speech"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa's, about mel bands without a frequency
        got = ours(y, n_fft=n_fft, hop=hop, n_mels=n_mels)
    assert_equal(y, got, n_fft=n_fft, hop=hop, n_mels=n_mels, tolerance=5e-4)


@pytest.mark.corpora
@pytest.mark.parametrize("pattern", ["ravdess/Actor_*/*.flac", "emodb/wav/*.flac"])
def test_equals_librosa_on_real_speech(pattern: str) -> None:
    files = sorted(SHARED.glob(pattern))
    for path in files[:: len(files) // 12]:
        y = audio.load(path)
        assert_equal(y, ours(y), tolerance=5e-4)
    assert_equal(clipped := np.clip(200 * y, -1, 1), ours(clipped), tolerance=5e-4)


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 1023, 1024, 5000])
def test_shape_and_range(samples: int) -> None:
    y = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    made = LogMel()(torch.from_numpy(y))
    assert made.shape == (2, 1, 128, 1 + samples // 256)
    assert made.dtype == torch.float32
    assert float(made.max()) == 0.0
    assert float(made.min()) >= -80.0


def test_a_batch_is_what_its_waveforms_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.randn(7, 6000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 0, 7)[:, None]
    model = LogMel()
    monkeypatch.setattr(frontend, "_CHUNK", 3)  # 7 waveforms are then 3, 3 and 1
    alone = torch.cat([model(row[None]) for row in y])
    torch.testing.assert_close(model(y), alone, rtol=0, atol=1e-5)


def test_loudness_does_not_matter_above_the_floor() -> None:
    y = torch.from_numpy(signals()["speech"][None])
    model = LogMel()
    torch.testing.assert_close(model(3.7 * y), model(y), rtol=0, atol=1e-4)


def test_nothing_is_trained() -> None:
    model = LogMel()
    assert not any(p.requires_grad for p in model.parameters())


def test_high_parts_add_up_without_rounding() -> None:
    """The point of the split: float32 sums of products of high parts are those of float64."""
    model = LogMel()
    y = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)).clamp(-4, 4) / 4
    high, _ = model._windowed(y)
    exact = model.first_high.weight.double()[:, :, 0, 0] @ high.double().flatten(2)[0]
    assert torch.equal(model.first_high(high).double().flatten(2)[0], exact)


@cache
def exported(n_fft: int, hop: int, n_mels: int) -> tuple[onnxruntime.InferenceSession, set[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            LogMel(RATE, n_fft, hop, n_mels).eval(),
            (torch.zeros(2, RATE),),
            dynamo=True,
            opset_version=18,
            dynamic_shapes={"waveform": {0: torch.export.Dim("batch", min=1, max=64)}},
            verbose=False,
        )
    assert program is not None
    proto: Any = program.model_proto
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("settings", [(1024, 256, 128), (400, 160, 40)], ids=str)
def test_the_exported_graph_equals_librosa(settings: tuple[int, int, int]) -> None:
    session, _ = exported(*settings)
    n_fft, hop, n_mels = settings
    batch = np.stack(
        [np.resize(y, RATE) if len(y) > 300 else np.pad(y, (0, RATE - len(y))) for y in signals().values()]
    )
    made = session.run(None, {session.get_inputs()[0].name: batch})[0]
    for y, got in zip(batch, made, strict=True):
        assert_equal(y, got[0], tolerance=5e-4, n_fft=n_fft, hop=hop, n_mels=n_mels)


@pytest.mark.corpora
def test_the_exported_graph_equals_librosa_on_real_speech() -> None:
    session, _ = exported(1024, 256, 128)
    for path in sorted(SHARED.glob("*/*/*.flac"))[::150]:
        y = np.resize(audio.load(path), RATE)
        assert_equal(y, session.run(None, {session.get_inputs()[0].name: y[None]})[0][0, 0], tolerance=5e-4)


def test_the_exported_graph_has_no_op_that_targets_lack() -> None:
    _, ops = exported(1024, 256, 128)
    assert "Conv" in ops
    assert not ops & {"STFT", "DFT", "MelWeightMatrix", "MatMul", "Gemm", "Einsum", "Resize", "If", "Loop"}


def test_silence_files_and_extreme_scales_are_finite() -> None:
    y = torch.stack([torch.zeros(4000), torch.full((4000,), 1e-38), torch.full((4000,), 1e15)])
    assert bool(LogMel()(y).isfinite().all())
