"""Pictures of results, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fdan_edge.files import atomic_path
from fdan_edge.metrics import Scores

_ENDINGS = (".png", ".svg")


def confusion_matrix(scores: Scores, title: str, path: Path) -> None:
    """Draw a confusion matrix to `path` with .png and .svg: shares of each true class, and counts.

    `path` may be given with either ending or with none; other dots in its name stay.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    counts = np.array(scores.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(scores.labels)
    side = 1.6 + 0.62 * n
    figure, axes = pyplot.subplots(figsize=(side + 0.6, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(n):
        for column in range(n):
            if counts[row, column]:
                dark = shares[row, column] > 0.55
                text = f"{100 * shares[row, column]:.0f} %\n{counts[row, column]}"
                color = "white" if dark else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(n), scores.labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), scores.labels)
    axes.set_xlabel("recognised as")
    axes.set_ylabel("true emotion")
    axes.set_title(f"{title}\n{scores.line()}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    base = path.with_suffix("") if path.suffix.lower() in _ENDINGS else path
    for suffix in _ENDINGS:
        with atomic_path(Path(f"{base}{suffix}")) as temporary:
            figure.savefig(temporary, dpi=150)
    pyplot.close(figure)
