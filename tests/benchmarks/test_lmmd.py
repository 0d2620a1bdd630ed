"""benchmarks/lmmd.py: the contenders agree, what cannot run becomes a row, and the script runs end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fdan_edge.models.ops.lmmd import lmmd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import lmmd as script  # noqa: E402
import lmmd_contenders as contenders  # noqa: E402
from lmmd_winners import winners, winners_table  # noqa: E402

WRITTEN_OUT = ("published", "vectorised", "by_hand")  # the others need a compiler or a package


def problem(faces: int = 12, voices: int = 12, classes: int = 7, dtype: str = "float64") -> contenders.Problem:
    return contenders.random_problem((faces, voices), 6, classes, script.DTYPES[dtype], "cpu")


def value_and_gradient(function: contenders.Contender, given: contenders.Problem) -> tuple[Tensor, Tensor]:
    value, gradients = contenders.lmmd_step(function, given)()
    return value, torch.cat(gradients)


@pytest.mark.parametrize("name", WRITTEN_OUT)
@pytest.mark.parametrize("classes", [2, 7, 40])
def test_contenders_are_lmmd(name: str, classes: int) -> None:
    """With 40 classes most are on one side only."""
    given = problem(classes=classes)
    made = value_and_gradient(contenders.contender(name), given)
    torch.testing.assert_close(made, value_and_gradient(lmmd, given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["vectorised", "by_hand"])
def test_sides_of_different_size(name: str) -> None:
    given = problem(9, 14)
    made = value_and_gradient(contenders.contender(name), given)
    torch.testing.assert_close(made, value_and_gradient(lmmd, given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["vectorised", "by_hand"])
def test_low_precision_is_summed_in_float32(name: str) -> None:
    given = problem(dtype="bfloat16")
    value, gradient = value_and_gradient(contenders.contender(name), given)
    exact, _ = contenders.exact(given)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert float(value) == pytest.approx(exact, rel=1e-4)


@pytest.mark.filterwarnings("default")  # of torch's own
def test_vectorised_can_be_compiled() -> None:
    """Traced and differentiated ahead of time; Inductor's C++ takes too long for a test."""
    given = problem()
    made = value_and_gradient(contenders.compiled(backend="aot_eager"), given)
    torch.testing.assert_close(made, value_and_gradient(contenders.vectorised, given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [5, 2048])
def test_exact_is_lmmd(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a class takes several blocks."""
    monkeypatch.setattr(contenders, "_ROWS", rows)
    given = problem(33, 20, classes=3)
    value, gradient = value_and_gradient(lmmd, given)
    made, made_gradient = contenders.exact(given)
    assert made == pytest.approx(float(value), rel=1e-10)
    torch.testing.assert_close(made_gradient, gradient, rtol=1e-9, atol=1e-12)


def test_useful_flops() -> None:
    """Two products per class: n_c x d x n_c, and n_c x n_c x d."""
    y_v, y_a = torch.tensor([0, 0, 1]), torch.tensor([0, 2])
    given = contenders.Problem(torch.zeros(3, 4), torch.zeros(2, 4), y_v, y_a, 3)
    assert given.useful_flops == 2 * 2 * 4 * (9 + 1 + 1)


def rows(*words: str, before: list[script.Row] | None = None) -> dict[str, script.Row]:
    """Rows of one tiny size, without child processes."""
    tiny = ["--dim", "4", "--budget-seconds", "0.001", "--repeats", "2", "--no-memory", *words]
    arguments = script.build_parser().parse_args(tiny)
    return {row.contender: row for row in script.rows_of_size((8, 8), arguments, tiny, before or [])}


def test_what_does_not_fit_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "free_bytes", lambda _: 10_000)
    made = rows("--contenders", "published", "by_hand", "matmul")
    assert made["published"].note == "out of memory: needs about 1.88e-05 GB, 1e-05 GB may be used"
    assert made["published"].ms is None
    assert made["by_hand"].ms is not None
    assert made["matmul"].ms is not None


def test_an_allocation_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> Tensor:
        return torch.empty(1 << 60)

    monkeypatch.setattr(contenders, "by_hand", greedy)
    made = rows("--contenders", "by_hand", "vectorised")
    assert made["by_hand"].note.startswith("out of memory: ")
    assert made["vectorised"].ms is not None


def test_the_child_says_why_there_is_no_figure() -> None:
    """A matrix of 6 TB, asked for without the estimate that would have refused it."""
    row = script.Row("by_hand", 600_000, 600_000)
    with pytest.raises(contenders.UnavailableError, match=r"^out of memory: .*allocate"):
        script.peak_in_a_child(row, ["--dim", "2"])


def test_what_would_take_too_long_is_a_row() -> None:
    before = [script.Row("vectorised", 4, 4, ms=1000.0)]
    made = rows("--contenders", "vectorised", "--longest-call", "3", before=before)
    assert made["vectorised"].note == "not run: a call would take about 4 s, going by 8 rows"


def test_what_is_not_installed_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    assert rows("--contenders", "keops")["keops"].note == "pykeops is not installed"


def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, but for the child that measures memory."""
    out = tmp_path / "lmmd.json"
    words = ["--sizes", "6+6", "5+7", "--dim", "8", "--budget-seconds", "0.001", "--no-memory", "--out", str(out)]
    script.main([*words, "--contenders", "published", "vectorised", "fdan_edge", "matmul"])
    report = json.loads(out.read_text())
    made = {(row["contender"], row["voices"]): row for row in report["rows"]}
    assert len(made) == 8
    assert report["arguments"]["sizes"] == ["6+6", "5+7"]
    assert report["torch"] == torch.__version__
    assert made["published", 7]["note"] == "assumes as many faces as voices"
    assert made["fdan_edge", 6]["times_fdan_edge"] == 1
    assert made["vectorised", 6]["ms"] > 0
    assert made["vectorised", 6]["gradient_error"] < 1e-4
    assert "6+6 rows of 8, 7 classes, float32 on cpu" in capsys.readouterr().out


def test_memory_is_measured_in_a_child() -> None:
    """600 rows: three N x N matrices of 1.44 MB and little else."""
    words = ["--dim", "8", "--threads", "1"]
    assert 4 < script.peak_in_a_child(script.Row("by_hand", 300, 300), words) < 10


RACE = """
import json, sys
sys.path.insert(0, "benchmarks")
import lmmd
words = "--sizes 3+4 9+8 --dim 6 --classes 3 --no-memory --repeats 2 --budget-seconds 0.01 --contenders"
names = ["fdan_edge", "triton", "triton_tf32x3", "vectorised", "keops"]
lmmd.main([*words.split(), *names, "--out", sys.argv[1]])
"""


def test_the_race_that_a_gpu_runs(tmp_path: Path) -> None:
    """As `make gpu` starts it, on tiny sizes: the Triton kernel in its interpreter, KeOps where there is one."""
    out = tmp_path / "race.json"
    command = [sys.executable, "-W", "ignore", "-c", RACE, str(out)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads(out.read_text())
    for row in made["rows"]:
        if row["contender"] == "keops":
            continue
        assert row["ms"] > 0, row
        assert max(row["value_error"], row["gradient_error"]) < 1e-5, row
    told = [(row["size"], row["precision"]) for row in made["winners"]]
    assert told == [(size, kind) for size in ("3+4", "9+8") for kind in ("fp32", "fp32 or tf32x3")]
    assert {row["contender"] for row in made["winners"]} <= {"fdan_edge", "triton", "triton_tf32x3", "vectorised"}
    table = winners_table(made["winners"])
    assert done.stdout.rstrip().splitlines()[-len(table) :] == table


def timed(contender: str, ms: float | None, error: float | None = 1e-7) -> dict[str, object]:
    return {
        "contender": contender,
        "faces": 32,
        "voices": 32,
        "ms": ms,
        "value_error": error,
        "gradient_error": error,
    }


def test_who_wins() -> None:
    """Not what is wrong, what was not measured, or the yardstick; TF32 only among its own."""
    made = [
        timed("vectorised", 0.4),
        timed("fdan_edge", 0.2),
        timed("triton_tf32x3", 0.1),
        timed("keops", None),
        timed("published", 0.01, 0.5),
        timed("matmul", 0.001, None),
    ]
    first, second = winners(made)
    assert first == {
        "size": "32+32",
        "precision": "fp32",
        "contender": "fdan_edge",
        "ms": 0.2,
        "next": "vectorised",
        "times": 2.0,
    }
    assert (second["precision"], second["contender"], second["next"]) == (
        "fp32 or tf32x3",
        "triton_tf32x3",
        "fdan_edge",
    )
    assert [row["precision"] for row in winners(made[:2])] == ["fp32"]
    assert winners(made[3:]) == []


def test_triton_without_a_gpu_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert rows("--contenders", "triton")["triton"].note == "Triton compiles for GPUs only"
    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    assert rows("--contenders", "triton_tf32x3")["triton_tf32x3"].note == "triton is not installed"
