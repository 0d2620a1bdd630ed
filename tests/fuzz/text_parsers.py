"""Settings, tables of labels and messages of browsers, damaged."""

from __future__ import annotations

import csv
import functools
import io
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.config import Config
from fdan_edge.config.settings import FIELDS
from fdan_edge.data.corpora import meld, own_table, pixels
from fdan_edge.errors import DataError
from fdan_edge.server.protocol import Close, parse_sound, parse_start
from fdan_edge.streaming.settings import StreamSettings
from tests.fuzz.checks import Finding
from tests.fuzz.model_parsers import dumped
from tests.fuzz.mutate import VALUES, mutate, mutate_value
from tests.fuzz.places import new_folder

_LARGEST = 65536  # bytes of a message
_CELLS = (
    *(
        "",
        " ",
        "angry",
        "Anger",
        "anrgy!",
        "sad",
        "!",
        "1",
        "01",
        "nan",
        "-1",
        "a.wav",
        "../a.wav",
        "~nobody/a.wav",
    ),
    *("C:\\a.wav", "\0.wav", "a\nb", 'a"b', "x" * 300, "\ud800.wav", "\u2028", "=1+1", "train", "test", "\x1b[0m"),
)


@functools.cache
def _folder() -> Path:
    folder = new_folder("tables")
    for name in ("a.wav", "b.wav", "c.wav", "meld/train_splits/dia0_utt0.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def make_settings(rng: random.Random) -> bytes:
    """Return settings of a stream as JSON, or `name=value` words after a `#`."""
    if rng.random() < 0.5:
        return dumped(rng, {**vars(StreamSettings()), "unknown_below": 0.4})
    words = []
    for name in rng.sample(list(FIELDS), rng.randrange(1, 3)):
        value = mutate_value(rng, _plain(FIELDS[name].default))
        words.append(f"{name}={json.dumps(value) if rng.random() < 0.6 else value}")
    data = "\n".join(word.replace("\n", " ") for word in words).encode(errors="replace")
    return b"#" + (mutate(rng, data) if rng.random() < 0.3 else data)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def read_settings(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Make settings of what a page or a command line says."""
    if data[:1] == b"#":
        Config.load(None, data[1:].decode(errors="surrogateescape").split("\n"))
        return
    try:
        values = json.loads(data)
        known = {name: values[name] for name in vars(StreamSettings()) if name in values}
    except (ValueError, TypeError, RecursionError, KeyError):
        return
    StreamSettings(**known)


def _rows(rng: random.Random, rows: Sequence[Sequence[str]]) -> bytes:
    """Write a table with damaged cells, rows and columns, in one of the usual forms."""
    table = [list(row) for row in rows]
    for _ in range(1 + min(int(rng.expovariate(0.7)), 8)):
        row = rng.choice(table)
        what = rng.random()
        if what < 0.6 and row:
            row[rng.randrange(len(row))] = rng.choice(_CELLS)
        elif what < 0.75:
            table.insert(rng.randrange(len(table) + 1), list(rng.choice(table)))
        elif what < 0.85 and row:
            del row[rng.randrange(len(row))]
        else:
            row.insert(rng.randrange(len(row) + 1), rng.choice(_CELLS))
    text = io.StringIO()
    try:
        csv.writer(text, delimiter=rng.choice(",,\t;"), lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(
            table
        )
    except csv.Error:
        return mutate(rng, b"path,emotion\na.wav,sad\n")
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"))
    data = text.getvalue().encode(encoding, errors="replace")
    return mutate(rng, data) if rng.random() < 0.3 else data


def make_table(rng: random.Random) -> bytes:
    """Return a damaged table of labels."""
    head = ("path", "emotion", "speaker", "split", "text")
    rows = [
        (f"{name}.wav", emotion, f"s{number}", "train", "a, b") for number, (name, emotion) in enumerate(_LABELS)
    ]
    return _rows(rng, [head, *rows])


_LABELS = (("a", "angry"), ("b", "sad"), ("c", "anger"))


def read_table(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a user's table."""
    path = _folder() / "labels.csv"
    path.write_bytes(data)
    own_table.is_table(path)
    for item in own_table.read_table(path, "table"):
        if not item.emotion:
            raise Finding("an item without a class")


def make_corpus_table(rng: random.Random) -> bytes:
    """Return MELD's table of utterances, or a table of faces, damaged."""
    if rng.random() < 0.6:
        head = ("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
        return _rows(
            rng, [head, *(("1", "Hi \x92 there", "Joey", "joy", "positive", "0", str(n)) for n in range(3))]
        )
    face = " ".join(["128"] * 48 * 48)
    return _rows(rng, [("emotion", "pixels", "Usage"), ("3", face, "Training"), ("0", face, "PublicTest")])


def read_corpus_table(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a corpus's table in both ways."""
    root = _folder() / "meld"
    path = root / "train_sent_emo.csv"
    path.write_bytes(data)
    try:
        meld.missing(root)
    except DataError:
        with tempfile.TemporaryDirectory(dir=_folder()) as faces:
            pixels.write_faces(path, Path(faces) / "faces")


def make_message(rng: random.Random) -> bytes:
    """Return a message: `t` and text, or `b` and bytes."""
    if rng.random() < 0.4:
        samples = np.array(
            [rng.choice((0.0, 0.5, -1.0, 65.0, float("nan"), float("inf"))) for _ in range(4)], np.float32
        )
        return b"b" + (
            mutate(rng, samples.tobytes()) if rng.random() < 0.8 else rng.randbytes(rng.choice((70_000, 8)))
        )
    start: dict[str, Any] = {"type": rng.choice(("start", "stop")), "rate": 48000, "token": "a"}
    return b"t" + (
        dumped(rng, start) if rng.random() < 0.8 else mutate(rng, json.dumps(rng.choice(VALUES)).encode())
    )


def read_message(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    """Read a message as the first of a client and as a later one."""
    if data[:1] == b"t":
        message: dict[str, Any] = {"type": "websocket.receive", "text": data[1:].decode(errors="replace")}
    else:
        message = {"type": "websocket.receive", "bytes": data[1:]}
    refused: Close | None = None
    try:
        parse_start(message)
    except Close as close:
        refused = close
    samples = parse_sound(message, _LARGEST)
    if samples is not None and not np.isfinite(samples).all():
        raise Finding("sound that is none")
    if refused and samples is None:
        raise refused
