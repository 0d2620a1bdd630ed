"""The files of a robustness scoring: robustness.json, a table in Markdown, a picture; and what reads the JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdan_edge.errors import CheckpointError, one_line, shown
from fdan_edge.evaluation.figure import COLOURS, blank_figure, literal, save, wrapped
from fdan_edge.evaluation.robustness import FILE, ConditionScores, Robustness
from fdan_edge.utils.files import write_json, write_text
from fdan_edge.utils.markdown import escaped, table
from fdan_edge.utils.small_files import MOST_OF_A_LIST, read_json

_STEM = FILE.removesuffix(".json")
_INTERVAL = "95 % interval"
_HEAD = ("condition", "UAR %", _INTERVAL, "change", _INTERVAL, "unknown %", "labels changed %", "right %")
_MARKS = "osD^vP"
_KINDS = {"part": str, "unseen": bool, "checkpoint_sha256": str, "resampled": str, "n": int, "conditions": list}
_NUMBERS = ("uar", "change", "unknown", "changed")


def write_report(scored: Robustness, folder: Path) -> None:
    """Write robustness.json, .md, .png and .svg into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{_STEM}.md", markdown(scored))
    draw(scored, folder / _STEM)
    write_json(folder / FILE, scored.to_dict())


def read_report(path: Path) -> dict[str, Any]:
    """Read robustness.json.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        values: dict[str, Any] = dict(read_json(path, MOST_OF_A_LIST))
        for name, kind in _KINDS.items():
            if type(values[name]) is not kind:
                raise TypeError(f"{name} = {shown(values[name])}")
        for row in values["conditions"]:
            _check_row(row)
        return values
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or damaged: {one_line(error)}") from None


def _check_row(row: Any) -> None:
    """Raise TypeError or KeyError where a condition's scores are not what was written."""
    numbers = [*(row[name] for name in _NUMBERS), *row["interval"], *row["change_interval"]]
    numbers += [] if row["right"] is None else [row["right"]]
    right = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    texts = isinstance(row["condition"], str) and isinstance(row["kind"], str)
    if not (right and texts and type(row["snr_db"]) in (int, type(None))):
        raise TypeError(f"{shown(row)} is not a condition's scores")


def markdown(scored: Robustness) -> str:
    """Write the table, and what its columns are."""
    rows = [_cells(row) for row in scored.to_dict()["conditions"]]
    notes = [f"{escaped(scored.model)}: {escaped(about(scored))}.", table(_HEAD, rows), _COLUMNS]
    return "\n\n".join(["# Robustness", *notes]) + "\n"


def about(scored: Robustness) -> str:
    """Say of what the scores are, in a line."""
    parts = [f"{scored.n} recordings, {scored.part}", scored.resampled]
    if scored.codecs_left_out:
        parts.append(f"codecs that are not installed are left out: {', '.join(scored.codecs_left_out)}")
    return "; ".join(parts)


_COLUMNS = """\
- change: of the UAR, against the same recordings as they are; its interval is of the paired difference.
- unknown: what a stream would call unknown, as the model is less sure than it has to be.
- labels changed: recordings that get another label than they get as they are.
- right: of the recordings that are not unknown, those whose label is right."""


def short_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose what a model card shows: clean, noise (mean of its kinds) by SNR, a room, telephone, Opus."""
    snrs = sorted({row["snr_db"] for row in rows if row["snr_db"] is not None}, reverse=True)
    clean = [row for row in rows if row["kind"] == "clean"]
    others = [row for row in rows if row["condition"].startswith(("room, 0.5", "telephone", "Opus"))]
    chosen = [*clean, *(_mean_of_noise(rows, snr) for snr in snrs), *others]
    return [{"condition": row["condition"], **{name: _rounded(row[name]) for name in _SHORT}} for row in chosen]


def short_table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the table of a model card, from `short_rows`."""
    lines = [(row["condition"], *(write(row[name]) for name, write in _SHORT.items())) for row in rows]
    return table(("condition", "UAR %", "change", "unknown %", "right %"), lines)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _mean_of_noise(rows: Sequence[dict[str, Any]], snr: int) -> dict[str, Any]:
    """Average the scores of all kinds of noise at an SNR, in dB."""
    of_snr = [row for row in rows if row["snr_db"] == snr]
    means = {name: float(np.mean([row[name] for row in of_snr])) for name in _NUMBERS}
    right = [row["right"] for row in of_snr if row["right"] is not None]
    return {**means, "condition": f"noise at {snr} dB", "right": float(np.mean(right)) if right else None}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    least, most = row["change_interval"]
    return (
        row["condition"],
        _percent(row["uar"]),
        f"{100 * low:.1f} to {100 * high:.1f}",
        _signed(row["change"]),
        f"{100 * least:+.1f} to {100 * most:+.1f}",
        _percent(row["unknown"]),
        _percent(row["changed"]),
        _percent(row["right"]),
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}" if abs(share) >= 0.0005 else "0.0"


_SHORT = {"uar": _percent, "change": _signed, "unknown": _percent, "right": _percent}


def draw(scored: Robustness, path: Path) -> None:
    """Draw the UAR over the SNR of each kind of noise, and that of rooms, lines and levels, to `path`."""
    figure, (noise, bars) = blank_figure(10.4, 4.8, columns=(5, 6))
    clean = scored.rows[0]
    _draw_noise(noise, scored.rows)
    _draw_bars(bars, [row for row in scored.rows if row.kind not in ("clean", "noise")])
    for axes in (noise, bars):
        axes.axhline(100 * clean.uar, color="0.25", lw=1.2, ls="--", label="clean", zorder=2)
        axes.axhline(100 / len(scored.labels), color="0.6", lw=1.0, ls=":", label="guessing", zorder=2)
        axes.grid(axis="y", color="0.93", lw=0.6, zorder=0)
        axes.set_axisbelow(True)
    noise.set(xlabel="signal-to-noise ratio in dB", ylabel="UAR in %, 95 % interval", ylim=(0, 102))
    noise.legend(loc="lower right", fontsize=9)
    title = f"{scored.model}, {scored.part}"
    figure.suptitle(wrapped(title, figure, f"n = {scored.n}; {literal(scored.resampled)}"), fontsize=10)
    save(figure, path)


def _draw_noise(axes: Any, rows: Sequence[ConditionScores]) -> None:
    """Draw a line for each kind of noise, from the most noise on the left."""
    noisy = [row for row in rows if row.snr_db is not None]
    kinds = list(dict.fromkeys(_noise(row) for row in noisy))
    for number, kind in enumerate(kinds):
        points = sorted((row for row in noisy if _noise(row) == kind), key=lambda row: row.snr_db or 0)
        shift = 0.25 * (number - (len(kinds) - 1) / 2)  # or the intervals would cover each other
        x, y = [(row.snr_db or 0) + shift for row in points], [100 * row.uar for row in points]
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": _MARKS[number % len(_MARKS)],
            "ms": 5,
            "lw": 1.4,
        }
        axes.errorbar(x, y, _edges(points), elinewidth=0.8, capsize=2, label=kind, zorder=3, **look)
    axes.set_xticks(sorted({row.snr_db for row in noisy if row.snr_db is not None}))


def _noise(row: ConditionScores) -> str:
    return row.condition.rpartition(",")[0]


def _draw_bars(axes: Any, rows: Sequence[ConditionScores]) -> None:
    """Draw a bar for each condition without an SNR, a colour for each kind."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    colours = [COLOURS[(6, 5, 9)[kinds.index(row.kind) % 3]] for row in rows]
    places = range(len(rows))
    axes.bar(places, [100 * row.uar for row in rows], 0.72, color=colours, zorder=1)
    look = {"fmt": "none", "ecolor": "black", "lw": 1.0, "capsize": 3, "zorder": 3}
    axes.errorbar(places, [100 * row.uar for row in rows], _edges(rows), **look)
    slant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor", "fontsize": 9}
    axes.set_xticks(places, [literal(row.condition) for row in rows], **slant)
    axes.set(ylim=(0, 102))
    axes.tick_params(labelleft=False)


def _edges(rows: Sequence[ConditionScores]) -> Any:
    """Give how far the intervals reach below and above the UAR, in percent, (2, n)."""
    reach = [(row.uar - row.interval[0], row.interval[1] - row.uar) for row in rows]
    return 100 * np.maximum(np.array(reach).T, 0)
