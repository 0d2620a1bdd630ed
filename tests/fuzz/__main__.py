"""Fuzz all parsers: `make fuzz MINUTES=10`, or `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import workers
from tests.fuzz.parsers import PARSERS

_OUT = Path("build/fuzz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, or repeat one input; return 1 where something was found."""
    options = _parser().parse_args(arguments)
    if options.replay:
        return _replay(options.replay)
    seed = int(time.time()) if options.seed is None else options.seed
    names = options.parser or list(PARSERS)
    print(f"seed {seed}, {options.workers} processes, {options.minutes:g} minutes; findings go to {options.out}")
    tallies = workers.fuzz(names, seed, options.minutes * 60, options.workers, options.count, options.out)
    print(workers.table(tallies, options.out))
    return int(any(tally.findings for tally in tallies.values()))


def _replay(path: Path) -> int:
    """Read the input of a finding once more, in this process: a crash ends it."""
    name = path.name.partition("~")[0]
    if name not in PARSERS:
        print(f"{path}: not named as a finding; names begin with {', '.join(f'{name}~' for name in PARSERS)}")
        return 2
    outcome = PARSERS[name].check()(path.read_bytes())
    print(f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind)
    return int(outcome.is_finding)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz all parsers of untrusted input."
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, help="of the inputs, which are the same for a seed (default: the time)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--count", type=int, help="inputs, all parsers together, after which it ends")
    parser.add_argument("--parser", action="append", choices=list(PARSERS), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of findings (default: %(default)s)")
    parser.add_argument("--replay", type=Path, metavar="FINDING", help="read one input of --out again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
