"""Whole trainings for training.py, each a command in a process of its own: resume, start, epoch, scaling."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

COMMAND = [sys.executable, "-m", "fdan_edge", "train"]
#: Several processes; one thread each, so that two have twice the cores of one.
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node={n}"]
NATIVE = ["backbone=mobilenet_v2", "face_size=48"]
WAYS_OF_EPOCHS = {
    "everything trained": [],
    "first stages frozen": ["frozen_stages=7", "frozen_face_stages=7"],
}
SYNTHETIC = ["--speech", "synthetic:", "--faces", "synthetic:"]
TINY = [
    *("backbone=mobilenet_v2", "weights=none", "epochs=4", "n_mels=32", "hop=512", "window_seconds=1.0"),
    *("window_hop_seconds=0.5", "face_size=32", "feature_size=16", "speed_perturbation=0", "threads=1"),
    "surroundings=0",
]
START_TARGET, EPOCH_TARGET = 5.0, 15.0  # seconds
WEIGHTS = ("checkpoint.safetensors", "last.safetensors")
#: Runs the command line until a step ends; argv: when it was started, then its words.
UNTIL_FIRST_STEP = """
import json, os, sys, time
from functools import partial
from fdan_edge import cli
from fdan_edge.training import run
def stop(_, seconds):
    ended = time.time() - float(sys.argv[1])
    print(json.dumps({"begun": ended - seconds, "ended": ended}), flush=True)
    os._exit(0)
run.train = partial(run.train, on_step=stop)
cli.main(sys.argv[2:])
"""


def resume(kills: int, say: Say) -> dict[str, Any]:
    """Whether trainings that were killed end with the weights of one that was left alone, byte for byte."""
    words = [*SYNTHETIC, *_settings(TINY)]
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _train(
            [*words, "--set", "epochs=1", "--out", str(folder / "warm")]
        )  # else the first would be slowed by an empty cache
        seconds = _train([*words, "--out", str(folder / "whole")])
        killed = []
        for turn in range(kills):
            at = chance.uniform(0, seconds)
            out = folder / f"killed-{turn}"
            alive = _kill(words, out, at)
            _train(["--resume", "--out", str(out)] if alive else [*words, "--out", str(out)])
            same = equal_weights(folder / "whole", out)
            killed.append({"after_seconds": at, "of": seconds, "resumed": alive, "equal": same})
            say(f"killed after {at:.1f} of {seconds:.1f} s: weights {'equal' if same else 'NOT equal'}")
    good = sum(one["equal"] for one in killed)
    line = f"{good} of {len(killed)} killed trainings ended with the same bytes of weights"
    return {"line": line, "seed": seed, "killed": killed}


def _kill(words: list[str], out: Path, seconds: float) -> bool:
    """Start a training and kill it; whether it had begun to write a run that can be resumed."""
    process = subprocess.Popen(
        [*COMMAND, *words, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return (out / "run.toml").exists()


def equal_weights(one: Path, other: Path) -> bool:
    """Whether two run folders hold the same tensors, bit for bit."""
    from safetensors.numpy import load_file

    for name in WEIGHTS:
        a, b = load_file(one / name), load_file(other / name)
        if a.keys() != b.keys() or any(a[key].tobytes() != b[key].tobytes() for key in a):
            return False
    return True


def start(speech: str, faces: str, rounds: int, say: Say) -> dict[str, Any]:
    """Seconds from the command to the first step's begin and end; the first round warms the cache."""
    words = ["train", "--speech", speech, "--faces", faces, *_settings(NATIVE)]
    found = []
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", UNTIL_FIRST_STEP, str(time.time()), *words, "--out", f"{folder}/run"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"start: {done.stderr.strip().splitlines()[-1]}")
        made = json.loads(done.stdout.splitlines()[-1])
        say(f"first step begun after {made['begun']:.2f} s, ended after {made['ended']:.2f} s")
        found += [made] if turn else []
    begun, ended = (statistics.median(made[name] for made in found) for name in ("begun", "ended"))
    verdict = _verdict(begun, START_TARGET)
    line = f"{begun:.1f} s from the command to the first step, which ended after {ended:.1f} s; {verdict}"
    return {"line": line, "begun": begun, "ended": ended, "rounds": found, "met": begun <= START_TARGET}


def epoch(speech: str, faces: str, say: Say, epochs: int = 4) -> dict[str, Any]:
    """Seconds of an epoch, everything trained and not: the median of all but the first, which warms up."""
    found: dict[str, dict[str, Any]] = {}
    for name, settings in WAYS_OF_EPOCHS.items():
        words = ["--speech", speech, "--faces", faces, *_settings([*NATIVE, *settings, f"epochs={epochs}"])]
        seconds = _epochs(COMMAND, words)
        say(f"{name}: epochs of " + ", ".join(f"{one:.1f}" for one in seconds) + " s")
        found[name] = {"settings": settings, "seconds": seconds, "median": statistics.median(seconds[1:])}
    medians = {name: float(one["median"]) for name, one in found.items()}
    line = ", ".join(f"{name} {one:.1f} s ({_verdict(one, EPOCH_TARGET)})" for name, one in medians.items())
    return {"line": line, "ways": found}


def scaling(speech: str, faces: str, say: Say, epochs: int = 3) -> dict[str, Any]:
    """How many times as fast 2 processes of one thread are as 1, with the same batch in all."""
    words = ["--speech", speech, "--faces", faces, *_settings([*NATIVE, "threads=1", f"epochs={epochs}"])]
    found = {}
    for n in (1, 2):
        launch = [word.format(n=n) for word in LAUNCH] + COMMAND[1:]
        try:
            found[n] = statistics.median(_epochs(launch, words)[1:])
        except SystemExit as error:
            return {"line": f"not run: this checkout does not train in {n} processes", "error": str(error)}
        say(f"{n} processes: {found[n]:.2f} s an epoch")
    times = found[1] / found[2]
    line = f"2 processes are {times:.2f} times as fast as 1 ({found[1]:.2f} and {found[2]:.2f} s an epoch)"
    return {"line": line, "seconds": found, "times": times}


def _epochs(command: Sequence[str], words: list[str]) -> list[float]:
    """Seconds of each epoch of a training, as its epochs.jsonl has them."""
    with tempfile.TemporaryDirectory() as folder:
        _train([*words, "--out", f"{folder}/run"], command)
        lines = Path(f"{folder}/run/epochs.jsonl").read_text().splitlines()
    return [float(json.loads(line)["seconds"]) for line in lines]


def _train(words: list[str], command: Sequence[str] = COMMAND) -> float:
    """Seconds of a training that succeeds; SystemExit with its last line where it does not."""
    begun = time.perf_counter()
    own = {**os.environ, "OMP_NUM_THREADS": "1"} if "torch.distributed.run" in command else None
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=own)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")] or [done.stderr[-300:]]
        raise SystemExit(lines[-1])
    return time.perf_counter() - begun


def _settings(words: Sequence[str]) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def _verdict(seconds: float, most: float) -> str:
    return f"at most {most:g} s wanted: {'met' if seconds <= most else 'not met'}"
