"""Scores of a model in noise and rooms, over lines, through codecs and at other levels.

Each recording is decoded once, and changed as its recorder would have got it: before the model's filter, before
quiet ends are cut. What follows is what files pass.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.audio.conditions.named import Condition, conditions
from fdan_edge.audio.conditions.noise import RATE
from fdan_edge.audio.conditions.transmission import CODECS, available_codecs
from fdan_edge.audio.windows import Waveform, cut_windows
from fdan_edge.data.corpora import Item
from fdan_edge.errors import AudioError, DataError
from fdan_edge.evaluation.confidence_intervals import Interval, intervals, percentiles, uar_draws
from fdan_edge.evaluation.metrics import score
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.recognition import probabilities
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.streaming.unknown_threshold import unknown_threshold
from fdan_edge.utils.progress import track
from fdan_edge.utils.threads import in_order, usable_cores

FILE = "robustness.json"
#: Recordings that are scored unless more are asked for; thousands would move the UAR by tenths of a point.
USUAL_LIMIT = 300
_BATCH = 16  # windows at once, of several recordings
_AHEAD = 8  # changed recordings of each thread that may wait for the model


@dataclass(frozen=True)
class ConditionScores:
    """Scores of the recordings under one condition; all are shares of 1."""

    condition: str
    kind: str  # clean, noise, room, line or level
    snr_db: int | None  # of noise
    uar: float
    interval: Interval  # of the UAR, by speaker
    change: float  # of the UAR, against the same recordings as they are
    change_interval: Interval
    unknown: float  # less sure than a stream says: recordings that it would call unknown
    changed: float  # recordings whose label is another than that of the recording as it is
    right: float | None  # of the recordings that are not unknown; None: all are

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "interval": [*self.interval], "change_interval": [*self.change_interval]}


@dataclass(frozen=True)
class Robustness:
    """Scores under all conditions, of the same recordings. The first are of the recordings as they are."""

    model: str
    part: str  # which recordings, for people
    audit: str
    labels: list[str]
    n: int  # recordings
    resampled: str  # what the intervals are of
    recorded_noise: int  # recordings of noise that were given
    codecs_left_out: list[str]  # which cannot be encoded here
    broken: list[str]  # one line per recording that could not be used
    skipped: int  # recordings of classes that the model does not know
    rows: list[ConditionScores]
    #: None of the recordings was trained on, as far as the run's split tells.
    unseen: bool = False
    checkpoint_sha256: str = ""  # of the run's weights
    folder: str = ""  # where the files are; "": nowhere. Not in `to_dict`

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: value for name, value in vars(self).items() if name not in ("rows", "folder")}
        return {**values, "conditions": [row.to_dict() for row in self.rows]}


def robustness_items(
    runner: Runner,
    items: Sequence[Item],
    part: str,
    *,
    noises: Sequence[Waveform] = (),
    threads: int = 0,
) -> Robustness:
    """Score labelled recordings under every condition of `audio.conditions.named`.

    A recording that cannot be used under one of them, as one that is silent in 16 bits, is left out of all.

    Args:
        runner: the model.
        items: recordings with labels.
        part: which they are, for people.
        noises: recordings of noise at 16 kHz: one more kind of noise.
        threads: that change recordings; 0: one for each core.

    Raises:
        DataError: no recording could be scored.
    """
    labels = list(runner.spec.labels)
    known = [item for item in items if item.emotion in labels]
    tried = conditions(noises)
    answers = _Answers(len(known), len(tried), len(labels))
    limit = unknown_threshold(runner.spec)
    for changed, mean in _predicted(runner, _changed(runner.spec, known, tried, threads)):
        sure = float(mean.max()) >= limit(len(changed.waveform) / runner.spec.sample_rate)
        answers.add(changed, mean, sure)
    kept = [number for number in range(len(known)) if number not in answers.broken]
    if not kept:
        raise DataError(f"none of {len(items)} recordings could be scored; the model knows {', '.join(labels)}")
    true = [labels.index(known[number].emotion) for number in kept]
    speakers = [known[number].speaker_key for number in kept]
    said, sure_of = answers.labels[kept], answers.sure[kept]
    return Robustness(
        model=runner.name,
        part=part,
        audit="",
        labels=labels,
        n=len(kept),
        resampled=intervals(true, said[:, 0].tolist(), labels, speakers).note(),
        recorded_noise=len(noises),
        codecs_left_out=[name for name in CODECS if name not in available_codecs()],
        broken=[answers.broken[number] for number in sorted(answers.broken)],
        skipped=len(items) - len(known),
        rows=[_row(c, said[:, [0, n]], sure_of[:, n], true, labels, speakers) for n, c in enumerate(tried)],
    )


def _row(
    condition: Condition,
    said: NDArray[np.int64],
    sure: NDArray[np.bool_],
    true: list[int],
    labels: list[str],
    speakers: list[str | None],
) -> ConditionScores:
    """Score one condition, from what is said of the recordings as they are and under it, (n, 2)."""
    clean, other = said.T.tolist()
    draws, clean_draws = (uar_draws(true, given, labels, speakers) for given in (other, clean))
    uar, right = score(true, other, labels).uar, np.equal(other, true)
    return ConditionScores(
        condition=condition.name,
        kind=condition.kind,
        snr_db=condition.snr_db,
        uar=uar,
        interval=percentiles(draws),
        change=uar - score(true, clean, labels).uar,
        change_interval=percentiles(draws - clean_draws),
        unknown=float(1 - sure.mean()),
        changed=float((said[:, 0] != said[:, 1]).mean()),
        right=float(right[sure].mean()) if sure.any() else None,
    )


class _Source:
    """A recording that is decoded when the first condition asks for it, and once for all of them."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self._lock = threading.Lock()

    def waveform(self) -> Waveform:
        """Return its samples at 16 kHz, (n,), without a constant offset, which is no part of a voice's level."""
        with self._lock:
            return self._waveform

    @functools.cached_property
    def _waveform(self) -> Waveform:
        whole = decode.load(self.item.path, RATE)
        centred: Waveform = whole - whole.mean(dtype=np.float64).astype(np.float32)
        return centred


@dataclass(frozen=True)
class _Changed:
    """A recording under a condition, ready to be cut into windows; empty, with the reason, where it is broken."""

    item: int
    condition: int
    waveform: Waveform
    reason: str = ""


class _Answers:
    """What the model says of each recording under each condition."""

    def __init__(self, items: int, tried: int, classes: int) -> None:
        self.labels = np.zeros((items, tried), np.int64)
        self.sure = np.zeros((items, tried), bool)
        self.broken: dict[int, str] = {}
        self._classes = classes

    def add(self, changed: _Changed, mean: Probabilities, sure: bool) -> None:
        """Keep an answer, probabilities (C,), or why there is none."""
        if changed.reason:
            self.broken.setdefault(changed.item, changed.reason)
            return
        self.labels[changed.item, changed.condition] = int(mean.argmax())
        self.sure[changed.item, changed.condition] = sure


def _changed(
    spec: ModelSpec, items: Sequence[Item], tried: Sequence[Condition], threads: int
) -> Iterator[_Changed]:
    """Yield every recording under every condition, made on as many threads; few are in memory at a time."""

    def change(job: tuple[int, int, _Source]) -> _Changed:
        number, place, source = job
        try:
            return _Changed(number, place, _prepared(source, tried[place], spec))
        except AudioError as error:
            reason, path = str(error), f"{source.item.path}: "
            reason = reason if reason.startswith(path) else path + reason
            return _Changed(number, place, np.zeros(0, np.float32), reason + _under(tried[place]))

    def jobs() -> Iterator[tuple[int, int, _Source]]:
        for number, item in enumerate(items):
            source = _Source(item)
            yield from ((number, place, source) for place in range(len(tried)))

    count = threads or usable_cores()
    with ThreadPoolExecutor(count) as pool:
        results = in_order(pool, change, jobs(), count * _AHEAD)
        yield from track(results, "robustness", total=len(items) * len(tried))


def _under(condition: Condition) -> str:
    return "" if condition.kind == "clean" else f" (under the condition {condition.name})"


def _prepared(source: _Source, condition: Condition, spec: ModelSpec) -> Waveform:
    """Change a recording, and take it through resampling, filter and trimming as a file is taken, (n,)."""
    changed = condition(source.waveform(), source.item.key)
    blocks = iter([(RATE, changed[:, None])])
    parts = [*decode.conditioned(blocks, spec.sample_rate, spec.high_pass, "auto", str(source.item.path))]
    whole = np.concatenate([np.zeros(0, np.float32), *parts])
    return decode.prepare(whole, spec.sample_rate, spec.trim_db, noisy=decode.expects_noise(spec.high_pass))


def _predicted(runner: Runner, changed: Iterable[_Changed]) -> Iterator[tuple[_Changed, Probabilities]]:
    """Yield what the model says of each, probabilities (C,); the windows of several are one batch."""
    spec = runner.spec
    waiting: list[tuple[_Changed, Waveform]] = []
    for one in changed:
        if one.reason:
            yield one, np.full(len(spec.labels), np.nan, np.float32)
        elif len(one.waveform) > (_BATCH - 1) * spec.window_hop + spec.window:
            yield one, probabilities(runner, one.waveform, _BATCH)[0]
        else:
            waiting.append((one, cut_windows(one.waveform, spec.window, spec.window_hop)))
        if sum(len(windows) for _, windows in waiting) >= _BATCH:
            yield from _batch(runner, waiting)
            waiting = []
    if waiting:
        yield from _batch(runner, waiting)


def _batch(runner: Runner, waiting: list[tuple[_Changed, Waveform]]) -> Iterator[tuple[_Changed, Probabilities]]:
    windows = np.concatenate([of_one for _, of_one in waiting])
    given = np.concatenate([runner.predict(windows[at : at + _BATCH]) for at in range(0, len(windows), _BATCH)])
    ends = np.cumsum([len(of_one) for _, of_one in waiting])[:-1]
    for (one, _), rows in zip(waiting, np.split(given, ends), strict=True):
        yield one, rows.mean(axis=0)
