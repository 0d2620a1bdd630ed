"""Mean spectra of corpora, and giving one corpus that of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from fdan_edge.audio import decode
from fdan_edge.audio.windows import Waveform, cut_windows
from fdan_edge.config import Config
from fdan_edge.data.corpora.synthetic.voices import voice
from fdan_edge.errors import DataError
from fdan_edge.features.channel import ChannelMatch, in_batches, mean_spectrum
from fdan_edge.features.mmap_rows import MappedRows
from fdan_edge.models import log_mel
from fdan_edge.models.fdan import build_frontend
from fdan_edge.training.augment import spec_augment
from tests.conftest import SHARED

RATE = 16000
LEVELS = ("peak", "speech", "none")


def speech(n: int = 6) -> Waveform:
    """Voices within zeros, with a little noise as microphones have: (n, 32000)."""
    chance = np.random.default_rng(0)
    emotions = ("angry", "sad", "happy")
    voices = [voice(emotions[i % 3], i, i)[: RATE + 1000 * i] for i in range(n)]
    noisy = [y + 3e-3 * chance.standard_normal(len(y)).astype(np.float32) for y in voices]
    return np.concatenate([cut_windows(y, 2 * RATE, RATE) for y in noisy])


def filtered(waveforms: Waveform) -> Waveform:
    """As another microphone has it: less bass, 12 dB less of everything."""
    return np.asarray(0.25 * lfilter([1.0, -0.6], [1.0], waveforms, axis=1), np.float32)


def log_mels(waveforms: Waveform, config: Config) -> Tensor:
    with torch.inference_mode():
        decibel: Tensor = build_frontend(config)(torch.from_numpy(waveforms))
        return decibel.half()


def frames_heard(decibel: Tensor) -> Tensor:
    return log_mel.speech_frames(decibel[:, 0].float(), 7)


def test_mean_spectrum_by_hand() -> None:
    """Padding, the pause and the click do not count."""
    loud, pause, floor = [-10.0, -20, -30], [-55.0, -60, -65], [-80.0] * 3
    click = [0.0] * 3
    frames = [floor, click, floor, *[loud] * 9, *[[-20.0, -30, -20]] * 9, *[pause] * 9, floor]
    decibel = torch.tensor([frames]).transpose(1, 2)[:, None]
    assert mean_spectrum([decibel], Config()).tolist() == [-15, -25, -25]


def test_the_mean_is_over_frames_however_they_are_batched() -> None:
    decibel = log_mels(speech(5), Config())
    assert len({int(n) for n in frames_heard(decibel).sum(dim=2)}) > 1
    whole = mean_spectrum([decibel], Config())
    torch.testing.assert_close(mean_spectrum(torch.split(decibel, 2), Config()), whole, rtol=0, atol=1e-4)
    kept = decibel[:, 0].float().transpose(1, 2)[frames_heard(decibel)[:, 0]]
    torch.testing.assert_close(whole, kept.mean(dim=0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("waveforms", [[], [np.zeros((2, RATE), np.float32)]], ids=["none", "silence"])
def test_nothing_to_average_is_an_error(waveforms: list[Waveform]) -> None:
    with pytest.raises(DataError, match="no frame with speech"):
        mean_spectrum((log_mels(w, Config()) for w in waveforms), Config())


def test_batches_read_a_part_at_a_time() -> None:
    values = np.arange(2 * 5 * 6, dtype=np.float16).reshape(10, 1, 2, 3)
    read: list[int] = []

    class Counting(MappedRows):
        def __getitem__(self, index: Any) -> Tensor:
            rows = super().__getitem__(index)
            read.append(len(rows))
            return rows

    rows = Counting([values], torch.arange(10).view(5, 2).T)
    batches = [*in_batches(rows, 2)]
    assert read == [2, 2, 1] * 2
    assert torch.equal(torch.cat(batches), torch.from_numpy(np.concatenate([values[::2], values[1::2]])))


@pytest.mark.parametrize("level", LEVELS)
def test_an_equaliser_is_undone(level: str) -> None:
    config = Config(level=level)
    target = log_mels(speech(), config)
    source = log_mels(filtered(speech()), config)
    own, wanted = (mean_spectrum([decibel], config) for decibel in (source, target))
    assert float((own - wanted).std()) > 2
    matched = ChannelMatch(own, wanted, config)(source)
    with_speech = frames_heard(target).expand(-1, 128, -1)
    left = (matched - target)[:, 0].float()
    before = (source - target)[:, 0].float()
    assert float(before[with_speech].abs().mean()) > 2
    assert float(left[with_speech].abs().mean()) < 0.5
    after = mean_spectrum([matched], config) - wanted
    assert float(after.std()) < 0.3
    assert float(after.mean().abs()) < 0.5


def test_another_speaker_gets_the_mean_spectrum_of_the_target() -> None:
    """With level none the mean itself, with others its shape: what 0 dB is in a window, the level says."""
    halves = speech()[:3], filtered(speech()[3:])
    for level in LEVELS:
        config = Config(level=level)
        source, target = (log_mels(half, config) for half in halves)
        wanted = mean_spectrum([target], config)
        matched = ChannelMatch(mean_spectrum([source], config), wanted, config)(source)
        off = mean_spectrum([matched], config) - wanted
        assert float((off - off.mean()).abs().max()) < 1.5
        assert level != "none" or float(off.mean().abs()) < 1.5  # of 12 dB: other frames are heard then


@pytest.mark.parametrize("level", LEVELS)
def test_matched_windows_are_as_the_front_end_makes_them(level: str) -> None:
    config = Config(level=level)
    source = log_mels(speech(), config)
    shift = torch.linspace(-30, 30, 128)
    matched = ChannelMatch(torch.zeros(128), shift, config)(source)
    assert (matched.shape, matched.dtype) == (source.shape, torch.float16)
    padding = source.amax(dim=2, keepdim=True) == source.amin(dim=(2, 3), keepdim=True)
    lowest = matched.amin(dim=(2, 3), keepdim=True)
    assert int(padding.sum()) > 100
    assert bool((matched.amax(dim=2, keepdim=True) == lowest)[padding].all())
    assert float((matched.amax(dim=(2, 3)) - matched.amin(dim=(2, 3))).max()) <= log_mel.TOP_DB + 0.1
    if level == "peak":
        assert matched.amax(dim=(1, 2, 3)).tolist() == [0.0] * len(matched)
    if level == "speech":
        placed = log_mel.speech_level(matched[:, 0].float(), 7).flatten()
        torch.testing.assert_close(placed, torch.full_like(placed, log_mel.SPEECH_LEVEL), rtol=0, atol=0.1)
    torch.manual_seed(0)
    masked = spec_augment(matched.float(), 2, 0.3, 0.3)
    assert bool((masked.amax(dim=2, keepdim=True) == lowest)[padding].all())


def test_equal_spectra_change_nothing() -> None:
    for level in LEVELS:
        config = Config(level=level)
        source = log_mels(speech(), config)
        mean = mean_spectrum([source], config)
        torch.testing.assert_close(ChannelMatch(mean, mean, config)(source), source, rtol=0, atol=0.13)


def test_the_key_tells_shifts_apart() -> None:
    zero, one = torch.zeros(4), torch.ones(4)
    keys = [ChannelMatch(a, b, Config()).key for a, b in ((zero, one), (one, 2 * one), (one, zero))]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.corpora
@pytest.mark.parametrize("level", LEVELS)
def test_real_corpora(level: str) -> None:
    config = Config(level=level)

    def corpus(pattern: str) -> Iterator[Tensor]:
        files = sorted(SHARED.glob(pattern))
        for path in files[:: len(files) // 12]:
            yield log_mels(cut_windows(decode.load_speech(path), config.window, config.window_hop), config)

    source, target = [*corpus("ravdess/Actor_*/*.flac")], [*corpus("emodb/wav/*.flac")]
    own, wanted = mean_spectrum(source, config), mean_spectrum(target, config)
    off = mean_spectrum(map(ChannelMatch(own, wanted, config), source), config) - wanted
    assert float((own - wanted).std()) > 2
    assert float(off.std()) < 0.5
