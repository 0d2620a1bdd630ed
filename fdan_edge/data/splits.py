"""Train, validation and test parts of a corpus, without a speaker in two of them by default."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, recording_key
from fdan_edge.data.duplicates import same_sound
from fdan_edge.data.protocols import PARTS, PROMISES, parts_of
from fdan_edge.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Three disjoint lists of items, and how they were split."""

    train: list[Item]
    val: list[Item]
    test: list[Item]
    description: str  # for people; stands beside every score
    promise: str = "speakers"  # what is not in training and test alike: speakers, sentences, or "" for nothing

    def keys(self) -> dict[str, list[str]]:
        """Return what split.json holds: the keys of each part's items, and the speakers or sentences seen."""
        keys = {name: [item.key for item in getattr(self, name)] for name in PARTS}
        seen = self.train + self.val
        speakers = {item.speaker_key for item in seen if item.speaker_key and self.promise == "speakers"}
        texts = {item.text_key for item in seen if item.text_key and self.promise == "sentences"}
        return {**keys, "speakers": sorted(speakers), "texts": sorted(texts)}


def split(items: list[Item], config: Config) -> Split:
    """Split speech by `config.protocol`; the documents' page on splits says what each promises.

    A recording that is there under several names is put into one part only, except by protocol `official`.

    Raises:
        DataError: the protocol cannot be had of these recordings, a name is unknown, or a part is without items.
    """
    parts, description = parts_of(items, config)
    whole = Split(parts["train"], parts["val"], parts["test"], description, PROMISES[config.protocol])
    if config.protocol == "all":
        return _without_copies(whole)
    if config.protocol != "official":
        whole = _together(whole)
    for name in PARTS:
        if not getattr(whole, name):
            raise DataError(
                f"protocol {config.protocol} leaves no speech in the {name} part of {len(items)} files"
            )
    return whole


def restore(items: list[Item], keys: dict[str, list[str]], description: str) -> Split:
    """Rebuild the split that `Split.keys` wrote, of the items that are still there; others belong to no part.

    Raises:
        DataError: nothing of a part is there any more.
    """
    by_key = {recording_key(item.key): item for item in items}
    parts = {name: [by_key[recording_key(k)] for k in keys[name] if recording_key(k) in by_key] for name in PARTS}
    for name in PARTS:
        if keys[name] and not parts[name]:
            raise DataError(f"none of the {len(keys[name])} recordings of the run's {name} part is there any more")
        if missing := len(keys[name]) - len(parts[name]):
            log.warning(
                f"{missing} of {len(keys[name])} recordings of the run's {name} part are not there any more"
            )
    promise = "speakers" if keys["speakers"] else "sentences" if keys["texts"] else ""
    return Split(parts["train"], parts["val"], parts["test"], description, promise)


def allowed_faces(faces: list[Item], parts: Split, protocol: str, target: Sequence[Item] = ()) -> list[Item]:
    """Choose the faces that may be trained on: none of whom, or of what, the protocol holds out.

    Held out are speakers of validation and test, sentences of the test, and the publisher's own val and test. A
    face whose speaker or sentence is not known stays. The paper trains on all faces, and so does `random`. Faces
    of the target's recordings and speakers have labels: they are held out by every protocol.

    Args:
        faces: with the labels that they would be trained on.
        parts: of the speech.
        protocol: by which the speech was split.
        target: recordings that are used without labels.
    """
    adapted_speakers = {item.speaker_key for item in target} - {None}
    adapted = {recording_key(item.key) for item in target}
    faces = [f for f in faces if f.speaker_key not in adapted_speakers and recording_key(f.key) not in adapted]
    speakers = {item.speaker_key for item in parts.val + parts.test if parts.promise == "speakers"} - {None}
    texts = {item.text_key for item in parts.test if parts.promise == "sentences"} - {None}
    published = {(item.corpus, name) for item in parts.test if protocol == "official" for name in ("val", "test")}
    return [
        face
        for face in faces
        if face.speaker_key not in speakers
        and face.text_key not in texts
        and (face.corpus, face.split) not in published
    ]


def _without_copies(parts: Split) -> Split:
    """Keep one of the recordings that are there under several names: the others would score each other."""
    copies = {item for group in same_sound(parts.train) for item in group[1:]}
    if not copies:
        return parts
    count = "1 recording is" if len(copies) == 1 else f"{len(copies)} recordings are"
    log.info(f"{count} there under another name too: left out")
    return replace(parts, train=[item for item in parts.train if item not in copies])


def _together(parts: Split) -> Split:
    """Put a recording that is there under two names into one part: the test comes before validation and training.

    Where speakers or sentences are held out, the other copy may be of another speaker: it is left out. Else it
    joins the one that stays.
    """
    part = {item: name for name in PARTS for item in getattr(parts, name)}
    strays: dict[Item, str] = {}
    for group in same_sound(part):
        stays = min((part[item] for item in group), key=("test", "val", "train").index)
        strays |= {item: stays for item in group if part[item] != stays}
    if not strays:
        return parts
    count = "1 recording is" if len(strays) == 1 else f"{len(strays)} recordings are"
    done = "left out there" if parts.promise else "kept in one part"
    log.info(f"{count} in a second part under another name: {done}")
    train, val, test = (
        [item for item in getattr(parts, name) if item not in strays]
        + [item for item, stays in strays.items() if stays == name and not parts.promise]
        for name in PARTS
    )
    return replace(parts, train=train, val=val, test=test)
