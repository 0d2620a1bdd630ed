"""Attacks with sound and video files, given to `infer`."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.attack.attack import attack, check
from tests.attack.command import Done, run_command, survived
from tests.attack.place import RATE, Impossible, Place, bundle, recording
from tests.fuzz.seeds import sounds

_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=a
c=IN IP4 0.0.0.0
t=0 0
m=audio {port} RTP/AVP 0
a=rtpmap:0 PCMU/8000
m=video {next} RTP/AVP 96
a=rtpmap:96 H264/90000
"""
_SUFFIXES = ("mkv", "avi", "mp4", "wav", "webm", "m4a", "sdp", "mp3", "3gp", "")
_VIDEO = ("mp4", "mkv", "avi", "ts", "mp3", "m3u8", "")


@attack("refused within 10 s, without a socket")
def session_descriptions_as_videos(place: Place) -> str:
    """Name texts that tell FFmpeg to receive sound from the network as videos and sounds."""
    done = []
    for suffix in _SUFFIXES:
        path = place.folder / f"a.{suffix}"
        path.write_text(_SDP.format(port=46_000, next=46_002))
        done.append(run_command(["infer", bundle(), path], 10))
    return _refused(done)


@attack("refused within 10 s, without a socket, and nothing is fetched")
def playlists(place: Place) -> str:
    """Name playlists and scripts, whose entries are on a server and in other files, as sounds and videos."""
    with _listening() as (port, connections):
        own = recording().resolve()
        texts = [
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{own}\n",
            f"ffconcat version 1.0\nfile '{own}'\nfile 'http://127.0.0.1:{port}/a.wav'\n",
            f"[playlist]\nFile1=http://127.0.0.1:{port}/a.wav\n",
            f'<MPD type="static"><Period><BaseURL>http://127.0.0.1:{port}/</BaseURL></Period></MPD>',
            f"RTSPtext\r\nrtsp://127.0.0.1:{port}/a\r\n",
        ]
        done = []
        for number, text in enumerate(texts):
            path = place.folder / f"{number}.{_VIDEO[number]}"
            path.write_text(text)
            done.append(run_command(["infer", bundle(), path], 10))
        names = [
            f"concat:{own}|{own}",
            f"http://127.0.0.1:{port}/a.wav",
            f"subfile,,start,0,end,9,,:{own}",
            "pipe:0",
        ]
        done += [run_command(["infer", bundle(), name], 10) for name in names]
        fetched = len(connections)
    return check(not fetched, f"{fetched} connections") and _refused(done)


@attack("refused, or read, within 10 s and 500 MB")
def headers_that_promise_everything(place: Place) -> str:
    """Write the largest numbers into the headers of sounds: lengths, rates, channels, sizes of chunks."""
    done = []
    for sound in (
        one for one in sounds() if one.name in ("a.wav", "a.caf", "a.au", "a.flac", "a.m4a", "a.w64", "a.tta")
    ):
        path = place.folder / sound.name
        data = bytearray(sound.data)
        for at in range(12, min(len(data), 60), 12):
            data[at : at + 4] = b"\xff\xff\xff\x7f"
        path.write_bytes(data)
        done.append(run_command(["infer", bundle(), path], 20))
    return survived(done, 10, 500)


@attack("at most 250 MB more than a recording of a second, within 60 s")
def flac_of_six_hours(place: Place) -> str:
    """Compress six hours, with a tone now and then, into a small FLAC file."""
    path = place.folder / "long.flac"
    tone = (3000 * np.sin(2 * np.pi * 440 / RATE * np.arange(60 * RATE))).astype(np.int16)
    tone[RATE:] = 0
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(6 * 60):
            file.write(tone)
    short = run_command(["infer", bundle(), recording()])
    done = run_command(["infer", bundle(), path], 90)
    more = done.megabytes - short.megabytes
    held = not done.problem and more <= 250 and done.seconds <= 60
    size = path.stat().st_size / 1e6
    return check(
        held,
        f"{size:.1f} MB file: {done.problem or f'exit code {done.code}'}; {more:+.0f} MB, {done.seconds:.0f} s",
    )


@attack("refused, or read, within 10 s and 500 MB")
def video_of_absurd_dimensions(place: Place) -> str:
    """Write 65535 x 65535 pixels into the header of an mp4."""
    path = place.folder / "a.mp4"
    _write_video(path)
    data = path.read_bytes()
    small, large = struct.pack(">HH", 64, 48), struct.pack(">HH", 65535, 65535)
    check(small in data, "no dimensions in the file")
    track = struct.pack(">II", 64 << 16, 48 << 16)
    path.write_bytes(data.replace(small, large).replace(track, struct.pack(">II", 0xFFFF0000, 0xFFFF0000)))
    return survived([run_command(["infer", bundle(), path], 20)], 10, 500)


@attack("all answered or refused, within 60 s")
def names_that_are_no_names(place: Place) -> str:
    """Name files with new lines, escape sequences, options, bytes that are no UTF-8, and HTML."""
    names = [
        b"a\nb.wav",
        b"\x1b[31mred.wav",
        b"--help.wav",
        b"-",
        b"\xff\xfe.wav",
        b"<script>alert(1)</script>.wav",
    ]
    names += [b"a" * 250 + b".wav", "\u202egnp.wav".encode(), b"%s%n{0}.wav", b"$(touch executed).wav"]
    for name in names:
        if b"/" not in name:
            Path(os.fsdecode(os.fsencode(place.folder) + b"/" + name)).write_bytes(recording().read_bytes())
    done = [run_command(["infer", bundle(), place.folder, *words], 60) for words in ([], ["--json"])]
    table = run_command(["infer", bundle(), place.folder, "--csv", place.folder.with_suffix(".csv")], 60)
    return survived([*done, table], 60, 500)


def _refused(done: list[Done]) -> str:
    wrong = [one.problem or f"exit code {one.code}" for one in done if not one.refused]
    return check(
        not wrong, f"{len(done)} files, {wrong or 'all refused'}; at most {max(one.seconds for one in done):.1f} s"
    )


@contextlib.contextmanager
def _listening() -> Iterator[tuple[int, list[str]]]:
    """Listen on a port; the list has the connections that came, once the block has ended or it is asked."""

    class Connections(list[str]):
        def __len__(self) -> int:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection, address = listening.accept()
                    connection.close()
                    self.append(str(address))
            return super().__len__()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening.getsockname()[1], Connections()


def _write_video(path: Path) -> None:
    """Write a second of pictures and sound."""
    try:
        import av
    except ImportError:
        raise Impossible("PyAV is not installed") from None
    with av.open(path, "w") as container:
        pictures, voice = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(pictures.encode(frame))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.float32), format="fltp", layout="mono")
        sound.sample_rate = RATE
        container.mux([*voice.encode(sound), *voice.encode(None), *pictures.encode(None)])
