"""What mutations begin with: small sound files of every kind, made of synthetic sound.

`python -m tests.fuzz.seeds` writes tests/fuzz/seeds anew. The files are kept, since encoders' versions differ.
"""

from __future__ import annotations

import functools
import io
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

FOLDER = Path(__file__).with_name("seeds")
RATE = 8000
SHORT, LONG = 0.25, 2.0  # s of PCM and of what is encoded


@dataclass(frozen=True)
class Seed:
    """A whole file.

    Args:
        name: of the file.
        data: its content.
        seconds: of sound in it.
        promises: whether its header, or its last page, tells that something is missing where it is cut short.
        chain: whether two of them, one behind the other, are one recording.
    """

    name: str
    data: bytes
    seconds: float = 0.0
    promises: bool = True
    chain: bool = False


#: Container, encoder and options of what PyAV writes, by the name of the file.
_ENCODED: dict[str, tuple[str, str, dict[str, str]]] = {
    "a.mp3": ("mp3", "libmp3lame", {"b": "16000"}),
    "no-xing.mp3": ("mp3", "libmp3lame", {"b": "16000", "write_xing": "0"}),
    "a.mp2": ("mp2", "mp2", {"b": "32000"}),
    "a.m4a": ("ipod", "aac", {"b": "24000"}),
    "streamed.m4a": ("mp4", "aac", {"b": "24000", "movflags": "frag_keyframe+empty_moov"}),
    "faststart.m4a": ("ipod", "aac", {"b": "24000", "movflags": "faststart"}),
    "a.mov": ("mov", "adpcm_ima_qt", {}),
    "alac.m4a": ("ipod", "alac", {}),
    "a.aac": ("adts", "aac", {"b": "24000"}),
    "a.amr": ("amr", "libopencore_amrnb", {"b": "12200"}),
    "a.3gp": ("3gp", "libopencore_amrnb", {"b": "12200"}),
    "a.webm": ("webm", "libopus", {"b": "16000"}),
    "streamed.webm": ("webm", "libopus", {"b": "16000", "live": "1"}),
    "a.mka": ("matroska", "aac", {"b": "24000"}),
    "a.opus": ("ogg", "libopus", {"b": "16000"}),
    "a.wma": ("asf", "wmav2", {"b": "24000"}),
    "a.avi": ("avi", "libmp3lame", {"b": "16000"}),
    "a.flv": ("flv", "libmp3lame", {"b": "16000"}),
    "a.ts": ("mpegts", "aac", {"b": "24000"}),
    "a.mpg": ("mpeg", "mp2", {"b": "32000"}),
    "a.ac3": ("ac3", "ac3", {"b": "32000"}),
    "a.wv": ("wv", "wavpack", {}),
    "a.tta": ("tta", "tta", {}),
    "ima.wav": ("wav", "adpcm_ima_wav", {}),
    "ms.wav": ("wav", "adpcm_ms", {}),
    "mp3.wav": ("wav", "libmp3lame", {"b": "16000"}),
}
_RATES = {"a.mp2": 16000, "a.mpg": 16000, "a.ac3": 32000, "a.avi": 16000, "a.flv": 22050, "a.webm": 16000}
_RATES |= {"streamed.webm": 16000, "a.opus": 16000, "mp3.wav": 16000, "a.mov": 8000}
#: Of these a part is a shorter file of the same kind.
_OPEN = {"no-xing.mp3", "a.mp2", "a.aac", "a.amr", "streamed.webm", "a.ts", "a.mpg", "a.ac3", "a.flv", "a.wma"}
_OPEN |= {"streamed.wav", "streamed.au", "streamed.flac", "streamed.m4a", "a.webm", "a.mka"}
_CHAINS = {"a.mp3", "no-xing.mp3", "a.mp2", "a.aac", "a.opus", "a.ogg", "a.ac3"}
#: libsndfile's container and encoding.
_PCM = {
    "a.wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "u8.wav": ("WAV", "PCM_U8"),
    "24.wav": ("WAV", "PCM_24"),
    "ulaw.wav": ("WAV", "ULAW"),
    "gsm.wav": ("WAV", "GSM610"),
    "wavex.wav": ("WAVEX", "PCM_16"),
    "a.rf64": ("RF64", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "ulaw.aiff": ("AIFF", "ULAW"),
    "float.aiff": ("AIFF", "FLOAT"),
    "a.au": ("AU", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.voc": ("VOC", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
}


def voice(seconds: float, rate: int) -> NDArray[np.float32]:
    """Synthetic sound, (n,): harmonics of 150 Hz, louder and quieter, and some noise."""
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 8))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return ((0.2 * tones + 0.02 * noise) * (0.6 + 0.4 * np.sin(5 * t))).astype(np.float32)


@functools.cache
def sounds() -> tuple[Seed, ...]:
    """Return the sound files of tests/fuzz/seeds, in the order of their names."""
    return tuple(_seed(path.name, path.read_bytes()) for path in sorted(FOLDER.iterdir()))


def pcm_sounds() -> tuple[Seed, ...]:
    """Return those of `sounds` that hold samples as they are."""
    return tuple(seed for seed in sounds() if seed.seconds == SHORT)


def encoded_sounds() -> tuple[Seed, ...]:
    """Return those of `sounds` that hold encoded sound."""
    return tuple(seed for seed in sounds() if seed.seconds != SHORT)


def _seed(name: str, data: bytes) -> Seed:
    long = name in _ENCODED or name.endswith((".flac", ".ogg"))
    return Seed(name, data, LONG if long else SHORT, name not in _OPEN, name in _CHAINS)


def write_all(folder: Path = FOLDER) -> None:
    """Write all sound files into a folder."""
    folder.mkdir(exist_ok=True)
    for name, (container, encoder, options) in _ENCODED.items():
        (folder / name).write_bytes(_encode(container, encoder, options, _RATES.get(name, RATE)))
    for name, (container, subtype) in _PCM.items():
        (folder / name).write_bytes(
            _libsndfile(container, subtype, LONG if name in ("a.flac", "a.ogg") else SHORT)
        )
    wav = (folder / "a.wav").read_bytes()
    (folder / "streamed.wav").write_bytes(_with_size(wav, 4, b"\xff" * 4, b"data"))
    au = (folder / "a.au").read_bytes()
    (folder / "streamed.au").write_bytes(au[:8] + b"\xff" * 4 + au[12:])
    flac = (folder / "a.flac").read_bytes()
    samples = bytes([flac[21] & 0xF0, 0, 0, 0, 0])
    (folder / "streamed.flac").write_bytes(flac[:21] + samples + flac[26:])
    rf64 = (folder / "a.rf64").read_bytes()
    (folder / "a.bw64").write_bytes(b"BW64" + rf64[4:])
    (folder / "a.rifx").write_bytes(_rifx(voice(SHORT, RATE)))


def _with_size(wav: bytes, at: int, size: bytes, chunk: bytes) -> bytes:
    data = wav.index(chunk) + 4
    return wav[:at] + size + wav[at + 4 : data] + size + wav[data + 4 :]


def _rifx(samples: NDArray[np.float32]) -> bytes:
    data = (samples * 32767).astype(">i2").tobytes()
    fmt = b"fmt " + struct.pack(">IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + fmt + b"data" + struct.pack(">I", len(data)) + data
    return b"RIFX" + struct.pack(">I", len(body)) + body


def _libsndfile(container: str, subtype: str, seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds, RATE), RATE, format=container, subtype=subtype)
    return file.getvalue()


def _encode(container: str, encoder: str, options: dict[str, str], rate: int) -> bytes:
    import av

    muxing = {name: value for name, value in options.items() if name != "b"}
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=muxing) as output,
    ):
        stream: Any = output.add_stream(encoder, rate=rate, layout="mono")
        if "b" in options:
            stream.bit_rate = int(options["b"])
        frame = av.AudioFrame.from_ndarray(voice(LONG, rate)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        output.close()
        return Path(file.name).read_bytes()


if __name__ == "__main__":
    write_all()
