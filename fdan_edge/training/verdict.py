"""Whether a trained model should be used, and what its user should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fdan_edge.data.corpora import Item
from fdan_edge.data.splits import Split

_FEW = 5  # recordings of a class below which its recall says little
_FEW_VALIDATED = 20  # recordings below which a validation part chooses nothing
_NAMED = 4  # classes in one warning


@dataclass(frozen=True)
class Verdict:
    """What speaks against a model: `useless` says why nobody should use it, "" where nothing does."""

    useless: str
    warnings: list[str]  # one line each, for people

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def judge(metrics: dict[str, Any], parts: Split, epochs: int) -> Verdict:
    """Judge a training by its scores.

    Args:
        metrics: as in metrics.json, with `test`.
        parts: of the speech.
        epochs: of the whole training.
    """
    warnings = _few_recordings(parts)
    if epochs > 1:  # a head has one, and nothing that validates
        warnings += [*_few_validated(parts), *_first_epoch(metrics, epochs)]
    useless, known = why_useless(metrics["test"]), metrics.get("same_speakers")
    if useless and known and not why_useless(known):
        # It serves the people in the data, which is what some want.
        return Verdict("", [f"on speakers that it does not know: {useless}", *warnings])
    return Verdict(useless, warnings)


def validation_decides(parts: Split) -> bool:
    """Tell whether the validation part may choose the epoch: one speaker, or a few recordings, may not."""
    speakers = {item.speaker_key for item in parts.val}
    return len(parts.val) >= _FEW_VALIDATED and (len(speakers) > 1 or None in speakers)


def why_useless(test: dict[str, Any]) -> str:
    """Say why scores are no better than none; "" where they are better."""
    labels, confusion = list(test["recall"]), test.get("confusion", [])
    named = [label for index, label in enumerate(labels) if any(row[index] for row in confusion)]
    if len(named) == 1:
        return f"it answers {named[0]} for all {test['n']} recordings"
    if len(labels) < 2:
        return ""
    low, high = (100 * edge for edge in _interval(test))
    chance = 100 / len(labels)
    if low <= chance:
        return (
            f"UAR {100 * test['uar']:.1f} % ({low:.1f} to {high:.1f}) may be chance, {chance:.1f} %; it needs "
            "more speakers or recordings, or ones whose labels can be heard"
        )
    return ""


def _interval(test: dict[str, Any]) -> tuple[float, float]:
    """Give the interval of UAR over speakers or over recordings, the wider of each end: speakers may be two."""
    low, high = test["intervals"]["uar"]
    if "confusion" not in test:  # scores that were kept without it
        return low, high
    counts = np.array(test["confusion"], float)
    of_class = counts.sum(axis=1)
    recall = np.diagonal(counts)[of_class > 0] / of_class[of_class > 0]
    variance = (recall * (1 - recall) / of_class[of_class > 0]).sum() / len(recall) ** 2
    edge = 1.96 * float(np.sqrt(variance))
    return min(low, test["uar"] - edge), max(high, test["uar"] + edge)


def _few_recordings(parts: Split) -> list[str]:
    counts = Counter(item.emotion for item in _all(parts))
    few = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < _FEW]
    if not few:
        return []
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    return [f"classes with fewer than {_FEW} recordings: {', '.join(few[:_NAMED])}{more}"]


def _few_validated(parts: Split) -> list[str]:
    if validation_decides(parts):
        return []
    speakers = {item.speaker_key for item in parts.val} - {None}
    of = f" of {len(speakers)} speaker{'s' if len(speakers) > 1 else ''}" if speakers else ""
    return [f"{len(parts.val)} recordings{of} validate: too few to choose an epoch by"]


def _first_epoch(metrics: dict[str, Any], epochs: int) -> list[str]:
    if metrics["best_epoch"] != 1:
        return []
    return [f"the best of {epochs} epochs is the first: it learnt nothing that helps on other voices"]


def _all(parts: Split) -> Sequence[Item]:
    return [*parts.train, *parts.val, *parts.test]
