"""Synthetic emotional faces, so that a demonstration runs without any photographed corpus.

Cartoon faces in the framing of FER-2013 (48 x 48 grey, the face filling the image). Brows, lids, nose and
mouth move as the action units of the prototypical expressions do (Ekman & Friesen 1978). The sizes are chosen
here: figures obtained on these faces say nothing about people.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fdan_edge.data.corpora.synthetic.voices import EMOTIONS, check_emotion

SIZE = 48
OVERSAMPLING = 4  # drawn at 192 x 192, then averaged down: PIL draws without antialiasing
CANVAS = SIZE * OVERSAMPLING
MARGIN = 9

Point = tuple[float, float]


class Expression(NamedTuple):
    """Positions of the facial features; lengths are fractions of the image width."""

    brow_raise: float = 0.0  # whole brow up (action units 1 + 2)
    brow_inner: float = 0.0  # inner end up against the outer end (1); negative: drawn down (4)
    eye_open: float = 0.055  # height of the eye opening (5 widens, 7 narrows)
    mouth_curve: float = 0.0  # corners up (12), negative: corners down (15)
    mouth_open: float = 0.006  # gap between the lips (25 to 27)
    mouth_width: float = 0.27  # distance between the corners
    nose_wrinkle: float = 0.0  # 0 to 1 (9)
    upper_lip: float = 0.0  # upper lip raised (10)
    teeth: float = 0.1  # 0 to 1, how bright the opening of the mouth is


EXPRESSIONS = {
    "angry": Expression(-0.03, -0.075, 0.042, -0.035, 0.018, 0.25, 0.3, 0.0, 0.7),
    "disgust": Expression(-0.02, -0.035, 0.032, -0.04, 0.022, 0.24, 1.0, 0.04, 0.5),
    "fear": Expression(0.03, 0.055, 0.085, -0.02, 0.05, 0.3, 0.0, 0.0, 0.5),
    "happy": Expression(0.005, 0.0, 0.044, 0.085, 0.05, 0.35, 0.0, 0.0, 0.95),
    "neutral": Expression(),
    "sad": Expression(0.0, 0.06, 0.038, -0.055, 0.004, 0.24, 0.0, 0.0, 0.0),
    "surprise": Expression(0.06, 0.01, 0.09, 0.0, 0.13, 0.18, 0.0, 0.0, 0.05),
}
SPREAD = Expression(0.01, 0.013, 0.008, 0.013, 0.008, 0.02, 0.15, 0.006, 0.15)
LOWEST = Expression(-0.06, -0.12, 0.014, -0.12, 0.0, 0.13, 0.0, 0.0, 0.0)


class Identity(NamedTuple):
    """What does not depend on the emotion; lengths are fractions of the image width, greys 0 to 255."""

    skin: float
    hair: float
    back: float
    head_width: float
    head_height: float
    jaw: float
    hairline: float
    long_hair: bool
    eye_gap: float
    eye_width: float
    eye_row: float
    brow_weight: float
    brow_gap: float
    nose: float
    mouth_row: float
    lip: float


def face(emotion: str, index: int) -> Image.Image:
    """Draw one face; equal arguments always give an equal image.

    Args:
        emotion: one of synth_voices.EMOTIONS.
        index: number of the face, 0 or more; every index is another person, also between emotions.

    Returns:
        Grey image (mode "L") of SIZE x SIZE pixels.

    Raises:
        ValueError: unknown emotion, or a negative index.
    """
    check_emotion(emotion)
    if index < 0:
        raise ValueError(f"index must be 0 or more, not {index}")
    rng = np.random.default_rng([21, EMOTIONS.index(emotion), index])
    who, how = _identity(rng), _expression(emotion, rng)
    image = Image.new("L", (CANVAS, CANVAS), int(who.back))
    pen = ImageDraw.Draw(image)
    _draw_head(pen, who)
    for side in (-1, 1):
        _draw_eye(pen, who, how, side)
    _draw_nose(pen, who, how)
    _draw_mouth(pen, who, how)
    return _photograph(image, rng)


def _identity(rng: np.random.Generator) -> Identity:
    skin = rng.uniform(95, 215)
    # Hair of the skin's own grey would hide the shape of the head.
    hair = rng.uniform(15, skin - 50) if rng.random() < 0.85 else min(skin + 35, 235)
    return Identity(
        skin=skin,
        hair=hair,
        back=rng.uniform(20, 235),
        head_width=rng.uniform(0.36, 0.44),
        head_height=rng.uniform(0.47, 0.54),
        jaw=rng.uniform(0.6, 0.85),
        hairline=rng.uniform(0.1, 0.22),
        long_hair=bool(rng.random() < 0.4),
        eye_gap=rng.uniform(0.15, 0.185),
        eye_width=rng.uniform(0.068, 0.086),
        eye_row=rng.uniform(0.4, 0.45),
        brow_weight=rng.uniform(0.018, 0.036),
        brow_gap=rng.uniform(0.075, 0.1),
        nose=rng.uniform(0.14, 0.19),
        mouth_row=rng.uniform(0.75, 0.79),
        lip=rng.uniform(0.012, 0.026),
    )


def _expression(emotion: str, rng: np.random.Generator) -> Expression:
    """Draw one expression: part of the way from neutral to the emotion, plus chance."""
    neutral = np.array(EXPRESSIONS["neutral"])
    strength = rng.uniform(0.6, 1.2)
    drawn = neutral + strength * (np.array(EXPRESSIONS[emotion]) - neutral)
    drawn += np.array(SPREAD) * rng.standard_normal(len(SPREAD))
    return Expression(*np.maximum(drawn, LOWEST).tolist())


def _pixels(points: list[Point]) -> list[Point]:
    return [(x * CANVAS, y * CANVAS) for x, y in points]


def _grey(value: float) -> int:
    return int(np.clip(value, 0, 255))


def _ellipse(pen: ImageDraw.ImageDraw, x: float, y: float, half: Point, fill: float) -> None:
    pen.ellipse(_pixels([(x - half[0], y - half[1]), (x + half[0], y + half[1])]), fill=_grey(fill))


def _stroke(pen: ImageDraw.ImageDraw, points: list[Point], weight: float, fill: float) -> None:
    pen.line(_pixels(points), fill=_grey(fill), width=max(1, round(weight * CANVAS)), joint="curve")


def _draw_head(pen: ImageDraw.ImageDraw, who: Identity) -> None:
    """Draw hair behind, neck, ears, the egg-shaped head and the hairline."""
    wide, high = who.head_width, who.head_height
    _ellipse(pen, 0.5, 0.42, (wide + 0.05, high - 0.02), who.hair)
    if who.long_hair:
        pen.rectangle(_pixels([(0.46 - wide, 0.42), (0.54 + wide, 1.0)]), fill=_grey(who.hair))
    pen.rectangle(_pixels([(0.36, 0.85), (0.64, 1.0)]), fill=_grey(who.skin - 25))
    for side in (-1, 1):
        _ellipse(pen, 0.5 + side * wide, 0.5, (0.04, 0.09), who.skin - 12)
    angle = np.linspace(0, 2 * np.pi, 60)
    # Below the eyes the outline narrows towards the chin, the more the smaller `jaw` is.
    narrow = 1 - (1 - who.jaw) * np.clip(np.sin(angle), 0, 1) ** 2
    x, y = 0.5 + wide * np.cos(angle) * narrow, 0.5 + high * np.sin(angle)
    pen.polygon(_pixels(list(zip(x.tolist(), y.tolist(), strict=True))), fill=_grey(who.skin))
    above = y < who.hairline
    if above.sum() > 2:
        pen.polygon(_pixels(list(zip(x[above].tolist(), y[above].tolist(), strict=True))), fill=_grey(who.hair))


def _draw_eye(pen: ImageDraw.ImageDraw, who: Identity, how: Expression, side: int) -> None:
    """Draw eye white, iris cut by the lids, upper lid and brow; side is -1 on the left and 1 on the right."""
    x, y, half = 0.5 + side * who.eye_gap, who.eye_row, how.eye_open / 2
    _ellipse(pen, x, y, (who.eye_width + 0.012, half + 0.018), who.skin - 28)
    _ellipse(pen, x, y, (who.eye_width, half), min(who.skin + 70, 250))
    _ellipse(pen, x, y, (0.028, min(0.03, half)), 25)
    lid = np.linspace(-1, 1, 9)
    arch = y - half * np.sqrt(1 - lid**2)
    points = list(zip((x + who.eye_width * lid).tolist(), arch.tolist(), strict=True))
    _stroke(pen, points, 0.013, min(who.skin - 70, 60))
    along = np.linspace(-1, 1, 7)  # from the inner to the outer end of the brow
    height = y - who.brow_gap - how.brow_raise + how.brow_inner / 2 * along
    height -= 0.012 * (1 - along**2)
    brow_x = x + side * 0.085 * along - side * min(how.brow_inner, 0) * -0.2
    points = list(zip(brow_x.tolist(), height.tolist(), strict=True))
    _stroke(pen, points, who.brow_weight, min(who.hair, who.skin - 55))


def _draw_nose(pen: ImageDraw.ImageDraw, who: Identity, how: Expression) -> None:
    """Draw the side of the nose, nostrils, and with a wrinkled nose the folds at its root and beside it."""
    tip = who.eye_row + who.nose - 0.02 * how.nose_wrinkle
    _stroke(pen, [(0.475, who.eye_row + 0.04), (0.455, tip), (0.5, tip + 0.018)], 0.012, who.skin - 35)
    for side in (-1, 1):
        _ellipse(pen, 0.5 + side * 0.035, tip + 0.01, (0.014, 0.009), who.skin - 75)
        fold = [(0.5 + side * 0.065, tip - 0.01), (0.5 + side * 0.12, who.mouth_row - 0.05)]
        depth = 0.08 + 0.25 * how.nose_wrinkle + 2 * max(how.mouth_curve, 0)
        _stroke(pen, fold, 0.012, who.skin * (1 - min(depth, 0.35)))
    dark = who.skin * (1 - 0.4 * min(how.nose_wrinkle, 1))
    if how.nose_wrinkle > 0.25:
        for row in (0.0, 0.035, 0.07):
            y = who.eye_row + row
            _stroke(pen, [(0.455, y + 0.008), (0.5, y - 0.01), (0.545, y + 0.008)], 0.011, dark)


def _draw_mouth(pen: ImageDraw.ImageDraw, who: Identity, how: Expression) -> None:
    """Draw lips as two arcs between the corners, the opening between them and the teeth."""
    along = np.linspace(-1, 1, 17)
    bow = 1 - along**2
    x = 0.5 + how.mouth_width / 2 * along
    middle = who.mouth_row - how.mouth_curve * (along**2 - 0.4)
    top = middle - bow * (0.35 * how.mouth_open + how.upper_lip)
    bottom = middle + bow * 0.65 * how.mouth_open
    lips = who.skin - 45
    _polygon(pen, x, top - who.lip * bow**0.5 * 0.8, bottom + who.lip * bow**0.5 * 1.2, lips)
    _polygon(pen, x, top, bottom, 35)
    if how.mouth_open > 0.012:
        inner = 0.95 * x + 0.025
        edge = np.minimum(bottom, top + 0.035)
        _polygon(pen, inner, top, edge, 35 + 185 * min(how.teeth, 1))
    for arc in (top, bottom):
        _stroke(pen, list(zip(x.tolist(), arc.tolist(), strict=True)), 0.009, min(lips - 40, 70))


def _polygon(
    pen: ImageDraw.ImageDraw,
    x: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    fill: float,
) -> None:
    """Fill the area between two curves over the same x, all of shape (n,), fractions of the width."""
    upper = list(zip(x.tolist(), top.tolist(), strict=True))
    lower = list(zip(x.tolist(), bottom.tolist(), strict=True))
    pen.polygon(_pixels(upper + lower[::-1]), fill=_grey(fill))


def _photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Simulate pose, lens and sensor: rotation, shift, downsampling, blur, a lighting gradient and noise."""
    shift = rng.uniform(-0.03, 0.03, 2) * CANVAS
    posed = image.rotate(
        rng.normal(0, 4),
        resample=Image.Resampling.BILINEAR,
        translate=(int(shift[0]), int(shift[1])),
        fillcolor=image.getpixel((0, 0)),
    )
    blurred = posed.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 3.0)))
    # The margin goes because the rotation leaves background wedges in it.
    frame = (MARGIN, MARGIN, CANVAS - MARGIN, CANVAS - MARGIN)
    small = blurred.resize((SIZE, SIZE), Image.Resampling.BOX, box=frame)
    grid = np.linspace(-1, 1, SIZE)
    light = 1 + rng.normal(0, 0.14) * grid[None, :] + rng.normal(0, 0.1) * grid[:, None]
    pixels = np.asarray(small, dtype=np.float64) * light * rng.uniform(0.75, 1.1)
    pixels += rng.normal(0, rng.uniform(1.5, 5), (SIZE, SIZE))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
