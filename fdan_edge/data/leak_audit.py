"""The leak audit: which speakers, sentences and recordings of the test are in training too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fdan_edge.data.corpora import Item
from fdan_edge.data.duplicates import same_sound
from fdan_edge.data.splits import Split
from fdan_edge.errors import DataError, printable

NOT_AUDITED = "not audited"
_MOST = 20  # names of one kind that are written down


@dataclass(frozen=True)
class Crossing:
    """Speakers or sentences of a later part that an earlier one has too."""

    names: list[str]  # those that are in both, sorted
    of: int  # how many the later part has
    unknown: int  # recordings of both parts whose speaker or sentence is not known

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; of many names the first 20."""
        return {"crossing": len(self.names), "of": self.of, "names": self.names[:_MOST], "unknown": self.unknown}

    def words(self, what: str) -> str:
        """Describe it for people; `what` is speakers or sentences."""
        if self.names:
            return f"{len(self.names)} of {self.of} test {what} also in training"
        some = "1 recording" if self.unknown == 1 else f"{self.unknown} recordings"
        return f"{what} not known of {some}" if self.unknown else f"clean for {what}"


@dataclass(frozen=True)
class Audit:
    """What is in two parts of a split. For the test, validation counts as training."""

    promise: str  # what the protocol keeps apart: speakers, sentences, or "" for nothing
    speakers: Crossing
    sentences: Crossing
    val_speakers: Crossing  # of validation that are in training
    val_sentences: Crossing
    duplicates: list[list[str]]  # "PART KEY" of recordings with equal sound that are in two parts
    faces: Crossing  # speakers of the test whose faces are trained on

    def line(self) -> str:
        """Return the verdict in one line; it stands beside the scores."""
        count = len(self.duplicates)
        doubles = f"{count} recording{'s' if count > 1 else ''} in two parts" if count else "no duplicates"
        if self.faces.names:
            doubles += f"; faces of {len(self.faces.names)} of {self.faces.of} test speakers in training"
        if self.speakers.words("") == self.sentences.words("") == Crossing([], 0, 0).words(""):
            return f"clean for speakers and sentences; {doubles}"
        return "; ".join([self.speakers.words("speakers"), self.sentences.words("sentences"), doubles])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "verdict": self.line(),
            "promise": self.promise,
            "speakers": self.speakers.to_dict(),
            "sentences": self.sentences.to_dict(),
            "val_speakers": self.val_speakers.to_dict(),
            "val_sentences": self.val_sentences.to_dict(),
            "duplicates": self.duplicates,
            "faces": self.faces.to_dict(),
        }

    def check(self) -> None:
        """Check that a split is what its protocol promises.

        Raises:
            DataError: it is not; the message has the first names that are in two parts, and what to do.
        """
        if self.promise == "speakers":
            _refuse("speakers", self.speakers.names, "training and test")
            _refuse("speakers", self.val_speakers.names, "training and validation")
            _refuse("speakers", self.faces.names, "the faces of training and in the test")
        if self.promise == "sentences":
            _refuse("sentences", self.sentences.names, "training and test")
        if self.promise:
            _refuse("recordings", [" = ".join(group) for group in self.duplicates], "two parts under two names")


def audit(parts: Split, faces: Sequence[Item] = ()) -> Audit:
    """Look for speakers, sentences and recordings of equal sound that are in two parts of a split.

    Args:
        parts: of the speech.
        faces: all that are trained on.
    """
    seen = parts.train + parts.val
    return Audit(
        parts.promise,
        speakers=_crossing(seen, parts.test, lambda item: item.speaker_key),
        sentences=_crossing(seen, parts.test, lambda item: item.text_key),
        val_speakers=_crossing(parts.train, parts.val, lambda item: item.speaker_key),
        val_sentences=_crossing(parts.train, parts.val, lambda item: item.text_key),
        duplicates=_duplicates(parts),
        faces=_crossing(list(faces), parts.test, lambda item: item.speaker_key),
    )


def _crossing(earlier: list[Item], later: list[Item], key: Callable[[Item], str | None]) -> Crossing:
    before, after = ({name for item in part if (name := key(item))} for part in (earlier, later))
    unknown = sum(not key(item) for item in earlier + later)
    return Crossing(sorted(before & after), len(after), unknown)


def _duplicates(parts: Split) -> list[list[str]]:
    named = {item: name for name in ("train", "val", "test") for item in getattr(parts, name)}
    groups = [group for group in same_sound(named) if len({named[item] for item in group}) > 1]
    return [[f"{named[item]} {item.key}" for item in group] for group in groups]


def _refuse(what: str, names: list[str], where: str) -> None:
    if not names:
        return
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    shown = ", ".join(printable(name) for name in names[:3])
    raise DataError(
        f"audit: {what} in {where}, which the protocol rules out: {shown}{more}; train anew, with --out NAME"
    )
