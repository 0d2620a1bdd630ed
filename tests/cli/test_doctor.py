"""The verb doctor: what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]


def test_doctor(run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    lines = [line for line in out.splitlines() if not line.startswith("     ")]
    assert {line.split()[0] for line in lines} <= {"yes", "no"}
    remedies = len(out.splitlines()) - len(lines)
    assert remedies == sum(line.startswith("no") for line in lines)
    code, out, _ = run("doctor", "--json")
    assert code == 0
    for finding in json.loads(out):
        assert set(finding) == {"ability", "works", "detail", "remedy"}
