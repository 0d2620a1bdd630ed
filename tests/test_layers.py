"""The shape of the house: few floors, few arrows between its rooms, none upwards, no circle.

import-linter holds the order of the layers (`make lint`, pyproject.toml); this counts. A room is a package or a
module directly below `fdan_edge`, or the folder `benchmarks`. An arrow is an import from one room into another, at
any depth of the code; imports for type checkers only do not count. `python tests/test_layers.py` prints all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fdan_edge"
MOST_FLOORS, MOST_ARROWS, MOST_LINES = 12, 130, 400


@cache
def sources() -> dict[str, Path]:
    """Every module by its dotted name, `fdan_edge.export` through its link."""
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE / "export").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imports(file: Path) -> Iterator[str]:
    """Yield the modules of this project that a file imports, lazily or not."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in sources() else node.module for name in inside)


def room(module: str) -> str:
    """Name the room that a module is in."""
    parts = module.split(".")
    return parts[0] if parts[0] == "benchmarks" or len(parts) == 1 else parts[1]


def arrows() -> set[tuple[str, str]]:
    """Collect the imports between rooms."""
    pairs = {
        (room(name), room(imported))
        for name, file in sources().items()
        for imported in imports(file)
        if imported.split(".")[0] in ("fdan_edge", "benchmarks")
    }
    return {(above, below) for above, below in pairs if above != below}


def floors() -> dict[str, int]:
    """Find each room's floor: one above the highest of those that it imports.

    Raises:
        AssertionError: rooms import each other in a circle.
    """
    below: dict[str, set[str]] = {room(name): set() for name in sources()}
    for above, under in arrows():
        below[above].add(under)
    found: dict[str, int] = {}
    while len(found) < len(below):
        ready = [name for name, needs in below.items() if name not in found and needs <= set(found)]
        assert ready, f"a circle of imports among {', '.join(sorted(set(below) - set(found)))}"
        found.update({name: 1 + max((found[need] for need in below[name]), default=0) for name in ready})
    return found


def test_there_are_few_floors_and_no_circle() -> None:
    assert max(floors().values()) <= MOST_FLOORS


def test_there_are_few_arrows_between_rooms() -> None:
    assert len(arrows()) <= MOST_ARROWS


def test_files_can_be_read_in_one_sitting() -> None:
    long = {name: n for name, file in sources().items() if (n := len(file.read_text().splitlines())) > MOST_LINES}
    assert not {name: n for name, n in long.items() if name.startswith("fdan_edge")}


if __name__ == "__main__":
    by_floor = sorted(((floor, name) for name, floor in floors().items()), reverse=True)
    print(*(f"{floor:3} {name}" for floor, name in by_floor), sep="\n")  # noqa: T201
    print(len(by_floor), "rooms,", max(floors().values()), "floors,", len(arrows()), "arrows")  # noqa: T201
