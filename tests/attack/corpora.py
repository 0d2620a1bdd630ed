"""Attacks with corpora: tables, folders and pictures of others, given to `data scan` and `train`."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from tests.attack.attack import attack, check
from tests.attack.command import run_command, survived
from tests.attack.place import Place, recording

_HEAD = b"path,emotion,speaker\n"
_SIDE = 13_300  # px of a picture: PNG compresses one colour to some hundred KB


@attack("told within 30 s and 1000 MB")
def a_million_missing_rows(place: Place) -> str:
    """Give a table of a million recordings that are not there."""
    return _table_of_missing(place, 1_000_000, 30, 1000)


@attack("told within 120 s and 4000 MB", long=True)
def ten_million_missing_rows(place: Place) -> str:
    """Give a table of ten million recordings that are not there."""
    return _table_of_missing(place, 10_000_000, 120, 4000)


@attack("told within 60 s and 1000 MB")
def a_hundred_thousand_files(place: Place) -> str:
    """Give a folder of 100,000 empty files."""
    folder = place.folder / "corpus" / "angry"
    folder.mkdir(parents=True)
    for number in range(100_000):
        (folder / f"{number}.wav").touch()
    return survived([run_command(["data", "scan", f"folder:{folder.parent}"], 90)], 60, 1000)


@attack("told within 20 s and 1000 MB each")
def tables_that_are_none(place: Place) -> str:
    """Give tables of one line of 100 MB, of null bytes, half a quote, other encodings, devices."""
    contents = [b"a" * 100_000_000, _HEAD + b"a" * 100_000_000, _HEAD + bytes(1000), b"\xff\xfe" * 1000]
    contents += [_HEAD + b'"a.wav,angry,x\n' * 100_000, b"\n" * 10_000_000, _HEAD + b"\x1b[31m.wav,\x1b[0m,\n"]
    done = []
    for number, content in enumerate(contents):
        path = place.folder / f"{number}.csv"
        path.write_bytes(content)
        done.append(run_command(["data", "scan", f"folder:{path}"], 30))
    return survived(done, 20, 1000)


@attack("told within 20 s and 1000 MB each")
def rows_of_other_places(place: Place) -> str:
    """Name devices, pipes, links in circles, and files outside of the corpus in a table."""
    loop = place.folder / "loop.wav"
    loop.symlink_to(loop.name)
    names = [
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "loop.wav",
        "../" * 9 + "etc/passwd",
        str(recording()),
        "",
    ]
    path = place.folder / "labels.csv"
    path.write_bytes(_HEAD + "".join(f"{name},angry,x\n" for name in names).encode())
    return survived([run_command(["data", "scan", f"folder:{path}"], 30)], 20, 1000)


@attack("told within 30 s and 1000 MB each")
def pictures_of_any_size(place: Place) -> str:
    """Give faces of 13300 x 13300 pixels, and of 65535 x 65535 pixels in the header alone."""
    done = []
    for name, picture in {
        "large": _png(_SIDE, _SIDE),
        "header": _png(65_535, 1),
        "bomb": _png(30_000, 30_000),
    }.items():
        folder = place.folder / name / "train" / "angry"
        folder.mkdir(parents=True)
        if name == "header":
            picture = picture.replace(struct.pack(">II", 65_535, 1), struct.pack(">II", 65_535, 65_535))
        (folder / "0.png").write_bytes(picture)
        done.append(run_command(["data", "scan", f"fer2013:{folder.parents[1]}"], 40))
    return survived(done, 30, 1000)


@attack("refused in a line each")
def settings_that_are_none(place: Place) -> str:
    """Give settings of great depth, of numbers of 10,000 digits, of null bytes, of the wrong types."""
    texts = ["a = " + "[" * 20_000, "epochs = " + "9" * 10_000, "epochs = 1e999", "\0", "a." * 5000 + "b = 1"]
    texts += ["[[epochs]]\n" * 10_000, 'backbone = "\x1b[31m"', "epochs = nan", "x = '''" + "a" * 1_000_000]
    done = []
    for number, text in enumerate(texts):
        path = place.folder / f"{number}.toml"
        path.write_text(text)
        words: list[str | Path] = [
            "train",
            path,
            "--speech",
            f"folder:{place.folder}",
            "--out",
            place.folder / "run",
        ]
        done.append(run_command(words))
    wrong = [one.problem or f"exit code {one.code}" for one in done if not one.refused]
    return check(not wrong, f"{len(done)} files, {wrong or 'all refused'}")


def _table_of_missing(place: Place, rows: int, seconds: float, megabytes: float) -> str:
    path = place.folder / "labels.csv"
    with path.open("wb") as file:
        file.write(_HEAD)
        file.writelines(b"missing/%d.wav,angry,%d\n" % (number, number % 50) for number in range(rows))
    return survived([run_command(["data", "scan", f"folder:{path}"], seconds + 30)], seconds, megabytes)


def _png(width: int, height: int) -> bytes:
    """Return a black picture, without the memory that it takes."""
    packer, parts = zlib.compressobj(9), []
    line = bytes(1 + width)
    for _ in range(height):
        parts.append(packer.compress(line))
    data = b"".join([*parts, packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
