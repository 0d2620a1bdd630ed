"""Long trainings on every speaker-disjoint fold: plain and FDAN, teacher and student. For a GPU.

    make gpu-train SPEECH=ravdess:PATH FACES=fer2013:PATH
    python benchmarks/gpu_training.py --speech ravdess:PATH --faces fer2013:PATH --only plain fdan --minutes 8

Each is a `fdan-edge crossval` in a folder of its own below `--out`, in the order of `TRAININGS`. What `--minutes`
stops goes on with the same command from its last saved step. Every finished one is a row of
benchmarks/results/folds-<gpu-name>.md and .json, with intervals by speaker; it says how far the others are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from folds import entry, markdown
from gpu import environment, gpu_name, slug
from sources import absolute_source

from fdan_edge.experiments.crossval import RESULT
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.machine import machine_info

LEAST_SECONDS = 20  # a training with less time left is not begun
_SMALL = ("backbone=mobilenet_v2_small", "n_mels=64", "hop=512")


@dataclass(frozen=True)
class Training:
    """One cross-validation."""

    name: str
    settings: tuple[str, ...]
    faces: bool = False
    teacher: str = ""  # another one's name


#: In the order of what is wanted first. The epochs of `whisper_tiny` are those of results/README.md.
TRAININGS = (
    Training("plain", ("backbone=mobilenet_v2",)),
    Training("fdan", ("backbone=mobilenet_v2",), faces=True),
    Training("whisper_tiny", ("backbone=whisper_tiny", "balanced=true", "epochs=8")),
    Training("student-labels", _SMALL),
    Training("student", _SMALL, teacher="whisper_tiny"),
    Training("student-fdan", _SMALL, faces=True, teacher="fdan"),
    Training("resnet34", ("backbone=resnet34",)),
    Training("resnet34-fdan", ("backbone=resnet34",), faces=True),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not trained yet; gives the exit code, 1 where something failed."""
    arguments = build_parser().parse_args(argv)
    deadline = time.monotonic() + 60 * arguments.minutes
    gpu = gpu_name()
    if gpu is None and not arguments.cpu:
        print("error: no CUDA GPU that this PyTorch can use; --cpu trains on the processor, for days")
        return 2
    name = slug(gpu or "cpu")
    told: dict[str, str] = {}
    for training in TRAININGS:
        wanted = not arguments.only or training.name in arguments.only
        told[training.name] = train(training, arguments, deadline) if wanted else state(training, arguments)
        print(f"{training.name}: {told[training.name]}", flush=True)
        report(told, arguments, name)
    return int(any(what.startswith("failed") for what in told.values()))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--speech", type=absolute_source, required=True, help="corpus:path")
    add("--faces", type=absolute_source, required=True, help="corpus:path")
    add("--cpu", action="store_true", help="train without a GPU, for days")
    add("--out", type=Path, default=Path("runs/gpu"), help="of the run folders (default: %(default)s)")
    add("--results", type=Path, default=Path(__file__).parent / "results")
    add("--minutes", type=float, default=600, help="for all together (default: %(default)s)")
    add("--only", nargs="+", choices=[training.name for training in TRAININGS], default=[])
    add("--epochs", type=int, default=60, help="of those that have no number of their own (default: %(default)s)")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of all")
    return parser


def command(training: Training, arguments: argparse.Namespace) -> list[str]:
    """The `fdan-edge crossval` of a training."""
    words = [f"epochs={arguments.epochs}", *training.settings, *arguments.settings]
    words += [f"teacher={(arguments.out / training.teacher).resolve()}"] if training.teacher else []
    faces = ["--faces", arguments.faces] if training.faces else []
    made = [sys.executable, "-m", "fdan_edge", "crossval", "--speech", arguments.speech, *faces]
    return [*made, "--out", str(arguments.out / training.name), *(w for word in words for w in ("--set", word))]


def state(training: Training, arguments: argparse.Namespace) -> str:
    """How far one is that is not wanted now."""
    folder = arguments.out / training.name
    return "done" if (folder / RESULT).exists() else f"not asked for ({progress(folder)})"


def train(training: Training, arguments: argparse.Namespace, deadline: float) -> str:
    """Train one, or go on with it; what came of it, in a line. What it says is in a file beside its folder."""
    folder: Path = arguments.out / training.name
    if (folder / RESULT).exists():
        return "done"
    if training.teacher and not (arguments.out / training.teacher / RESULT).exists():
        return f"not begun: its teacher {training.teacher} is not done"
    left = deadline - time.monotonic()
    if left < LEAST_SECONDS:
        return f"no time was left ({progress(folder)})"
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = arguments.out / f"{training.name}.log"
    print(f"{training.name}: its progress is in {log}", flush=True)
    with log.open("ab") as file:
        process = subprocess.Popen(command(training, arguments), stderr=file, env=environment())
        try:
            process.wait(left)
        except subprocess.TimeoutExpired:
            return f"stopped: time ({progress(folder)})"
        finally:
            process.kill()  # nothing if it is over; else what it has saved is enough to go on from
            process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
        return f"failed: {lines[-1].removeprefix('error: ')}"
    return "done"


def progress(folder: Path) -> str:
    """How far a cross-validation is."""
    folds = sorted(folder.glob("fold-*"))
    epochs = [len(path.read_text().splitlines()) for fold in folds for path in fold.glob("epochs.jsonl")]
    return f"{len(epochs)} folds begun, {sum(epochs)} epochs in all"


def report(told: dict[str, str], arguments: argparse.Namespace, name: str) -> None:
    """Write the rows of all that is done, and how far the rest is."""
    done = [one for one in told if told[one] == "done"]
    rows: list[dict[str, Any]] = [{"name": one, **entry(arguments.out / one)} for one in done]
    for row in rows:
        row["title"] = f"{row['name']}: {row['title']}"
    values = {"machine": machine_info(), "torch": torch.__version__, "rows": rows, "outcomes": told}
    write_json(arguments.results / f"folds-{name}.json", values)
    text = markdown(rows) if rows else ""
    text += "".join(f"\n- {one}: {what}\n" for one, what in told.items() if what != "done")
    write_text(arguments.results / f"folds-{name}.md", text)


if __name__ == "__main__":
    sys.exit(main())
