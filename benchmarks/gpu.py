"""Everything of this project that needs a GPU, on any CUDA machine with PyTorch 2.11 or later and nvcc.

    make gpu                      or: python3 benchmarks/gpu.py [--only STEP ...] [--minutes 8]

Builds the ops for this machine's GPU in place, runs the tests marked `gpu`, the four checks of
compute-sanitizer, Nsight Compute on LMMD, and the GPU benchmarks; writes benchmarks/results/<gpu-name>.json after
every step, and prints short tables last. The same command again goes on with what failed, was not run or has other
sources by now; `--again` repeats all. From a plain checkout: only torch, numpy, pytest and setuptools need be
installed; what more some steps need is in `NEEDS`. What cannot run is listed with the reason. The exit code is 1
if anything failed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import json  # noqa: E402

from gpu_tables import table  # noqa: E402
from lmmd_profile import find_ncu  # noqa: E402

from fdan_edge.utils.files import write_json  # noqa: E402

#: Small calls that reach every kernel: hard and soft labels, one and several blocks, both types of sums.
EXERCISE = """
import torch
from fdan_edge.models.ops.lmmd import lmmd
for n_v, n_a, d, soft, dtype in [
    (32, 32, 256, False, torch.float32), (70, 130, 300, False, torch.bfloat16),
    (40, 50, 20, True, torch.float32), (600, 700, 64, False, torch.float32), (30, 40, 33, False, torch.float64),
]:
    torch.manual_seed(0)
    z_v, z_a = (torch.randn(n, d, device="cuda").to(dtype).requires_grad_() for n in (n_v, n_a))
    if soft:
        y_v, y_a = torch.rand(n_v, 7, device="cuda"), torch.rand(n_a, 7, device="cuda")
    else:
        y_v, y_a = torch.randint(7, (n_v,), device="cuda"), torch.randint(7, (n_a,), device="cuda")
    lmmd(z_v, z_a, y_v, y_a, 7).backward()
torch.cuda.synchronize()
print("exercised")
"""


SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")  # tools of compute-sanitizer
LEAST_SECONDS = 2  # a step with less time left is not begun
TESTS = (  # that need no conftest.py
    "tests/models/ops/test_native_gpu.py",
    "tests/training/test_sparse_coding.py",
    "tests/training/test_domain_alignment.py",
    "tests/runtime/tensorrt/test_runner_gpu.py",
)
LOOP_TESTS = (
    "tests/training/test_step.py",
    "tests/training/test_history.py",
    "tests/runs/test_torch_runner.py",
)
#: What steps import beyond what all need: a training step, the loop around it, and the export.
TRAINING = ("torchvision", "librosa")
LOOP = (*TRAINING, "PIL", "rich", "safetensors", "soundfile", "soxr", "tomli_w")
NEEDS = {
    "adaptation_step": TRAINING,
    "training-tests": LOOP,
    "training": LOOP,
    "gpu_latency": (*LOOP, "onnx", "onnxscript", "onnxruntime"),
}
#: What the outcome of every step depends on.
SHARED = ("cuda", "export", "fdan_edge")


@dataclass
class Step:
    """One thing to run, and what came of it."""

    name: str
    command: list[str]
    seconds: float  # at most
    missing: str = ""  # why it cannot run here
    writes: Path | None = None  # JSON, which becomes the result
    outcome: str = "not run"
    took: float = 0.0
    log: str = ""  # the last lines
    result: Any = None
    date: str = ""  # when, and of which `sources`
    sources: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome not in ("ok", "not run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps; gives the exit code."""
    options = _options(argv)
    gpu = gpu_name()
    if gpu is None:
        why = f"{sys.executable} -c 'import torch; torch.cuda.init()'"
        print(f"error: no CUDA GPU that this PyTorch can use; this says why: {why}")
        return 2
    out: Path = options.out or ROOT / "benchmarks" / "results" / f"{slug(gpu)}.json"
    all_steps = steps(out)
    names = [step.name for step in all_steps]
    for name in options.only:
        if name not in names:
            print(f"error: no step {name!r}; valid: {', '.join(names)}")
            return 2
    recall(all_steps, out)
    deadline = time.monotonic() + 60 * options.minutes
    for step in all_steps:
        if step.name in options.only if options.only else options.again or not is_done(step):
            run(step, deadline)
            take_result(step)
            write_json(out, report(gpu, all_steps))
    stale = {step.name for step in all_steps if step.sources and step.sources != sources(step)}
    print("\n".join(["", f"{gpu}: results in {out}", "", *table(all_steps, stale)]))
    return int(any(step.failed for step in all_steps))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/<gpu-name>.json")
    parser.add_argument("--minutes", type=float, default=9, help="for all steps together (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="run these steps, done or not")
    parser.add_argument("--again", action="store_true", help="run what is done already, too")
    return parser.parse_args(argv)


def recall(all_steps: list[Step], out: Path) -> None:
    """Take over what an earlier call has left, whatever came of it."""
    try:
        before = json.loads(out.read_text())
        known = {values["name"]: values for values in before["steps"]}
    except (OSError, ValueError, KeyError, TypeError):
        return
    for step in all_steps:
        for name in ("outcome", "took", "log", "result", "date", "sources"):
            setattr(step, name, known.get(step.name, {}).get(name, getattr(step, name)))


def is_done(step: Step) -> bool:
    """Whether it need not be run again: it went well with these sources, this PyTorch and this GPU."""
    return step.outcome == "ok" and step.sources == sources(step) and (step.name != "build" or is_built())


def is_built() -> bool:
    """Whether this checkout's ops are there, with CUDA: on a fresh machine they are not."""
    code = "import sys; from fdan_edge.models.ops.native import native_status; sys.exit(not native_status().cuda)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), check=False, capture_output=True
    )
    return done.returncode == 0


def sources(step: Step) -> str:
    """A hash of what a step runs: the package, the files of its command, and what these import beside them."""
    import torch

    digest = hashlib.sha256(f"{torch.__version__} {gpu_name()} {step.command[1:]}".encode())
    files = {path for name in SHARED for path in (ROOT / name).rglob("*")} | {ROOT / "setup.py"}
    named = [ROOT / word for word in step.command if word.endswith(".py")]
    while named:
        path = named.pop()
        if path not in files and path.is_file():
            files.add(path)
            found = re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
            named += [path.with_name(f"{module}.py") for module in found]
    for path in sorted(files):
        if path.suffix in (".py", ".cpp", ".cu", ".h", ".inl") and path.is_file():
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def gpu_name() -> str | None:
    """Name of the first GPU, None where PyTorch sees none."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def slug(name: str) -> str:
    """A GPU's name as a file name: `NVIDIA H100 80GB HBM3` is nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def steps(out: Path) -> list[Step]:
    """What runs, in order. A step that needs what is not installed says so and is passed over.

    The benchmarks leave their results beside `out`, the long one last: it keeps the sizes that it came to.
    """
    python = sys.executable
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    name = "compute-sanitizer"
    sanitizer = shutil.which(name) or shutil.which(name, path=str(toolkit))
    no_sanitizer = "" if sanitizer else "compute-sanitizer is not installed"
    check = [sanitizer or "compute-sanitizer", "--error-exitcode=9", "--print-limit=5"]
    pytest = [python, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-m", "gpu"]
    training = ("--only", "steps", "--backbones", "mobilenet_v2", "--steps", "10", "--rounds", "1")
    return [
        Step("build", [python, "setup.py", "--quiet", "build_ext", "--inplace", "--force"], 150),
        Step("tests", [*pytest, *TESTS], 150),
        *(Step(tool, [*check, f"--tool={tool}", python, "-c", EXERCISE], 90, no_sanitizer) for tool in SANITIZERS),
        _benchmark("ida", out, 60, "--device", "cuda", "--budget-seconds", "1"),
        _benchmark("adaptation_step", out, 60, "--device", "cuda", "--steps", "50"),
        Step("training-tests", [*pytest, *LOOP_TESTS], 90, _not_installed(LOOP)),
        _benchmark("gpu_latency", out, 200, "--runs", "100"),
        _benchmark("training", out, 180, *training),
        _benchmark("lmmd_profile", out, 90, missing="" if find_ncu() else "ncu is not installed"),
        _benchmark("lmmd", out, 300, "--device", "cuda", "--budget-seconds", "1"),
    ]


def _benchmark(name: str, out: Path, seconds: float, *words: str, missing: str = "") -> Step:
    writes = out.with_name(f"{out.stem}-{name}.json")
    command = [sys.executable, f"benchmarks/{name}.py", *words, "--out", str(writes)]
    return Step(name, command, seconds, missing or _not_installed(NEEDS.get(name, ())), writes)


def _not_installed(modules: Sequence[str]) -> str:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def environment() -> dict[str, str]:
    """The steps' environment: this checkout first, the ops required and built for this machine's GPU."""
    import torch

    own = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    own["FDAN_EDGE_REQUIRE_NATIVE"] = "1"
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(0)
        own.setdefault("FDAN_EDGE_CUDA", os.environ.get("FDAN_EDGE_CUDA", f"{major}{minor}"))
    return {**os.environ, **own}


def run(step: Step, deadline: float, say: Callable[[str], None] = print) -> None:
    """Run one step within its own limit and the common deadline; never raises but for Ctrl-C."""
    limit = min(step.seconds, deadline - time.monotonic())
    if step.missing or limit < LEAST_SECONDS:
        say(f"{step.name}: not run: {step.missing or 'no time was left'}")
        return
    say(f"{step.name} ...")
    step.result, step.sources = None, sources(step)
    step.date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if step.writes:
        step.writes.unlink(missing_ok=True)  # of a run that was stopped
    start = time.monotonic()
    try:
        step.outcome, step.log = finished(step.command, limit)
    except OSError as error:
        step.outcome, step.log = f"cannot be started: {error}", ""
    step.took = time.monotonic() - start
    say(f"{step.name}: {step.outcome} ({step.took:.0f} s)")
    if step.failed:
        say(step.log)


def finished(command: list[str], limit: float) -> tuple[str, str]:
    """What came of a command, and its last lines. One that is stopped takes with it all that it has started."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=limit)
            outcome = "ok" if process.returncode == 0 else f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            outcome = f"stopped after {limit:.0f} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return outcome, _tail(said)


def take_result(step: Step) -> None:
    """Move what a step has written into its result; a step that was stopped may have written a part."""
    if step.writes and step.writes.exists():
        step.result = json.loads(step.writes.read_text())
        step.writes.unlink()


def _tail(text: str, lines: int = 40) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def report(gpu: str, all_steps: list[Step]) -> dict[str, Any]:
    """What is written: the machine, and every step with its outcome."""
    import torch

    from fdan_edge.utils.machine import machine_info

    def first_line(*command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    return {
        "gpu": gpu,
        "capability": ".".join(map(str, torch.cuda.get_device_capability(0))) if torch.cuda.is_available() else "",
        "driver": first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "nvcc": first_line("nvcc", "--version"),
        "torch": torch.__version__,
        "machine": machine_info(),
        "commit": first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "steps": [_described(step) for step in all_steps],
    }


def _described(step: Step) -> dict[str, Any]:
    made = {**asdict(step), "command": step.command[:4]}
    del made["writes"]
    return made


if __name__ == "__main__":
    sys.exit(main())
