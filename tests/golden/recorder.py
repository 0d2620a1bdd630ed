"""Run commands, and write down their output without what changes from one recording to the next."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import onnx

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"  # real recordings, where there are any
USAGE = "usage: python -m tests.golden record OUT_DIR | more OUT_DIR | compare A B"

#: Names of JSON entries whose values differ from one recording to the next.
Hide: TypeAlias = Sequence[str]

#: What every training has: small, on one thread, the same again bit for bit.
SAME = ("threads=1", "precision=fp32", "seed=7", "surroundings=0")
_SMALL = (*SAME, "n_mels=32", "hop=512", "window_seconds=1.0", "window_hop_seconds=0.5", "feature_size=16")
TRAINED = (*_SMALL, "batch_size=32", "face_batch_size=16", "face_size=32", "epochs=2", "lr=2e-3")
ONCE = ("epochs=1", "speed_perturbation=0")

#: Of files and output: the clock, the machine, and the code's commit.
EPOCH = ("seconds", "rate")
ORIGIN = ("date", "commit", "dirty", "versions", "machine")
#: Of a bundle: hashes of files in which versions and speeds stand, and these.
BUNDLE = ("versions", "ms", "other_ms", "ratio", "onnx_sha256", "sha256", "spec_sha256", "bundle.json")
TUNED = ("versions",)
TABLE = ("machine", "versions")
BENCHED = ("machine",)

#: In texts, what is not the same twice: (what is looked for, what stands in its place).
HIDDEN = (
    (re.compile(r"(UAR [\d.]+ %)  +\d+ s"), r"\1  <seconds> s"),  # of the line of an epoch
    (re.compile(r"[\d.]+ ms a window here, [\d.]+ of fp32's [\d.]+ ms"), "<speed>"),
    (re.compile(r"(?m)^this machine is busy \(.*\): times are too long, ratios less certain\n"), ""),
    (re.compile(r"\bcommit [0-9a-f]{7}\+?"), "commit <commit>"),
    (re.compile(r"(?m)^- (Versions|Machine): .*"), r"- \1: <\1>"),
    (re.compile(r"\bfdan-edge \d+\.\d+\.\d+"), "fdan-edge <version>"),
)

LAST = "whole.json"  # is written last
RATE = 16_000  # of the synthetic voices
MOST = 40  # lines that are shown of a file's differences

VERBS = (
    *("", "train", "crossval", "tune", "evaluate", "runs", "export", "infer", "bench", "stream", "serve"),
    *("reproduce", "demo", "doctor", "data", "data scan", "data cache"),
)


class Recorder:
    """Runs commands in OUT_DIR/work and writes down what came of them.

    Args:
        out: the folder to write.
        begun: whether it holds a record that is added to; else it must not hold anything.
    """

    def __init__(self, out: Path, *, begun: bool = False) -> None:
        self.out, self.work = out.resolve(), out.resolve() / "work"
        if begun and not (self.out / LAST).is_file():
            raise SystemExit(f"{out}: holds no whole record to add to")
        if not begun and self.out.exists() and any(self.out.iterdir()):
            raise SystemExit(f"{out}: is not empty; name another folder")
        self.work.mkdir(parents=True, exist_ok=True)
        self.environment = _environment(self.work)
        self.code = self._code()
        self._begun = time.monotonic()

    def run(
        self,
        name: str,
        *words: str | Path,
        hide: Hide = (),
        numbers: bool = False,
        errors: bool = True,
        stdin: bytes = b"",
    ) -> None:
        """Run a command and record its exit code and output.

        Args:
            name: of the record.
            words: what stands after `fdan-edge`.
            hide: names of JSON entries whose values are left out.
            numbers: every fraction is a time or a rate: left out.
            errors: whether standard error is recorded too.
            stdin: what is sent to it.
        """
        before = _processor_seconds()
        arguments = [str(word) for word in words]
        done = subprocess.run(
            [sys.executable, "-m", "fdan_edge", *arguments],
            cwd=self.work,
            env=self.environment,
            input=stdin,
            capture_output=True,
            check=False,
        )
        record: dict[str, Any] = {"command": arguments, "exit": done.returncode}
        record["out"] = without(parsed(self.plain(done.stdout)), hide, numbers=numbers)
        if errors:
            record["err"] = self.plain(done.stderr).splitlines()
        self.write(f"{name}.json", record)
        spent = _processor_seconds()
        tell(f"{time.monotonic() - self._begun:6.0f} s  {name} ({spent - before:.1f} of {spent:.0f} processor s)")

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command that is ended by hand."""
        command = [sys.executable, "-m", "fdan_edge", *map(str, words)]
        return subprocess.Popen(command, cwd=self.work, env=self.environment, **options)

    def files(self, name: str, folder: Path | str, patterns: Iterable[str], hide: Hide = ()) -> None:
        """Record files of a folder below work: JSON and texts in full, pictures and models as their hashes."""
        found = {path for pattern in patterns for path in (self.work / folder).glob(pattern)}
        self.write(
            f"{name}.files.json", {str(p.relative_to(self.work)): self._file(p, hide) for p in sorted(found)}
        )

    def run_folder(self, name: str, folder: str) -> None:
        """Record what a training leaves behind."""
        patterns = ("*.json", "*.jsonl", "*.toml", "*.png", "*.safetensors")
        self.files(name, folder, patterns, hide=(*EPOCH, *ORIGIN))
        self.listing(name, folder)

    def bundle(self, name: str, folder: str) -> None:
        """Record what an export leaves behind."""
        self.files(name, folder, ("*.json", "*.md", "*.onnx"), hide=BUNDLE)
        self.listing(name, folder)

    def listing(self, name: str, folder: str) -> None:
        """Record the names of a folder's files; digits in those that hold a moment are left out."""
        found = sorted(p.relative_to(self.work / folder) for p in (self.work / folder).rglob("*") if p.is_file())
        self.write(f"{name}.list.json", [re.sub(r"(tfevents)\..*", r"\1", str(path)) for path in found])

    @staticmethod
    def digest(path: Path) -> str:
        """The SHA-256 of a file."""
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def write(self, name: str, value: Any) -> None:
        """Write a record as JSON."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def plain(self, data: bytes) -> str:
        """Text without what is of this folder, this checkout and this moment."""
        text = data.decode(errors="backslashreplace")
        for path, word in ((self.out, "<OUT>"), (sys.prefix, "<VENV>"), (self.code, "<CODE>")):
            text = text.replace(str(path), word)
        for pattern, instead in HIDDEN:
            text = pattern.sub(instead, text)
        return text

    def _file(self, path: Path, hide: Hide) -> Any:
        if path.suffix == ".safetensors":
            return _tensors(path, hide)
        if path.suffix == ".onnx":
            return _graph(path, hide)
        if path.suffix in (".json", ".jsonl"):
            return without(parsed(self.plain(path.read_bytes())), hide)
        if path.suffix in (".toml", ".md", ".csv", ".txt", ".rttm", ".pbtxt"):
            return self.plain(path.read_bytes()).splitlines()
        return self.digest(path)

    def _code(self) -> Path:
        """The checkout that is recorded; says it, since a mistake in PYTHONPATH would compare one with itself."""
        lines = "import fdan_edge, fdan_edge.export as e; print(fdan_edge.__file__); print(e.__file__)"
        command = [sys.executable, "-c", lines]
        done = subprocess.run(
            command, cwd=self.work, env=self.environment, capture_output=True, text=True, check=True
        )
        tell(f"recording {' and '.join(done.stdout.split())}")
        return Path(done.stdout.split()[0]).parent.parent


def _environment(work: Path) -> dict[str, str]:
    """One thread, no colours, no terminal's width, and all caches below `work`."""
    dropped = ("FDAN_EDGE_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHELASTIC", "COLUMNS", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    caches = {"FDAN_EDGE_CACHE": "features", "XDG_CACHE_HOME": "cache", "MPLCONFIGDIR": "matplotlib"}
    return {
        **kept,
        **threads,
        **{name: str(work / folder) for name, folder in caches.items()},
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "CUDA_VISIBLE_DEVICES": "",
    }


def parsed(text: str) -> Any:
    """A text as JSON, as lines of JSON, or as lines."""
    for read in (json.loads, lambda whole: [json.loads(line) for line in whole.splitlines()]):
        try:
            return read(text)
        except ValueError:
            continue
    return text.splitlines()


def without(value: Any, hide: Hide, *, numbers: bool = False) -> Any:
    """JSON whose entries of some names, and with `numbers` whose fractions, are only named."""
    if isinstance(value, dict):
        return {k: f"<{k}>" if k in hide else without(v, hide, numbers=numbers) for k, v in value.items()}
    if isinstance(value, list):
        return [without(entry, hide, numbers=numbers) for entry in value]
    return "<number>" if numbers and isinstance(value, float) else value


def _tensors(path: Path, hide: Hide) -> dict[str, Any]:
    """Hashes of the tensors of a safetensors file, and its metadata."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    head: dict[str, Any] = json.loads(data[8:begin])
    metadata: dict[str, str] = head.pop("__metadata__", {})
    known = {name: without(parsed(text), hide) for name, text in metadata.items()}
    made = {}
    for name, entry in sorted(head.items()):
        low, high = entry["data_offsets"]
        digest = hashlib.sha256(data[begin + low : begin + high]).hexdigest()
        made[name] = f"{entry['dtype']} {entry['shape']} {digest}"
    return {"metadata": known, "values": _unnamed(made.values()), "tensors": made}


def _unnamed(values: Iterable[str]) -> str:
    """One hash of many values, whatever they are called: it stays where parts are only renamed."""
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


def _graph(path: Path, hide: Hide) -> dict[str, Any]:
    """What an ONNX file computes, as a hash, and what it says of itself."""
    model = onnx.load(str(path))
    weights = [onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer]
    return {
        "weights": _unnamed(hashlib.sha256(weight).hexdigest() for weight in weights),
        "graph": hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest(),
        "functions": len(model.functions),
        "opsets": {entry.domain: entry.version for entry in model.opset_import},
        "producer": model.producer_name,
        "ops": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        "metadata": {entry.key: without(parsed(entry.value), hide) for entry in model.metadata_props},
    }


def _processor_seconds() -> float:
    """What all commands took until now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def settings_of(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


# --- what is recorded ---
