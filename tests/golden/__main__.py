"""Records what the command line does, and compares two such records: for changes that must change nothing.

    python -m tests.golden record OUT_DIR     every verb on small synthetic corpora; minutes on one core
    python -m tests.golden more OUT_DIR       adds what is slow and seldom to such a record, in as many minutes
    python -m tests.golden compare A B        exit code 0: the same; 1: what differs is printed

It knows nothing of the code but `python -m fdan_edge`, so that it runs unchanged before and after modules move;
PYTHONPATH says which code is recorded. OUT_DIR/work holds the corpora, runs and bundles, which are not compared;
all else in OUT_DIR is. What differs from one recording of the same code to the next is replaced by its name in
<>, as narrowly as it goes: see `HIDDEN`, the `hide` of each command, and `_settled`.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Any

from tests.golden.commands import bundles, corpora, searches, streams, trainings
from tests.golden.more_commands import more, words
from tests.golden.recorder import LAST, MOST, USAGE, Recorder


def record(out: Path) -> None:
    """Record all but what `more` adds."""
    to = Recorder(out)
    for part in (corpora, trainings, searches, bundles, streams, words):
        part(to)
    to.write(LAST, "recorded")


# --- two records ---


def compare(a: Path, b: Path) -> int:
    """Print what differs between two records; how many files do, or 1 where there are none."""
    names = sorted({*_names(a), *_names(b)})
    differing = 0
    for name in names:
        before, after = _lines(a / name), _lines(b / name)
        if before == after:
            continue
        differing += 1
        if not before or not after:
            sys.stdout.write(f"{name}: only in {a if before else b}\n\n")
            continue
        changes = list(difflib.unified_diff(before, after, str(a / name), str(b / name), lineterm="", n=1))
        more = [f"... and {len(changes) - MOST} more lines"] if len(changes) > MOST else []
        sys.stdout.write("\n".join([*(line[:300] for line in changes[:MOST]), *more, ""]) + "\n")
    sys.stdout.write(f"{len(names)} records, {differing} differ\n")
    return differing if names else 1


def _names(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*.json") if p.relative_to(folder).parts[0] != "work"]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    values = json.loads(path.read_text(encoding="utf-8"), object_hook=_settled)
    return json.dumps(values, indent=1, ensure_ascii=False).splitlines()


def _settled(values: dict[str, Any]) -> dict[str, Any]:
    """A part of a record without what comes and goes: so even records that were made before this was known."""
    if values.keys() >= {"metadata", "tensors"}:  # of a safetensors file: they have no order of their own
        values["metadata"] = dict(sorted(values["metadata"].items()))
    if values.keys() >= {"front_end", "network"}:  # of a benchmark: the rest, where it is not negative
        values.pop("host", None)
    if values.keys() >= {"row", "machine", "seconds"}:  # of a row of the paper's tables
        values["seconds"] = "<seconds>"
    return values


def main() -> None:
    """Record, add to a record, or compare."""
    match sys.argv[1:]:
        case ["record", out]:
            record(Path(out))
        case ["more", out]:
            more(Recorder(Path(out), begun=True))
        case ["compare", a, b]:
            sys.exit(1 if compare(Path(a), Path(b)) else 0)
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main()
