"""The terminal, or what stands in its place: results on standard output, errors beside them."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

#: What is printed may be text of others: brackets in the name of a class are no style, ":angry:" is no picture.
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def json_line(value: dict[str, Any]) -> None:
    """Print a line of JSON for programs."""
    out.out(json.dumps(value), highlight=False)


def text(lines: str) -> None:
    """Print whole lines as they are, for programs."""
    out.out(lines, highlight=False, end="")
