"""Damage to bytes and to structured values, from a random generator that repeats it."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

#: Numbers at which sizes and counts go wrong.
NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 16, 64, 100, 127, 128, 255, 256, 999, 1000, 4095, 4096, 8000, 16000, 44100),
    *(0x7FFF, 0x8000, 0xFFFF, 0x10000, 192_000, 768_000, 1 << 24, 0x7FFFFFFF, 0x80000000, 0x80000001),
    *(0xFFFFFFF7, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, 1 << 36, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1),
)
#: Pieces that mean something to one of the parsers.
WORDS = (
    *(b"data", b"fmt ", b"RIFF", b"RF64", b"ds64", b"LIST", b"SSND", b"COMM", b"OggS", b"moov", b"mdat", b"stsz"),
    *(b"Xing", b"ID3\x04\0\0\0\0\0\x05", b"TAG", b"fLaC", b"\xff\xfb\x90\0", b"\x1aE\xdf\xa3", b"\0" * 16),
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"NaN",
        b"1e999",
        b"null",
        b"-1",
    ),
    *(b"\\ud800", b"[" * 2000, b"'''", b";", b"\t", b"=", b"#", b"\x1b[31m", "\u2028".encode(), b"0x1p3", b"_"),
)
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")

Mutation = Callable[[random.Random, bytes], bytes]


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return `data` with one to a few changes, at times with a part of one of the `others`."""
    for _ in range(1 + min(int(rng.expovariate(0.9)), 7)):
        if others and rng.random() < 0.05:
            data = _splice(rng, data, rng.choice(others))
        else:
            data = rng.choice(_MUTATIONS)(rng, data)
    return data


def place(rng: random.Random, data: bytes) -> int:
    """Choose a place in `data`, most likely near its beginning or a chunk's name."""
    chance = rng.random()
    if chance < 0.4:
        return rng.randrange(min(len(data), 64) or 1)
    if chance < 0.8:
        return min(len(data), _near_name(rng, data))
    return rng.randrange(len(data) or 1)


def _near_name(rng: random.Random, data: bytes) -> int:
    """Choose a place some bytes around something that looks like a chunk's name."""
    match = _NAME.search(data, rng.randrange(len(data) or 1)) or _NAME.search(data)
    return max(0, match.start() + rng.choice((-8, -4, 0, 4, 4, 4, 8, 12, 16))) if match else 0


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _byte(rng: random.Random, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]) + data[at + 1 :]


def _integer(rng: random.Random, data: bytes) -> bytes:
    at, size, order = place(rng, data), rng.choice((1, 2, 4, 4, 4, 8)), rng.choice(("little", "big"))
    field = data[at : at + size]
    if rng.random() < 0.5:
        value = rng.choice(NUMBERS)
    else:  # near what it is, or near what is left
        known = int.from_bytes(field, "little" if order == "little" else "big")
        value = rng.choice((known, len(data) - at, len(data))) + rng.choice(
            (-9, -8, -4, -2, -1, 1, 2, 4, 8, 9, 1000)
        )
    written = (value & (1 << 8 * size) - 1).to_bytes(size, "little" if order == "little" else "big")
    return data[:at] + written[: len(field)] + data[at + size :]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: place(rng, data)]


def _remove(rng: random.Random, data: bytes) -> bytes:
    start, size = place(rng, data), _length(rng, data)
    return data[:start] + data[start + size :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start, size = place(rng, data), _length(rng, data)
    return data[: start + size] + data[start:]


def _swap(rng: random.Random, data: bytes) -> bytes:
    a, b, c = sorted(place(rng, data) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _erase(rng: random.Random, data: bytes) -> bytes:
    start, size = place(rng, data), _length(rng, data)
    part = data[start : start + size]
    return data[:start] + bytes([rng.choice((0, 0xFF, rng.randrange(256)))]) * len(part) + data[start + size :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = place(rng, data)
    word = rng.choice(WORDS) if rng.random() < 0.7 else rng.randbytes(rng.choice((1, 2, 4, 8, 100)))
    return data[:at] + word + data[at:]


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    at, word = place(rng, data), rng.choice(WORDS)
    return data[:at] + word + data[at + len(word) :]


def _float(rng: random.Random, data: bytes) -> bytes:
    at = place(rng, data)
    value = rng.choice((float("nan"), float("inf"), -1.0, 1e38, 1e-40, 32768.0, 0.0))
    return data[:at] + struct.pack(rng.choice("<>") + "f", value) + data[at + 4 :]


def _length(rng: random.Random, data: bytes) -> int:
    return rng.choice((1, 1, 2, 4, 8, 16, 64, 256, rng.randrange(len(data) or 1)))


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = place(rng, other)
    return data[: place(rng, data)] + other[start : start + rng.choice((64, 1024, len(other)))]


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _byte, _integer, _integer, _integer, _truncate, _remove, _repeat, _swap),
    *(_erase, _insert, _overwrite, _float),
)

#: Values of every kind that JSON and TOML have, and what they go wrong with.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1 << 31, 1 << 53, 1 << 63, -(1 << 63), 10**30, 0.5, -0.0, 1e308, 1e-320),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "a",
        "0",
        "nan",
        "a\nb",
        "\x1b[31m",
        "\0",
        "\ud800",
        "é",
    ),
    *("x" * 300, "../../a", "/etc/passwd", "model.onnx", [], {}, [[]], [None], [""], ["a", "a"], {"": None}),
    *({"a": {"b": [1]}}, [0] * 300, [1.5, 2], "fp32", "int8", "head", "network", [1 << 70], ["\u2028"]),
)


def mutate_value(rng: random.Random, value: Any) -> Any:
    """Return a copy of plain values with one to a few entries changed, removed, added or moved."""
    for _ in range(1 + min(int(rng.expovariate(1.2)), 5)):
        value = _changed(rng, value)
    return value


def _changed(rng: random.Random, value: Any) -> Any:
    """Change one entry, however deep."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _changed_table(rng, value)
    if isinstance(value, list) and value and rng.random() < 0.8:
        return _changed_list(rng, value)
    return _other(rng, value)


def _changed_table(rng: random.Random, value: dict[str, Any]) -> dict[str, Any]:
    name, what = rng.choice(list(value)), rng.random()
    if what < 0.1:
        return {key: entry for key, entry in value.items() if key != name}
    if what < 0.2:
        added = rng.choice((name + "x", "", "a\nb", "\ud800", "schema", "sha256"))
        return value | {added: rng.choice(VALUES)}
    if what < 0.25:
        return {rng.choice((key, str(rng.choice(VALUES)))) if key == name else key: v for key, v in value.items()}
    return value | {name: _changed(rng, value[name])}


def _changed_list(rng: random.Random, value: list[Any]) -> list[Any]:
    at, what = rng.randrange(len(value)), rng.random()
    if what < 0.15:
        return value[:at] + value[at + 1 :]
    if what < 0.3:
        return value[:at] + value[at : at + 1] * rng.choice((2, 2, 300)) + value[at + 1 :]
    return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]


def _other(rng: random.Random, value: Any) -> Any:
    if type(value) in (int, float) and abs(value) < 1e30 and rng.random() < 0.5:
        return rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, float(value), int(value)))
    if isinstance(value, str) and rng.random() < 0.5:
        raw = mutate(rng, value.encode(errors="surrogatepass"))
        return raw.decode(errors=rng.choice(("replace", "surrogateescape")))
    return rng.choice(VALUES)
