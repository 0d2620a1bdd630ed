"""What `fdan-edge bench` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from fdan_edge.bench import Latency
from fdan_edge.cli.show import out
from fdan_edge.errors import printable


def latency(rows: Sequence[Latency]) -> None:
    """The latency table."""
    first = rows[0]
    out.print(latency_table(rows))
    calls = f"{first.runs} calls of each in turn" if len(rows) > 1 else f"{first.runs} calls"
    out.print(f"[dim]{first.seconds_of_audio:g} s of audio per call, batch {first.batch}, {calls}[/]")
    out.print("[dim]RTF: p50 over the audio's length; start: from starting Python to the first answer[/]")


def latency_table(rows: Sequence[Latency]) -> Text:
    """Rows of latencies, each with its target below it; the ratio is to the first row. 77 columns."""
    width = max(len(row.runner) for row in rows)
    heads = ("p50 ms", "p95 ms", "p99 ms", "RTF", "start ms", "peak MiB", "ratio")
    text = Text("  ".join([f"{'runner':<{width}}", *(f"{head:>6}" for head in heads)]), style="bold")
    lines = [text]
    for row in rows:
        values = (
            f"{row.p50:.1f}",
            f"{row.p95:.1f}",
            f"{row.p99:.1f}",
            f"{row.real_time_factor:.4f}",
            f"{row.cold_start:.0f}",
            f"{row.peak_memory_mib:.0f}",
            f"{row.p50 / rows[0].p50:.2f}",
        )
        cells = (f"{value:>{max(6, len(head))}}" for value, head in zip(values, heads, strict=True))
        lines.append(Text("  ".join([f"{row.runner:<{width}}", *cells])))
        lines.append(Text(f"  {printable(row.target)}", style="dim"))
    return Text("\n").join(lines)
