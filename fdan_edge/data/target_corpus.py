"""The target corpus of an adaptation: speech that a training uses without its labels.

Labels of a published corpus are in the names of its files. They are read for two things, both outside of the
training. One is the task: it is of the classes that both corpora have, and of no others (as in the literature).
The other is the scores, when the training is over. The training itself gets items whose emotion is UNLABELLED.
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
    """What is trained on with labels, and what is used without them."""

    classes: list[str]  # those that both corpora have, sorted
    parts: Split  # with labels, except a test that is the target
    target: list[Item]  # without labels
    of_target: bool  # whether the test is the target; `with_labels` reads its labels when the training is over


def read_target(sources: list[Source], config: Config) -> tuple[list[Item], list[Item]]:
    """Read the target: the recordings whose labels are known, with them, and those whose labels are not.

    Raises:
        DataError: a source cannot be read, or two folders hold files of equal names.
    """
    named = [source for source in sources if get_corpus(source.corpus).labelled]
    labelled = (
        read_labelled_speech(
            named, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom, classes=config.classes
        )
        if named
        else []
    )
    unnamed = [source for source in sources if source not in named]
    others = [item for source in unnamed for item in read(source, "speech")]
    if len({item.key for item in others}) < len(others):
        folders = ", ".join(map(str, unnamed))
        raise DataError(f"targets hold files of equal names in folders of equal names: {folders}; rename one")
    return labelled, unique(others, "the given target")


def make_task(speech: list[Item], target: list[Source], config: Config) -> CrossCorpus:
    """Find the classes that both corpora have, split the source, and take the labels off the target.

    Where the target has labels, the whole of it is the test. Speech of the source is then held out for validation
    only. Where it has none, the test is of the source, as without a target.

    Raises:
        DataError: fewer than two shared classes, or the split cannot be made.
    """
    labelled, others = read_target(target, config)
    _check_apart(speech, labelled + others)
    classes = _shared(speech, labelled)
    shared = [item for item in labelled if item.emotion in classes]
    _say_left_out(speech, labelled, classes)
    parts = split([item for item in speech if item.emotion in classes], config)
    if shared:
        test = without_labels(shared)
        description = _described(parts, speech, labelled, config, len(classes))
        parts = Split(parts.train + parts.test, parts.val, test, description, parts.promise)
    return CrossCorpus(classes, parts, without_labels(shared + others), bool(shared))


def restore_target(items: list[Item], keys: dict[str, list[str]]) -> list[Item]:
    """Choose the target of a run that goes on, of the items that are still there.

    Args:
        items: of the target's corpora now.
        keys: of split.json.

    Raises:
        DataError: nothing of it is there any more.
    """
    wanted = {recording_key(key) for key in keys["target"] + keys["unheard"]}
    target = [item for item in items if recording_key(item.key) in wanted]
    if wanted and not target:
        raise DataError(f"none of the {len(wanted)} recordings of the run's target is there any more")
    if missing := len(wanted) - len(target):
        log.warning(f"{missing} of {len(wanted)} recordings of the run's target are not there any more")
    return target


def uses_target(config: Config) -> bool:
    """Whether a training uses its target: method `source` does not, except for its mean spectrum."""
    return config.method != "source" or config.channel == "match"


def without_labels(items: list[Item]) -> list[Item]:
    """Copy the items without their labels."""
    return [replace(item, emotion=UNLABELLED) for item in items]


def with_labels(items: list[Item], target: list[Source], config: Config) -> list[Item]:
    """Read the labels of items of the target, to score a finished training; items that are gone are left out."""
    labelled = {recording_key(item.key): item for item in read_target(target, config)[0]}
    kept = [labelled[key] for item in items if (key := recording_key(item.key)) in labelled]
    if len(kept) < len(items):
        log.warning(f"{len(items) - len(kept)} of {len(items)} recordings of the target are not there any more")
    return kept


def check_target(config: Config, target: list[Source], faces: list[Source]) -> None:
    """Check that the method and the corpora go together.

    Raises:
        ConfigError: the method needs a target or faces, and there are none.
    """
    if config.method != "fdan" and not target:
        raise ConfigError(f"method {config.method} needs --adapt-to corpus:path, speech without labels")
    if target and config.method == "fdan" and not faces:
        raise ConfigError(
            "method fdan needs --faces as the bridge to a target; without faces: --method didan, mmd, lmmd, "
            "coral, dann or source"
        )
    if config.channel == "match" and not target:
        raise ConfigError("channel = match needs --adapt-to, whose mean spectrum is matched")


def _check_apart(speech: list[Item], target: list[Item]) -> None:
    """Raise DataError where a recording is in both: the training would learn what it must not see the label of."""
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
    """List the classes that both have; without labelled items of the target, those of the speech."""
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
        if others := [item for item in items if item.emotion not in classes]:
            names = ", ".join(sorted({item.emotion for item in others}))
            log.warning(
                f"{len(others)} of {len(items)} recordings of the {name} are of other classes ({names}): left out"
            )


def _described(parts: Split, speech: list[Item], labelled: list[Item], config: Config, classes: int) -> str:
    source, target = (" and ".join(sorted({item.corpus for item in items})) for items in (speech, labelled))
    speakers = sorted({item.speaker_key for item in parts.val if item.speaker_key})
    who = f"; speakers {', '.join(speakers)} for validation" if parts.promise == "speakers" else ""
    seen = "whose speech was heard in training without labels"
    how = seen if uses_target(config) else "not heard in training"
    return f"cross-corpus, {classes} classes: {source} to the whole of {target}, {how}{who}"
