"""Tests of the synthetic voices and faces."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import stft

from fdan_edge.data.corpora.synthetic.faces import SIZE, face
from fdan_edge.data.corpora.synthetic.voices import EMOTIONS, SAMPLE_RATE, voice


def mean_f0(samples: NDArray[np.float32]) -> float:
    """Median over the loud 40 ms frames of the autocorrelation peak between 70 and 500 Hz, in Hz."""
    frames = samples[: len(samples) // 640 * 640].reshape(-1, 640).astype(np.float64)
    energy = (frames**2).sum(axis=1)
    frames = frames[energy > 0.1 * energy.max()]
    spectrum = np.abs(np.fft.rfft(frames, 2048)) ** 2
    lags = np.fft.irfft(spectrum)[:, SAMPLE_RATE // 500 : SAMPLE_RATE // 70]
    return float(np.median(SAMPLE_RATE / (SAMPLE_RATE // 500 + lags.argmax(axis=1))))


def treble_db(samples: NDArray[np.float32]) -> float:
    """Energy above 1 kHz against the energy below, in dB."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    split = len(samples) * 1000 // SAMPLE_RATE
    return float(10 * np.log10(power[split:].sum() / power[:split].sum()))


@cache
def takes(emotion: str) -> list[NDArray[np.float32]]:
    return [voice(emotion, speaker, index) for speaker in range(4) for index in range(2)]


@cache
def average_face(emotion: str, first: int = 0) -> NDArray[np.float64]:
    """Mean of 45 faces, each brought to mean 0 and standard deviation 1 inside the hair and background."""
    stack = np.stack([np.asarray(face(emotion, first + k), dtype=np.float64) for k in range(45)])
    inner = stack[:, 10:45, 10:38]
    mean, spread = (f(axis=(1, 2), keepdims=True) for f in (inner.mean, inner.std))
    return np.asarray(((stack - mean) / spread).mean(axis=0))


def held_out_accuracy(train: list[list[NDArray[np.float64]]], test: list[list[NDArray[np.float64]]]) -> float:
    """Accuracy of the nearest class mean after whitening with the pooled within-class covariance."""
    means = np.stack([np.mean(rows, axis=0) for rows in train])
    within = np.concatenate([np.array(rows) - mean for rows, mean in zip(train, means, strict=True)])
    precision = np.linalg.inv(np.cov(within.T) + 0.5 * np.eye(within.shape[1]))
    hits = []
    for label, rows in enumerate(test):
        offset = np.array(rows)[:, None] - means
        hits += (np.einsum("ncd,de,nce->nc", offset, precision, offset).argmin(axis=1) == label).tolist()
    return float(np.mean(hits))


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("speaker", [0, 11, 100_000])
def test_voice_format(emotion: str, speaker: int) -> None:
    samples = voice(emotion, speaker, 3)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 1.3 < len(samples) / SAMPLE_RATE < 3.3
    assert np.isfinite(samples).all()
    assert 0.03 < np.abs(samples).max() <= 1.0
    assert abs(samples.mean()) < 0.01


def test_voice_depends_on_its_arguments_only() -> None:
    first = voice("fear", 2, 5)
    voice("happy", 1, 1)
    np.testing.assert_array_equal(first, voice("fear", 2, 5))
    for other in (voice("sad", 2, 5), voice("fear", 3, 5), voice("fear", 2, 6), voice("fear", 2, 17)):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("make", [lambda e: voice(e, 0, 0), lambda e: face(e, 0)], ids=["voice", "face"])
def test_unknown_emotion(make: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"'bored'.*angry, disgust, fear, happy, neutral, sad, surprise"):
        make("bored")


def test_negative_numbers() -> None:
    with pytest.raises(ValueError, match="not -1 and 0"):
        voice("sad", -1, 0)
    with pytest.raises(ValueError, match="not 0 and -2"):
        voice("sad", 0, -2)
    with pytest.raises(ValueError, match="not -3"):
        face("sad", -3)


def test_f0_follows_the_literature() -> None:
    f0 = {e: np.mean([mean_f0(v) for v in takes(e)]) for e in ("angry", "fear", "neutral", "sad")}
    assert f0["angry"] > 1.1 * f0["neutral"]
    assert f0["fear"] > 1.1 * f0["neutral"]
    assert f0["sad"] < f0["neutral"]


def test_female_voices_are_higher() -> None:
    female, male = (np.mean([mean_f0(voice("neutral", s + k, 0)) for s in range(0, 8, 2)]) for k in (0, 1))
    assert female > 1.4 * male


def test_surprise_ends_higher_than_anger() -> None:
    last = {e: np.mean([mean_f0(v[-6400:-2400]) for v in takes(e)]) for e in ("surprise", "angry")}
    assert last["surprise"] > 1.2 * last["angry"]


def test_sad_speech_is_slower_and_darker() -> None:
    angry, neutral, sad = takes("angry"), takes("neutral"), takes("sad")
    seconds = [np.mean([len(v) for v in voices]) / SAMPLE_RATE for voices in (angry, neutral, sad)]
    assert seconds[0] < seconds[1] - 0.1 < seconds[2] - 0.3
    treble = [np.mean([treble_db(v) for v in voices]) for voices in (angry, neutral, sad)]
    assert treble[0] > treble[1] + 2 > treble[2] + 4


def test_loudness_alone_does_not_tell_the_emotion() -> None:
    level = np.array([[20 * np.log10(v.std()) for v in takes(e)] for e in EMOTIONS])
    assert np.ptp(level.mean(axis=1)) < 1.5 * level.std(axis=1).mean()


def test_voices_of_unseen_speakers_can_be_told_apart_but_not_all() -> None:
    def features(emotion: str, speaker: int, index: int) -> NDArray[np.float64]:
        power = np.abs(stft(voice(emotion, speaker, index), SAMPLE_RATE, nperseg=512)[2]) ** 2
        bands = np.stack([band.sum(axis=0) for band in np.array_split(power[2:], 12)])
        level = np.maximum(10 * np.log10(bands / bands.max() + 1e-9), -70)
        return np.concatenate([level.mean(axis=1), level.std(axis=1)])

    train = [[features(e, s, i) for s in range(6) for i in range(2)] for e in EMOTIONS]
    test = [[features(e, s, i) for s in range(6, 9) for i in range(1)] for e in EMOTIONS]
    assert 0.35 < held_out_accuracy(train, test) < 0.99


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_face_format(emotion: str) -> None:
    for index in (0, 1, 100_000):
        image = face(emotion, index)
        assert image.mode == "L"
        assert image.size == (SIZE, SIZE) == (48, 48)
        assert np.asarray(image).std() > 4  # something is drawn


def test_face_depends_on_its_arguments_only() -> None:
    first = np.asarray(face("happy", 4))
    face("sad", 1)
    np.testing.assert_array_equal(first, np.asarray(face("happy", 4)))
    assert not np.array_equal(first, np.asarray(face("happy", 5)))
    assert not np.array_equal(first, np.asarray(face("sad", 4)))


def test_features_of_the_average_faces() -> None:
    mean = {e: average_face(e) for e in EMOTIONS}
    mouth = (slice(36, 44), slice(20, 28))
    brow = (slice(16, 19), [18, 19, 20, 21, 26, 27, 28, 29])  # the inner ends
    assert mean["surprise"][mouth].mean() < mean["neutral"][mouth].mean() - 0.5  # open, so dark
    assert mean["angry"][brow].mean() < mean["neutral"][brow].mean() - 0.2  # drawn down
    corners = (slice(34, 38), [14, 15, 32, 33])
    assert mean["happy"][corners].mean() < mean["sad"][corners].mean() - 0.1  # drawn up


def test_average_faces_of_new_people_match_their_own_emotion() -> None:
    seen, unseen = (np.stack([average_face(e, first)[10:45, 10:38] for e in EMOTIONS]) for first in (0, 60))
    distance = ((unseen[:, None] - seen) ** 2).mean(axis=(2, 3))
    assert distance.argmin(axis=1).tolist() == list(range(len(EMOTIONS)))
