"""What `fdan-edge data scan` and `data cache` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fdan_edge.cli.render.console import errors, out
from fdan_edge.errors import printable

if TYPE_CHECKING:
    from fdan_edge.data.scan import Scan
    from fdan_edge.errors import LabelError

_NOUNS = {"speech": "recordings", "faces": "faces", "videos": "videos"}
_MOST = 20  # groups or files named of one kind; --json names all


def scanned(scans: Sequence[Scan], *, hint: bool = True) -> None:
    """Print what corpora hold, and which of their files need a look.

    Args:
        scans: of the corpora.
        hint: whether to name the command that writes a table to name the speakers in.
    """
    for before, scan in zip([None, *scans], scans, strict=False):
        same = before and _labels(before) == _labels(scan)  # of videos, for their sound and for their faces
        head = f": {_contents(scan)}{', with the same classes and speakers' if same else ''}"
        out.print(Text.assemble((printable(scan.source), "bold"), head))
        if not same:
            _summary(scan, hint)
            _oddities(scan)
        for reason, names in scan.left_out.items():
            _files(f"left out: {printable(reason)} ({len(names)})", [_below(_base(scan), name) for name in names])
        for line in scan.broken:
            if not (before and line in before.broken):
                errors.print(f"broken: {printable(line)}", markup=False)


def mistaken(error: LabelError) -> None:
    """Print all mistakes of a table or of folders, a line each."""
    if len(error.mistakes) == 1:
        errors.print(f"error: {printable(str(error))}", markup=False)
        return
    errors.print(f"error: {printable(error.where)}: {len(error.mistakes)} mistakes", markup=False)
    for mistake in error.mistakes:
        errors.print(f"  {printable(mistake)}", markup=False)


def written(table: Path, rows: int) -> None:
    """Say that a table was written, and what comes next."""
    next_step = quote(f"folder:{table}")
    text = f"{table}: written, {rows} rows; complete it, then: fdan-edge data scan {next_step}"
    errors.print(printable(text), markup=False)


def _labels(scan: Scan) -> tuple[object, ...]:
    return scan.source, scan.items, scan.classes, scan.speakers, scan.splits, scan.duplicates, scan.unlabelled


def _summary(scan: Scan, hint: bool) -> None:
    """Print how many files each class, speaker and part has."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    table.add_column(_NOUNS[scan.modality], justify="right")
    for name, count in (scan.classes or {"no label": scan.items}).items():
        table.add_row(printable(name), str(count))
    out.print(table)
    if scan.speakers:
        out.print(_per_speaker(scan), markup=False, soft_wrap=False)
    elif scan.classes and scan.modality == "speech":
        out.print(_without_speakers(scan, hint), markup=False)
    if scan.splits:
        parts = [f"{name} {scan.splits[name]}" for name in ("train", "val", "test") if name in scan.splits]
        out.print(f"publisher's parts: {', '.join(parts)}")


def _without_speakers(scan: Scan, hint: bool) -> str:
    """Say in one line what it means that nobody knows who speaks, and how to name the speakers."""
    text = "speakers not known: scores are of voices that were trained on"
    path = Path(scan.source.partition(":")[2])
    if path.is_file():
        return f"{text}; a column speaker in {printable(path.name)} names them"
    command = printable(f"fdan-edge data scan {quote(scan.source)} --table labels.csv")
    return f"{text}; to name them, `{command}` writes a table with a column speaker" if hint else text


def _oddities(scan: Scan) -> None:
    """Print the files that the corpus has twice, and those whose label is not known."""
    base = _base(scan)
    twice = {
        "same content under different names:": scan.duplicates,
        "there more than once; the first is used:": scan.copies,
    }
    for head, groups in twice.items():
        _files(head, ["\n    = ".join(_below(base, path) for path in group) for group in groups])
    for reason, paths in scan.unlabelled.items():
        count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
        _files(f"no label for {count}: {printable(reason)}", [_below(base, path) for path in paths])


def _files(head: str, lines: list[str]) -> None:
    if lines:
        out.print(head, style="yellow", markup=False, soft_wrap=False)
    for line in lines[:_MOST]:
        out.print(f"  {line}", markup=False)
    if len(lines) > _MOST:
        out.print(f"  and {len(lines) - _MOST} more; --json names all")


def _base(scan: Scan) -> Path:
    return Path(scan.source.partition(":")[2])


def _below(base: Path, name: str) -> str:
    """Write a path without the folder that the scan's first line names."""
    path = Path(name)
    return printable(str(path.relative_to(base) if path.is_relative_to(base) else path))


def _contents(scan: Scan) -> str:
    """Say how much a corpus holds, in words."""
    noun = _NOUNS[scan.modality]
    parts = [f"{scan.items} {noun if scan.items != 1 else noun.removesuffix('s')}"]
    if scan.modality == "speech":
        parts.append(f"{scan.hours:.2f} h")
    if scan.speakers:
        parts.append(f"{len(scan.speakers)} speaker{'s' if len(scan.speakers) > 1 else ''}")
    if scan.broken:
        parts.append(f"{len(scan.broken)} of them broken" if len(scan.broken) > 1 else "1 of them broken")
    if scan.duplicates:
        count = sum(len(group) - 1 for group in scan.duplicates)
        parts.append(f"{count} duplicate{'s' if count > 1 else ''}")
    return ", ".join(parts)


def _per_speaker(scan: Scan) -> str:
    noun, counts = _NOUNS[scan.modality], set(scan.speakers.values())
    if len(scan.speakers) > 1 and len(counts) == 1:
        return f"{counts.pop()} {noun} of each speaker"
    # Bound together, so that a line does not break between a speaker and the number.
    per = ", ".join(f"{printable(name)}:\N{NO-BREAK SPACE}{count}" for name, count in scan.speakers.items())
    return f"{noun} per speaker: {per}"


def cached(folder: Path, size: int, *, cleared: bool) -> None:
    """Print where features are kept, and how much they take or took."""
    megabytes = f"{size / 1e6:.1f} MB"
    out.print(f"{folder}: {f'removed {megabytes}' if cleared else megabytes}", markup=False)
