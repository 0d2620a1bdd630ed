"""What `fdan-edge export` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from fdan_edge.cli.show import out

if TYPE_CHECKING:
    from fdan_edge.export.pipeline import Exported


def exported(made: Exported) -> None:
    """The files of a new bundle."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("file")
    table.add_column("MB", justify="right")
    for name, size in made.files.items():
        table.add_row(name, f"{size / 1e6:.2f}")
    out.print(f"bundle {made.folder}", style="bold", markup=False)
    out.print(table)
    out.print(f"checked: {made.check.line()}", markup=False)
    out.print(f"next: fdan-edge infer {made.folder} FILE.wav", markup=False)


def exported_dict(made: Exported) -> dict[str, Any]:
    """The same for programs."""
    engine = made.engine.to_dict() if made.engine else None
    return {"bundle": str(made.folder), "files": made.files, "check": made.check.to_dict(), "engine": engine}
