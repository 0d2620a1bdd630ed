"""Pictures of results, as PNG and SVG, in colours that print and every eye can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.evaluation.calibration import Calibration
from fdan_edge.evaluation.figure import COLOURS, OKABE_ITO
from fdan_edge.evaluation.figure import blank_figure as _figure
from fdan_edge.evaluation.figure import literal as _literal
from fdan_edge.evaluation.figure import save as _save
from fdan_edge.evaluation.figure import wrapped as _wrapped
from fdan_edge.evaluation.metrics import Scores

if TYPE_CHECKING:
    from matplotlib.transforms import Bbox

_PALE_BLUE = COLOURS[6]
#: Where a name may stand beside its point, best first: offset in points, and which end of it is there.
_PLACES = [
    *((8, 0, "left"), (-8, 0, "right"), (7, 9, "left"), (7, -9, "left"), (-7, 9, "right"), (-7, -9, "right")),
    *((0, 12, "center"), (0, -12, "center"), (10, 20, "left"), (10, -20, "left"), (-10, 20, "right")),
    *((-10, -20, "right"), (14, 34, "left"), (14, -34, "left"), (-14, 34, "right"), (-14, -34, "right")),
    *((0, 48, "center"), (0, -48, "center")),
]


def confusion_matrix(scores: Scores, title: str, path: Path) -> None:
    """Draw a confusion matrix (the paper's Fig. 4) to `path` with .png and .svg: percent of each row, and counts.

    `path` may be given with either ending or with none; other dots in its name stay.
    """
    counts = np.array(scores.confusion)
    sums = counts.sum(axis=1)
    shares = counts / np.maximum(sums[:, None], 1)
    n = len(scores.labels)
    side = 2.0 + 0.66 * n
    figure, axes = _figure(max(side + 0.9, 4.8), side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = shares[row, column]
        color = "white" if share > 0.55 else "black"
        text = f"{100 * share:.0f} %\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(n), list(map(_literal, scores.labels)), rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(n), [f"{_literal(name)} ({count})" for name, count in zip(scores.labels, sums, strict=True)]
    )
    axes.set_xlabel("recognised as")
    axes.set_ylabel("true emotion (recordings)")
    axes.set_title(_wrapped(title, figure, scores.line()), fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class", format="{x:.0%}")
    _save(figure, path)


def reliability(calibration: Calibration, title: str, path: Path) -> None:
    """Draw how often recordings are recognised rightly, by confidence, to `path` with .png and .svg."""
    figure, (upper, lower) = _figure(5.0, 5.4, rows=(3, 1))
    bins = [b for b in calibration.bins if b.n]
    x, width = [(b.low + b.high) / 2 for b in bins], 0.9 / len(calibration.bins)
    right = [b.accuracy for b in bins]
    upper.bar(x, right, width, color=_PALE_BLUE, label="recognised rightly")
    edges = np.abs(np.array([_wilson(b.accuracy, b.n) for b in bins]).T - right)
    upper.errorbar(x, right, edges, fmt="none", ecolor="black", lw=1.2, capsize=4, label="95 % interval")
    upper.plot([0, 1], [0, 1], "--", color="0.3", lw=1.2, label="calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of the recordings")
    upper.legend(loc="upper left", fontsize=9)
    line = f"{calibration.line()}   (n = {calibration.n})"
    upper.set_title(_wrapped(title, figure, line), fontsize=10)
    most = max(b.n for b in bins)
    lower.bar(x, [b.n for b in bins], width, color="0.6")
    for middle, b in zip(x, bins, strict=True):
        lower.text(middle, b.n + 0.04 * most, str(b.n), ha="center", va="bottom", fontsize=9)
    lower.set(xlim=(0, 1), ylim=(0, 1.35 * most), xlabel="confidence", ylabel="recordings")
    upper.tick_params(labelbottom=False)
    _save(figure, path)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a share of n; the share itself is inside, also at 0 and 1."""
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def features(
    points: NDArray[np.floating[Any]],
    classes: list[int],
    is_face: list[bool],
    labels: list[str],
    title: str,
    path: Path,
) -> None:
    """Draw features of voices and faces on a plane (the paper's Fig. 5) to `path` with .png and .svg.

    Args:
        points: positions, (n, 2).
        classes: index of each point's class in `labels`.
        is_face: whether a point is of a face (drawn as +) or of a voice (a circle), as in the paper.
        labels: names of the classes.
        title: for people.
        path: with either ending or with none.
    """
    figure, axes = _figure(7.4, 5.6)
    face, colour = np.array(is_face), np.array(COLOURS)[np.array(classes) % len(COLOURS)]
    axes.scatter(*points[face].T, c=colour[face], marker="+", s=42, linewidths=1.3)
    axes.scatter(*points[~face].T, c=colour[~face], marker="o", s=34, edgecolors="0.25", linewidths=0.5)
    axes.set(xticks=[], yticks=[])
    axes.set_title(_wrapped(title, figure), fontsize=10)
    named = sorted(set(classes))
    patches = [
        axes.scatter([], [], c=COLOURS[c % len(COLOURS)], marker="s", s=60, label=_literal(labels[c]))
        for c in named
    ]
    first = axes.legend(handles=patches, title="emotion", loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.add_artist(first)
    kinds = [
        axes.scatter([], [], c="0.25", marker=mark, label=f"{kind} ({int(chosen.sum())})")
        for mark, kind, chosen in (("o", "voice", ~face), ("+", "face", face))
        if chosen.any()
    ]
    axes.legend(handles=kinds, title="modality", loc="lower left", bbox_to_anchor=(1.01, 0))
    _save(figure, path)


@dataclass(frozen=True)
class Choice:
    """A model that could be chosen."""

    name: str
    precision: str
    milliseconds: float  # of a call
    uar: float  # share of 1
    interval: tuple[float, float]


def trade_off(choices: Sequence[Choice], title: str, path: Path) -> None:
    """Draw UAR against latency to `path` with .png and .svg, and the Pareto front as a step line.

    The same model in several precisions is joined by a thin line and named once.
    """
    figure, axes = _figure(8.6, 5.4)
    axes.set_xscale("log")
    for colour, mark, precision in zip(OKABE_ITO, "osD", ("fp32", "int8", "fp16"), strict=False):
        shown = [choice for choice in choices if choice.precision == precision]
        if not shown:
            continue
        x, y = [choice.milliseconds for choice in shown], [100 * choice.uar for choice in shown]
        edges = np.abs(np.array([[100 * edge for edge in choice.interval] for choice in shown]).T - y)
        axes.errorbar(x, y, edges, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.35, zorder=1)
        axes.scatter(x, y, c=colour, marker=mark, s=46, label=precision, zorder=3)
    for name in dict.fromkeys(choice.name for choice in choices):
        line = sorted((c.milliseconds, 100 * c.uar) for c in choices if c.name == name)
        axes.plot(*zip(*line, strict=True), color="0.6", lw=0.8, zorder=2)
    front = _draw_front(choices, axes)
    times = [choice.milliseconds for choice in choices]
    axes.set_xlim(min(times) / 2.4, max(times) * 1.4)
    axes.set(
        xlabel="latency of a call in ms (median, logarithmic)", ylabel="UAR on the test part in %, 95 % interval"
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")
    axes.grid(which="both", color="0.93", lw=0.6, zorder=0)
    axes.legend(loc="upper left", fontsize=9)
    axes.set_title(_wrapped(title, figure), fontsize=10)
    _name_points(choices, axes, front)
    _save(figure, path)


def _draw_front(choices: Sequence[Choice], axes: Any) -> list[tuple[float, float]]:
    """Draw the best UAR of all that is as fast, up to the right edge; return the corners of the line."""
    corners: list[tuple[float, float]] = []
    for choice in sorted(choices, key=lambda choice: (choice.milliseconds, -choice.uar)):
        if not corners or 100 * choice.uar > corners[-1][1]:
            corners += [(choice.milliseconds, corners[-1][1])] if corners else []
            corners.append((choice.milliseconds, 100 * choice.uar))
    corners.append((10 * max(choice.milliseconds for choice in choices), corners[-1][1]))
    axes.plot(*zip(*corners, strict=True), color="0.25", lw=1.3, ls="--", label="Pareto front", zorder=2)
    return corners


def _name_points(choices: Sequence[Choice], axes: Any, front: list[tuple[float, float]]) -> None:
    """Write each model's name beside its fastest file, where it covers least of points, lines and other names."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    axes.figure.draw_without_rendering()  # lays the axes out: places in pixels are known from here on
    lines = [front]
    for name in (names := list(dict.fromkeys(choice.name for choice in choices))):
        lines.append([(choice.milliseconds, 100 * choice.uar) for choice in choices if choice.name == name])
    covered = [_box(x - 7, y - 7, x + 7, y + 7) for line in lines[1:] for x, y in axes.transData.transform(line)]
    covered += [box for line in lines for box in _along(axes.transData.transform(line))]
    covered.append(axes.get_legend().get_window_extent())
    for name in names:
        fastest = min((c for c in choices if c.name == name), key=lambda c: c.milliseconds)
        placements = []
        for dx, dy, side in _PLACES:
            leader = {"arrowstyle": "-", "color": "0.5", "lw": 0.6, "shrinkB": 4} if abs(dy) > 12 else None
            options = {"textcoords": "offset points", "fontsize": 8.5, "ha": side, "va": "center", "zorder": 4}
            text = axes.annotate(
                name, (fastest.milliseconds, 100 * fastest.uar), (dx, dy), arrowprops=leader, **options
            )
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            text.update_positions(axes.figure.canvas.get_renderer())
            box = Text.get_window_extent(text)  # without its leader
            outside = box.width * box.height - _shared_area(box, axes.get_window_extent())
            placements.append((sum(_shared_area(box, other) for other in covered) + 10 * outside, text, box))
        best = min(range(len(placements)), key=lambda index: placements[index][0])
        for index, (_, text, _) in enumerate(placements):
            if index != best:
                text.remove()
        covered.append(placements[best][2])


def _along(points: NDArray[np.float64], step: float = 6.0) -> list[Bbox]:
    """List small boxes that cover a line through points in pixels, (n, 2)."""
    boxes = []
    for start, end in pairwise(points):
        count = 1 + int(np.hypot(*(end - start)) / step)
        boxes += [_box(x - 2, y - 2, x + 2, y + 2) for x, y in np.linspace(start, end, count)]
    return boxes


@dataclass(frozen=True)
class Point:
    """A trial of a search over settings."""

    number: int
    uar: float | None  # share of 1; a failed one has none
    state: str  # complete, pruned or failed
    settings: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a search varies."""

    name: str
    ends: tuple[float, float] | None  # of a range of numbers; None: some values to choose from
    logarithmic: bool
    importance: float | None  # share of 1, where it is known


@dataclass(frozen=True)
class Tuning:
    """Trials of a search over settings."""

    points: list[Point]
    best: int  # number of the best trial; 0: none is finished
    settings: list[Setting]


def tuning(search: Tuning, title: str, path: Path) -> None:
    """Draw each trial's UAR, and below it over each setting's values, to `path` with .png and .svg."""
    from matplotlib.ticker import MaxNLocator

    count = len(search.settings)
    across = min(count, 2 if count in (2, 4) else 3)
    rows = -(-count // across)
    figure, (upper, *lower) = _figure(8.6, 3.2 + 2.5 * rows, rows=(13, *[10] * rows))
    _draw_trials(upper, search, [point.number for point in search.points])
    _draw_best_so_far(upper, search)
    upper.xaxis.set_major_locator(MaxNLocator(integer=True))
    upper.set(xlabel="trial", ylabel="UAR in validation in %")
    upper.margins(y=0.1)  # room for the star in the low panels too
    upper.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9, frameon=False)
    upper.set_title(_wrapped(title, figure), fontsize=10)
    for row, first in zip(lower, range(0, count, across), strict=True):
        row.remove()
        inner = row.get_subplotspec().subgridspec(1, across)
        for column, setting in enumerate(search.settings[first : first + across]):
            axes = figure.add_subplot(inner[column], sharey=upper)
            _draw_setting(axes, search, setting)
            axes.tick_params(labelleft=column == 0)
            if column == 0:
                axes.set_ylabel("UAR in %")
    _save(figure, path)


def _draw_trials(axes: Any, search: Tuning, places: Sequence[float]) -> None:
    """Draw each trial at its place along x; failed ones on the lower edge."""
    looks = {
        "complete": ("o", COLOURS[0], COLOURS[0], "finished"),
        "pruned": ("v", "none", "0.5", "pruned"),
        "failed": ("x", "0.2", "0.2", "failed"),
    }
    for state, (mark, face, edge, label) in looks.items():
        shown = [(x, point.uar) for x, point in zip(places, search.points, strict=True) if point.state == state]
        if not shown:
            continue
        x, on_edge = [place for place, _ in shown], all(uar is None for _, uar in shown)
        y = [0.03 if on_edge else 100 * (uar or 0.0) for _, uar in shown]
        transform = axes.get_xaxis_transform() if on_edge else axes.transData
        colours = {"c": edge} if mark == "x" else {"facecolors": face, "edgecolors": edge}
        axes.scatter(x, y, marker=mark, s=34, label=label, transform=transform, zorder=3, **colours)
    for place, point in zip(places, search.points, strict=True):
        if point.number == search.best:
            star = {"marker": "*", "s": 170, "c": COLOURS[1], "zorder": 4}
            axes.scatter(place, 100 * (point.uar or 0.0), label=f"best: trial {point.number}", **star)
    axes.grid(color="0.93", lw=0.6, zorder=0)


def _draw_best_so_far(axes: Any, search: Tuning) -> None:
    finished = [point for point in search.points if point.state == "complete" and point.uar is not None]
    if not finished:
        return
    x = [point.number for point in finished] + [max(point.number for point in search.points)]
    y = np.maximum.accumulate([100 * (point.uar or 0.0) for point in finished])
    axes.step(x, [*y, y[-1]], where="post", color=COLOURS[1], lw=1.2, label="best so far", zorder=2)


def _draw_setting(axes: Any, search: Tuning, setting: Setting) -> None:
    """Draw UAR over a setting's values: numbers along a scale, others side by side."""
    from matplotlib.ticker import MaxNLocator

    values = [point.settings.get(setting.name) for point in search.points]
    if setting.ends is not None:
        places = [math.nan if value is None else float(value) for value in values]
        low, high = setting.ends
        if setting.logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
        else:
            axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        if isinstance(low, int) and not setting.logarithmic:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        known = sorted({value for value in values if value is not None})
        places = [math.nan if value is None else float(known.index(value)) for value in values]
        names = [f"{value:g}" if isinstance(value, float) else str(value) for value in known]
        slant = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if len("".join(names)) > 24 else {}
        axes.set_xticks(range(len(known)), names, **slant)
        axes.set_xlim(-0.5, len(known) - 0.5)
    _draw_trials(axes, search, places)
    share = "" if setting.importance is None else f", importance {setting.importance:.2f}"
    axes.set_xlabel(f"{setting.name}{share}")


def _box(x0: float, y0: float, x1: float, y1: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox([[x0, y0], [x1, y1]])


def _shared_area(a: Bbox, b: Bbox) -> float:
    """Compute the area that two boxes share, in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0) * max(height, 0))
