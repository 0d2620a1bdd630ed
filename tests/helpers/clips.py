"""Videos for tests, encoded with PyAV: drawn faces that move, with synthetic voices."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from PIL import Image

from fdan_edge.data.corpora.synthetic.faces import face
from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

Frame = NDArray[np.uint8]

FOUND = (7, 9)  # drawn faces that the detector finds in every emotion
RATE = 8  # frames per second
#: What the publishers use, and what else is common: video codec, sound codec, sample rate.
CODECS = {
    ".mp4": ("libx264", "aac", 48000),
    ".mov": ("mpeg4", "pcm_s16le", 16000),
    ".mkv": ("libx264", "aac", 16000),
    ".avi": ("mpeg4", "pcm_s16le", 44100),
    ".flv": ("flv", "libmp3lame", 44100),
    ".mpg": ("mpeg1video", "mp2", 44100),
    ".webm": ("libvpx", "libopus", 48000),
}


def scene(emotion: str, index: int, shift: int) -> Frame:
    """A drawn face of 144 pixels before a plain wall, (240, 320, 3)."""
    canvas = Image.new("RGB", (320, 240), (96, 110, 120))
    canvas.paste(
        face(emotion, index).convert("RGB").resize((144, 144), Image.Resampling.BICUBIC), (70 + shift, 50)
    )
    return np.array(canvas)


def scenes(emotion: str, index: int = FOUND[0], count: int = 9) -> list[Frame]:
    return [scene(emotion, index, 2 * number) for number in range(count)]


def spoken(emotion: str, speaker: int = 0) -> NDArray[np.float32]:
    """A voice at 16 kHz, (1, n)."""
    return np.asarray(voice(emotion, speaker, 0), np.float32)[None]


def clip(path: Path, emotion: str, speaker: int = 0, index: int = FOUND[0]) -> Path:
    """A face that speaks."""
    return write(path, scenes(emotion, index), spoken(emotion, speaker))


def write(
    path: Path,
    frames: list[Frame],
    sound: NDArray[np.float32] | None,
    *,
    rate: int = RATE,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frames, (height, width, 3), and sound at 16 kHz, (channels, n); neither is needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, voice_codec, sample_rate = CODECS[path.suffix]
    with av.open(str(path), "w", options=options or {}) as container:
        video: Any = container.add_stream(picture, rate=rate) if frames else None
        audio: Any = None
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
            audio = container.add_stream(voice_codec, rate=sample_rate, layout=layout)
        if video:
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
        container.start_encoding()  # opens the codecs, which then know their frames
        if video:
            made = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
            container.mux([packet for frame in [*made, None] for packet in video.encode(frame)])
        if sound is not None:
            container.mux([packet for frame in [*_frames(sound, audio), None] for packet in audio.encode(frame)])
    return path


def _frames(sound: NDArray[np.float32], stream: Any) -> list[Any]:
    """Sound as frames of the size, rate and kind of samples that the encoder takes."""
    resampled = soxr.resample(sound.T, SAMPLE_RATE, stream.rate).T
    size = stream.codec_context.frame_size or 1024
    convert, made = av.AudioResampler(format=stream.format), []
    for start in range(0, resampled.shape[1], size):
        part = np.ascontiguousarray(resampled[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
        made += convert.resample(frame)
    return made
