"""The quick attacks, and that a server which lets everything in withstands none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.attack import attack, wire
from tests.attack.attack import FAILED, HELD, SKIPPED, Attack, Outcome, judge
from tests.attack.attacks import ATTACKS
from tests.attack.command import Done, run_command
from tests.attack.place import Impossible, Place, Servers

QUICK = [one for one in ATTACKS.values() if one.quick]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("attack"))
    yield place
    place.servers.close()


@pytest.fixture(scope="module")
def weak_place(place: Place) -> Iterator[Place]:
    """With a server that lets everything in."""
    weak = replace(place, server=(sys.executable, "-m", "tests.attack.weak"), servers=Servers())
    yield weak
    weak.servers.close()


@pytest.mark.parametrize("one", QUICK, ids=[one.name for one in QUICK])
def test_the_server_withstands(one: Attack, place: Place) -> None:
    outcome = judge(one, place)
    assert outcome.result == HELD, outcome.measured


@pytest.mark.parametrize("one", QUICK, ids=[one.name for one in QUICK])
def test_a_weak_server_does_not(one: Attack, weak_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TIMEOUT", 0.2)
    outcome = judge(one, weak_place)
    assert outcome.result == FAILED, outcome.measured


def raises(error: Exception) -> Attack:
    """An attack that ends so."""

    def end(place: Place) -> str:  # noqa: ARG001
        raise error

    end.__doc__ = "Do nothing."
    return attack.attack("nothing happens")(end)


@pytest.mark.parametrize(
    ("error", "result"),
    [(attack.Failed("5 MB"), FAILED), (OSError("gone"), FAILED), (Impossible("no openssl"), SKIPPED)],
)
def test_what_an_attack_raises(error: Exception, result: str, place: Place) -> None:
    outcome = judge(raises(error), place)
    assert (outcome.result, outcome.attack.tries) == (result, "Do nothing")
    assert str(error) in outcome.measured


def test_a_figure_beyond_its_bound_fails() -> None:
    assert attack.check(True, "3 MB") == "3 MB"
    with pytest.raises(attack.Failed, match="300 MB"):
        attack.check(False, "300 MB")


def test_the_table_ends_with_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    one = raises(OSError())
    attack.show([Outcome(one, FAILED, "9 [b]MB", 1.0), Outcome(one, HELD, "3 MB", 1.0)], Console(width=90))
    lines = capsys.readouterr().out.splitlines()
    assert [word for line in lines for word in ("9 [b]MB", "3 MB") if word in line] == ["3 MB", "9 [b]MB"]
    assert lines[-1] == "1 held, 1 failed"


SOUND = Done(2, "", "error: a line\n", 0.5, 60.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"code": 0, "err": ""}, ""),
        ({"err": "a warning\nerror: a line\n"}, ""),
        ({"err": "Traceback (most recent call last):\nValueError: a\n"}, "traceback: ValueError: a"),
        ({"err": "error: \x1b[31mred\n"}, "control characters"),
        ({"code": 1, "out": "\x1b[31mred\n"}, "control characters"),
        ({"code": -9}, "exit code -9"),
        ({"code": None}, "no answer, after 0 s of the processor"),
        ({"err": ""}, "no line that says why"),
        ({"sockets": frozenset({"udp"})}, "sockets: udp"),
    ],
)
def test_what_no_command_may_do(change: dict[str, Any], problem: str) -> None:
    assert replace(SOUND, **change).problem == problem
    assert SOUND.refused
    assert not replace(SOUND, code=0).refused


def test_sockets_and_memory_of_a_command_are_seen(tmp_path: Path) -> None:
    """By what the interpreter runs first, in the place of a video library that listens."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nkept.bind(('127.0.0.1', 0))\n"
        "memory = b'a' * 200_000_000\ntime.sleep(0.2)\nimport os; os._exit(0)\n"
    )
    done = run_command(["--help"], environment={"PYTHONPATH": str(tmp_path)})
    assert done.problem.startswith("sockets: udp")
    assert done.megabytes > 200


def test_every_attack_says_what_it_tries_and_what_must_hold() -> None:
    assert len({one.name for one in ATTACKS.values()}) == len(ATTACKS) > 60
    for one in ATTACKS.values():
        assert one.tries[0].isupper()
        assert one.bound
        assert not (one.quick and one.waits)
