"""benchmarks/ida.py: its contenders solve the same problem, and it runs end to end."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import torch

from fdan_edge.training.sparse_coding import duality_gap

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import ida as script


def test_contenders_solve_the_same_problem() -> None:
    signals, atoms = (script.features("mean", 12, 32, seed).double() for seed in (1, 2))
    solved = [
        script.fista(signals, atoms, 0.1, 400),
        script.ista(signals, atoms, 0.1, 3000),
        script.sklearn_codes(signals, atoms, 0.1, 1e-9),
    ]
    for codes in solved:
        assert duality_gap(signals, atoms, codes, 0.1).max() < 1e-6
        torch.testing.assert_close(codes, solved[0], rtol=0, atol=1e-3)


def test_runs_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "convergence", lambda *_: [])
    out = tmp_path / "ida.json"
    words = ["--sizes", "8", "--dim", "16", "--budget-seconds", "0.01", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["ida.py", *words])
    script.main()
    (size,) = json.loads(out.read_text())["sizes"]
    assert size["rows"] == "8+8"
    for name in ("fista", "ista", "sklearn"):
        assert size[name]["gap"] <= size["gap_wanted"] * 1.01
    assert {"mmd", "lmmd", "coral", "ida"} <= set(size)
    assert "coral" in capsys.readouterr().out


def test_share_of_a_step() -> None:
    z_source, z_target = (script.features("classes", 6, 16, seed) for seed in (1, 2))
    made = script.share_of_a_step(z_source, z_target, 1000.0, tau=0.1, iterations=5)
    assert made["share"] == pytest.approx(made["ms"] / 1000)


def test_only_what_runs_on_a_gpu_is_timed_there() -> None:
    source, target = (script.features("classes", 6, 16, seed) for seed in (1, 2))
    arguments = Namespace(device="cuda", iterations=5, most_iterations=25)
    assert set(script.solvers_for((target, source, 0.1), 1.0, arguments)) == {"sparse_codes", "fista"}


def test_without_a_gpu_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["ida.py", "--device", "cuda"])
    with pytest.raises(SystemExit):
        script.main()
    assert "no CUDA GPU" in capsys.readouterr().err


def test_every_timed_call_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("wait"))
    script.time_by_turns({name: partial(order.append, name) for name in "ab"}, 0.0)
    assert order == ["a", "b", "wait", "a", "wait", "b", "wait"]
