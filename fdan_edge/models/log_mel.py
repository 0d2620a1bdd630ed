"""The log-mel front end: one module for training and inside the exported graph.

With level = peak it equals `librosa.power_to_db(librosa.feature.melspectrogram(y=...), ref=np.max, amin=1e-30)`:
2e-4 dB is the largest difference found on 593 real recordings. The STFT is made of convolutions with DFT bases and
the mel filterbank is a 1x1 Conv1d, because ONNX's STFT has no CUDA kernel in ONNX Runtime and does not parse in
JetPack 6's TensorRT, and Turing refuses FP32 MatMul.

How it stays exact in float32: a band 80 dB below the loudest one is what remains of sums 10^4 times as
large, where librosa computes in float64 and one dense float32 DFT was up to 1.5e-2 dB off (1.1e-3 on
speech). So each factor is split into a high part of few bits, whose products and sums fit the 24 bits of a
float32 without rounding, and a low part some 2^-9 as large, whose roundings are too small to matter. The
DFT has two stages (Cooley-Tukey), which makes all this cheaper than the dense one: 3.4 against 5.9 ms for
3 s of audio in ONNX Runtime, one thread. The first stage's weights hold the window too, and its convolution
makes the frames: that took another sixth off.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdan_edge.models.mel_filters import hann, mel_filters, mel_frequencies

TOP_DB = 80.0
AMIN = 1e-30  # far below what is 80 dB under the loudest point of any sound: only the relative floor counts
GATE_DB = 30.0  # what is this far below the loudest speech is a pause
CLICK = 0.03  # s; what is shorter is no speech
#: Where level = speech puts the mean power, and level = none a tone of full scale, in dB. The loudest point of 128
#: real recordings is 28 dB above their mean power (25 with Whisper's 80 bands), 9 below full scale in EMO-DB and
#: 31 in RAVDESS: so it stays near 0 dB, where level = peak has it.
SPEECH_LEVEL, FULL_SCALE = -27.0, 20.0
#: Long-term average speech spectrum, third-octave levels in dB at 70 dB SPL (Byrne et al. 1994, both sexes).
_SPEECH = {
    63: 38.6, 80: 43.5, 100: 54.4, 125: 57.7, 160: 56.8, 200: 60.2, 250: 60.3, 315: 59.0, 400: 62.1, 500: 62.1,
    630: 60.5, 800: 56.8, 1000: 53.7, 1250: 53.0, 1600: 52.0, 2000: 48.7, 2500: 48.1, 3150: 46.8, 4000: 45.6,
    5000: 44.5, 6300: 44.3, 8000: 43.7, 10000: 43.4, 12500: 41.3, 16000: 40.7,
}  # fmt: skip
_MANTISSA = 24  # bits of a float32
_SAMPLE_BITS = 10  # of a sample's high part; a factor of stage 1 gets what a sum of products leaves
_CHUNK = 4  # waveforms at once outside of exported graphs: more fall out of the CPU's cache

Array = NDArray[np.float64]


class LogMel(nn.Module):
    """Log-mel spectrogram in dB of each waveform.

    Nothing is more than 80 dB below the waveform's loudest point, and frames without sound are at the lowest value
    in all bands. `level` says what 0 dB is, `channel` whether the mean spectrum stays; they are independent:

        peak: the loudest point is 0 dB, after the mean spectrum is replaced.
        speech: the mean power of speech is -27 dB, see `speech_level`; after the mean spectrum is replaced.
        none: a tone of full scale below 1 kHz is about 20 dB; what replaces the spectrum has its mean over the
            bands, so loudness still counts.

    The n_fft samples of a frame lie in a grid of `rows` x `columns`, sample number columns * row + column.
    Stage 1 transforms the grid's columns, stage 2 combines them; see `_first_basis` and `_second_basis`.

    Args:
        sample_rate: Hz.
        n_fft: length of the DFT and its Hann window, samples.
        hop: step between frames, samples; fastest where it has a divisor near the root of n_fft.
        n_mels: number of mel bands (Slaney scale and area norm, 0 to half the sample rate).
        level: peak, speech or none.
        channel: window: cepstral mean normalisation (Atal 1974) over the `speech_frames`, as far as the
            shape of the spectrum goes, which becomes that of average speech. Else nothing is done.
        dynamic_range: dB below the waveform's loudest point to which what is quieter is raised. With less than 80,
            the noise of quiet rooms does not count, and neither does that of 16 bits in a weak recording.
        exact: split factors as above; without, the same DFT in plain float32 takes half of the time and is within
            2e-3 dB on speech, which is enough under a network of 16 or 8 bits.
    """

    average: Tensor  # spectrum of speech, (n_mels, 1), its mean 0

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        *,
        level: str = "peak",
        channel: str = "none",
        dynamic_range: float = TOP_DB,
        exact: bool = True,
    ) -> None:
        super().__init__()
        self.exact = exact
        self.n_fft, self.hop = n_fft, hop
        self.level, self.channel = level, channel
        self.dynamic_range = dynamic_range
        self.lasting = lasting_frames(sample_rate, n_fft, hop)
        self.columns = _columns(n_fft, hop)
        self.rows = n_fft // self.columns
        self.groups = self.rows // 2 + 1  # frequencies of stage 1, of which the input is real
        filters = mel_filters(sample_rate, n_fft, n_mels)
        self.filters: NDArray[np.float32] = filters  # (n_mels, 1 + n_fft // 2)
        self._make_convolutions(filters)
        # The largest power that a tone of full scale makes: Hann's sum is n_fft / 2, half of it at each frequency.
        self.full_scale = 10 * math.log10((n_fft / 4) ** 2 * float(filters.max()))
        self.register_buffer("average", torch.from_numpy(_average_speech(sample_rate, n_mels)).float()[:, None])
        self.requires_grad_(False)

    def _make_convolutions(self, filters: NDArray[np.float32]) -> None:
        # What stage 1 gives is within -room..room. It comes out in steps of stage 2's high parts, which are whole
        # numbers then. Steps are powers of two and cost no bit.
        room = 2.0 ** math.ceil(math.log2(self.rows))
        bits = _bits(2 * self.columns)
        step = room / 2.0**bits
        window = hann(self.n_fft).reshape(self.rows, self.columns)
        first = _first_basis(self.rows)[:, :, None] * window
        bins = _bins(self.rows, self.n_fft)
        second = _second_basis(bins, self.rows, self.columns)
        # Stage 2 gives the frequencies in its own order, with gaps: the filterbank reads that order.
        self.mel = _pointwise(np.where(bins < 0, 0.0, filters[:, bins]))
        if not self.exact:
            self.first = _framed(first[None], self.hop // self.columns)
            self.second = _pointwise(second, self.groups)
            return
        high, low = _split(first, _MANTISSA - _SAMPLE_BITS - math.ceil(math.log2(self.rows)))
        scale = 2.0**-_SAMPLE_BITS / step
        self.first_high = _framed(high[None] * scale, self.hop // self.columns)
        self.first_low = _framed(np.stack([low, first]) * scale, self.hop // self.columns)
        high, low = _split(second, bits)
        self.second_high = _pointwise(high * step, self.groups)
        self.second_low = _pointwise(np.concatenate([low, second], axis=1) * step, self.groups)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform waveforms (n, samples) in float32 to dB (n, 1, n_mels, 1 + samples // hop); by peak -80..0."""
        if torch.compiler.is_exporting() or len(waveform) <= _CHUNK:
            return self._normalised(*self._decibel(waveform))[:, None]
        parts = (self._normalised(*self._decibel(part)) for part in torch.split(waveform, _CHUNK))
        return torch.cat(list(parts))[:, None]

    def _decibel(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Compute dB below the loudest point, (n, mels, frames), and that point's dB, (n, 1, 1)."""
        # A power of two near the peak: dividing by it rounds nothing.
        scale = torch.exp2(waveform.abs().amax(dim=1, keepdim=True).clamp_min(1e-30).log2().ceil())
        power = self.mel(self._power_spectrum(waveform / scale)) * scale.square()[:, :, None]
        decibel = 10 * torch.log10(power.clamp_min(AMIN))
        loudest = decibel.amax(dim=(1, 2), keepdim=True)
        return (decibel - loudest).clamp_min(-self.dynamic_range), loudest

    def _normalised(self, decibel: Tensor, loudest: Tensor) -> Tensor:
        """Apply `level` and `channel` to the output of `_decibel`: (n, mels, frames)."""
        if self.level == "none":
            decibel = decibel + (loudest - self.full_scale + FULL_SCALE)
        if self.channel == "window":
            mean = _mean(decibel, speech_frames(decibel, self.lasting))
            decibel = shift_bands(decibel, self.average - mean + mean.mean(dim=1, keepdim=True))
        elif self.level == "peak":
            return decibel
        return at_level(decibel, self.level, self.lasting)

    def _power_spectrum(self, waveform: Tensor) -> Tensor:
        """Compute |STFT|^2 of (n, samples) within -1..1, in the order of `_bins`: (n, groups * width, frames)."""
        hops = self._hops(waveform)
        if self.exact:
            spectrum = self._split_spectrum(hops)
        else:
            spectrum = self.second(self._grouped(self.first(self._by_column(hops).flatten(1, 2))))
        n, _, frames = spectrum.shape
        squares: Tensor = spectrum.square().view(n, self.groups, 2, -1, frames)
        return squares.sum(dim=2).view(n, -1, frames)

    def _split_spectrum(self, hops: Tensor) -> Tensor:
        """Apply both stages in high and low parts: (n, hop, hops) to (n, groups * 2 * width, frames)."""
        high, low = self._first_stage(*self._samples(hops))
        spectrum: Tensor = self.second_high(high) + self.second_low(self._beside(high, low))
        return spectrum

    def _samples(self, hops: Tensor) -> tuple[Tensor, Tensor]:
        """Split samples into high parts, whole numbers, and low parts: each (n, columns, rows of a hop, hops)."""
        samples = hops * 2.0**_SAMPLE_BITS
        whole = torch.round(samples)
        return self._by_column(whole), self._by_column(samples - whole)

    def _hops(self, waveform: Tensor) -> Tensor:
        """Cut waveforms into hops, (n, hop, hops), with zeros before the start and after the end."""
        n, samples = waveform.shape
        length = (samples // self.hop + -(-self.n_fft // self.hop)) * self.hop
        before = self.n_fft // 2
        padded = nn.functional.pad(waveform, (before, max(0, length - before - samples)))[:, :length]
        # In two steps: ONNX Runtime moves one axis at a time five times as fast as two.
        return padded.view(n, -1, self.hop).transpose(1, 2)

    def _by_column(self, hops: Tensor) -> Tensor:
        """Reshape (n, hop, hops) to (n, columns, rows of a hop, hops)."""
        n, samples, count = hops.shape
        return hops.view(n, samples // self.columns, self.columns, count).transpose(1, 2)

    def _first_stage(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Transform the rows under the Hann window: high and low parts, each (n, groups * 2 * columns, frames)."""
        exact = self.first_high(high.flatten(1, 2))
        both = torch.cat([high, low], dim=2).flatten(1, 2)
        whole = torch.round(exact)
        return self._grouped(whole), self._grouped(exact - whole + self.first_low(both))

    def _grouped(self, columns: Tensor) -> Tensor:
        """Reorder (n, columns * groups * 2, frames) to (n, groups * 2 * columns, frames)."""
        n, _, frames = columns.shape
        return columns.view(n, self.columns, -1, frames).transpose(1, 2).reshape(n, -1, frames)

    def _beside(self, high: Tensor, low: Tensor) -> Tensor:
        """Put high and low parts next to each other in every group of stage 2."""
        n, _, frames = high.shape
        both = [part.view(n, self.groups, -1, frames) for part in (high, low)]
        return torch.cat(both, dim=2).view(n, -1, frames)


def lasting_frames(sample_rate: int, n_fft: int, hop: int) -> int:
    """Return an odd number of frames that a sound of `CLICK` seconds does not fill."""
    return (n_fft + math.ceil(CLICK * sample_rate)) // hop // 2 * 2 + 3


def sounding(decibel: Tensor) -> Tensor:
    """Mark frames that are more than padding: (n, mels, frames) to booleans (n, 1, frames).

    Padding is at the window's lowest value in all bands.
    """
    # ONNX Runtime's logarithm of equal numbers differs in the last bit, by where they are in memory.
    return decibel.amax(dim=1, keepdim=True) > decibel.amin(dim=(1, 2), keepdim=True) + 1e-2


def speech_frames(decibel: Tensor, lasting: int) -> Tensor:
    """Mark frames with speech: (n, mels, frames) to booleans (n, 1, frames).

    These are within `GATE_DB` of the loudest frame that is not a click's.

    Args:
        decibel: of any level.
        lasting: see `lasting_frames`.
    """
    power = _lasting_power(decibel, lasting)
    return power > power.amax(dim=2, keepdim=True) * 10 ** (-GATE_DB / 10)


def speech_level(decibel: Tensor, lasting: int) -> Tensor:
    """Compute the mean power over the bands and the `speech_frames`, in dB: (n, mels, frames) to (n, 1, 1).

    Like the loudness of ITU-R BS.1770 it is gated, so pauses do not count. Unlike there, clicks do not either.
    Without speech it is the loudest point.
    """
    kept = speech_frames(decibel, lasting)
    mean = _mean(_lasting_power(decibel, lasting), kept)
    mean = torch.where(kept.any(dim=2, keepdim=True), mean, torch.ones_like(mean))
    return decibel.amax(dim=(1, 2), keepdim=True) + 10 * torch.log10(mean)


def shift_bands(decibel: Tensor, shift: Tensor) -> Tensor:
    """Add dB to the bands, (mels, 1) or (n, mels, 1), of (n, mels, frames).

    Nothing is then more than 80 dB below the window's loudest point, which is where padding is.
    """
    sound = sounding(decibel)
    lowest = decibel.amin(dim=(1, 2), keepdim=True)
    moved = torch.where(sound, decibel + shift, lowest + shift.amin(dim=-2, keepdim=True))
    floor = moved.amax(dim=(1, 2), keepdim=True) - TOP_DB
    return torch.where(sound, torch.maximum(moved, floor), floor)


def at_level(decibel: Tensor, level: str, lasting: int) -> Tensor:
    """Put 0 dB where `level` wants it; with none it stays: (n, mels, frames)."""
    if level == "peak":
        return decibel - decibel.amax(dim=(1, 2), keepdim=True)
    if level == "speech":
        return decibel - (speech_level(decibel, lasting) - SPEECH_LEVEL)
    return decibel


def _lasting_power(decibel: Tensor, lasting: int) -> Tensor:
    """Compute the frames' power, (n, 1, frames), without sounds shorter than `lasting` frames; 0 in padding.

    That is a grey-level opening: the minimum, then the maximum over so many frames around each. The loudest point
    has a power of 1.
    """
    relative = decibel - decibel.amax(dim=(1, 2), keepdim=True)
    power = torch.exp(relative * (math.log(10) / 10)).mean(dim=1, keepdim=True) * sounding(decibel)
    eroded = -nn.functional.max_pool1d(-power, lasting, 1, lasting // 2)
    opened = nn.functional.max_pool1d(eroded, lasting, 1, lasting // 2)
    # A window with nothing but a click or half a syllable: then that is what counts.
    return torch.where(opened.amax(dim=2, keepdim=True) > 0, opened, power)


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    """Average over the frames that are kept, 0 where none is: (n, k, frames) to (n, k, 1)."""
    weight = kept.to(values.dtype)
    return (values * weight).sum(dim=2, keepdim=True) / weight.sum(dim=2, keepdim=True).clamp_min(1)


def _average_speech(sample_rate: int, n_mels: int) -> Array:
    """Return the spectrum of average speech in mel bands, dB, its mean 0."""
    band = mel_frequencies(n_mels + 2, sample_rate / 2)[1:-1]
    hertz = np.array(list(_SPEECH))
    # A third of an octave is as wide as its frequency is high; area norm makes mel bands densities.
    density = np.array(list(_SPEECH.values())) - 10 * np.log10(hertz)
    level = np.interp(np.log(band), np.log(hertz), density)
    return np.asarray(level - level.mean())


def _columns(n_fft: int, hop: int) -> int:
    """Return the common divisor of n_fft and hop nearest to the square root of n_fft."""
    divisors = [d for d in range(1, math.gcd(n_fft, hop) + 1) if n_fft % d == hop % d == 0]
    return min(divisors, key=lambda d: abs(math.log(d * d / n_fft)))


def _bits(terms: int) -> int:
    """Return the bits that both factors may have so that a sum of so many products is exact in float32."""
    return (_MANTISSA - math.ceil(math.log2(terms))) // 2


def _split(values: Array, bits: int) -> tuple[Array, Array]:
    """Split values within -1..1 into multiples of 2^-bits, and the rest."""
    high = np.round(values * 2.0**bits) / 2.0**bits
    return high, values - high


def _first_basis(rows: int) -> Array:
    """Return stage 1, a DFT over the rows: a cosine and minus a sine each, (2 (rows // 2 + 1), rows)."""
    frequency, row = np.arange(rows // 2 + 1)[:, None], np.arange(rows)
    # The product is reduced first: cos of a large argument loses digits.
    angle = 2 * np.pi * (frequency * row % rows) / rows
    return np.stack([np.cos(angle), -np.sin(angle)], axis=1).reshape(-1, rows)


def _bins(rows: int, n_fft: int) -> NDArray[np.int64]:
    """List the frequencies that each group of stage 2 gives, one group after another; -1 where it has fewer.

    Frequency k needs the stage-1 frequency k mod rows, which is the conjugate of rows - k mod rows: one group
    makes both.
    """
    frequency = np.arange(n_fft // 2 + 1)
    group = np.minimum(frequency % rows, -frequency % rows)
    members = [frequency[group == g] for g in range(rows // 2 + 1)]
    width = max(map(len, members))
    return np.concatenate([np.pad(m, (0, width - len(m)), constant_values=-1) for m in members])


def _second_basis(bins: NDArray[np.int64], rows: int, columns: int) -> Array:
    """Return stage 2, the sum over columns with twiddle factors.

    Shape (2 len(bins), 2 columns): in every group the real, then the imaginary parts of its frequencies, from
    the columns' real, then imaginary parts.
    """
    angle = -2 * np.pi * (bins[:, None] * np.arange(columns) % (rows * columns)) / (rows * columns)
    conjugate = np.where(bins % rows <= rows // 2, 1, -1)[:, None]
    real = np.concatenate([np.cos(angle), -conjugate * np.sin(angle)], axis=1)
    imaginary = np.concatenate([np.sin(angle), conjugate * np.cos(angle)], axis=1)
    by_group = np.stack([real, imaginary]).reshape(2, rows // 2 + 1, -1, 2 * columns)
    return by_group.swapaxes(0, 1).reshape(-1, 2 * columns)


def _framed(weight: Array, step: int) -> nn.Conv1d:
    """Build a convolution that cuts frames and transforms them: each column's samples meet that column's weights.

    Args:
        weight: of each part of the samples, (parts, outputs, rows, columns).
        step: rows in a hop. They are channels, so that a frame is a few hops next to each other.
    """
    parts, outputs, rows, columns = weight.shape
    hops = -(-rows // step)
    whole = np.pad(weight, ((0, 0), (0, 0), (0, hops * step - rows), (0, 0)))
    convolution = nn.Conv1d(parts * step * columns, outputs * columns, hops, groups=columns, bias=False)
    _set(convolution, whole.reshape(parts, outputs, hops, step, columns).transpose(4, 1, 0, 3, 2))
    return convolution


def _pointwise(weight: Array, groups: int = 1) -> nn.Conv1d:
    """Build a convolution of width 1: a matrix product at every point."""
    outputs, inputs = weight.shape
    convolution = nn.Conv1d(inputs * groups, outputs, 1, groups=groups, bias=False)
    _set(convolution, weight)
    return convolution


def _set(convolution: nn.Conv1d, weight: Array) -> None:
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(weight.copy()).view(convolution.weight.shape))
