"""The figures of tables 1 to 4 of the FDAN paper (Li, Ji, Song, Sun, Zheng 2024), as printed there.

The paper's split (its section 3.2) puts 8/10 of each class's speech into training and 2/10 into the test, at
random, so speakers and sentences are in both: these figures say nothing about a new voice.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The backbone of the paper's FDAN.
BACKBONE = "resnet34"


@dataclass(frozen=True)
class Published:
    """One row of one of the paper's tables; scores in percent, None where the paper gives none."""

    row: str | None  # the row of `fdan-edge reproduce` that it is of; None: another method, quoted by the paper
    title: str
    war: float | None
    uar: float | None
    wf1: float | None


#: table -> corpus of the speech -> the rows in the paper's order. w-F1 is not in table 4.
TABLES: dict[str, dict[str, tuple[Published, ...]]] = {
    "table1": {
        "savee": (
            Published("vgg16", "VGG-16", 64.58, 63.33, 64.30),
            Published("vgg19", "VGG-19", 67.70, 66.41, 67.71),
            Published("resnet18", "ResNet-18", 59.37, 59.01, 58.74),
            Published("resnet34", "ResNet-34", 69.79, 70.33, 70.01),
            Published("resnet50", "ResNet-50", 68.75, 68.31, 68.42),
            Published(None, "INCA", 81.63, 79.73, 80.59),
            Published(None, "GM-TCNet", 84.79, 83.33, None),
            Published(None, "TF-Mix", 86.23, 84.71, 84.85),
            Published("fdan", "FDAN", 86.66, 86.19, 86.96),
        )
    },
    "table2": {
        "meld": (
            Published("vgg16", "VGG-16", 50.31, 49.51, 49.03),
            Published("vgg19", "VGG-19", 54.53, 54.08, 53.33),
            Published("resnet18", "ResNet-18", 58.68, 59.80, 58.41),
            Published("resnet34", "ResNet-34", 63.82, 63.10, 62.91),
            Published("resnet50", "ResNet-50", 61.02, 60.31, 60.79),
            Published(None, "SMIN", 65.59, None, 64.50),
            Published(None, "TRIN", 79.60, 70.52, None),
            Published(None, "SDT", 67.55, None, 66.60),
            Published(None, "CADF", None, 72.30, None),
            Published(None, "MAP", 78.50, 78.50, 78.40),
            Published("fdan", "FDAN", 81.16, 75.91, 80.72),
        )
    },
    "table3": {
        "savee": (Published("multi", "SAVEE{S_v, M_v, S_a}", 87.50, 87.14, 87.70),),
        "meld": (Published("multi", "MELD{S_v, M_v, M_a}", 81.78, 78.31, 81.01),),
    },
    "table4": {
        "savee": (
            Published("fdan_1", "FDAN_1", 83.33, 82.91, None),
            Published("fdan_2", "FDAN_2", 79.63, 79.25, None),
            Published("fdan", "FDAN", 86.66, 86.19, None),
        ),
        "meld": (
            Published("fdan_1", "FDAN_1", 75.01, 74.90, None),
            Published("fdan_2", "FDAN_2", 64.80, 64.33, None),
            Published("fdan", "FDAN", 81.16, 75.91, None),
        ),
    },
}

#: table -> the corpora whose faces the paper's FDAN saw; None: those of the corpus that speaks.
FACES: dict[str, tuple[str, ...] | None] = {
    "table1": None,
    "table2": None,
    "table3": ("meld", "savee"),
    "table4": None,
}


def rows(table: str, speech: tuple[str, ...]) -> tuple[Published, ...]:
    """Give the paper's rows of a table for the corpora of the speech; none where the paper has not used them."""
    return TABLES[table].get(speech[0], ()) if len(speech) == 1 else ()
