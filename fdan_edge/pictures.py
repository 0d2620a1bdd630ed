"""Pictures of results, as PNG and SVG, in colours that print and every eye can tell apart."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.calibration import Calibration
from fdan_edge.files import atomic_path
from fdan_edge.metrics import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDINGS = (".png", ".svg")
#: Okabe and Ito's colours, the yellow (too pale on paper) last; then wine and grey, for ten classes.
_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442")
COLOURS = (*_OKABE_ITO, "#882255", "#999999")
_PALE_BLUE = COLOURS[6]


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
    axes.set_xticks(range(n), scores.labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), [f"{name} ({count})" for name, count in zip(scores.labels, sums, strict=True)])
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
    """Wilson's 95 % interval of a share of n; the share itself is inside, also at 0 and 1."""
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
    patches = [axes.scatter([], [], c=COLOURS[c % len(COLOURS)], marker="s", s=60, label=labels[c]) for c in named]
    first = axes.legend(handles=patches, title="emotion", loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.add_artist(first)
    kinds = [
        axes.scatter([], [], c="0.25", marker=mark, label=f"{kind} ({int(chosen.sum())})")
        for mark, kind, chosen in (("o", "voice", ~face), ("+", "face", face))
        if chosen.any()
    ]
    axes.legend(handles=kinds, title="modality", loc="lower left", bbox_to_anchor=(1.01, 0))
    _save(figure, path)


def _figure(width: float, height: float, rows: tuple[int, ...] = (1,)) -> tuple[Figure, Any]:
    """A figure that belongs to no window, and its axes (an array of them where there are several rows)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes | Any = figure.subplots(len(rows), height_ratios=rows)
    return figure, axes


def _wrapped(title: str, figure: Figure, *lines: str) -> str:
    """A title in lines that the figure is wide enough for, at 10 points."""
    return "\n".join([*textwrap.wrap(title, int(11 * figure.get_figwidth())), *lines])


def _save(figure: Figure, path: Path) -> None:
    base = path.with_suffix("") if path.suffix.lower() in _ENDINGS else path
    for suffix in _ENDINGS:
        with atomic_path(Path(f"{base}{suffix}")) as temporary:
            figure.savefig(temporary, dpi=150)
