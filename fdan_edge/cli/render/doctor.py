"""What `fdan-edge doctor` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from fdan_edge.cli.render.console import out
from fdan_edge.errors import printable

if TYPE_CHECKING:
    from fdan_edge.profiling.doctor import Finding


def examined(findings: Sequence[Finding]) -> None:
    """Print what works and what does not; what to do about a missing part stands below it."""
    width = max(len(finding.ability) for finding in findings)
    for finding in findings:
        mark = Text("yes", "green") if finding.works else Text("no ", "yellow")
        out.print(Text.assemble(mark, f"  {finding.ability:<{width}}  {printable(finding.detail)}"))
        if finding.remedy and not finding.works:
            out.print(f"     {finding.remedy}", style="bold", markup=False)
