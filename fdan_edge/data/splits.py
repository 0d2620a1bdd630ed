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
    """Three disjoint lists of items, and how they were made."""

    train: list[Item]
    val: list[Item]
    test: list[Item]
    description: str  # for people, travels with every score
    promise: str = "speakers"  # what is not in training and test alike: speakers, sentences, or "" for nothing

    def keys(self) -> dict[str, list[str]]:
        """What split.json holds: the keys of each part's items, and what of speakers or sentences was met."""
        keys = {name: [item.key for item in getattr(self, name)] for name in PARTS}
        seen = self.train + self.val
        speakers = {item.speaker_key for item in seen if item.speaker_key and self.promise == "speakers"}
        texts = {item.text_key for item in seen if item.text_key and self.promise == "sentences"}
        return {**keys, "speakers": sorted(speakers), "texts": sorted(texts)}


def split(items: list[Item], config: Config) -> Split:
    """Split speech by `config.protocol`; the README's table says what each promises.

    A recording that is there under several names is in one part only, except among the publisher's own.

    Raises:
        DataError: the protocol cannot be had of these recordings, a name is unknown, or a part is without items.
    """
    parts, description = parts_of(items, config)
    made = Split(parts["train"], parts["val"], parts["test"], description, PROMISES[config.protocol])
    if config.protocol != "official":
        made = _together(made)
    for name in PARTS:
        if not getattr(made, name):
            raise DataError(
                f"protocol {config.protocol} leaves no speech in the {name} part of {len(items)} files"
            )
    return made


def restore(items: list[Item], keys: dict[str, list[str]], description: str) -> Split:
    """The split that `Split.keys` wrote, of the items that are still there; others belong to no part.

    Raises:
        DataError: nothing of a part is there any more.
    """
    found = {recording_key(item.key): item for item in items}
    parts = {name: [found[recording_key(k)] for k in keys[name] if recording_key(k) in found] for name in PARTS}
    for name in PARTS:
        if not parts[name]:
            raise DataError(f"none of the {len(keys[name])} recordings of the run's {name} part is there any more")
        if missing := len(keys[name]) - len(parts[name]):
            log.warning(
                f"{missing} of {len(keys[name])} recordings of the run's {name} part are not there any more"
            )
    promise = "speakers" if keys["speakers"] else "sentences" if keys.get("texts") else ""
    return Split(parts["train"], parts["val"], parts["test"], description, promise)


def allowed_faces(faces: list[Item], made: Split, protocol: str, target: Sequence[Item] = ()) -> list[Item]:
    """The faces that may be trained on: none of those whom, or of what, the protocol holds out.

    Held out are speakers of validation and test, sentences of the test, and the publisher's own val and test; a
    face whose speaker or sentence is not known stays. The paper trains on all faces, and so does `random`. Faces
    of a target's recordings and speakers, which have labels, are held out whatever the protocol.
    """
    theirs = {item.speaker_key for item in target} - {None}
    names = {recording_key(item.key) for item in target}
    faces = [face for face in faces if face.speaker_key not in theirs and recording_key(face.key) not in names]
    speakers = {item.speaker_key for item in made.val + made.test if made.promise == "speakers"} - {None}
    texts = {item.text_key for item in made.test if made.promise == "sentences"} - {None}
    published = {(item.corpus, name) for item in made.test if protocol == "official" for name in ("val", "test")}
    return [
        face
        for face in faces
        if face.speaker_key not in speakers
        and face.text_key not in texts
        and (face.corpus, face.split) not in published
    ]


def _together(made: Split) -> Split:
    """No recording in two parts under two names: the test keeps its own, before validation and training.

    Where speakers or sentences are held out, the other copy may be of another speaker: it is left out. Else it
    joins the one that stays.
    """
    part = {item: name for name in PARTS for item in getattr(made, name)}
    strays: dict[Item, str] = {}
    for group in same_sound(part):
        stays = min((part[item] for item in group), key=("test", "val", "train").index)
        strays |= {item: stays for item in group if part[item] != stays}
    if not strays:
        return made
    count = "1 recording is" if len(strays) == 1 else f"{len(strays)} recordings are"
    done = "left out there" if made.promise else "kept in one part"
    log.info(f"{count} in a second part under another name: {done}")
    train, val, test = (
        [item for item in getattr(made, name) if item not in strays]
        + [item for item, stays in strays.items() if stays == name and not made.promise]
        for name in PARTS
    )
    return replace(made, train=train, val=val, test=test)
