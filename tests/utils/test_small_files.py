"""Small files: whatever is in them, a value or one line."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from fdan_edge.utils import small_files
from fdan_edge.utils.small_files import (
    parse_json,
    parse_toml,
    read_at_most,
    read_json,
    read_json_lines,
    read_toml,
)

DEEP, LONG = "[" * 100_000, "9" * 10_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "nested deeper than 64"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64"),
        (LONG, "a whole number has too many digits"),
        (f"[{'9' * 400}]", "has more than 64 bits"),
        ("-9223372036854775809", "has more than 64 bits"),
        ('{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
        ("[NaN]", "the number nan is not finite"),
        ('{"a": [1e999]}', "the number inf is not finite"),
        ("nonsense", "Expecting value"),
        (b"\xff", "invalid start byte"),
        (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
        ("", "Expecting value"),
    ],
)
def test_damaged_json(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


def test_an_entry_that_is_there_twice_is_soon_seen() -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match="'99999' is there twice"):
        parse_json(f"{{{','.join(f'{chr(34)}{i}{chr(34)}:0' for i in [*range(100_000), 99_999])}}}")
    assert time.process_time() - begun < 2


def test_sound_json() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": [[]]}, "d": 2**64 - 1}
    assert parse_json(json.dumps(value)) == value
    assert parse_json("[" * 60 + "]" * 60) is not None
    assert str(parse_json('{"loss": [NaN, -Infinity]}', finite=False)) == "{'loss': [nan, -inf]}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a = {DEEP}", "nested deeper than 64"),
        (f"a = {LONG}", "a whole number has too many digits"),
        ("a = 99999999999999999999", "has more than 64 bits"),
        ("a." * 200_000 + "a = 1", "a key has more than 64 parts"),
        ("x = {" + "a." * 200_000 + "a = 1}", "a key has more than 64 parts"),
        ("[" + "a." * 200_000 + "a]", "a key has more than 64 parts"),
        ('"=".a.' * 50_000 + "a = 1", "a key has more than 64 parts"),
        ("x = {a = 'b', " + "'='.a." * 50_000 + "a = 1}", "a key has more than 64 parts"),
        ('x = {a = """\n"" """, ' + '"=".a.' * 50_000 + "a = 1}", "a key has more than 64 parts"),
        ('x = """' + '\\"""' * 50_000, "Unterminated string"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ("\0", "Invalid statement"),
    ],
)
def test_damaged_toml(text: str, reason: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match=reason):
        parse_toml(text)
    assert time.process_time() - begun < 2  # the parser takes the square of a key's parts


def test_sound_toml() -> None:
    dots = "." * 200
    text = f"# {dots}\na = [{', '.join(['0.5'] * 99)}]\n[b]\nc.d = inf"
    assert parse_toml(text) == {"a": [0.5] * 99, "b": {"c": {"d": float("inf")}}}
    for quote in ('"', "'", '"""', "'''"):
        assert parse_toml(f"a = {quote}{dots}{quote}") == {"a": dots}


def test_nothing_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    for read in (read_at_most, read_json, read_json_lines, read_toml):
        with pytest.raises(ValueError, match=r"is larger than \d+ MB"):
            read(path)


def test_a_file_that_grows_is_too_large(tmp_path: Path) -> None:
    """Those of /proc, and pipes, do not say how large they are."""
    (tmp_path / "a").write_bytes(bytes(10))
    assert len(read_at_most(tmp_path / "a", 10)) == 10
    with pytest.raises(ValueError, match="is larger than"):
        read_at_most(Path("/proc/self/maps"), 10)


def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: no wait
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="a pipe or a device"):
            read_json(path)
    with pytest.raises(ValueError, match="is larger than 1 MB"):
        read_toml(Path("/dev/zero"))
    with pytest.raises(OSError, match="directory"):
        read_json(tmp_path)


def test_windows_has_other_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"\r\n\x1a")
    for name in ("O_NONBLOCK", "O_CLOEXEC"):
        monkeypatch.delattr(os, name)
    assert read_at_most(tmp_path / "a") == b"\r\n\x1a"


def test_lines_name_themselves(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    path.write_text('{"a": NaN}\n{"a": 1}\n')
    assert len(read_json_lines(path)) == 2
    for line, reason in (
        (DEEP, "line 2: nested"),
        ("null", "line 2: None is no table"),
        ("", "line 2: Expect"),
    ):
        path.write_text(f'{{"a": 1}}\n{line}\n')
        with pytest.raises(ValueError, match=reason):
            read_json_lines(path)


def test_nobody_else_reads_json_or_toml_from_files() -> None:
    """But a child's report, ONNX Runtime's profile, and clients' messages, which have a limit of their own."""
    package = Path(small_files.__file__).parents[1]
    own = {"profiling/breakdown.py", "profiling/cold_start.py", "profiling/roofline.py", "server/protocol.py"}
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("json.load(", "json.loads(", "tomllib.load"))
    }
    assert readers - own == {"utils/small_files.py"}
