"""`make gpu` as far as it goes without a GPU: steps, limits, report."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_tables  # noqa: E402

#: What the project needs elsewhere, and a machine with PyTorch may not have.
LACKING = ("rich", "safetensors", "scipy", "sklearn", "soundfile", "soxr", "tomli_w", "typer")


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


def test_what_a_stopped_step_has_started_is_stopped_too(gpu: ModuleType, tmp_path: Path) -> None:
    """Else it would go on using the GPU that the next step measures."""
    child = f"import time; time.sleep(3); open({str(tmp_path / 'late')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    step = gpu.Step("training", [sys.executable, "-c", code], 2.2)
    gpu.run(step, later(), quiet)
    assert step.outcome.startswith("stopped")
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_what_is_missing_or_too_late_is_passed_over_with_its_reason(gpu: ModuleType) -> None:
    said: list[str] = []
    absent = gpu.Step("racecheck", ["compute-sanitizer"], 60, "compute-sanitizer is not installed")
    gpu.run(absent, later(), said.append)
    late = gpu.Step("lmmd", [sys.executable, "-c", ""], 60)
    gpu.run(late, time.monotonic() + 1, said.append)
    assert [step.outcome for step in (absent, late)] == ["not run", "not run"]
    assert said == ["racecheck: not run: compute-sanitizer is not installed", "lmmd: not run: no time was left"]
    assert not absent.failed


def test_a_command_that_cannot_be_started(gpu: ModuleType) -> None:
    step = gpu.Step("memcheck", ["/no/such/command"], 60)
    gpu.run(step, later(), quiet)
    assert step.outcome.startswith("cannot be started: ")
    assert step.failed


def test_the_steps_are_there(gpu: ModuleType, tmp_path: Path) -> None:
    steps = gpu.steps(tmp_path / "h100.json")
    names = [step.name for step in steps]
    checks = ["build", "tests", *gpu.SANITIZERS, "ida", "adaptation_step", "training-tests"]
    assert set(gpu.SANITIZERS) == {"memcheck", "racecheck", "synccheck", "initcheck"}
    assert names == [*checks, "gpu_latency", "training", "lmmd_profile", "lmmd"]
    for step in steps:
        for word in step.command:
            if word.endswith(".py"):
                assert (ROOT / word).exists(), word
    written = [step.writes for step in steps if step.writes]
    assert written == [tmp_path / f"h100-{name}.json" for name in ("ida", "adaptation_step", *names[9:])]


@pytest.mark.parametrize("name", ["ida", "adaptation_step", "gpu_latency", "lmmd_profile", "lmmd"])
def test_benchmarks_know_the_options_that_they_are_given(
    gpu: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One that is unknown would end it with other words."""
    (step,) = (step for step in gpu.steps(tmp_path / "h100.json") if step.name == name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", step.command[1:])
    with pytest.raises(SystemExit):
        importlib.import_module(name).main()
    assert "error: no CUDA GPU that this PyTorch can use" in capsys.readouterr().err.splitlines()[-1]


def test_every_test_that_needs_a_gpu_is_run(gpu: ModuleType) -> None:
    mark = re.compile(r"^(@|pytestmark = )pytest\.mark\.gpu$", re.MULTILINE)
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if mark.search(path.read_text())]
    assert {path.relative_to(ROOT).as_posix() for path in marked} == {*gpu.TESTS, *gpu.LOOP_TESTS}


@pytest.mark.slow
def test_a_bare_machine_has_what_the_steps_import(gpu: ModuleType) -> None:
    """The tests are found without conftest.py; the training step needs what it looks for, and no more."""
    words = [*gpu.steps(ROOT / "h100.json")[1].command[3:], "--collect-only"]
    code = f"""
import sys
sys.path.insert(0, "benchmarks")
sys.modules.update(dict.fromkeys({[*gpu.TRAINING, *LACKING]}))
import ida, lmmd, pytest
assert pytest.main({words}) == 0
for name in {gpu.TRAINING}:
    del sys.modules[name]
import adaptation_step
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in gpu.TESTS:
        assert f"{name}::" in done.stdout


def test_a_training_step_says_which_packages_it_lacks(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.NEEDS, "adaptation_step", ("numpy", "no_such_module", "nor_this"))
    step = gpu.steps(ROOT / "x.json")[7]
    gpu.run(step, later(), quiet)
    assert (step.outcome, step.missing) == ("not run", "not installed: no_such_module, nor_this")


def test_tables_show_what_the_benchmarks_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = importlib.import_module("adaptation_step")
    monkeypatch.setattr(script, "NETWORKS", {"frozen": script.NETWORKS["frozen whisper_tiny"]})
    monkeypatch.setattr(sys, "argv", ["adaptation_step.py", "--steps", "1", "--out", str(tmp_path / "step.json")])
    script.main()
    header, row = gpu_tables.training_table(json.loads((tmp_path / "step.json").read_text()))
    assert header.split()[-6:] == ["rest", "didan", "mmd", "lmmd", "coral", "dann"]
    assert row.startswith("frozen")
    assert all(float(word) > 0 for word in row.split()[1:])
    solved = json.loads((ROOT / "benchmarks/results/ida.json").read_text())
    header, first, *_ = gpu_tables.ida_table(solved)
    assert header.split() == ["IDA", "and", "others,", "ms", *(size["rows"] for size in solved["sizes"])]
    assert first.split()[0] == "sparse_codes"


def test_the_other_tables_show_what_their_benchmarks_write() -> None:
    """What a run of a part gives, and what failed in it."""
    row = {
        "precision": "fp16",
        "runtime": "tensorrt",
        "p50": 0.5,
        "p95": 0.6,
        "p99": 0.7,
        "ratio": [0.1, 0.1, 0.1],
    }
    models = {"m": {"rows": [row | {"batch": batch} for batch in (1, 4, 64)], "left_out": ["int8: no"]}}
    head, first, last, note = gpu_tables.latency_table({"models": models})
    assert (head.split()[0], first.split()[2], last.split()[2], note) == ("m,", "1", "64", "not run: int8: no")
    measured = json.loads((ROOT / "benchmarks/results/training-cpu.json").read_text())
    text = "\n".join(gpu_tables.loop_table(measured))
    assert "recipe" in text
    assert "ceiling" in text
    kernel = {"kernel": "Begin(Job<float>)", "seconds": 2e-6, "of_floor": None, "bound": "memory"}
    _, told, wrong = gpu_tables.profile_table(
        {"sizes": {"3+4": {"kernels": [kernel]}, "5+6": {"error": "refused"}}}
    )
    assert told.split() == ["Begin", "3+4", "2.0", "0.00", "memory"]
    assert wrong == "5+6: refused"


def test_a_second_call_goes_on_where_the_first_one_ended(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is done stays as long as the sources are the same; --only and --again do as they say."""
    counts = tmp_path / "counts"

    def steps(_out: Path) -> list[object]:
        code = f"open({str(counts)!r}, 'a').write('NAME '); raise SystemExit('NAME' == 'wrong')"
        return [
            gpu.Step(name, [sys.executable, "-c", code.replace("NAME", name)], 60) for name in ("good", "wrong")
        ]

    def ran(*words: str) -> str:
        counts.write_text("")
        gpu.main(["--out", str(tmp_path / "x.json"), *words])
        return counts.read_text().strip()

    monkeypatch.setattr(gpu, "gpu_name", lambda: "NVIDIA X")
    monkeypatch.setattr(gpu, "steps", steps)
    assert ran() == "good wrong"
    assert ran() == "wrong"
    assert ran("--only", "good") == "good"
    assert ran("--again") == "good wrong"
    monkeypatch.setattr(gpu, "sources", lambda _step: "others")
    assert ran("--minutes", "0") == ""
    assert re.search(r"good +ok +0 s +of other sources\n", capsys.readouterr().out)
    assert ran() == "good wrong"
    outcomes = {step["name"]: step["outcome"] for step in json.loads((tmp_path / "x.json").read_text())["steps"]}
    assert outcomes == {"good": "ok", "wrong": "exit code 1"}
    assert ran("--minutes", "0") == ""
    assert gpu.main(["--out", str(tmp_path / "x.json"), "--only", "no-such"]) == 2


def test_what_was_measured_stays_where_a_later_call_has_no_time(gpu: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    step = {"name": "lmmd", "outcome": "exit code 1", "took": 3.0, "log": "", "result": {"rows": []}, "date": "d"}
    out.write_text(json.dumps({"steps": [step]}))
    later_step = gpu.Step("lmmd", [sys.executable, "-c", ""], 60)
    gpu.recall([later_step], out)
    gpu.run(later_step, time.monotonic(), quiet)
    assert (later_step.outcome, later_step.result) == ("exit code 1", {"rows": []})
    out.write_text("no JSON")
    gpu.recall([later_step], out)  # passed over


def test_the_ops_are_built_where_there_are_none_for_a_gpu(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = gpu.Step("build", ["x"], 60, outcome="ok")
    build.sources = gpu.sources(build)
    for there in (True, False):
        monkeypatch.setattr(gpu, "is_built", lambda there=there: there)
        assert gpu.is_done(build) is there


def test_a_step_depends_on_what_it_runs(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package, its own script and what that imports beside it; not another step's script."""
    files = {
        "fdan_edge/a.py": "1",
        "setup.py": "1",
        "benchmarks/one.py": "import json\nfrom two import x\n",
        "benchmarks/two.py": "x = 1",
        "benchmarks/three.py": "1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    step = gpu.Step("one", [sys.executable, "benchmarks/one.py", "--steps", "3"], 60)
    seen = [gpu.sources(step)]
    for name in files:
        (tmp_path / name).write_text(files[name] + "\n# changed")
        seen.append(gpu.sources(step))
    assert [a != b for a, b in itertools.pairwise(seen)] == [True, True, True, True, False]
    monkeypatch.setattr(gpu, "gpu_name", lambda: "another")
    assert gpu.sources(step) != seen[-1]


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

    def steps(out: Path) -> list[object]:
        writes, old = out.with_name("lmmd.json"), out.with_name("ida.json")
        write = f"import json; json.dump({{'rows': [{row!r}]}}, open({str(writes)!r}, 'w'))"
        old.write_text("of a run that was stopped")
        return [
            gpu.Step("tests", [sys.executable, "-c", "raise SystemExit(1)"], 60),
            gpu.Step("ida", [sys.executable, "-c", ""], 60, writes=old),
            gpu.Step("lmmd", [sys.executable, "-c", write], 60, writes=writes),
        ]

    monkeypatch.setattr(gpu, "gpu_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(gpu, "steps", steps)
    assert gpu.main(["--out", str(tmp_path / "h100.json")]) == 1
    written = json.loads((tmp_path / "h100.json").read_text())
    assert [step["outcome"] for step in written["steps"]] == ["exit code 1", "ok", "ok"]
    assert [step["result"] for step in written["steps"]] == [None, None, {"rows": [row]}]
    assert written["gpu"] == "NVIDIA H100"
    assert [path.name for path in tmp_path.iterdir()] == ["h100.json"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:3] == ["fdan_edge", "32+32", "0.050"]
