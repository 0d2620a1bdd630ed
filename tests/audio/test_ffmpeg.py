"""FFmpeg opens nothing but the file that it is given: no socket, and no file that another one names."""

from __future__ import annotations

import io
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fdan_edge.audio import decode, ffmpeg
from fdan_edge.audio.kinds import HEAD, Kind, identify
from fdan_edge.data import face_crops
from fdan_edge.errors import AudioError, DataError
from tests.helpers.clips import spoken, write
from tests.test_privacy import INTERNET, can_trace

#: What makes FFmpeg open others: its demuxer, and a text that names the port or file OTHER.
TEXTS = {
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio PORT RTP/AVP 0\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nOTHER\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile 'OTHER'\n",
    "dash": '<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'contentType="audio"><Representation id="1" bandwidth="1"><BaseURL>OTHER</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "webvtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nOTHER\n",
    "ffmetadata": ";FFMETADATA1\ntitle=OTHER\n",
}
NAMES = ("a.mkv", "a.avi", "a.wav", "a.mp4", "a%d.mp4", "concat:a.mp4|b.mp4", "a.sdp")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A sound file that is not to be read."""
    return write(tmp_path / "other" / "secret.mp4", [], spoken("sad"))


@pytest.mark.parametrize("demuxer", TEXTS)
def test_texts_are_never_given_to_ffmpeg(tmp_path: Path, other: Path, demuxer: str) -> None:
    text = TEXTS[demuxer].replace("OTHER", str(other)).replace("PORT", "45000")
    assert identify(text.encode()[:HEAD]) in (None, identify(b"#EXTM3U"), identify(b"text\n" * 9))
    for name in NAMES:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(AudioError, match="not a readable sound file"):
            decode.load(path)
        with pytest.raises(DataError, match="not a readable video"):
            face_crops.sample_frames(path, 1)


@pytest.mark.parametrize("demuxer", ["sdp", "hls", "concat"])
def test_a_demuxer_that_opens_others_cannot(other: Path, demuxer: str) -> None:
    """The second wall, should one of these ever be taken for sound: here they are asked for by name."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.01)
        port = server.getsockname()[1]
        for named in (str(other), f"file:{other}", f"http://127.0.0.1:{port}/a.mp4", f"tcp://127.0.0.1:{port}"):
            text = TEXTS[demuxer].replace("OTHER", named).replace("PORT", str(port + 2 & ~1))
            with (
                pytest.raises(AudioError, match=r"cut short or damaged|cannot be read as"),
                ffmpeg.opened(io.BytesIO(text.encode()), Kind("a trap", "ffmpeg", demuxer), "a") as container,
            ):
                list(container.decode(audio=0))
            with pytest.raises(TimeoutError):
                server.accept()


def test_the_trap_works_where_nothing_is_confined(other: Path) -> None:
    """Or the tests above could not fail."""
    text = TEXTS["concat"].replace("OTHER", f"file:{other}")
    options = {"safe": "0", "protocol_whitelist": "file"}
    container: Any
    with av.open(io.BytesIO(text.encode()), format="concat", options=options) as container:
        assert next(container.decode(audio=0)).samples


_OPENS_ALL = """
import sys
from pathlib import Path
from fdan_edge.audio import decode
from fdan_edge.data import face_crops
from fdan_edge.errors import DataError
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (decode.load, lambda path: face_crops.sample_frames(path, 1)):
        try:
            read(path)
        except DataError:
            pass
"""


def test_no_socket_is_opened_and_no_other_file_is_read(tmp_path: Path, other: Path) -> None:
    """C code is seen by strace alone. A whole video is among the files: it is decoded."""
    if not can_trace():
        pytest.skip("no strace, or it may not watch processes")
    folder = tmp_path / "inputs"
    write(folder / "whole.mp4", [np.zeros((64, 96, 3), np.uint8)] * 3, spoken("sad"))
    for demuxer, text in TEXTS.items():
        for name in NAMES:
            (folder / f"{demuxer}-{name}").write_text(text.replace("OTHER", str(other)).replace("PORT", "45000"))
    log = tmp_path / "log"
    command = ["strace", "-f", "-qq", "-e", "trace=network,%file", "-o", str(log)]
    subprocess.run([*command, sys.executable, "-c", _OPENS_ALL, str(folder)], check=True, timeout=60)
    lines = log.read_text(errors="replace").splitlines()
    assert any("whole.mp4" in line for line in lines)
    assert not [line for line in lines if INTERNET.search(line) or "secret" in line]


def huge(path: Path, side: int, whole: int = 0) -> Path:
    """A video of two pictures, of JPEG, that say that they are much larger, but for the first `whole`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    places = [match.end() for match in re.finditer(rb"\xff\xc0\x00\x11\x08(?=\x00\x30\x00\x40)", data)]
    assert len(places) == 2
    for at in places[whole:]:
        data[at : at + 4] = struct.pack(">HH", side, side)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_pictures_of_absurd_size(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = huge(tmp_path / f"a{suffix}", 30000)
    with pytest.raises(DataError, match="is cut short or damaged"):
        face_crops.sample_frames(path, 1)
    with pytest.raises(AudioError, match="a video without sound"):
        decode.load(path)
    small = huge(tmp_path / f"b{suffix}", 256)
    assert face_crops.sample_frames(small, 1)[0].shape == (256, 256, 3)
    monkeypatch.setattr(ffmpeg, "MOST_PIXELS", 256 * 255)
    with pytest.raises(DataError, match="is cut short or damaged"):
        face_crops.sample_frames(small, 1)


def test_pictures_that_grow_within_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header says nothing of it."""
    path = huge(tmp_path / "a.mkv", 256, whole=1)
    assert [frame.shape[:2] for frame in face_crops.sample_frames(path, 64)] == [(48, 64), (256, 256)]
    monkeypatch.setattr(ffmpeg, "MOST_PIXELS", 64 * 48)
    with pytest.raises(DataError, match="cut short or damaged"):
        face_crops.sample_frames(path, 64)
