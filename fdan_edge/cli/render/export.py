"""What `fdan-edge export` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fdan_edge.cli.render.console import out
from fdan_edge.runtime.bundle import Bundle
from fdan_edge.runtime.typed_json import to_json


def exported(bundle: Bundle, written: Sequence[Path] = ()) -> None:
    """Print the files of a new bundle, and what the gate found.

    Args:
        bundle: it.
        written: folders for Triton.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("file")
    table.add_column("MB", justify="right")
    table.add_column("for")
    uses = {a.file: f"{a.precision}: {', '.join(a.targets)}" for a in bundle.artifacts}
    uses |= {a.stream: f"live streams, from {a.file}" for a in bundle.artifacts if a.stream}
    uses |= {engine.file: f"engine of {engine.artifact}: {engine.target}" for engine in bundle.engines}
    for name, size in _sizes(bundle).items():
        table.add_row(name, f"{size / 1e6:.2f}", uses.get(name, ""))
    out.print(f"bundle {bundle.path}", style="bold", markup=False)
    out.print(table)
    for artifact in bundle.artifacts:
        if artifact.gate:
            out.print(f"{artifact.file} checked: {artifact.gate.line}", markup=False)
    for path in written:
        out.print(f"for Triton: {path}", markup=False)
    out.print(f"next: fdan-edge infer {bundle.path} FILE.wav", markup=False)


def exported_dict(bundle: Bundle, written: Sequence[Path] = ()) -> dict[str, Any]:
    """Give the same for programs."""
    return {
        "bundle": str(bundle.path),
        "files": _sizes(bundle),
        "artifacts": to_json(bundle.artifacts),
        "engines": to_json(bundle.engines),
        "triton": [str(path) for path in written],
    }


def _sizes(bundle: Bundle) -> dict[str, int]:
    """Give the bytes of every file of a bundle, bundle.json too."""
    return {path.name: path.stat().st_size for path in sorted(bundle.path.iterdir())}
