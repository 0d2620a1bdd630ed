"""The check after an export: the artifact and the model must say the same about real clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fdan_edge import audio
from fdan_edge.corpora import Item
from fdan_edge.errors import AudioError, ExportError
from fdan_edge.infer import probabilities
from fdan_edge.progress import track
from fdan_edge.runners import Runner

TOLERANCE = 1e-3  # of a probability, in fp32
CLIPS = 32


@dataclass(frozen=True)
class Check:
    """What was compared, and the differences found."""

    clips: int
    source: str  # which clips, for people
    max_difference: float  # of any probability
    mean_difference: float
    flips: int  # clips whose label differs
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.clips} real clips ({self.source}): largest probability difference "
            f"{self.max_difference:.1e} (allowed {self.tolerance:g}), {self.flips} labels differ"
        )


def verify(reference: Runner, exported: Runner, items: list[Item], source: str) -> Check:
    """Run both over the same recordings, file to probabilities.

    Raises:
        ExportError: a probability differs by more than 1e-3, a label differs, or no clip is usable.
    """
    expected, got = [], []
    for item in track(items, "check the export"):
        try:
            waveform = audio.load_speech(item.path, reference.spec.sample_rate, reference.spec.trim_db)
        except AudioError:
            continue  # reported when the corpus was read for training
        expected.append(probabilities(reference, waveform)[0])
        got.append(probabilities(exported, waveform)[0])
    if not expected:
        raise ExportError(f"none of the {len(items)} clips for the check of the export could be read")
    check = compare(np.stack(expected), np.stack(got), source)
    # Written so that NaN fails.
    if not (check.max_difference <= TOLERANCE and check.flips == 0):
        raise ExportError(f"{exported.name} does not reproduce {reference.name}: {check.line()}")
    return check


def compare(expected: np.ndarray, got: np.ndarray, source: str) -> Check:
    """Differences between two sets of probabilities (n, C)."""
    difference = np.abs(expected - got)
    flips = int((expected.argmax(1) != got.argmax(1)).sum())
    return Check(len(got), source, float(difference.max()), float(difference.mean()), flips, TOLERANCE)
