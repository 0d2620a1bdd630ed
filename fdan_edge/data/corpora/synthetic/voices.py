"""Synthetic emotional speech, so that a demonstration runs without any recorded corpus.

A source-filter synthesiser (Fant 1960; Klatt 1980): a jittered glottal pulse train (Rosenberg 1971) and
aspiration noise pass through vowel formant resonators, syllable after syllable, with noise bursts between.
The emotions move prosody and voice quality in the directions that Banse & Scherer (1996) and Juslin & Laukka
(2003) report for acted speech. The sizes are chosen here: figures on these voices say nothing about people.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SAMPLE_RATE = 16000
EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")

FRAME = 80  # samples between two control frames: 5 ms
BLOCK = 240  # samples that share one set of formants: 15 ms
SENTENCES = 12  # like CREMA-D, every speaker says the same few sentences in every emotion

# F1, F2, F3 in Hz of /a e i o u ae @/ for an adult man, rounded from Peterson & Barney (1952).
VOWELS = np.array(
    [
        [730.0, 530.0, 270.0, 570.0, 300.0, 660.0, 500.0],
        [1090.0, 1840.0, 2290.0, 840.0, 870.0, 1720.0, 1500.0],
        [2440.0, 2480.0, 3010.0, 2410.0, 2240.0, 2410.0, 2500.0],
    ]
).T
SCHWA = VOWELS[-1]
BANDWIDTHS = np.array([80.0, 100.0, 140.0])
UPPER_FORMANTS = np.array([3400.0, 4300.0, 5200.0, 6100.0])  # hardly move with the vowel
FRICATIVE, STOP, SONORANT = range(3)

Array = NDArray[np.float64]


class Prosody(NamedTuple):
    """How one utterance is spoken, as differences from the speaker's habit unless said otherwise."""

    f0: float = 0.0  # mean f0, semitones
    span: float = 3.0  # f0 rise on an accent, semitones (absolute)
    slope: float = -2.5  # f0 change over the utterance, semitones (absolute)
    final: float = -2.0  # f0 change on the last syllable, semitones (absolute)
    rate: float = 0.0  # log2 of the relative syllable rate
    effort: float = 0.0  # recorded level, dB
    accent: float = 4.0  # level of an accented syllable above the others, dB (absolute)
    jitter: float = 0.008  # standard deviation of the relative cycle length (absolute)
    shimmer: float = 0.05  # standard deviation of the relative cycle amplitude (absolute)
    creak: float = 0.0  # amplitude alternation between cycles, 0 to 1 (absolute)
    tilt: float = 0.0  # corner of the spectral tilt, octaves; higher is brighter
    breath: float = -26.0  # aspiration noise against the pulses, dB (absolute)
    tremor: float = 0.05  # f0 modulation near 6 Hz, semitones (absolute)
    pause: float = 0.06  # chance of a pause after a syllable (absolute)
    tract: float = 0.0  # log2 of the formant scaling; spread lips (a smile) shorten the tract
    clarity: float = 0.95  # distance of the vowels from schwa, 1 for full targets (absolute)
    jaw: float = 0.0  # log2 of the F1 scaling; a wider open jaw raises F1


PROSODY = {
    "angry": Prosody(4, 6, -3.5, -3.5, 0.26, 6, 7, 0.014, 0.09, 0.04, 1.6, -29, 0.08, 0.02, 0.03, 1.1, 0.2),
    "disgust": Prosody(-2.5, 3, -5, -4, -0.3, 0, 5.5, 0.03, 0.14, 0.25, 0.1, -24, 0.06, 0.14, -0.1, 1, -0.12),
    "fear": Prosody(6, 1.8, 0, 0, 0.32, 0, 2, 0.022, 0.1, 0.03, 0.0, -16, 0.65, 0.1, 0.02, 0.75, -0.05),
    "happy": Prosody(4.5, 5.5, 1, 1.5, 0.14, 3, 5.5, 0.006, 0.05, 0, 0.7, -28, 0.05, 0.02, 0.14, 1.05, 0.05),
    "neutral": Prosody(),
    "sad": Prosody(-2, 1, -3, -2, -0.42, -5, 2, 0.011, 0.07, 0.03, -1.9, -16, 0.12, 0.28, -0.04, 0.65, -0.1),
    "surprise": Prosody(7, 7, 3.5, 8, -0.08, 2, 5, 0.008, 0.05, 0, 0.5, -21, 0.05, 0.02, -0.05, 1.1, 0.18),
}

# Standard deviations: of one take about its emotion, and of one speaker's habit about the common one.
TAKE_SPREAD = Prosody(1.1, 0.8, 1.2, 1.2, 0.08, 4, 1, 0.003, 0.02, 0.03, 0.3, 1.8, 0.06, 0.03, 0.02, 0.07, 0.05)
HABIT_SPREAD = Prosody(0, 0.6, 0.6, 0.6, 0, 3, 0.8, 0.002, 0.02, 0.02, 0.25, 1.2, 0.03, 0.02, 0, 0.05, 0.03)
LOWEST = Prosody(-9, 0, -12, -12, -0.6, -30, 0, 0.002, 0.01, 0, -2.8, -40, 0, 0, -0.3, 0.5, -0.4)


class Speaker(NamedTuple):
    """A speaker's habits: base f0 in Hz, formant scaling, syllables per second and the recording chain."""

    f0: float
    tract: float
    rate: float
    expressiveness: float
    habit: Array
    channel: float
    noise_db: float


class Syllables(NamedTuple):
    """A spoken sentence: times in seconds, all of shape (n,); the vowel formants in Hz are (n, 3)."""

    start: Array
    onset: Array
    end: Array
    vowel: Array
    kind: NDArray[np.int64]
    accent: NDArray[np.bool_]
    duration: float


def check_emotion(emotion: str) -> None:
    """Raise ValueError, naming the valid values, unless `emotion` is one of EMOTIONS."""
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}: expected one of {', '.join(EMOTIONS)}")


def voice(emotion: str, speaker: int, index: int) -> NDArray[np.float32]:
    """Synthesise one utterance; equal arguments always give equal samples.

    Args:
        emotion: one of EMOTIONS.
        speaker: identity, 0 or more; even ones have a female voice, odd ones a male voice.
        index: number of the take, 0 or more; it picks the sentence (`index % SENTENCES`) and the variation.

    Returns:
        Mono samples, shape (n,), float32 in [-1, 1], at SAMPLE_RATE; n is about 1.3 to 3.2 s.

    Raises:
        ValueError: unknown emotion, or a negative speaker or index.
    """
    check_emotion(emotion)
    if speaker < 0 or index < 0:
        raise ValueError(f"speaker and index must be 0 or more, not {speaker} and {index}")
    rng = np.random.default_rng([11, EMOTIONS.index(emotion), speaker, index])
    who = _speaker(speaker)
    how = _take(emotion, who, rng)
    said = _sentence(index % SENTENCES, who.rate * 2**how.rate, how, rng)
    return _record(_speak(said, who, how, rng), who, how, rng)


def _speaker(speaker: int) -> Speaker:
    rng = np.random.default_rng([12, speaker])
    female = speaker % 2 == 0
    return Speaker(
        f0=float((200.0 if female else 115.0) * 2 ** rng.normal(0, 0.1)),
        tract=float((1.14 if female else 1.0) * 2 ** rng.normal(0, 0.035)),
        rate=float(rng.uniform(4.2, 5.0)),
        expressiveness=float(rng.uniform(0.85, 1.1)),
        habit=np.array(HABIT_SPREAD) * rng.standard_normal(len(HABIT_SPREAD)),
        channel=float(rng.uniform(-0.15, 0.15)),
        noise_db=float(rng.uniform(-62, -54)),
    )


def _take(emotion: str, who: Speaker, rng: np.random.Generator) -> Prosody:
    """Draw the prosody of one take: part of the way from neutral to the emotion, plus habit and chance."""
    neutral = np.array(PROSODY["neutral"])
    strength = who.expressiveness * rng.uniform(0.7, 1.15)
    chance = np.array(TAKE_SPREAD) * rng.standard_normal(len(TAKE_SPREAD))
    drawn = neutral + strength * (np.array(PROSODY[emotion]) - neutral) + who.habit + chance
    return Prosody(*np.maximum(drawn, LOWEST).tolist())


def _sentence(number: int, rate: float, how: Prosody, rng: np.random.Generator) -> Syllables:
    """Lay the syllables of sentence `number` out in time, at `rate` syllables per second."""
    text = np.random.default_rng([13, number])
    n = len(VOWELS) + int(text.integers(0, 3))
    # Phonetically balanced: every vowel at least once, or the mean spectrum would tell more of the text.
    chosen = np.concatenate([text.permutation(len(VOWELS)), text.integers(0, len(VOWELS), n - len(VOWELS))])
    vowel = SCHWA + min(how.clarity, 1.2) * (VOWELS[text.permutation(chosen)] - SCHWA)
    kind, accent = text.integers(0, 3, n), text.random(n) < 0.4
    accent[text.integers(0, n)] = True
    length = (1 + 0.25 * accent) * np.exp(rng.normal(0, 0.12, n))
    length[-1] *= 1.4  # phrase-final lengthening
    # Clipped because one dragging draw of rate and pauses would otherwise run past the promised length.
    length *= np.clip(n / rate, 1.2, 2.3) / length.sum()
    gap = np.where(rng.random(n) < how.pause, rng.uniform(0.08, 0.2, n), 0.0)
    gap *= min(1.0, 0.5 / max(gap.sum(), 1e-9))
    lead, tail = rng.uniform(0.08, 0.2, 2)
    end = lead + np.cumsum(length + gap) - gap
    start = end - length
    onset = start + length * rng.uniform(0.22, 0.4, n)
    return Syllables(start, onset, end, vowel, kind, accent, float(end[-1] + tail))


def _speak(said: Syllables, who: Speaker, how: Prosody, rng: np.random.Generator) -> Array:
    """Filter source times envelope by the vocal tract, and add the consonant noises; voiced peak about 1."""
    size = int(said.duration * SAMPLE_RATE) // BLOCK * BLOCK
    times = np.arange(size // FRAME + 1) * FRAME / SAMPLE_RATE
    f0 = _upsample(_f0_contour(said, who, how, times, rng))
    voicing, frication, burst = (_upsample(envelope) for envelope in _envelopes(said, how, times))
    scale = who.tract * 2**how.tract
    voiced = _vocal_tract(voicing * _glottal_source(f0, how, rng), said, scale, 2**how.jaw)
    voiced /= np.abs(voiced).max()
    noise = rng.standard_normal(size)
    hiss = lfilter(*_resonator(np.array([4800.0 * scale, 3000.0 * scale]), np.array([1500.0, 1200.0])), noise)
    hiss /= hiss.std()
    return np.asarray(voiced + 0.07 * frication * hiss + 0.12 * burst * noise, dtype=np.float64)


def _upsample(frames: Array) -> Array:
    """Interpolate control frames linearly, shape (m + 1,), to samples, shape (m * FRAME,)."""
    return (frames[:-1, None] + np.diff(frames)[:, None] * (np.arange(FRAME) / FRAME)).reshape(-1)


def _f0_contour(said: Syllables, who: Speaker, how: Prosody, times: Array, rng: np.random.Generator) -> Array:
    """Compute f0 in Hz: declination, accents (Gaussian bumps), a final movement, tremor and slow drift."""
    begin, last, end = said.start[0], said.start[-1], said.end[-1]
    progress = np.clip((times - begin) / (end - begin), 0, 1)
    semitones = how.f0 + how.slope * (progress - 0.5)
    height = said.accent * how.span * rng.uniform(0.6, 1.3, len(said.start))
    centre = 0.4 * said.onset + 0.6 * said.end
    bump = np.exp(-0.5 * ((times[:, None] - centre) / 0.09) ** 2) @ height
    semitones += bump - 0.4 * how.span  # the accents widen the range without moving the mean much
    semitones += how.final * np.clip((times - last) / (end - last), 0, 1) ** 1.5
    semitones += how.tremor * np.sin(2 * np.pi * rng.uniform(5, 7.5) * times + rng.uniform(0, 6.28))
    semitones += rng.normal(0, 0.4) * np.sin(2 * np.pi * rng.uniform(0.3, 1.2) * times + rng.uniform(0, 6.28))
    return np.asarray(np.clip(who.f0 * 2 ** (semitones / 12), 55, 600), dtype=np.float64)


def _envelopes(said: Syllables, how: Prosody, times: Array) -> tuple[Array, Array, Array]:
    """Compute amplitudes of the voicing, of the fricative noise and of the stop bursts, one per control frame."""
    t = times[:, None]
    attack = 0.03 * 2 ** (-how.effort / 12)  # a louder voice sets in faster
    vowel = np.clip(np.minimum((t - said.onset) / attack + 0.5, (said.end - t) / 0.05), 0, 1)
    inside = np.clip(np.minimum((t - said.start) / 0.02, (said.onset - t) / 0.02 + 0.5), 0, 1)
    burst = np.exp(np.minimum((t - said.onset) / 0.004, (said.onset - t) / 0.012))
    voiced = np.maximum(vowel, 0.3 * inside * (said.kind == SONORANT))
    level = 10 ** ((how.accent * said.accent - 5.0 * np.linspace(0, 1, len(said.start))) / 20)
    frication = (inside * (said.kind == FRICATIVE)).max(axis=1)
    return (voiced * level).max(axis=1), frication, (burst * (said.kind == STOP)).max(axis=1)


def _glottal_source(f0: Array, how: Prosody, rng: np.random.Generator) -> Array:
    """Differentiate Rosenberg's glottal flow with jitter and shimmer, tilt it, and add aspiration noise."""
    per_cycle = rng.standard_normal((2, int(f0.sum() / SAMPLE_RATE * 1.5) + 8))
    cycle = (np.cumsum(f0) / SAMPLE_RATE).astype(np.int64)
    phase = np.cumsum(f0 * (1 + how.jitter * np.clip(per_cycle[0, cycle], -3, 3))) / SAMPLE_RATE
    cycle = phase.astype(np.int64)
    phase -= cycle
    opening = 0.4 * 2 ** (-0.15 * how.tilt)  # a pressed voice keeps the glottis open for less of the cycle
    rising = 0.5 - 0.5 * np.cos(np.pi * np.minimum(phase / opening, 1))
    flow = rising * np.cos(np.clip((phase - opening) / (0.4 * opening), 0, 1) * (np.pi / 2))
    amplitude = 1 + how.shimmer * per_cycle[1, cycle] + how.creak * (cycle % 2 - 0.5)
    # The difference of the sampled flow aliases far less than samples of its discontinuous derivative would.
    pulses = np.diff(flow * amplitude, prepend=0.0)
    corner = np.exp(-2 * np.pi * 1400 * 2**how.tilt / SAMPLE_RATE)
    pulses = lfilter([1 - corner], [1, -corner], pulses)
    noise = lfilter([0.6], [1, -0.6], rng.standard_normal(len(f0)))  # turbulence falls off above some 2 kHz
    noise *= (0.35 + flow) * pulses.std() * 10 ** (how.breath / 20)
    return np.asarray(pulses + noise, dtype=np.float64)


def _resonator(frequency: Array, bandwidth: Array) -> tuple[Array, Array]:
    """Cascade two-pole resonators of unit gain at 0 Hz: b of shape (..., 1), a of shape (..., 2 k + 1).

    `frequency` and `bandwidth` are in Hz with the k resonators on the last axis (Klatt 1980, eq. 1).
    """
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    middle = -2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
    a = np.zeros((*frequency.shape[:-1], 2 * frequency.shape[-1] + 1))
    a[..., 0] = 1
    for k in range(frequency.shape[-1]):
        first, second = middle[..., k, None] * a[..., :-1], (radius[..., k] ** 2)[..., None] * a[..., :-2]
        a[..., 1:] += first
        a[..., 2:] += second
    return a.sum(axis=-1, keepdims=True), a


def _vocal_tract(source: Array, said: Syllables, scale: float, open_jaw: float) -> Array:
    """Filter the source through F1 to F3, which follow the vowels, and the fixed upper formants."""
    knots = np.stack([0.7 * said.onset + 0.3 * said.end, 0.3 * said.onset + 0.7 * said.end], 1).reshape(-1)
    times = (np.arange(len(source) // BLOCK) + 0.5) * BLOCK / SAMPLE_RATE
    track = np.stack([np.interp(times, knots, np.repeat(f, 2)) for f in said.vowel.T], 1)
    track[:, 0] *= open_jaw
    b, a = _resonator(track * scale, BANDWIDTHS * scale)
    # At most 7 kHz: a resonance close to half the sample rate would meet its own mirror image and ring.
    upper = UPPER_FORMANTS * min(scale, 7000 / UPPER_FORMANTS[-1])
    driven = lfilter(*_resonator(upper, 0.08 * upper), source).reshape(-1, BLOCK) * b
    return _all_pole(driven, a)


def _all_pole(blocks: Array, a: Array) -> Array:
    """Filter blocks, shape (m, BLOCK), each with its own denominator, shape (m, order + 1), into one signal.

    The state is rebuilt from past outputs at every block (direct form I), which, unlike a carried state of
    scipy's transposed form, belongs to the new coefficients: no click where they change.
    """
    order = a.shape[1] - 1
    lag = np.arange(order)[:, None] + np.arange(order) + 1
    hankel = np.where(lag <= order, a[:, np.minimum(lag, order)], 0.0)
    out = np.zeros((len(blocks), blocks.shape[1]))
    past = np.zeros(order)
    for m, block in enumerate(blocks):
        out[m], _ = lfilter([1.0], a[m], block, zi=-hankel[m] @ past)
        past = out[m, : -order - 1 : -1]
    return out.reshape(-1)


def _record(speech: Array, who: Speaker, how: Prosody, rng: np.random.Generator) -> NDArray[np.float32]:
    """Add microphone colour, recording level and noise floor."""
    coloured = lfilter([1, who.channel], [1], speech)
    # Half of the vocal effort survives a hand on the gain knob; distance and chance blur the rest.
    level_db = np.clip(-10 + 0.5 * how.effort + rng.normal(0, 2), -26, -1)
    noise_db = who.noise_db + rng.normal(0, 2)
    recorded = coloured / np.abs(coloured).max() * 10 ** (level_db / 20)
    recorded = recorded + 10 ** (noise_db / 20) * rng.standard_normal(len(recorded)) * 0.3
    return np.asarray(np.clip(recorded, -1, 1), dtype=np.float32)
