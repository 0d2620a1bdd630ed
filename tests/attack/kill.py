"""Kill -9 at random moments of whatever writes: `python -m tests.attack.kill --moments 100`.

Each command runs in a process forked from one that has imported everything, so that the moments fall into its
work. After each kill every file must be whole or absent, and an earlier bundle there. Then the command goes on, as
a user would have it; at its end nothing of the killed ones may be left.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fdan_edge.config import read_toml
from fdan_edge.runtime.bundle import MANIFEST, MODEL, Bundle, new_bundle, write_manifest
from tests.helpers.bundles import artifact, manifest

_PATIENCE = 600.0  # s that a command may take
_TRIES = 4  # for each kill


@dataclass
class Victim:
    """A command that is killed, and what must hold after it."""

    name: str
    words: Callable[[Path], list[str]]  # of the command that begins or goes on, in this folder
    earlier: Callable[[Path], None] = lambda _: None  # what is there before the first
    ends: bool = True  # by itself; else it is ready when it prints a line
    kills: int = 0  # those that came before the command's end
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of a command that nobody kills

    def row(self) -> str:
        """Return the outcome in a line."""
        return f"{self.name:8} {self.kills:4} killed  {'; '.join(dict.fromkeys(self.problems)) or 'all whole'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill commands and print a table; return 1 where something was not whole."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.kill", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--moments", type=int, default=100, help="kills, of all commands together (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=["export", "train", "tune", "serve"], help="only these")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fdan-edge-kill-") as folder:
        os.environ |= {"XDG_CACHE_HOME": f"{folder}/cache", "FDAN_EDGE_CACHE": f"{folder}/features"}
        os.environ["OMP_NUM_THREADS"] = "1"
        victims = [victim for victim in _commands() if victim.name in (options.only or victim.name)]
        rng, share = random.Random(options.seed), -(-options.moments // len(victims))
        for victim in victims:
            kill(victim, Path(folder) / victim.name, share, rng)
            print(victim.row(), flush=True)
    return int(any(victim.problems for victim in victims))


def kill(victim: Victim, folder: Path, moments: int, rng: random.Random) -> None:
    """Kill a command so often, look at what it leaves each time, and let it end at last."""
    folder.mkdir(parents=True)
    victim.earlier(folder)
    victim.seconds = _run(victim, folder, _PATIENCE)[1]
    for _ in range(_TRIES * moments):  # some moments are after the end: a command that goes on has less to do
        if victim.kills >= moments:
            break
        _start_again(victim, folder)
        killed, _ = _run(victim, folder, rng.uniform(0, 1.05 * victim.seconds))
        victim.kills += killed
        victim.problems += look(folder)
    code = _run(victim, folder, _PATIENCE)[0]
    if victim.ends and code:
        victim.problems.append("it does not go on to its end")
    victim.problems += look(folder) + [f"{path} is left" for path in _hidden(folder)]


def look(folder: Path) -> list[str]:
    """Open every file below a folder; say in a line each what is not whole, and which bundle is not there."""
    problems = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            try:
                _open(path)
            except Exception as error:  # whatever a broken file raises
                problems.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}"[:200])
    if (folder / "earlier").exists() and not (folder / "bundle" / MANIFEST).is_file():
        problems.append("the earlier bundle is gone")
    return problems


def _open(path: Path) -> None:
    if path.name == MANIFEST:
        Bundle.open(path.parent).verify()
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".toml":
        read_toml(path)
    elif path.suffix == ".jsonl":
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif path.suffix == ".safetensors":
        from fdan_edge.runs.run_folder import load_tensors

        load_tensors(path)
    elif path.suffix == ".svg":
        ElementTree.parse(path)
    elif path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as image:
            image.load()


def _hidden(folder: Path) -> list[str]:
    """List the leftovers of killed commands; locks and notes of a launcher belong there."""
    names = (path.relative_to(folder) for path in folder.rglob(".*"))
    return [str(name) for name in names if name.name not in (".lock", ".launcher")]


def _start_again(victim: Victim, folder: Path) -> None:
    """Remove what has come to its end: there is nothing more to write."""
    if victim.name == "train" and (folder / "run" / "metrics.json").exists():
        shutil.rmtree(folder / "run")
    if victim.name == "tune" and (folder / "study" / "best.toml").exists():
        shutil.rmtree(folder / "study")


def _run(victim: Victim, folder: Path, seconds: float) -> tuple[bool, float]:
    """Run a command, kill it after so long; tell whether it came to that, and how long it took."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED] if victim.name in _REAL else [__name__])
    log = folder.with_suffix(".log")
    log.write_text("")
    process = context.Process(target=_command, args=(victim.words(folder), str(log)))
    process.start()
    begun = time.monotonic()
    while process.is_alive() and time.monotonic() < begun + seconds and (victim.ends or not _is_ready(log)):
        process.join(0.005)
    took, killed = time.monotonic() - begun, process.is_alive()
    process.kill()
    process.join()
    if not killed and process.exitcode not in (0, 1):  # 1: no better than chance
        victim.problems.append(f"exit code {process.exitcode}: {log.read_text()[-200:]}")
    return killed, took


def _is_ready(log: Path) -> bool:
    return "Ctrl-C" in log.read_text()


def _command(words: list[str], log: str) -> None:
    """Run a command, or a cheap export, in this process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if words[0] == "write":
        write_bundle(Path(words[1]), os.urandom(1 << 16))
        return
    from fdan_edge.cli import main as command

    command(words)


def write_bundle(target: Path, content: bytes) -> None:
    """Write a bundle of one file, a block at a time: an export without a model."""
    with new_bundle(target) as folder:
        with (folder / MODEL).open("wb") as file:
            for start in range(0, len(content), 1 << 12):
                file.write(content[start : start + (1 << 12)])
                file.flush()
                time.sleep(0.001)
        write_manifest(folder, manifest(artifact(folder / MODEL)))


def cheap_export() -> Victim:
    """Return the cheapest victim, which needs no PyTorch."""
    return Victim("write", lambda folder: ["write", str(folder / "bundle")], _earlier_cheap)


def _earlier_cheap(folder: Path) -> None:
    write_bundle(folder / "bundle", b"earlier")
    (folder / "earlier").touch()


_REAL = ("export", "train", "tune", "serve")
_PRELOADED = (
    *("fdan_edge.training.run", "fdan_edge.export.pipeline", "fdan_edge.tuning.search", "fdan_edge.server.server"),
    *("fdan_edge.cli.train", "fdan_edge.cli.export", "fdan_edge.cli.tune", "fdan_edge.cli.serve", __name__),
)


def _commands() -> list[Victim]:
    """Train once, and return the commands that are killed."""
    from tests.attack.trained import _SETTINGS, corpus, run_folder

    run, speech = run_folder(), f"folder:{corpus() / 'labels.csv'}"
    settings = [word for value in _SETTINGS if not value.startswith("epochs") for word in ("--set", value)]

    def train(folder: Path) -> list[str]:
        if (folder / "run" / "run.toml").exists():
            return ["train", "--resume", "--out", str(folder / "run")]
        many = ["--set", "epochs=8", "--set", "save_minutes=0.0001"]
        return ["train", "--speech", speech, "--out", str(folder / "run"), *settings, *many]

    def tune(folder: Path) -> list[str]:
        plan = ["--space", "lr=1e-4..1e-2", "--trials", "4", "--folds", "2", "--set", "epochs=2"]
        return ["tune", "--speech", speech, "--out", str(folder / "study"), *settings, *plan]

    def earlier(folder: Path) -> None:
        from fdan_edge.export.pipeline import export_bundle

        export_bundle(run, folder / "bundle")
        (folder / "earlier").touch()

    return [
        Victim("export", lambda folder: ["export", str(run), "--out", str(folder / "bundle")], earlier),
        Victim("train", train),
        Victim("tune", tune),
        Victim("serve", lambda folder: ["serve", str(folder / "bundle"), "--port", "0"], earlier, ends=False),
    ]


if __name__ == "__main__":
    sys.exit(main())
