"""Nothing leaves the device; nothing is written but what was asked for, where home and packages are read-only too.

strace sees what C++ code does too, and is what proves it. ONNX Runtime sends its first report some seconds after
its import, but has written who it is by then: so its files are looked for as well, in short processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

#: Socket families other than the machine's own, and the files of ONNX Runtime's telemetry.
INTERNET = re.compile(r"AF_INET|sin6?_port")
REPORTS = re.compile(r"DeveloperTools|deviceid|onnxruntime\.db")
#: Root may write wherever a mode forbids it, but not below a file.
HOME = "/dev/null/home"
PLACES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "FDAN_EDGE_CACHE", "MPLCONFIGDIR", "ORT_DISABLE_TELEMETRY")

_WATCHED = """
import json, sys
seen = []
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind"):
        seen.append(event)
sys.addaudithook(note)
from fdan_edge.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(seen), file=sys.stderr)
"""


@cache
def can_trace() -> bool:
    """Whether strace is here, and may watch processes."""
    command = shutil.which("strace")
    return (
        command is not None and subprocess.run([command, "-o", "/dev/null", "true"], check=False).returncode == 0
    )


needs_strace = pytest.mark.skipif("not can_trace()", reason="no strace, or it may not watch processes")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, for processes that are started."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def traced(words: Sequence[str | Path], log: Path) -> list[str]:
    # By seccomp nothing but these calls stops the process: twice as fast.
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=network,openat", "-o", str(log)]
    return [*strace, sys.executable, "-m", "fdan_edge", *map(str, words)]


@pytest.mark.parametrize("verb", ["infer", "stream", "bench", "export", "evaluate"])
def test_a_command_needs_no_home_and_opens_no_internet_socket(
    bundle_folder: Path,
    run_folder: Path,
    ravdess_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    recording = next(ravdess_tree.rglob("*.wav"))
    words: dict[str, list[str | Path]] = {
        "infer": ["infer", bundle_folder, recording],
        "stream": ["stream", bundle_folder, recording, "--vad", "silero"],
        "bench": ["bench", bundle_folder, "--runs", "5", "--starts", "0"],
        "export": ["export", run_folder, "--out", tmp_path / "bundle"],
        "evaluate": ["evaluate", run_folder, "--speech", f"ravdess:{ravdess_tree}"],
    }
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # packages are read-only too
    plain = [sys.executable, "-m", "fdan_edge", *map(str, words[verb])]
    command = traced(words[verb], tmp_path / "log") if can_trace() else plain
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert HOME not in done.stderr
    assert "Traceback" not in done.stderr
    if can_trace():
        text = (tmp_path / "log").read_text(errors="replace")
        assert ("torch/lib" if verb == "evaluate" else "onnxruntime_pybind11") in text  # it was watched
        assert not [line for line in text.splitlines() if INTERNET.search(line) or REPORTS.search(line)]
        assert verb != "evaluate" or "torch/_dynamo/" not in text  # two seconds of every start


@needs_strace
def test_the_page_opens_the_port_that_it_listens_on_and_no_other(
    bundle_folder: Path, tmp_path: Path, home: Path
) -> None:
    command = traced(["serve", bundle_folder, "--port", "0"], tmp_path / "log")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    lines = [line for line in (tmp_path / "log").read_text(errors="replace").splitlines() if INTERNET.search(line)]
    calls = [re.sub(r"^\d+ +(\w+)\(.*", r"\1", line) for line in lines]
    assert set(calls) <= {"socket", "bind", "getsockname", "setsockopt", "listen"}, lines
    assert calls.count("socket") == calls.count("bind") == 1
    assert 'inet_addr("127.0.0.1")' in next(line for line in lines if "bind(" in line)
    assert not list(home.iterdir())


@pytest.mark.skipif("can_trace()", reason="strace sees more")
@pytest.mark.parametrize("verb", ["infer", "stream", "bench"])
def test_no_command_asks_python_for_a_connection_or_fills_the_home(
    bundle_folder: Path, ravdess_tree: Path, home: Path, verb: str
) -> None:
    """Where there is no strace. Python's audit hook does not see C++ code: that one's files are looked for."""
    rest = ["--runs", "5"] if verb == "bench" else [str(next(ravdess_tree.rglob("*.wav")))]
    command = [sys.executable, "-c", _WATCHED, verb, str(bundle_folder), *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert not list(home.iterdir())
