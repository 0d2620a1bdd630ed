"""Figures that belong to no window: made, titled, and written as PNG and SVG."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdan_edge.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENDINGS = (".png", ".svg")
#: Okabe and Ito's colours, the yellow (too pale on paper) last; then wine and grey, for ten classes.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442")
COLOURS = (*OKABE_ITO, "#882255", "#999999")


def blank_figure(
    width: float, height: float, rows: tuple[int, ...] = (1,), columns: tuple[int, ...] = (1,)
) -> tuple[Figure, Any]:
    """Make a figure that belongs to no window, and its axes (an array of them where there are several)."""
    # It warns of a home that is read-only, where it makes a temporary folder, and of fonts that it looks for.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes | Any = figure.subplots(len(rows), len(columns), height_ratios=rows, width_ratios=columns)
    return figure, axes


def literal(text: str) -> str:
    """Return text of others so that it is no formula: between two dollar signs Matplotlib looks for one."""
    return text.replace("$", "\\$")


def wrapped(title: str, figure: Figure, *lines: str) -> str:
    """Break a title into lines that the figure is wide enough for, at 10 points."""
    return "\n".join([*textwrap.wrap(literal(title), int(11 * figure.get_figwidth())), *lines])


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path` with .png and .svg; `path` may be given with either ending or with none."""
    base = path.with_suffix("") if path.suffix.lower() in _ENDINGS else path
    for suffix in _ENDINGS:
        with atomic_path(Path(f"{base}{suffix}")) as temporary:
            figure.savefig(temporary, dpi=150)
        figure.set_layout_engine("none")  # what the first one has laid out stays: it takes a third of the time
