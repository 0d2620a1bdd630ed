"""What `fdan-edge bench` prints, at a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rich.text import Text

from fdan_edge.cli.render.console import out
from fdan_edge.errors import printable
from fdan_edge.profiling.bench import Latency, Ratio
from fdan_edge.profiling.cards import CARDS, Card
from fdan_edge.profiling.compare import Pair
from fdan_edge.profiling.roofline import NOTE, Estimate
from fdan_edge.utils.machine import machine_line

#: Target, artifact, precision and runtime of a row: a run folder has no artifacts, but precisions.
_Key: TypeAlias = tuple[str, str, str, str]

_NOTES = {
    "RTF": "RTF: p50 over the audio's length",
    "ratio": "ratio: of p50 to the first row's, with 95 % interval",
    "front end": "medians in a session of their own, with a profiler; host: what is left of p50",
    "network": "front end -: the network's time holds it",
    "start": "start: from Python's to the first answer; bare: MiB of Python and numpy alone",
    "mJ": "GPU MiB: more than before a cold start; mJ: a call's, the GPU's rest included",
}


@dataclass(frozen=True)
class Table:
    """A heading, cells, and notes below; the first column is text, the others numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> Text:
        """Lay the table out for a terminal."""
        cells = [self.head, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.head))]
        lines = [
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        heading = Text(f"{self.title}\n", style="bold") if self.title else Text()
        heading.append(lines[0], style="bold")
        body = Text("\n").join([heading, *(Text(line.rstrip()) for line in lines[1:])])
        return Text("\n").join([body, *(Text(note, style="dim") for note in self.notes)])

    def markdown(self) -> list[str]:
        """Lay the table out as lines of Markdown, columns as wide as their widest cell."""
        widths = [max(len(row[i]) for row in [self.head, *self.rows]) for i in range(len(self.head))]
        lines = [
            "| "
            + " | ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
            for row in [self.head, *self.rows]
        ]
        rule = "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
        notes = [f"{note}  " for note in self.notes]
        return [
            *([f"## {self.title}", ""] if self.title else []),
            lines[0],
            f"|{rule}|",
            *lines[1:],
            "",
            *notes,
            "",
        ]


@dataclass(frozen=True)
class Report:
    """Everything that one call of `bench` measured."""

    rows: list[Latency]
    machine: dict[str, Any]
    pairs: list[Pair] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    checks: list[tuple[Latency, Estimate]] = field(default_factory=list)  # measured, and estimated for here
    here: Card | None = None

    def tables(self) -> list[Table]:
        """List all tables that have something to show."""
        tables = [_latency(self.rows), _parts(self.rows), _starts(self.rows), _throughput(self.rows)]
        tables += [_estimates(self.estimates)] if self.estimates else []
        return [table for table in tables if table.rows]

    def lines(self) -> list[str]:
        """Write the sentences: pairs, and how far the estimates are off here."""
        names = _names(self.rows)
        lines = [line for pair in self.pairs for line in _pair(pair, names)]
        return lines + _checks(self.checks, self.here, names)


def show(report: Report) -> None:
    """Print a report."""
    out.print(Text(machine_line(report.machine), style="dim"))
    for line in _legend(report.rows):
        out.print(Text(line))
    for table in report.tables():
        out.print()
        out.print(table.text())
    if report.lines():
        out.print()
    for line in report.lines():
        out.print(line, markup=False)


def markdown(report: Report, command: str) -> str:
    """Write a report as a Markdown file."""
    lines = ["# Latency", "", machine_line(report.machine), ""]
    lines += [*(f"{line}  " for line in _legend(report.rows)), ""]
    for table in report.tables():
        lines += table.markdown()
    lines += [f"{line}  " for line in report.lines()]
    return "\n".join([*lines, "", "```", command, "```", ""])


def latency_table(rows: Sequence[Latency]) -> Text:
    """Lay out the table of latencies alone."""
    return _latency(rows).text()


def _legend(rows: Sequence[Latency]) -> list[str]:
    letters = _letters(rows)
    return [f"{letter}  {printable(target)}".strip() for target, letter in letters.items()]


def _letters(rows: Sequence[Latency]) -> dict[str, str]:
    """Choose a letter for each target, none for one alone."""
    targets = list(dict.fromkeys(row.target for row in rows))
    return {target: chr(ord("A") + i) if len(targets) > 1 else "" for i, target in enumerate(targets)}


def _names(rows: Sequence[Latency]) -> dict[_Key, str]:
    """Name each row: its target's letter, precision and runtime."""
    letters = _letters(rows)
    return {_key(row): f"{letters[row.target]} {_kind(row)} {row.runtime}".strip() for row in rows}


def _key(row: Latency) -> _Key:
    return row.target, row.artifact, row.precision, row.runtime


def _kind(row: Latency) -> str:
    """Write the precision, with its int8 format where the file's name says it."""
    stem = row.artifact.removesuffix(".onnx").removeprefix("model").removeprefix(".")
    return stem if row.precision and stem.startswith(row.precision) else row.precision or stem


def _latency(rows: Sequence[Latency]) -> Table:
    names, first = _names(rows), rows[0]
    head = ["ms", "p50", "p95", "p99", "max", "RTF", *(["ratio"] if len(rows) > 1 else [])]
    cells = []
    for row in rows:
        times = [_ms(value) for value in (row.p50, row.p95, row.p99, row.max)]
        ratio = [_ratio(row.ratio) if row.ratio else "1"] if len(rows) > 1 else []
        cells.append([names[_key(row)], *times, f"{row.real_time_factor:.4f}", *ratio])
    turns = " of each in turn" if len(rows) > 1 else ""
    note = f"{first.seconds_of_audio:g} s of audio per call, batch {first.batch}, {first.runs} calls{turns}"
    return Table("", head, cells, [note, *(_NOTES[name] for name in ("RTF", "ratio") if name in head)])


def _parts(rows: Sequence[Latency]) -> Table:
    columns = {
        "front end": [row.parts.get("front_end") for row in rows],
        "copy": [row.parts.get("copy") for row in rows],
        "network": [row.parts.get("network", row.parts.get("compute")) for row in rows],
        "host": [row.parts.get("host") for row in rows],
        "GPU MiB": [row.start.device_mib if row.start else None for row in rows],
        "mJ": [row.energy_mj for row in rows],
    }
    notes = [_NOTES["front end"]] if any(row.parts for row in rows) else []
    notes += [_NOTES["network"]] if any("compute" in row.parts for row in rows) else []
    notes += [_NOTES["mJ"]] if any(v is not None for v in columns["GPU MiB"] + columns["mJ"]) else []
    return _of_columns("ms by part", rows, columns, notes)


def _starts(rows: Sequence[Latency]) -> Table:
    fields = {"python": "python", "import": "imports", "load": "load", "first": "first", "start": "total"}
    columns = {name: [getattr(r.start, f) if r.start else None for r in rows] for name, f in fields.items()}
    columns["MiB"] = [row.start.peak_mib if row.start else None for row in rows]
    columns["bare"] = [row.start.bare_mib if row.start else None for row in rows]
    columns["file MB"] = [None if row.file_bytes is None else row.file_bytes / 1e6 for row in rows]
    if not any(row.start for row in rows):
        return _of_columns("files", rows, columns, [])
    return _of_columns("cold start, ms and peak memory", rows, columns, [_NOTES["start"]])


def _throughput(rows: Sequence[Latency]) -> Table:
    batches = list(dict.fromkeys(batch for row in rows for batch in row.throughput))
    columns = {str(batch): [row.throughput.get(batch) for row in rows] for batch in batches}
    return _of_columns("windows per second, by batch", rows, columns, [])


def _of_columns(
    title: str, rows: Sequence[Latency], columns: dict[str, list[float | None]], notes: list[str]
) -> Table:
    """Make a table without the columns that no row can fill; it has no rows where that is all."""
    filled = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    names = _names(rows)
    cells = [[names[_key(row)], *(_ms(values[i]) for values in filled.values())] for i, row in enumerate(rows)]
    return Table(title, ["", *filled], cells if filled else [], notes)


def _estimates(estimates: Sequence[Estimate]) -> Table:
    several = len({estimate.artifact for estimate in estimates}) > 1
    head = ["card", "artifact", "precision", "ms", "compute", "memory", "launch", "front end"]
    rows = [
        [estimate.card, estimate.artifact, estimate.precision + ("" if estimate.as_exported else "*")]
        + [
            f"{ms:.2f}"
            for ms in (estimate.total, estimate.compute, estimate.memory, estimate.launch, estimate.front_end)
        ]
        for estimate in estimates
    ]
    head, rows = head[:1] + head[2:], [[" ".join(row[: 2 if several else 1]), *row[2:]] for row in rows]
    launches = {CARDS[estimate.card].launch for estimate in estimates}
    notes = [
        f"batch {estimates[0].batch}; kernels only, no copies, no host; front end: its share of ms",
        f"assumed: {' or '.join(f'{1e6 * s:g}' for s in sorted(launches))} us from kernel to kernel",
    ]
    notes += ["* as if exported so"] if not all(estimate.as_exported for estimate in estimates) else []
    if sum(estimate.bound != "compute" for estimate in estimates) > len(estimates) / 2:
        notes.append("mostly memory and launches bound it, not arithmetic: the network is small")
    return Table(f"{NOTE}: rooflines", head, rows, notes)


def _pair(pair: Pair, names: dict[_Key, str]) -> list[str]:
    one, other = (names[_key(row)] for row in (pair.one, pair.other))
    others = [
        f"{name.replace('_', ' ')} {ratio:.2f}" for name, ratio in pair.others().items() if ratio is not None
    ]
    return [
        f"{one} against {other}: {pair.verdict}",
        f"  p50 {_ms(pair.one.p50)} to {_ms(pair.other.p50)} ms, ratio {_ratio(pair.ratio)}",
        *([f"  of the other's: {', '.join(others)}"] if others else []),
    ]


def _checks(checks: Sequence[tuple[Latency, Estimate]], here: Card | None, names: dict[_Key, str]) -> list[str]:
    """Write how the estimate for this processor compares with what was measured here."""
    if here is None or not checks:
        return []
    peak, bandwidth = here.peaks["fp32"] / 1e9, here.bandwidth / 1e9
    lines = [f"the same model on this processor ({peak:.0f} GFLOP/s and {bandwidth:.1f} GB/s by numpy):"]
    for row, estimate in checks:
        share = estimate.total / row.min
        lines.append(
            f"  {names[_key(row)]}: {estimate.total:.1f} ms, fastest call {row.min:.1f} ms: {share:.2f} of it"
        )
    return lines


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 999.95 else f"{value:.0f}"
