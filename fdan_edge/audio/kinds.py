"""Tell what a file is by its first bytes: its name does not count. Imports only the standard library."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: Bytes from the start of a file that `identify` wants to see.
HEAD = 8192

#: Suffixes by which folders and corpora list files, in lower case; what a listed file is, its content tells.
SOUNDS = (
    *(".wav", ".wave", ".rf64", ".bw64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2"),
    *(".m4a", ".m4b", ".aac", ".3gp", ".3g2", ".amr", ".awb", ".mka", ".weba"),
    *(".wma", ".ac3", ".wv", ".ape", ".tta"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".sph"),
)
VIDEOS = (".mp4", ".m4v", ".avi", ".flv", ".mov", ".mkv", ".mpg", ".mpeg", ".mts", ".ogv", ".webm", ".wmv")


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Args:
        name: for people.
        reader: "wav" (this package), "libsndfile", "ffmpeg" or "" for what holds no sound.
        demuxer: FFmpeg's name of it; "" where FFmpeg does not read it. FFmpeg is never left to guess: it knows
            playlists and other texts that make it open files and sockets.
        advice: what to do about a file that holds no sound.
    """

    name: str
    reader: str
    demuxer: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return self.name


WAV, RIFX = Kind("WAV", "wav", "wav"), Kind("RIFX", "wav", "wav")
RF64, BW64 = Kind("RF64", "wav", "wav"), Kind("BW64", "wav", "wav")
W64 = Kind("W64", "libsndfile", "w64")
AIFF, AU, CAF = (
    Kind("AIFF", "libsndfile", "aiff"),
    Kind("AU", "libsndfile", "au"),
    Kind("CAF", "libsndfile", "caf"),
)
FLAC, OGG = Kind("FLAC", "libsndfile", "flac"), Kind("Ogg", "libsndfile", "ogg")
SPHERE, VOC = Kind("NIST SPHERE", "libsndfile", "nistsphere"), Kind("VOC", "libsndfile", "voc")
MP3 = Kind("MP3", "ffmpeg", "mp3")
AAC, LATM = Kind("AAC", "ffmpeg", "aac"), Kind("AAC (LATM)", "ffmpeg", "loas")
AC3, AMR = Kind("AC-3", "ffmpeg", "ac3"), Kind("AMR", "ffmpeg", "amr")
MP4 = Kind("MP4", "ffmpeg", "mov")
MATROSKA, AVI = Kind("Matroska or WebM", "ffmpeg", "matroska"), Kind("AVI", "ffmpeg", "avi")
ASF, FLV = Kind("ASF (WMA, WMV)", "ffmpeg", "asf"), Kind("FLV", "ffmpeg", "flv")
MPEG, MPEG_TS = Kind("MPEG", "ffmpeg", "mpeg"), Kind("MPEG-TS", "ffmpeg", "mpegts")
WAVPACK, APE, TTA = (
    Kind("WavPack", "ffmpeg", "wv"),
    Kind("Monkey's Audio", "ffmpeg", "ape"),
    Kind("TTA", "ffmpeg", "tta"),
)

GIT_LFS = Kind("a git-lfs pointer", "", advice="git lfs pull")

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
#: First bytes of what holds sound; `identify` looks at more of RIFF, FORM and MPEG.
_STARTS = (
    (b"RF64", RF64),
    (b"BW64", BW64),
    (_W64, W64),
    (b".snd", AU),
    (b"dns.", AU),
    (b"caff", CAF),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"NIST_1A", SPHERE),
    (b"Creative Voice File\x1a", VOC),
    (b"#!AMR", AMR),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (_ASF, ASF),
    (b"FLV\x01", FLV),
    (b"\x00\x00\x01\xba", MPEG),
    (b"\x0b\x77", AC3),
    (b"wvpk", WAVPACK),
    (b"MAC ", APE),
    (b"TTA1", TTA),
)
#: First bytes of what holds no sound and is often found where sound should be.
_OTHERS = (
    (b"version https://git-lfs.github.com/", GIT_LFS),
    (b"\x89PNG", Kind("a picture (PNG)", "")),
    (b"\xff\xd8\xff", Kind("a picture (JPEG)", "")),
    (b"GIF8", Kind("a picture (GIF)", "")),
    (b"%PDF", Kind("a PDF", "")),
    (b"PK\x03\x04", Kind("a ZIP archive", "", advice="unpack it")),
    (b"\x1f\x8b", Kind("a gzip archive", "", advice="unpack it")),
    (b"7z\xbc\xaf", Kind("a 7z archive", "", advice="unpack it")),
    (b"#EXTM3U", Kind("a playlist", "", advice="give the files that it names")),
    (b"MThd", Kind("a MIDI file", "", advice="it has notes, no sound")),
)
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]*\Z")
_MOST_TAGS = 16


def identify(head: bytes) -> Kind | None:
    """Tell what begins with these bytes (`HEAD` of them, or all of a shorter file); None where nothing fits."""
    if size := tag_size(head):
        return behind_tag(head[size:])
    for start, kind in (*_STARTS, *_OTHERS):
        if head.startswith(start):
            return kind
    if head[:4] in (b"RIFF", b"RIFX", b"FORM"):
        return _of_chunks(head[:4], head[8:12])
    if head[4:8] in _ATOMS:
        return MP4
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return MPEG_TS
    return _mpeg(head) or (Kind("text", "") if head and _is_text(head) else None)


def behind_tag(head: bytes) -> Kind:
    """Tell what an ID3v2 tag is in front of: nearly always MP3, which it is where nothing else fits."""
    if tag_size(head) or head[:4] in (b"fLaC", b"TTA1", b"wvpk"):
        return identify(head) or MP3
    return _mpeg(head) or MP3


def tag_size(head: bytes) -> int:
    """Return the bytes of the ID3v2 tag that begins here, its pictures included; 0 where none does."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def after_tags(file: BinaryIO) -> int:
    """Return where the first bytes of a file are that belong to no ID3v2 tag; its position changes."""
    at = 0
    for _ in range(_MOST_TAGS):
        file.seek(at)
        size = tag_size(file.read(10))
        if not size:
            break
        at += size
    return at


def identify_file(file: BinaryIO) -> tuple[Kind | None, bytes]:
    """Tell what an open file is, and return its first bytes behind ID3v2 tags; its position changes."""
    at = after_tags(file)
    file.seek(at)
    head = file.read(HEAD)
    return behind_tag(head) if at else identify(head), head


def kind_of(path: Path) -> Kind | None:
    """Tell what a file is; None for pipes and devices, which are never opened, and for what cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return identify_file(file)[0]
    except OSError:
        return None


def _of_chunks(group: bytes, form: bytes) -> Kind | None:
    kinds = {
        (b"RIFF", b"WAVE"): WAV,
        (b"RIFX", b"WAVE"): RIFX,
        (b"RIFF", b"AVI "): AVI,
        (b"FORM", b"AIFF"): AIFF,
        (b"FORM", b"AIFC"): AIFF,
    }
    return kinds.get((group, form))


def _mpeg(head: bytes) -> Kind | None:
    """Find two MPEG frames that follow each other: MP3 (or MP1, MP2), or AAC with ADTS or LATM headers.

    Nothing but zeros may come before the first of them at once; other rubbish may as long as three frames follow.
    """
    first = len(head) - len(head.lstrip(b"\0"))
    for at in range(first, min(len(head), first + 4096)):
        wanted = 2 if at == first else 3
        for kind, length_of in ((AAC, _adts_length), (MP3, _mpeg_length), (LATM, _latm_length)):
            if _follow(head, at, length_of, wanted):
                return kind
    return None


def _follow(head: bytes, at: int, length_of: Callable[[bytes], int], wanted: int) -> bool:
    """Tell whether so many frames follow each other from `at` on."""
    for _ in range(wanted):
        length = length_of(head[at : at + 7])
        if not length:
            return False
        at += length
        if at >= len(head):
            return at == len(head) or wanted == 2
    return True


_BITRATES = {  # kbit/s by (version 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_VERSIONS = {3: 1, 2: 2, 0: 4}  # bits -> what MPEG 1's sample rates are divided by


def _mpeg_length(header: bytes) -> int:
    """Return the length in bytes of the MPEG audio frame that begins here; 0 where none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    divisor, layer = _VERSIONS.get(header[1] >> 3 & 3), 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if divisor is None or layer == 4 or rate == 3 or bitrate in (0, 15):
        return 0
    bits = _BITRATES[divisor == 1, layer][bitrate - 1] * 1000
    hertz = (44100, 48000, 32000)[rate] // divisor
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and divisor > 1 else 144) * bits // hertz + padding


def _adts_length(header: bytes) -> int:
    """Return the length of the AAC frame with an ADTS header that begins here; 0 where none does."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0


def _latm_length(header: bytes) -> int:
    """Return the length of the AAC frame with a LATM header that begins here; 0 where none does."""
    if len(header) < 3 or header[0] != 0x56 or header[1] & 0xE0 != 0xE0:
        return 0
    return ((header[1] & 0x1F) << 8 | header[2]) + 3


def _is_text(head: bytes) -> bool:
    return bool(_TEXT.match(head)) and sum(byte > 127 for byte in head) < len(head) / 4
