"""What microphones, lines and codecs do to sound: band limits, telephones, clipping, Opus, MP3, AMR."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.ffmpeg import import_av, is_installed
from fdan_edge.audio.windows import Waveform

_HEADROOM = 0.7  # of full scale that the peak has before it is encoded
_MU = 255  # of the mu law (ITU-T G.711)


@dataclass(frozen=True)
class Codec:
    """A speech or music codec; encoder and container by their names in FFmpeg."""

    encoder: str
    container: str
    rate: int  # Hz
    bit_rates: tuple[int, ...]  # bit/s that are drawn from


#: Codec by name, with the bit rates at which telephones, messengers and old recorders use it.
CODECS = {
    "opus": Codec("libopus", "ogg", RATE, (6000, 8000, 12000, 16000, 24000)),
    "mp3": Codec("libmp3lame", "mp3", RATE, (8000, 16000, 24000, 32000, 48000)),
    "amr": Codec("libopencore_amrnb", "amr", 8000, (4750, 5150, 5900, 6700, 7400, 7950, 10200, 12200)),
}


def available_codecs() -> list[str]:
    """Return the names of `CODECS` that the installed PyAV encodes; none where it is not installed."""
    if not is_installed():
        return []
    av = import_av("codecs")
    return [name for name, codec in CODECS.items() if _has_encoder(av, codec.encoder)]


def band_limited(waveform: Waveform, low: float, high: float) -> Waveform:
    """Stop what is below `low` and above `high` (Hz), by 24 and 48 dB an octave; 0: no lower limit."""
    if not len(waveform):
        return waveform
    hertz = np.fft.rfftfreq(len(waveform), 1 / RATE)
    gain = 1 / np.sqrt(1 + (hertz / high) ** 16)
    if low:
        gain /= np.sqrt(1 + (low / np.maximum(hertz, 1e-3)) ** 8)
    return np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)


def over_telephone(waveform: Waveform) -> Waveform:
    """Return sound (n,) after a telephone line: 300 to 3400 Hz, 8000 samples a second, 8 bits of the mu law."""
    if not len(waveform):
        return waveform
    peak = _peak(waveform)
    line = soxr.resample(band_limited(waveform, 300, 3400) * np.float32(_HEADROOM / peak), RATE, 8000)
    coded = np.sign(line) * np.log1p(_MU * np.minimum(np.abs(line), 1)) / np.log1p(_MU)
    steps = np.round(coded * 127) / 127
    decoded = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU
    heard = soxr.resample(decoded * (peak / _HEADROOM), 8000, RATE)
    return np.resize(heard, len(waveform)).astype(np.float32)


def clipped(waveform: Waveform, share: float) -> Waveform:
    """Clip the loudest `share` of the samples, as a microphone does that is turned up too far."""
    if not len(waveform):
        return waveform
    limit = np.quantile(np.abs(waveform), 1 - share)
    cut: Waveform = np.clip(waveform, -limit, limit)
    return cut


def encoded(waveform: Waveform, name: str, bit_rate: int) -> Waveform:
    """Encode sound (n,) and decode it again, (about n,), at the level that it had.

    Args:
        waveform: the sound at 16 kHz.
        name: one of `available_codecs`.
        bit_rate: bit/s.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """
    av, codec, peak = import_av(f"the codec {name}"), CODECS[name], _peak(waveform)
    if not len(waveform):
        return waveform
    sound = waveform * np.float32(_HEADROOM / peak)
    samples = sound if codec.rate == RATE else soxr.resample(sound, RATE, codec.rate)
    file = io.BytesIO()
    _write(av, file, codec, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16), bit_rate)
    file.seek(0)
    decoded: Waveform = _read(av, file) * np.float32(peak / _HEADROOM)
    return decoded


def _write(av: Any, file: io.BytesIO, codec: Codec, samples: np.ndarray, bit_rate: int) -> None:
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=codec.rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = codec.rate
        resampler = av.AudioResampler(stream.format.name, "mono", codec.rate, frame_size=stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                container.mux(packet)


def _read(av: Any, file: io.BytesIO) -> Waveform:
    with av.open(file) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([part.to_ndarray()[0] for part in [*parts, *resampler.resample(None)]])


def _has_encoder(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def _peak(waveform: Waveform) -> float:
    return max(float(np.abs(waveform).max(initial=0)), 1e-9)
