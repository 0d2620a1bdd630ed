"""Who is fastest at which size, of what benchmarks/lmmd.py has measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: With products of three TF32 ones; all others add up float32.
TF32 = ("triton_tf32x3",)
#: Relative errors above this are those of another problem, and win nothing.
MOST_ERROR = 1e-4


def winners(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest contender of every size: in full precision, and with products in TF32.

    Args:
        rows: as benchmarks/lmmd.py writes them.

    Returns:
        For each size and `precision` its `contender`, `ms`, and how many times as long the `next` one takes. A
        size at which nothing was measured is left out.
    """
    made = []
    for size in dict.fromkeys((row["faces"], row["voices"]) for row in rows):
        timed = [row for row in rows if (row["faces"], row["voices"]) == size and _counts(row)]
        for precision, names in (("fp32", ()), ("fp32 or tf32x3", TF32)):
            runners = sorted((r for r in timed if r["contender"] not in TF32 or names), key=lambda r: r["ms"])
            if runners and (not names or any(row["contender"] in names for row in runners)):
                made.append({"size": f"{size[0]}+{size[1]}", "precision": precision} | _first(runners))
    return made


def _first(runners: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first, *others = runners
    after = others[0] if others else None
    return {
        "contender": first["contender"],
        "ms": first["ms"],
        "next": after["contender"] if after else None,
        "times": round(after["ms"] / first["ms"], 2) if after else None,
    }


def _counts(row: dict[str, Any]) -> bool:
    """Only a measured LMMD that is right; a matrix product is a yardstick and no LMMD."""
    errors = (row["value_error"], row["gradient_error"])
    return bool(row["ms"]) and all(isinstance(error, float) and error <= MOST_ERROR for error in errors)


def winners_table(made: Sequence[dict[str, Any]]) -> list[str]:
    """Text for people, a line for each."""
    lines = [f"{'fastest LMMD':<16} {'of':<16} {'':<16} {'ms':>10}  next"]
    for row in made:
        after = f"{row['next']}, {row['times']:.2f} times as long" if row["next"] else "none"
        lines.append(
            f"{row['size']:<16} {row['precision']:<16} {row['contender']:<16} {row['ms']:>10.4g}  {after}"
        )
    return lines
