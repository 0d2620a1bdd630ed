"""A target corpus: speech that a training hears without its labels, and the classes that both corpora have.

Labels of a published corpus stand in the names of its files. They are read for two things, both outside of the
training: which recordings are of classes that both corpora have, so that the task is of these and no others (as in
the literature), and, when the training is over, for the scores. What the training gets are items whose emotion is
UNLABELLED.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, Source, get_corpus, read, recording_key, unique
from fdan_edge.data.duplicates import same_sound
from fdan_edge.data.speech import class_names, read_labelled_speech
from fdan_edge.data.splits import Split, split
from fdan_edge.errors import ConfigError, DataError, printable

log = logging.getLogger(__name__)

UNLABELLED = ""  # the emotion of an item that carries no label


@dataclass(frozen=True)
class CrossCorpus:
    """What is trained on with labels, and what is heard without them."""

    classes: list[str]
    parts: Split  # with labels, but for a test that is of the target
    target: list[Item]  # of which none carries a label
    of_target: bool  # whether the test is the target: labels for it can be read when the training is over


def read_target(sources: list[Source], config: Config) -> tuple[list[Item], list[Item]]:
    """Target recordings whose labels are known, with them, and those whose labels are not."""
    named = [source for source in sources if get_corpus(source.corpus).labelled]
    labelled = (
        read_labelled_speech(named, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)
        if named
        else []
    )
    unnamed = [source for source in sources if source not in named]
    others = [item for source in unnamed for item in read(source, "speech")]
    if len({item.key for item in others}) < len(others):
        given = ", ".join(map(str, unnamed))
        raise DataError(f"targets hold files of equal names in folders of equal names: {given}; rename one")
    return labelled, unique(others, "the given target")


def make_task(speech: list[Item], target: list[Source], config: Config) -> CrossCorpus:
    """The classes that both corpora have, the parts of the source, and the target without labels.

    Where the target's labels are known to its publisher, the whole target is the test, and no speech of the source
    is kept back for one; speakers for validation are. Where they are not, the test is of the source, as without a
    target.

    Raises:
        DataError: fewer than two shared classes, or the split cannot be made.
    """
    labelled, others = read_target(target, config)
    _check_apart(speech, labelled + others)
    classes = _shared(speech, labelled)
    heard = [item for item in labelled if item.emotion in classes]
    _say_left_out(speech, labelled, classes)
    parts = split([item for item in speech if item.emotion in classes], config)
    if heard:
        test = without_labels(heard)
        description = _described(parts, speech, labelled, config, len(classes))
        parts = Split(parts.train + parts.test, parts.val, test, description, parts.promise)
    return CrossCorpus(classes, parts, without_labels(heard + others), bool(heard))


def restore_target(items: list[Item], keys: dict[str, list[str]]) -> list[Item]:
    """The target of a run that goes on, of the items that are still there.

    Args:
        items: of the target's corpora now.
        keys: of split.json.

    Raises:
        DataError: nothing of it is there any more.
    """
    wanted = {recording_key(key) for key in keys["target"] + keys["unheard"]}
    found = [item for item in items if recording_key(item.key) in wanted]
    if wanted and not found:
        raise DataError(f"none of the {len(wanted)} recordings of the run's target is there any more")
    if missing := len(wanted) - len(found):
        log.warning(f"{missing} of {len(wanted)} recordings of the run's target are not there any more")
    return found


def is_heard(config: Config) -> bool:
    """Whether a training hears its target: `source` does not, unless for its mean spectrum."""
    return config.method != "source" or config.channel == "match"


def without_labels(items: list[Item]) -> list[Item]:
    """The same recordings, of which nothing says what is felt."""
    return [replace(item, emotion=UNLABELLED) for item in items]


def with_labels(items: list[Item], target: list[Source], config: Config) -> list[Item]:
    """The same recordings with the labels of their corpora, for the scores of a finished training."""
    found = {recording_key(item.key): item for item in read_target(target, config)[0]}
    kept = [found[key] for item in items if (key := recording_key(item.key)) in found]
    if len(kept) < len(items):
        log.warning(f"{len(items) - len(kept)} of {len(items)} recordings of the target are not there any more")
    return kept


def check_target(config: Config, target: list[Source], faces: list[Source]) -> None:
    """Raise ConfigError where the method and the corpora do not go together."""
    if config.method != "fdan" and not target:
        raise ConfigError(f"method {config.method} needs --target corpus:path, speech without labels")
    if target and config.method == "fdan" and not faces:
        raise ConfigError(
            "method fdan needs --faces as the bridge to a target; without faces: --method didan, mmd, lmmd, "
            "coral, dann or source"
        )
    if config.channel == "match" and not target:
        raise ConfigError("channel = match needs --target, whose mean spectrum is matched")


def _check_apart(speech: list[Item], target: list[Item]) -> None:
    """Raise DataError where one recording is in both: what is tested, or heard without labels, would be learnt."""
    names = {recording_key(item.key) for item in speech}
    if same := [item.key for item in target if recording_key(item.key) in names]:
        raise DataError(
            f"{len(same)} recordings are in speech and target by the same name, e.g. {printable(same[0])}; give "
            "other corpora, or rename a folder of your own"
        )
    keys = {item.key for item in speech}
    for group in same_sound([*speech, *target]):
        if len({item.key in keys for item in group}) == 2:
            sound = " = ".join(printable(item.key) for item in group)
            raise DataError(f"a recording is in speech and target under two names: {sound}; take one away")


def _shared(speech: list[Item], labelled: list[Item]) -> list[str]:
    own = class_names(speech)
    if not labelled:
        return own
    theirs = {item.emotion for item in labelled}
    both = [name for name in own if name in theirs]
    if len(both) < 2:
        raise DataError(
            f"speech and target share {len(both)} classes; speech: {', '.join(own)}; target: "
            f"{', '.join(sorted(theirs))}"
        )
    return both


def _say_left_out(speech: list[Item], labelled: list[Item], classes: list[str]) -> None:
    for name, items in (("speech", speech), ("target", labelled)):
        if lost := [item for item in items if item.emotion not in classes]:
            names = ", ".join(sorted({item.emotion for item in lost}))
            log.warning(
                f"{len(lost)} of {len(items)} recordings of the {name} are of other classes ({names}): left out"
            )


def _described(parts: Split, speech: list[Item], labelled: list[Item], config: Config, classes: int) -> str:
    source, target = (" and ".join(sorted({item.corpus for item in items})) for items in (speech, labelled))
    held = sorted({item.speaker_key for item in parts.val if item.speaker_key})
    who = f"; speakers {', '.join(held)} for validation" if parts.promise == "speakers" else ""
    seen = "whose speech was heard in training without labels"
    how = seen if is_heard(config) else "not heard in training"
    return f"cross-corpus, {classes} classes: {source} to the whole of {target}, {how}{who}"
