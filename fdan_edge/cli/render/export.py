"""What `fdan-edge export` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fdan_edge.cli.render.tables import out

if TYPE_CHECKING:
    from fdan_edge.export.pipeline import Exported


def exported(made: Exported, written: Sequence[Path] = ()) -> None:
    """The files of a new bundle, and what the gate found."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("file")
    table.add_column("MB", justify="right")
    table.add_column("for")
    targets = {one["file"]: f"{one['precision']}: {', '.join(one['targets'])}" for one in made.artifacts}
    streams = {one["stream"]: one["file"] for one in made.artifacts if one.get("stream")}
    targets |= {name: f"live streams, from {of}" for name, of in streams.items()}
    targets |= {one["file"]: f"engine of {one['artifact']}: {one['target']}" for one in made.engines}
    for name, size in made.files.items():
        table.add_row(name, f"{size / 1e6:.2f}", targets.get(name, ""))
    out.print(f"bundle {made.folder}", style="bold", markup=False)
    out.print(table)
    for one in made.artifacts:
        out.print(f"{one['file']} checked: {one['gate']['line']}", markup=False)
    for path in written:
        out.print(f"for Triton: {path}", markup=False)
    out.print(f"next: fdan-edge infer {made.folder} FILE.wav", markup=False)


def exported_dict(made: Exported, written: Sequence[Path] = ()) -> dict[str, Any]:
    """The same for programs."""
    return {
        "bundle": str(made.folder),
        "files": made.files,
        "artifacts": made.artifacts,
        "engines": made.engines,
        "triton": [str(path) for path in written],
    }
