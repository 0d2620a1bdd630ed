"""How often the 95 % bootstrap intervals of UAR hold the truth, by number of test speakers, on simulated tests.

    python benchmarks/intervals.py

Each speaker says 60 sentences of 6 classes; the log-odds of being recognised differ by class, by speaker and
by speaker and class (standard deviation 0.7 each). Writes benchmarks/results/intervals.json.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fdan_edge.evaluation.confidence_intervals import intervals
from fdan_edge.utils.files import write_json

SPEAKERS = (2, 3, 4, 6, 8, 10, 12, 16, 24)
TRIALS, CLASSES, EACH, DIFFERENCE = 400, 6, 10, 0.7
LABELS = [str(c) for c in range(CLASSES)]


def main() -> None:
    rows = []
    for speakers in SPEAKERS:
        by_speaker, by_recording = coverage(speakers)
        rows.append({"speakers": speakers, "by_speaker": by_speaker, "by_recording": by_recording})
        print(f"{speakers:>3} speakers: by speaker {by_speaker:.3f}, by recording {by_recording:.3f}")
    write_json(Path("benchmarks/results/intervals.json"), {"trials": TRIALS, "rows": rows})


def coverage(speakers: int) -> tuple[float, float]:
    """Share of intervals, by speaker and by recording, that hold the UAR of all speakers there could be."""
    chance = np.random.default_rng(0)
    odds = chance.normal(0.5, 0.5, CLASSES)
    truth = float(skill(odds, 200_000, chance).mean())
    held = np.zeros(2)
    for trial in range(TRIALS):
        recognised = skill(odds, speakers, chance)
        true = np.tile(np.repeat(np.arange(CLASSES), EACH), speakers)
        names = np.repeat(np.arange(speakers), CLASSES * EACH)
        right = chance.random(len(true)) < recognised[names, true]
        predicted = np.where(right, true, (true + 1) % CLASSES).tolist()
        units: list[list[str | None]] = [[str(n) for n in names], [None] * len(names)]
        for index, known in enumerate(units):
            low, high = intervals(true.tolist(), predicted, LABELS, known, seed=trial).uar
            held[index] += low <= truth <= high
    by_speaker, by_recording = (held / TRIALS).tolist()
    return by_speaker, by_recording


def skill(odds: np.ndarray, speakers: int, chance: np.random.Generator) -> np.ndarray:
    """Probability of being recognised, (speakers, classes)."""
    own = chance.normal(0, DIFFERENCE, (speakers, 1)) + chance.normal(0, DIFFERENCE, (speakers, CLASSES))
    return np.asarray(1 / (1 + np.exp(-(odds + own))))


if __name__ == "__main__":
    main()
