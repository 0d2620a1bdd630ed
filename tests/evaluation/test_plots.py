"""Pictures: both files, not blank, every number and name on them, nothing outside the edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from fdan_edge.data.labels import EMOTIONS
from fdan_edge.evaluation import plots
from fdan_edge.evaluation.calibration import measure
from fdan_edge.evaluation.figure import COLOURS, blank_figure
from fdan_edge.evaluation.metrics import score

pytestmark = pytest.mark.usefixtures("drawn")
#: RAVDESS's eight.
NAMES = tuple(name for name in EMOTIONS if name not in ("boredom", "contempt"))
TITLE = "PyTorch eager CPU, all given speech, training speech included where it is among it"
TRUE = [c for c in range(8) for _ in range(100)]
PREDICTED = [c if i % 3 else (c + i) % 8 for i, c in enumerate(TRUE)]


def confusion(path: Path) -> None:
    plots.confusion_matrix(score(TRUE, PREDICTED, list(NAMES)), TITLE, path)


def reliability(path: Path) -> None:
    p = np.random.default_rng(0).dirichlet([0.4] * 8, len(TRUE))
    plots.reliability(measure(p, np.array(TRUE)), TITLE, path)


def features(path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(800, 2)) + np.array(TRUE)[:, None]
    plots.features(points, TRUE, [i % 2 == 0 for i in range(800)], list(NAMES), TITLE, path)


def tuning(path: Path) -> None:
    plots.tuning(SEARCH, TITLE, path)


def _searched() -> plots.Tuning:
    chance = np.random.default_rng(0)
    points = []
    for number in range(1, 25):
        state = "pruned" if number % 5 == 4 else "failed" if number in (7, 20) else "complete"
        settings = {
            "alpha": 10 ** chance.uniform(-5, 0),
            "attention_layers": number % 4,
            "lr": chance.uniform(1e-3, 1e-2),
            "balanced": number % 3 == 0,
            "backbone": ("mobilenet_v2", "mobilenet_v2_tiny", "resnet18")[number % 3],
        }
        uar = None if state == "failed" else float(chance.uniform(0.4, 0.6))
        points.append(plots.Point(number, uar, state, settings))
    best = max((one for one in points if one.state == "complete"), key=lambda one: one.uar or 0)
    settings_ = [
        plots.Setting("alpha", (1e-5, 1.0), True, 0.5),
        plots.Setting("attention_layers", (0, 3), False, 0.3),
        plots.Setting("lr", (1e-3, 1e-2), False, 0.1),
        plots.Setting("balanced", None, False, None),
        plots.Setting("backbone", None, False, 0.1),
    ]
    return plots.Tuning(points, best.number, settings_)


SEARCH = _searched()


@pytest.mark.parametrize("draw", [confusion, reliability, features, tuning])
def test_written_and_not_blank(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Figure] = []
    figure = blank_figure

    def kept(*arguments: float, **named: tuple[int, ...]) -> object:
        result = figure(*arguments, **named)  # type: ignore[arg-type]
        made.append(result[0])
        return result

    monkeypatch.setattr(plots, "_figure", kept)
    draw(tmp_path / "a.b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.png", "a.b.svg"]
    with Image.open(tmp_path / "a.b.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) >= 700
    assert 0.01 < float((pixels < 230).mean()) < 0.9
    assert b"</svg>" in (tmp_path / "a.b.svg").read_bytes()
    # Nothing is cut: what stands at the edge is background.
    assert all((edge == 255).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert all(float(text.get_fontsize()) >= 8 for text in made[0].findobj(Text) if text.get_text())


def words(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Path], None], path: Path) -> list[str]:
    made: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: made.append(figure))
    draw(path)
    made[0].draw_without_rendering()
    return [t.get_text() for t in made[0].findobj(Text) if t.get_text()]


def test_the_confusion_matrix_says_percent_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = words(monkeypatch, confusion, tmp_path)
    counts = np.array(score(TRUE, PREDICTED, list(NAMES)).confusion)
    cells = [text for text in said if " %\n" in text]
    assert sorted(cells) == sorted(f"{n} %\n{n}" for n in counts[counts > 0])  # 100 of each class
    assert {f"{name} (100)" for name in NAMES} | set(NAMES) <= set(said)
    assert any("UAR " in text and "included where it is among it" in " ".join(text.split()) for text in said)


def test_the_reliability_diagram_counts_its_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = words(monkeypatch, reliability, tmp_path)
    assert sum(int(text) for text in said if text.isdigit() and "." not in text) >= len(TRUE)
    assert {"confidence", "recordings", "recognised rightly", "calibrated", "95 % interval"} <= set(said)
    assert any("ECE " in text and "(n = 800)" in text for text in said)


def test_the_features_name_classes_and_modalities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = words(monkeypatch, features, tmp_path)
    assert {*NAMES, "voice (400)", "face (400)"} <= set(said)


def test_the_search_shows_every_trial_over_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: made.append(figure))
    tuning(tmp_path)
    said = [text.get_text() for text in made[0].findobj(Text)]
    assert {"finished", "pruned", "failed", "best so far", f"best: trial {SEARCH.best}"} <= set(said)
    assert {"trial", "alpha, importance 0.50", "balanced", "False", "True", "resnet18"} <= set(said)
    for axes in made[0].axes:
        drawn = [np.asarray(dots.get_offsets()) for dots in axes.collections]
        assert sum(map(len, drawn)) == len(SEARCH.points) + 1  # and the star
        low, high = axes.get_xlim()
        assert all(low <= x <= high for dots in drawn for x in dots[:, 0])
    [line] = made[0].axes[0].lines
    heights = np.asarray(line.get_ydata())
    assert (np.diff(heights) >= 0).all()
    assert heights[-1] == max(100 * (one.uar or 0) for one in SEARCH.points if one.state == "complete")


def test_a_search_without_a_finished_trial(tmp_path: Path) -> None:
    points = [plots.Point(1, 0.2, "pruned", {"lr": 1e-3}), plots.Point(2, None, "failed", {})]
    plots.tuning(plots.Tuning(points, 0, [plots.Setting("lr", (1e-4, 1e-2), True, None)]), "t", tmp_path / "s")
    assert len(list(tmp_path.iterdir())) == 2


def test_one_modality_and_one_bin(tmp_path: Path) -> None:
    plots.features(np.eye(2), [0, 1], [False, False], ["a", "b"], "t", tmp_path / "f")
    plots.reliability(measure(np.array([[1.0, 0.0]]), np.array([1])), "t", tmp_path / "r")
    assert len(list(tmp_path.iterdir())) == 4


def test_every_emotion_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS)) >= len(EMOTIONS)


@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (1.0, 3), (0.5, 10)])
def test_wilson(share: float, n: int) -> None:
    low, high = plots._wilson(share, n)
    assert 0 <= low <= share <= high <= 1
    assert high - low > 0.1
    if n == 10:
        assert [low, high] == pytest.approx([0.2366, 0.7634], abs=1e-4)


@pytest.mark.parametrize("name", ["a.v2", "a.v2.png", "a.v2.SVG"])
def test_a_picture_keeps_the_dots_of_its_name(tmp_path: Path, name: str) -> None:
    plots.confusion_matrix(score([0, 1], [0, 1], ["angry", "sad"]), "t", tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.v2.png", "a.v2.svg"]


def test_names_in_the_trade_off_cover_no_points_and_no_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six models close together, in two precisions each."""
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: drawn.append(figure))
    choices = [
        plots.Choice(f"mobilenet-{i}", precision, time, uar, (uar - 0.06, uar + 0.06))
        for i, (slow, uar) in enumerate([(9, 0.63), (9.2, 0.66), (5, 0.65), (5.1, 0.64), (4.6, 0.61), (20, 0.72)])
        for precision, time in (("fp32", slow), ("int8", slow / 2))
    ]
    plots.trade_off(choices, "title", tmp_path / "front")
    (figure,) = drawn
    figure.draw_without_rendering()
    (axes,) = figure.axes
    named = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    assert sorted(named) == [f"mobilenet-{i}" for i in range(6)]
    boxes = list(named.values())
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = axes.transData.transform([(one.milliseconds, 100 * one.uar) for one in choices])
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = axes.get_window_extent()
    assert all(
        frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes
    )
    fastest = axes.transData.transform([(choices[1].milliseconds, 100 * choices[1].uar)])[0]
    assert abs(named["mobilenet-0"].y0 - fastest[1]) < 120  # a name stays with its point


def test_the_front_of_the_trade_off_is_a_step_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: drawn.append(figure))
    made = [("a", 8.0, 0.7), ("b", 2.0, 0.5), ("c", 4.0, 0.6), ("d", 5.0, 0.55)]
    plots.trade_off([plots.Choice(n, "fp32", t, u, (u, u)) for n, t, u in made], "title", tmp_path / "front")
    (front,) = (line for line in drawn[0].axes[0].lines if line.get_label() == "Pareto front")
    corners = [(2, 50), (4, 50), (4, 60), (8, 60), (8, 70), (80, 70)]
    assert np.allclose(front.get_xydata(), corners)


def test_the_trade_off_is_written_as_png_and_svg(tmp_path: Path) -> None:
    plots.trade_off([plots.Choice("a", "int8", 3.0, 0.6, (0.5, 0.7))], "title", tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg"]


def test_names_are_no_formulas(tmp_path: Path) -> None:
    """Matplotlib sets what is between dollar signs, and fails where it cannot."""
    names = [r"$\frac$", "a$b$c"]
    plots.confusion_matrix(score([0, 1], [0, 1], names), r"$\nothing$", tmp_path / "a")
    assert "a$b$c" in (tmp_path / "a.svg").read_text(encoding="utf-8")
