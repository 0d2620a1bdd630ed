"""Worker processes that fuzz: a crash or a hang ends one of them, is a finding, and another goes on after it."""

from __future__ import annotations

import faulthandler
import hashlib
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz import places
from tests.fuzz.checks import ACCEPTED, REFUSED, SECONDS, Outcome
from tests.fuzz.parsers import PARSERS

_ADDRESSES = 4 << 30  # bytes of addresses that a worker may take beyond those that it begins with
_HUNG = SECONDS + 5  # s after which a worker that does not even see its alarm is ended
_LOOK = 0.5  # s between two looks at the workers
_TELL = 60.0  # s between two lines of progress
_KINDS = (ACCEPTED, REFUSED, "findings")


@dataclass
class Tally:
    """How many inputs of a parser came to what."""

    accepted: int = 0
    refused: int = 0
    findings: int = 0

    @property
    def inputs(self) -> int:
        """Return how many there were."""
        return self.accepted + self.refused + self.findings


def fuzz(
    names: Sequence[str], seed: int, seconds: float, workers: int, count: int | None, out: Path
) -> dict[str, Tally]:
    """Fuzz parsers for a time, or until about `count` inputs were read.

    Args:
        names: of the parsers.
        seed: of the inputs.
        seconds: that it takes.
        workers: processes.
        count: inputs, all parsers together; None: as many as there is time for.
        out: folder for a file of each kind of finding; earlier findings in it are removed.

    Returns:
        Parser -> what came of its inputs.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*~*"):
        old.unlink()
    until, told = time.monotonic() + seconds, time.monotonic()
    places.top = places.new_folder("workers")
    running = [_Worker(names, seed, number, workers, out) for number in range(workers)]
    try:
        while time.monotonic() < until and (count is None or _total(running) < count):
            time.sleep(_LOOK)
            for worker in running:
                worker.look()
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                print(f"{_total(running)} inputs, {len(list(out.glob('*~*.txt')))} kinds of findings", flush=True)
    finally:
        for worker in running:
            worker.end()
        shutil.rmtree(places.top, ignore_errors=True)
        places.top = None
        places.new_folder.cache_clear()
    sums = [[worker.counts[i] for worker in running] for i in range(len(names) * len(_KINDS))]
    return {name: Tally(*(sum(sums[len(_KINDS) * at + i]) for i in range(3))) for at, name in enumerate(names)}


def table(tallies: dict[str, Tally], out: Path) -> str:
    """Write what came of all inputs, a row for each parser, and which files hold the findings."""
    rows: list[tuple[str, ...]] = [("parser", "inputs", "accepted", "refused", "findings")]
    whole = Tally(*(sum(getattr(tally, name) for tally in tallies.values()) for name in _KINDS))
    for name, tally in (*tallies.items(), ("all", whole)):
        rows.append((name, *(f"{n:,}" for n in (tally.inputs, tally.accepted, tally.refused, tally.findings))))
    lines = [f"{name:16}{''.join(f'{cell:>12}' for cell in cells)}" for name, *cells in rows]
    return "\n".join([*lines, *(str(path) for path in sorted(out.glob("*~*.txt")))])


def _total(running: Sequence[_Worker]) -> int:
    return sum(sum(worker.counts) for worker in running)


class _Worker:
    """A process and the memory that it shares; it is started again after a crash."""

    def __init__(self, names: Sequence[str], seed: int, number: int, workers: int, out: Path) -> None:
        self._names, self._seed, self._number, self._workers, self._out = names, seed, number, workers, out
        context = multiprocessing.get_context("fork")
        self._context: Any = context
        self.counts: Any = context.RawArray("q", len(names) * len(_KINDS))
        self._step: Any = context.RawValue("q", 0)  # of the schedule
        self._begun: Any = context.RawValue("d", time.monotonic())  # when it did
        self._process = self._started()

    def _started(self) -> BaseProcess:
        process: BaseProcess = self._context.Process(target=self._run, args=(self._step.value,), daemon=True)
        self._begun.value = time.monotonic()
        process.start()
        return process

    def look(self) -> None:
        """Start the process again where it crashed, or end it where it hangs."""
        if self._process.is_alive() and time.monotonic() - self._begun.value < _HUNG:
            return
        if self._process.is_alive():
            kind, detail = "hang", f"longer than {_HUNG:g} s, outside of Python"
            self.end()
        else:
            kind, detail = "crash", f"the process ended with {self._process.exitcode}\n{self._said()}"
        name, number = next(itertools.islice(self._schedule(), self._step.value, None))
        _save(self._out, name, PARSERS[name].input(self._seed, number), Outcome(kind, detail, detail[:60]))
        self.counts[self._names.index(name) * len(_KINDS) + 2] += 1
        self._step.value += 1
        self._process = self._started()

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()

    def _schedule(self) -> Iterator[tuple[str, int]]:
        """Yield parsers and the numbers of their inputs, in turns, without end."""
        for turn in itertools.count(self._number, self._workers):
            for name in self._names:
                share = PARSERS[name].share
                yield from ((name, turn * share + each) for each in range(share))

    @property
    def _errors(self) -> Path:
        return self._out / f"stderr-{self._number}.txt"

    def _said(self) -> str:
        return self._errors.read_text(errors="replace")[-3000:] if self._errors.exists() else ""

    def _run(self, step: int) -> None:
        """Read inputs from a step of the schedule on, until the process is killed."""
        tempfile.tempdir = str(self._out.resolve())
        errors = os.open(self._errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
        os.dup2(errors, 2)
        faulthandler.enable(errors)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
        checks = {name: PARSERS[name].check() for name in self._names}
        _limit_memory()
        kinds: set[str] = set()
        for at, (name, number) in enumerate(itertools.islice(self._schedule(), step, None), step):
            self._step.value, self._begun.value = at, time.monotonic()
            data = PARSERS[name].input(self._seed, number)
            outcome = _quiet(checks[name], data, errors)
            if outcome.is_finding:
                _save(self._out, name, data, outcome, kinds)
            kind = _KINDS.index(outcome.kind) if outcome.kind in _KINDS else 2
            self.counts[self._names.index(name) * len(_KINDS) + kind] += 1


def _quiet(check: Callable[[bytes], Outcome], data: bytes, errors: int) -> Outcome:
    """Check an input; what a library writes on standard error is a finding."""
    before = os.fstat(errors).st_size
    outcome = check(data)
    written = os.fstat(errors).st_size - before
    if not written or outcome.is_finding:
        return outcome
    text = os.pread(os.open(f"/proc/self/fd/{errors}", os.O_RDONLY), written, before).decode(errors="replace")
    return Outcome("stderr", text, text[:40])


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _save(out: Path, name: str, data: bytes, outcome: Outcome, known: set[str] | None = None) -> None:
    """Write the first input of each kind of finding, and what is known of it."""
    digest = hashlib.sha256(f"{outcome.kind} {outcome.place}".encode(errors="replace")).hexdigest()[:8]
    path = out / f"{name}~{outcome.kind}-{digest}.bin"
    if (known is not None and path.name in known) or path.exists():
        return
    if known is not None:
        known.add(path.name)
    path.write_bytes(data)
    command = f"python -m tests.fuzz --replay {path}"
    text = f"{outcome.kind}: {outcome.place}\n{command}\n\n{outcome.detail}\n"
    path.with_suffix(".txt").write_text(text, errors="replace")
