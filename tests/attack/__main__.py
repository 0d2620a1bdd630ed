"""Run the attacks: `make attack`, or `python -m tests.attack --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.attack.attack import FAILED, Outcome, run_all, show
from tests.attack.attacks import ATTACKS
from tests.attack.place import Place


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attacks that are asked for; return 1 where one succeeded."""
    options = _parser().parse_args(arguments)
    if options.list:
        for one in ATTACKS.values():
            print(f"{one.name}: {one.tries}. Bound: {one.bound}")
        return 0
    names = options.only or [one.name for one in ATTACKS.values() if options.all or not one.long]
    with tempfile.TemporaryDirectory(prefix="fdan-edge-attack-") as folder:
        place = Place(Path(folder), options.seconds, options.clients)
        try:
            outcomes = run_all([ATTACKS[name] for name in names], place, _tell)
        finally:
            place.servers.close()
    show(outcomes)
    return int(any(outcome.result == FAILED for outcome in outcomes))


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.result:8}{outcome.attack.name}: {outcome.measured}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attack", description="Attack the server and the commands; loopback only."
    )
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), metavar="NAME", help="only these; see --list")
    parser.add_argument("--all", action="store_true", help="those that take minutes, too")
    parser.add_argument("--seconds", type=float, default=5, help="that a flood lasts (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=1000, help="that come and go (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="say what each tries, and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
