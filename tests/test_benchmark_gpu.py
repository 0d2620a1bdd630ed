"""`make gpu` as far as it goes without a GPU: steps, limits, report."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gpu", ROOT / "benchmarks" / "gpu.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_gpu"] = module  # where its dataclass looks its annotations up
    spec.loader.exec_module(module)
    return module


def quiet(_line: str) -> None:
    pass


def later(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def test_names_become_file_names(gpu: ModuleType) -> None:
    assert gpu.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert gpu.slug("Orin (nvgpu)") == "orin-nvgpu"


def test_without_a_gpu_one_line_says_so(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: None)
    assert gpu.main([]) == 2
    assert capsys.readouterr().out.startswith("error: no CUDA GPU")


def test_a_step_that_works(gpu: ModuleType) -> None:
    step = gpu.Step("build", [sys.executable, "-c", "import fdan_edge; print('fine')"], 60)
    gpu.run(step, later(), quiet)
    assert (step.outcome, step.log, step.failed) == ("ok", "fine", False)


def test_steps_run_in_the_checkout_with_the_ops_required(gpu: ModuleType) -> None:
    code = "import os; print(os.getcwd(), os.environ['FDAN_EDGE_REQUIRE_NATIVE'])"
    step = gpu.Step("tests", [sys.executable, "-c", code], 60)
    gpu.run(step, later(), quiet)
    assert step.log == f"{ROOT} 1"


def test_a_step_that_fails_keeps_its_last_lines(gpu: ModuleType) -> None:
    step = gpu.Step("tests", [sys.executable, "-c", "print('\\n' * 99 + 'why'); raise SystemExit(3)"], 60)
    gpu.run(step, later(), quiet)
    assert (step.outcome, step.log, step.failed) == ("exit code 3", "why", True)


def test_a_step_that_hangs_is_stopped(gpu: ModuleType) -> None:
    code = "import sys, time; print('begun', flush=True); time.sleep(60)"
    step = gpu.Step("memcheck", [sys.executable, "-c", code], 2.5)
    gpu.run(step, later(), quiet)
    assert step.outcome.startswith("stopped after 2 s")
    assert (step.log, step.failed) == ("begun", True)


def test_what_is_missing_or_too_late_is_passed_over_with_its_reason(gpu: ModuleType) -> None:
    absent = gpu.Step("racecheck", ["compute-sanitizer"], 60, "compute-sanitizer is not installed")
    gpu.run(absent, later(), quiet)
    late = gpu.Step("lmmd", [sys.executable, "-c", ""], 60)
    gpu.run(late, time.monotonic() + 1, quiet)
    assert [step.outcome for step in (absent, late)] == ["not run", "not run"]
    assert [step.log for step in (absent, late)] == ["compute-sanitizer is not installed", "no time was left"]
    assert not absent.failed


def test_a_command_that_cannot_be_started(gpu: ModuleType) -> None:
    step = gpu.Step("memcheck", ["/no/such/command"], 60)
    gpu.run(step, later(), quiet)
    assert step.outcome.startswith("cannot be started: ")
    assert step.failed


def test_the_steps_are_there(gpu: ModuleType, tmp_path: Path) -> None:
    names = [step.name for step in gpu.steps(tmp_path / "lmmd.json")]
    assert names == ["build", "tests", "memcheck", "racecheck", "lmmd"]
    for step in gpu.steps(tmp_path / "lmmd.json"):
        for word in step.command:
            if word.endswith(".py"):
                assert (ROOT / word).exists(), word


def test_the_report_is_written_and_the_exit_code_tells(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "contender": "fdan_edge",
        "faces": 32,
        "voices": 32,
        "ms": 0.05,
        "times_fdan_edge": 1.0,
        "extra_mb": None,
    }

    def steps(lmmd_json: Path) -> list[object]:
        write = f"import json; json.dump({{'rows': [{row!r}]}}, open({str(lmmd_json)!r}, 'w'))"
        return [
            gpu.Step("tests", [sys.executable, "-c", "raise SystemExit(1)"], 60),
            gpu.Step("lmmd", [sys.executable, "-c", write], 60),
        ]

    monkeypatch.setattr(gpu, "gpu_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(gpu, "steps", steps)
    assert gpu.main(["--out", str(tmp_path / "h100.json")]) == 1
    written = json.loads((tmp_path / "h100.json").read_text())
    assert [step["outcome"] for step in written["steps"]] == ["exit code 1", "ok"]
    assert written["steps"][1]["result"]["rows"] == [row]
    assert written["gpu"] == "NVIDIA H100"
    assert [path.name for path in tmp_path.iterdir()] == ["h100.json"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:3] == ["fdan_edge", "32+32", "0.050"]
