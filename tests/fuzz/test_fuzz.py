"""Some hundred damaged inputs of each parser; `make fuzz` reads as many as there is time for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.errors import AudioError
from tests.fuzz import half_read, workers
from tests.fuzz.checks import ACCEPTED, REFUSED, Check, Finding
from tests.fuzz.parsers import PARSERS, Parser
from tests.fuzz.seeds import LONG, RATE, SHORT, sounds

INPUTS = 200


@pytest.mark.parametrize("name", PARSERS)
def test_nothing_is_found(name: str) -> None:
    parser = PARSERS[name]
    check = parser.check()
    counts = {ACCEPTED: 0, REFUSED: 0}
    for number in range(INPUTS):
        outcome = check(parser.input(0, number))
        assert not outcome.is_finding, f"{name}, input {number}: {outcome.kind}: {outcome.detail}"
        counts[outcome.kind] += 1
    assert counts[ACCEPTED] > 0, "damage that leaves nothing of an input reaches no code behind its first lines"
    assert counts[REFUSED] > 0 or name == "kind"


def test_the_same_seed_makes_the_same_inputs() -> None:
    for parser in PARSERS.values():
        assert parser.input(1, 5) == parser.input(1, 5)
    assert len({PARSERS["message"].input(seed, number) for seed in (1, 2) for number in range(20)}) > 20


def test_every_sound_is_read_whole() -> None:
    """As long as it says that it is, or the checks of half-read files would find nothing."""
    for seed in sounds():
        outcome = PARSERS["pcm-file" if seed.seconds == SHORT else "encoded-file"].check()(seed.data)
        assert outcome.kind == ACCEPTED, f"{seed.name}: {outcome.detail}"


def raise_value_error(data: bytes, lines: list[str]) -> None:
    raise ValueError(data, lines)


def raise_two_lines(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
    raise AudioError("a\nb")


@pytest.mark.parametrize(
    ("read", "kind"),
    [(raise_value_error, "traceback"), (raise_two_lines, "message")],
)
def test_what_is_a_finding(read: Callable[[bytes, list[str]], None], kind: str) -> None:
    assert Check(read)(b"").kind == kind


_MEMORY = """
from tests.fuzz.checks import Check
print(Check(lambda data, lines: bytearray(400 << 20) and None)(b"").kind)
"""


def test_memory_is_a_finding() -> None:
    """In a process of its own: what other tests once took of this one would hide it."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _MEMORY], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "memory\n"


@pytest.mark.parametrize(
    ("name", "seconds"), [("a.wav", SHORT), ("a.mp3", LONG), ("a.au", SHORT), ("a.caf", SHORT)]
)
def test_a_half_read_file_is_a_finding(name: str, seconds: float) -> None:
    whole = next(seed.data for seed in sounds() if seed.name == name)
    half_read.check(whole, seconds, [])
    for data in (whole[: 2 * len(whole) // 3], whole + whole):
        half_read.check(data, 0.0, ["a line says so"])
        with pytest.raises(Finding):
            half_read.check(data, seconds * (0.6 if len(data) < len(whole) else 1), [])


def test_more_than_the_header_promises_is_a_finding() -> None:
    wav = next(seed.data for seed in sounds() if seed.name == "a.wav")
    half = wav[:40] + (len(wav) // 2).to_bytes(4, "little") + wav[44:]
    with pytest.raises(Finding, match="follow what its header promises"):
        half_read.check(half, len(wav) // 2 / 2 / RATE, [])


def test_a_crash_is_a_finding_and_the_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(rng: random.Random) -> bytes:
        return bytes([rng.randrange(20)])

    def read(data: bytes, lines: list[str]) -> None:  # noqa: ARG001
        if data == b"\3":
            os.abort()

    monkeypatch.setitem(PARSERS, "crash", Parser("crash", make, read, 50))
    tallies = workers.fuzz(["crash"], 0, 20, 1, 100, tmp_path)
    assert tallies["crash"].findings >= 1
    assert tallies["crash"].accepted >= 50
    (saved,) = tmp_path.glob("crash~crash-*.bin")
    assert saved.read_bytes() == b"\3"
    assert f"--replay {saved}" in saved.with_suffix(".txt").read_text()
    assert "crash" in workers.table(tallies, tmp_path)
