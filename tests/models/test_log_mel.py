"""The log-mel front end against librosa, in PyTorch and as an exported graph."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from fdan_edge.audio import decode
from fdan_edge.config import Config
from fdan_edge.data.corpora.synthetic.voices import voice
from fdan_edge.models import log_mel
from fdan_edge.models.fdan import build_frontend
from fdan_edge.models.log_mel import LogMel
from fdan_edge.runtime.tensorrt.engines import build
from tests.conftest import SHARED

TOLERANCE = 1e-3  # dB, what the project promises; what it keeps is some 20 times better
RATE = 16000
SECONDS = np.arange(3 * RATE) / RATE

Samples = NDArray[np.float32]


def librosa_decibel(y: Samples, n_fft: int = 1024, hop: int = 256, n_mels: int = 128) -> Samples:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about signals shorter than n_fft, which are meant
        mel = librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=n_fft, hop_length=hop, n_mels=n_mels)
        return np.asarray(librosa.power_to_db(mel, ref=np.max, amin=1e-30), np.float32)


def ours(y: Samples, n_fft: int = 1024, hop: int = 256, n_mels: int = 128) -> Samples:
    with torch.inference_mode():
        return np.asarray(LogMel(RATE, n_fft, hop, n_mels)(torch.from_numpy(y[None]))[0, 0].numpy())


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
        y = decode.load(path)
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


def test_a_batch_is_what_its_waveforms_are_alone() -> None:
    """Of more waveforms than fit into the CPU's cache at once: here 4, 4 and 1."""
    y = torch.randn(9, 6000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 0, 9)[:, None]
    model = LogMel()
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
    high, _ = model._samples(model._hops(y))
    made = model.first_high(high.flatten(1, 2))
    assert torch.equal(made.double(), deepcopy(model.first_high).double()(high.flatten(1, 2).double()))
    whole, _ = model._first_stage(*model._samples(model._hops(y)))
    assert torch.equal(whole, whole.round())
    exact = deepcopy(model.second_high).double()(whole.double())
    assert torch.equal(model.second_high(whole).double(), exact)


@pytest.mark.parametrize(("n_fft", "hop", "n_mels"), [(1024, 256, 128), (400, 160, 80)])
def test_without_split_factors_it_is_nearly_the_same(n_fft: int, hop: int, n_mels: int) -> None:
    chance = torch.Generator().manual_seed(0)
    y = torch.randn(2, 16000, generator=chance) * torch.linspace(0.001, 0.3, 16000)
    plain, exact = (LogMel(16000, n_fft, hop, n_mels, exact=exact) for exact in (False, True))
    difference = (plain(y) - exact(y)).abs().max()
    assert 0 < difference < 2e-3
    assert len(list(plain.parameters())) < len(list(exact.parameters()))


#: level and channel, but for the default
NORMALISED = [*product(("peak", "speech", "none"), ("none", "window"))][1:]
EXPORTED = [("peak", "window"), ("speech", "none"), ("none", "window")]


class Normalised(torch.nn.Module):
    """EXPORTED, of one spectrum, beside each other in the dimension of channels: an export takes long."""

    def __init__(self) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(front_end(*names) for names in EXPORTED)

    def forward(self, waveform: Tensor) -> Tensor:
        models = [model for model in self.models if isinstance(model, LogMel)]
        found = models[0]._decibel(waveform)
        return torch.stack([model._normalised(*found) for model in models], dim=1)


@cache
def exported(*settings: int) -> tuple[onnxruntime.InferenceSession, set[str]]:
    """A session and the ops: of the front end with these settings; without any, of `Normalised`."""
    proto = graph(*settings)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, {node.op_type for node in proto.graph.node}


@cache
def graph(*settings: int) -> Any:
    model = LogMel(RATE, *settings) if settings else Normalised()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (torch.zeros(2, RATE),),
            dynamo=True,
            opset_version=18,
            dynamic_shapes={"waveform": {0: torch.export.Dim("batch", min=1, max=64)}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def batch_of_signals() -> Samples:
    padded = (np.resize(y, RATE) if len(y) > 300 else np.pad(y, (0, RATE - len(y))) for y in signals().values())
    return np.stack([*padded])


@pytest.mark.parametrize("settings", [(1024, 256, 128), (400, 160, 40)], ids=str)
def test_the_exported_graph_equals_librosa(settings: tuple[int, int, int]) -> None:
    session, _ = exported(*settings)
    n_fft, hop, n_mels = settings
    batch = batch_of_signals()
    made = session.run(None, {session.get_inputs()[0].name: batch})[0]
    for y, got in zip(batch, made, strict=True):
        assert_equal(y, got[0], tolerance=5e-4, n_fft=n_fft, hop=hop, n_mels=n_mels)


@pytest.mark.corpora
def test_the_exported_graph_equals_librosa_on_real_speech() -> None:
    session, _ = exported(1024, 256, 128)
    for path in sorted(SHARED.glob("*/*/*.flac"))[::150]:
        y = np.resize(decode.load(path), RATE)
        assert_equal(y, session.run(None, {session.get_inputs()[0].name: y[None]})[0][0, 0], tolerance=5e-4)


@pytest.mark.parametrize("settings", [(1024, 256, 128), ()], ids=str)
def test_the_exported_graph_has_no_op_that_targets_lack(settings: tuple[int, ...]) -> None:
    _, ops = exported(*settings)
    assert "Conv" in ops
    assert not ops & {"STFT", "DFT", "MelWeightMatrix", "MatMul", "Gemm", "Einsum", "Resize", "If", "Loop"}


@cache
def front_end(level: str, channel: str = "none") -> LogMel:
    return LogMel(level=level, channel=channel)


def decibel(y: NDArray[np.floating[Any]], level: str, channel: str = "none") -> Tensor:
    """(128, frames)."""
    with torch.inference_mode():
        made: Tensor = front_end(level, channel)(torch.from_numpy(np.asarray(y, np.float32))[None])
        return made[0, 0]


@pytest.mark.parametrize("batch", [1, 18])
def test_the_exported_graph_normalises_as_pytorch_does(batch: int) -> None:
    session, _ = exported()
    y = batch_of_signals()[:batch]
    made = session.run(None, {session.get_inputs()[0].name: y})[0]
    with torch.inference_mode():
        expected = torch.cat([front_end(*names)(torch.from_numpy(y)) for names in EXPORTED], dim=1).numpy()
    np.testing.assert_allclose(made, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.rtx
def test_tensorrt_builds_the_graph_that_normalises(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(graph().SerializeToString())
    assert build(path, "rtx", "fp32").path.stat().st_size > 1e5  # the DFT's bases are in it


def test_a_click_moves_the_level_of_peak_alone() -> None:
    y = signals()["speech"]
    clicked = y.copy()
    clicked[1000:1160] += 30 * np.random.default_rng(0).standard_normal(160)  # 10 ms
    moved = {
        level: (decibel(clicked, level) - decibel(y, level))[:40, 20:160].median().abs()
        for level in ("peak", "speech", "none")
    }
    assert moved["peak"] > 10
    assert moved["speech"] < 0.3
    assert moved["none"] < 1e-3


def test_pauses_and_padding_do_not_move_the_level_of_speech() -> None:
    speech = signals()["speech"][: 2 * RATE]
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(RATE)
    reference = decibel(speech, "speech")[:, 20:100]
    for pause in (hiss, 0 * hiss):
        longer = decibel(np.concatenate([speech, pause, pause]), "speech")[:, 20:100]
        torch.testing.assert_close(longer, reference, rtol=0, atol=0.1)


@pytest.mark.parametrize("channel", ["none", "window"])
def test_loudness_is_heard_with_level_none_alone(channel: str) -> None:
    y = signals()["speech"]
    gain = 20 * np.log10(5)
    for level, expected in (("peak", 0.0), ("speech", 0.0), ("none", gain)):
        difference = decibel(5 * y, level, channel) - decibel(y, level, channel)
        torch.testing.assert_close(difference, torch.full_like(difference, expected), rtol=0, atol=2e-3)


def test_a_configuration_says_level_and_channel() -> None:
    y = torch.from_numpy(signals()["speech"][None])
    for level, channel in EXPORTED:
        made = build_frontend(Config(level=level, channel=channel))(y)
        assert torch.equal(made, front_end(level, channel)(y))
        assert not torch.equal(made, front_end("peak")(y))
    # Matching is done to what is learnt from, never in the graph.
    assert torch.equal(build_frontend(Config(channel="match"))(y), front_end("peak")(y))


@pytest.mark.parametrize("settings", [(1024, 256, 128), (400, 160, 80)], ids=str)
def test_full_scale(settings: tuple[int, int, int]) -> None:
    made = LogMel(RATE, *settings, level="none")(torch.from_numpy(signals()["tone"][None]))
    assert float(made.max()) == pytest.approx(log_mel.FULL_SCALE, abs=2)


def test_the_mean_power_of_speech_is_where_it_is_said_to_be() -> None:
    """By the definition, on noise without pauses: every frame counts."""
    made = decibel(np.random.default_rng(0).standard_normal(3 * RATE), "speech")
    assert 10 * float(torch.log10((10 ** (made / 10)).mean())) == pytest.approx(log_mel.SPEECH_LEVEL, abs=0.5)


@pytest.mark.parametrize("level", ["peak", "speech", "none"])
def test_the_spectrum_of_a_channel_is_taken_off(level: str) -> None:
    """What a filter leaves: a shift that is the same for all bands, as its gain does not count as spectrum."""
    y = signals()["noise"] * np.hanning(RATE)
    filtered = lfilter([1.0, -0.7], [1.0], y)
    left = decibel(filtered, level, "window") - decibel(y, level, "window")
    raw = decibel(filtered, level) - decibel(y, level)
    assert float(raw[:, 20:40].mean(dim=1).std()) > 3
    assert float(left[:, 20:40].mean(dim=1).std()) < 0.3


def test_the_mean_spectrum_becomes_that_of_average_speech() -> None:
    made = decibel(signals()["speech"], "none", "window")
    mean = made[:, log_mel.speech_frames(made[None], front_end("none", "window").lasting)[0, 0]].mean(dim=1)
    average = front_end("none", "window").average[:, 0]
    assert float((mean - mean.mean() - average).abs().mean()) < 1
    loudest = librosa.mel_frequencies(130, fmin=0, fmax=8000)[1 + int(average.argmax())]
    assert 150 < loudest < 550


@pytest.mark.parametrize(("level", "channel"), NORMALISED)
@pytest.mark.parametrize("gain", [1.0, 1e-4])
def test_padding_is_at_the_floor_and_the_range_stays(level: str, channel: str, gain: float) -> None:
    """Whisper's mask and SpecAugment tell padding by that."""
    y = np.pad(gain * signals()["speech"][:RATE], RATE)
    usual, made = decibel(y, "peak"), decibel(y, level, channel)
    padding = usual.amax(dim=0) == usual.min()
    assert 100 < int(padding.sum()) < 150
    assert torch.equal(made.amax(dim=0) == made.min(), padding)
    assert float(made.max() - made.min()) <= log_mel.TOP_DB + 1e-3


@pytest.mark.parametrize(("level", "channel"), [("peak", "none"), *NORMALISED])
def test_whatever_comes_in_values_are_finite_and_bounded(level: str, channel: str) -> None:
    model = front_end(level, channel)
    extreme = [torch.zeros(4000), torch.full((4000,), 1e-38), torch.full((4000,), 1e15), torch.zeros(1)]
    for y in (*extreme, *map(torch.from_numpy, signals().values())):
        made = model(y[None])
        assert bool(made.isfinite().all())
        assert float(made.max() - made.min()) <= log_mel.TOP_DB + 1e-3
        assert level == "none" or float(made.abs().max()) < 135
