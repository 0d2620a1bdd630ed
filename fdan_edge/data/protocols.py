"""How each value of the setting `protocol` splits recordings into training, validation and test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from fdan_edge.config import Config
from fdan_edge.data.corpora import Item, known_corpora
from fdan_edge.errors import DataError, printable

Parts: TypeAlias = dict[str, list[Item]]

PARTS = ("train", "val", "test")
#: What a protocol promises to keep out of training if it is in the test. The audit refuses a split that breaks it.
PROMISES = {
    "auto": "speakers",
    "all": "",
    "speaker": "speakers",
    "loso": "speakers",
    "kfold": "speakers",
    "loco": "speakers",
    "text": "sentences",
    "official": "",
    "random": "",
}
#: Protocols that have folds, and what is said of all of them together. Each recording is tested once, if at all.
FOLDED = {
    "kfold": "folds without a speaker in two of them, each recording tested once",
    "loso": "folds without a speaker in two of them, each recording tested once",
    "loco": "corpora, each tested once, whole, by a model that was trained on the others",
    "official": "folds as published",
}
#: How a run describes that nothing was held out.
ALL = "every recording is trained on, and the scores are cross-validated"
_MOST = 8  # names in a description or message


def parts_of(items: list[Item], config: Config) -> tuple[Parts, str]:
    """Split items into three parts by `config.protocol`, and describe how, for people.

    Raises:
        DataError: the recordings lack the speakers, sentences or parts that the protocol needs, or have too few.
    """
    return _SPLITTERS[config.protocol](items, config)


def fold_count(items: list[Item], config: Config) -> int:
    """Count the folds that a protocol of `FOLDED` has over these recordings.

    Raises:
        DataError: speakers are not known, or there are too few of them; too few corpora; or the publishers have
            no folds, or not as many of each corpus.
    """
    if config.protocol == "loco":
        return len(origins(items))
    if config.protocol == "official":
        return _published_folds(items)
    speakers = _every_speaker(items, config.protocol)
    folds = config.folds if config.protocol == "kfold" else len(speakers)
    if len(speakers) < max(3, folds):
        few = f"protocol {config.protocol} needs at least {max(3, folds)} speakers, found {len(speakers)}"
        fewer = f"use --set folds={len(speakers)}" if len(speakers) > 2 else "train with --set protocol=random"
        raise DataError(f"{few}; {fewer}")
    return folds


def origins(items: list[Item]) -> list[str]:
    """List the corpora that `loco` leaves out in turn, sorted; each folder of the user's own is one.

    Raises:
        DataError: there are fewer than two.
    """
    names = sorted({item.origin for item in items})
    if len(names) < 2:
        raise DataError(
            f"protocol loco needs at least 2 corpora; given: {', '.join(names)}; repeat --speech corpus:path"
        )
    return names


def _by_speaker(items: list[Item], config: Config) -> tuple[Parts, str]:
    speakers = sorted({item.speaker_key for item in items if item.speaker_key})
    if len(speakers) >= 3:
        _every_speaker(items, "speaker")
    else:
        raise DataError(
            f"protocol speaker needs at least 3 known speakers, found {len(speakers)}; a table's column speaker "
            "names them; or use --set protocol=random, or --set protocol=all, which holds nobody out"
        )
    test = _named(config.test_speakers, speakers, "speaker") or _last_of_each_corpus(speakers, 6)
    rest = [s for s in speakers if s not in test]
    val = _named(config.val_speakers, speakers, "speaker") or _last_of_each_corpus(rest, 10)
    if both := sorted(set(val) & set(test)):
        raise DataError(f"speakers {', '.join(both)} are in val_speakers and test_speakers")
    names = ", ".join(_short(test, items))
    return _held_out(items, set(val), set(test)), f"speaker-independent, speakers {names} held out"


def _by_fold(items: list[Item], config: Config) -> tuple[Parts, str]:
    """Test on one group of speakers, and validate on others, which rotate with the fold."""
    folds = fold_count(items, config)
    if config.fold > folds:
        raise DataError(f"fold = {config.fold} is out of range; valid: 1 to {folds} (one for each speaker)")
    speakers = _every_speaker(items, config.protocol)
    test = speaker_groups(speakers, folds)[config.fold - 1]
    if len(speakers) - len(test) < 2:
        raise DataError(f"fold {config.fold} of {folds} leaves 1 speaker to train and validate; raise folds")
    parts = _held_out(items, set(_before(speakers, test, (config.fold - 1) / folds)), set(test))
    names, loso = ", ".join(_short(test, items)), config.protocol == "loso"
    how = "leave-one-speaker-out" if loso else "speaker-disjoint"
    return parts, f"{how} fold {config.fold} of {folds}, {'speaker' if loso else 'speakers'} {names} held out"


def speaker_groups(speakers: list[str], folds: int) -> list[list[str]]:
    """Divide each corpus's speakers into neighbouring groups, one for each fold, of sizes as equal as can be.

    The remainder goes to the next folds in turn, corpus after corpus, so that no fold gets many more than others.
    """
    groups: list[list[str]] = [[] for _ in range(folds)]
    turn = 0
    for own in _by_corpus(speakers):
        each, over = divmod(len(own), folds)
        first = 0
        for fold, group in enumerate(groups):
            size = each + ((fold - turn) % folds < over)
            group += own[first : first + size]
            first += size
        turn += over
    return groups


def _before(speakers: list[str], test: list[str], turn: float) -> list[str]:
    """Choose the validation speakers of a fold: those just before the test speakers, a tenth of the rest.

    The speakers of a corpus are taken as a circle, so every fold has others. There is at least one; of eight and
    more there are two, so that RAVDESS gives a man and a woman. Where a corpus has no test speaker, the circle
    starts at `turn`, a share of 1.
    """
    chosen: list[str] = []
    for own in _by_corpus(speakers):
        tested = [index for index, name in enumerate(own) if name in test]
        start = tested[-1] + 1 if tested else int(turn * len(own))
        rest = [name for name in own[start:] + own[:start] if name not in test]
        count = max(2 if len(rest) >= 8 else 1, len(rest) // 10)
        chosen += rest[-count:] if len(rest) > 1 else []
    return chosen or [name for name in speakers if name not in test][-1:]


def _by_left_out_corpus(items: list[Item], config: Config) -> tuple[Parts, str]:
    """Test on the whole of one corpus, in the classes that others have too; validate on speakers of the others."""
    names = origins(items)
    if config.fold > len(names):
        raise DataError(f"fold = {config.fold} is out of range; valid: 1 to {len(names)} (one for each corpus)")
    left_out = names[config.fold - 1]
    test = [item for item in items if item.origin == left_out]
    rest = [item for item in items if item.origin != left_out]
    shared = sorted({item.emotion for item in test} & {item.emotion for item in rest})
    if len(shared) < 2:
        classes = (", ".join(sorted({item.emotion for item in part})) for part in (test, rest))
        what = f"class {shared[0]} alone" if shared else "no class"
        raise DataError(
            f"protocol loco: {left_out} and the others share {what}; {left_out}: {next(classes)}; the others: "
            f"{next(classes)}"
        )
    parts: Parts = {"train": rest, "val": [], "test": [item for item in test if item.emotion in shared]}
    for name in names:
        own = [item for item in rest if item.origin == name]
        _move(_validation(own, config)[0] if own else [], parts)
    return parts, (
        f"leave-one-corpus-out fold {config.fold} of {len(names)}: {left_out} held out, whole; "
        f"scored in the {len(shared)} classes that others have"
    )


def _published_folds(items: list[Item]) -> int:
    """Count the publisher's folds; a corpus with one split has one.

    Raises:
        DataError: corpora have different numbers of them.
    """
    counts = {item.corpus: len(item.folds) or 1 for item in items}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise DataError(
            f"protocol official: the publishers have different numbers of folds: {each}; give one corpus"
        )
    return next(iter(counts.values()))


def _published_part(item: Item, fold: int) -> str | None:
    """Return the publisher's part of a recording in a fold, from 1; "" where the fold does not have it."""
    return item.folds[fold - 1] if item.folds else item.split


def _official(items: list[Item], config: Config) -> tuple[Parts, str]:
    """Take the publisher's parts; where there is no validation part, take one from the training part."""
    folds = _published_folds(items)
    if config.fold > folds:
        raise DataError(f"fold = {config.fold} is out of range; valid: 1 to {folds} (as published)")
    part_of = {item: _published_part(item, config.fold) for item in items}
    _every(
        [item for item in items if not item.folds],
        *("split", "the publisher's parts", f"corpora that have them: {_with_official_split()}", "official"),
    )
    parts: Parts = {name: [item for item in items if part_of[item] == name] for name in PARTS}
    notes = [f"fold {config.fold} of {folds}"] if folds > 1 else []
    for corpus in sorted({item.corpus for item in parts["train"]} - {item.corpus for item in parts["val"]}):
        taken, how = _validation([item for item in parts["train"] if item.corpus == corpus], config)
        _move(taken, parts)
        notes.append(f"validation {how} out of the training part of {corpus}")
    corpora = ", ".join(sorted({item.corpus for item in items}))
    return parts, "; ".join([f"the publisher's parts of {corpora}", *notes])


def _with_official_split() -> str:
    """Name the corpora whose recordings have the publisher's parts, with the conditions of each."""
    names = [
        f"{corpus.name} {corpus.official_split}".strip()
        for corpus in known_corpora()
        if corpus.read_speech and corpus.official_split is not None
    ]
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def _by_text(items: list[Item], config: Config) -> tuple[Parts, str]:
    """Test on whole sentences and validate on others; with too few of them, validate on speakers."""
    _every(items, "text", "every sentence", "a table's column text names them", "text")
    kinds = _kinds(items)
    texts = sorted(text for kind in kinds for text in kind)
    last = [text for kind in kinds if len(kind) > 1 for text in kind[-max(1, len(kind) // 6) :]]
    test = set(_named(config.test_texts, texts, "sentence") or last)
    if not test:
        raise DataError(f"protocol text needs at least 2 sentences, found {len(texts)}; use --set protocol=random")
    left = [[text for text in kind if text not in test] for kind in kinds]
    val = {text for kind in left if len(kind) > 1 for text in kind[-max(1, len(kind) // 10) :]}
    parts = _held_out(items, val, test, by_text=True)
    for corpus in sorted({item.corpus for item in parts["train"]} - {item.corpus for item in parts["val"]}):
        _move(_validation([item for item in parts["train"] if item.corpus == corpus], config)[0], parts)
    names = _listed(_short(sorted(test), items))
    noun = "sentence" if len(test) == 1 else "sentences"
    return parts, f"sentence-disjoint, {noun} {names} held out, whoever says it"


def _kinds(items: list[Item]) -> list[list[str]]:
    """Group the sentences of each corpus: those of several emotions, and those of each emotion by themselves.

    SAVEE and eNTERFACE have sentences of their own for each emotion: the last of all would be surprise alone.
    """
    emotions: dict[str, set[str]] = defaultdict(set)
    for item in items:
        emotions[str(item.text_key)].add(item.emotion)
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for text in sorted(emotions):
        only = next(iter(emotions[text])) if len(emotions[text]) == 1 else ""
        kinds[text.partition(":")[0], only].append(text)
    return [kinds[kind] for kind in sorted(kinds)]


def _validation(items: list[Item], config: Config) -> tuple[list[Item], str]:
    """Choose recordings to validate on: whole speakers where they are known, else a share of each class."""
    speakers = sorted({item.speaker_key for item in items if item.speaker_key})
    if len(speakers) > 1 and all(item.speaker_key for item in items):
        last = _last_of_each_corpus(speakers, 10)
        return [item for item in items if item.speaker_key in last], "by speaker"
    rng, taken = random.Random(config.split_seed), []
    for group in _by_class(items):
        rng.shuffle(group)
        taken += group[: max(len(group) > 1, round(config.val_fraction * len(group)))]
    return taken, "at random"


def _move(taken: list[Item], parts: Parts) -> None:
    """Move recordings from training to validation."""
    moved = set(taken)
    parts["train"] = [item for item in parts["train"] if item not in moved]
    parts["val"] += taken


def _at_random(items: list[Item], config: Config) -> tuple[Parts, str]:
    parts: Parts = {name: [] for name in PARTS}
    rng = random.Random(config.split_seed)
    for group in _by_class(items):
        rng.shuffle(group)
        n_test = round(config.test_fraction * len(group))
        n_val = round(config.val_fraction * (len(group) - n_test))
        parts["test"] += group[:n_test]
        parts["val"] += group[n_test : n_test + n_val]
        parts["train"] += group[n_test + n_val :]
    percent = round(100 * config.test_fraction)
    return parts, f"random {100 - percent}/{percent} of each class: speakers and sentences are in train and test"


def _by_class(items: list[Item]) -> list[list[Item]]:
    return [[item for item in items if item.emotion == name] for name in sorted({i.emotion for i in items})]


def _by_corpus(keys: list[str]) -> list[list[str]]:
    corpora = sorted({key.partition(":")[0] for key in keys})
    return [[key for key in keys if key.partition(":")[0] == corpus] for corpus in corpora]


def _held_out(items: list[Item], val: set[str], test: set[str], *, by_text: bool = False) -> Parts:
    """Split so that these speakers, or sentences, are validation and test."""
    parts: Parts = {name: [] for name in PARTS}
    for item in items:
        key = item.text_key if by_text else item.speaker_key
        parts["test" if key in test else "val" if key in val else "train"].append(item)
    return parts


def _last_of_each_corpus(speakers: list[str], share: int) -> list[str]:
    """Choose the last speakers of each corpus, one of `share`, at least one; a corpus of one or two gives none."""
    chosen = []
    for own in _by_corpus(speakers):
        if len(own) > 2 or len(own) == len(speakers):
            chosen += own[-max(1, len(own) // share) :]
    return chosen or speakers[-1:]


def _every_speaker(items: list[Item], protocol: str) -> list[str]:
    _every(items, "speaker", "every speaker", "a table's column speaker names them", protocol)
    return sorted({str(item.speaker_key) for item in items})


def _every(items: list[Item], field: str, what: str, remedy: str, protocol: str) -> None:
    """Raise DataError where a recording lacks what the protocol goes by."""
    without = [item for item in items if not getattr(item, field)]
    if without:
        corpora = ", ".join(sorted({item.corpus for item in without}))
        raise DataError(
            f"protocol {protocol} needs {what}, not known of {len(without)} of {len(items)} recordings "
            f"({corpora}); {remedy}; or train with --set protocol=random"
        )


def _named(wanted: tuple[str, ...], keys: list[str], what: str) -> list[str]:
    """Look up the speakers or sentences that the user named, with or without the corpus before the colon."""
    named = []
    for name in wanted:
        matches = [key for key in keys if name in (key, key.partition(":")[2])]
        if not matches:
            raise DataError(f"unknown {what} {name!r}; {what}s: {_listed(keys, 100)}")
        named.extend(matches)
    return list(dict.fromkeys(named))


def _short(keys: list[str], items: list[Item]) -> list[str]:
    """Cut the corpus off the keys, where there is only one."""
    one_corpus = len({item.corpus for item in items}) == 1
    return [key.partition(":")[2] if one_corpus else key for key in keys]


def _listed(names: list[str], most: int = _MOST) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def _all(items: list[Item], config: Config) -> tuple[Parts, str]:  # noqa: ARG001
    return {"train": items, "val": [], "test": []}, ALL


_SPLITTERS: dict[str, Callable[[list[Item], Config], tuple[Parts, str]]] = {
    "auto": _by_speaker,
    "all": _all,
    "speaker": _by_speaker,
    "loso": _by_fold,
    "kfold": _by_fold,
    "loco": _by_left_out_corpus,
    "text": _by_text,
    "official": _official,
    "random": _at_random,
}
