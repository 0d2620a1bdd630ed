"""A few moments of `python -m tests.attack.kill`, on an export without a model; and that it can fail."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.attack import kill as harness
from tests.attack.kill import cheap_export, kill, look, write_bundle


def test_an_export_that_is_killed(tmp_path: Path) -> None:
    victim = cheap_export()
    kill(victim, tmp_path / "work", 5, random.Random(1))
    assert victim.problems == []
    assert 1 <= victim.kills <= 5
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"bundle", "earlier"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"half": '),
        ("a.toml", "half = "),
        ("a.jsonl", '{"whole": 1}\n{"half'),
        ("a.png", "half"),
        ("a.svg", "<svg>"),
        ("bundle/model.onnx", "another"),
    ],
)
def test_half_a_file_is_seen(tmp_path: Path, name: str, content: str) -> None:
    write_bundle(tmp_path / "bundle", b"whole")
    assert look(tmp_path) == []
    (tmp_path / name).write_text(content)
    (problem,) = look(tmp_path)
    assert problem.startswith(name.replace("model.onnx", "bundle.json"))


def test_a_bundle_that_is_gone_is_seen(tmp_path: Path) -> None:
    (tmp_path / "earlier").touch()
    assert look(tmp_path) == ["the earlier bundle is gone"]
    (tmp_path / ".bundle-01234567").mkdir()
    assert harness._hidden(tmp_path) == [".bundle-01234567"]
