"""The recordings that an export needs: to calibrate, to choose layers, and for the gate."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio import decode
from fdan_edge.audio.windows import Waveform, window_batches
from fdan_edge.data.corpora import Item, Source, get_corpus, parse_source, read, recording_key
from fdan_edge.data.speech import pick, read_labelled_speech
from fdan_edge.errors import AudioError, DataError, ExportError
from fdan_edge.evaluation.predictions import FILE, Predictions, load_predictions
from fdan_edge.export.gate import Answers, Check, compare, temperature_for
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.recognition import probabilities
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.utils.progress import track
from fdan_edge.utils.small_files import read_json

CLIPS = 512  # at most: more would cost minutes and move the UAR by tenths of a point
#: A mean distance takes so many: it is known within 30 % then (benchmarks/export_gate.py).
FEWEST = 50
#: For distances, others fill up to so many: a mean distance is known within 15 % then.
ENOUGH = 200
TRAINED_ON = "of the training part, which the model has seen"
CALIBRATION = 128  # recordings of the training part
VALIDATION = 128


class ReferenceClips:
    """Recordings with the PyTorch model's answers, which artifacts are compared to.

    Args:
        items: recordings.
        source: which these are, for people.
        reference: the trained model.
        more: further recordings, for distances only.
        seen: `recording_key` of those that it was trained on. Of these, what it recognises counts as true.
        accuracy: share of unseen recordings that it recognises; None: not known.

    Raises:
        ExportError: none of `items` can be read.
    """

    def __init__(
        self,
        items: list[Item],
        source: str,
        reference: Runner,
        more: Sequence[Item] = (),
        seen: Collection[str] = (),
        accuracy: float | None = None,
    ) -> None:
        self.spec, labels = reference.spec, reference.spec.labels
        waveforms, judged_items = load_all(items, self.spec)
        if not judged_items:
            raise ExportError(f"none of the {len(items)} clips for the check of the export could be read")
        more_waveforms, more_items = load_all(list(more), self.spec)
        self.waveforms, self.items = waveforms + more_waveforms, judged_items + more_items
        judged = len(judged_items)
        expected = self.probabilities(reference)
        trained_on = np.array([recording_key(item.key) in seen for item in self.items])
        known = not trained_on[:judged].any() and all(item.emotion in labels for item in self.items[:judged])
        recognised = [int(index) for index in expected[:judged].argmax(1)]
        self.answers = Answers(
            expected=expected,
            true=[labels.index(item.emotion) for item in self.items[:judged]] if known else recognised,
            labels=labels,
            speakers=[item.speaker_key for item in self.items[:judged]],
            source=source,
            truth="the labels" if known else "what PyTorch recognises",
            trained_on=trained_on,
            temperature=temperature_for(expected[trained_on], accuracy)
            if trained_on.any() and accuracy is not None
            else 1.0,
        )

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The length of each recording, (recordings,)."""
        return np.array([len(waveform) / self.spec.sample_rate for waveform in self.waveforms])

    @property
    def windows(self) -> NDArray[np.float32]:
        """The first window of each recording, (recordings, window)."""
        return first_windows(self.waveforms, self.spec)

    def probabilities(self, runner: Runner) -> Probabilities:
        """Run every recording, (recordings, C)."""
        return np.stack([probabilities(runner, w)[0] for w in track(self.waveforms, "check the export")])

    def check(self, runner: Runner, precision: str, strictness: float = 1.0) -> Check:
        """Compare an artifact with the PyTorch model; the answer says whether it passes."""
        return compare(self.answers, self.probabilities(runner), precision, strictness)


class RunRecordings:
    """The parts of a run's speech, and other speech that is given for an export.

    Args:
        run: a run folder.
        reference: its model.
        speech: where the recordings are; the run's own corpora when there are none.
        distances: whether a lower precision than fp32 is to be judged, which takes more recordings.

    Raises:
        ExportError: the corpora cannot be read.
    """

    def __init__(
        self, run: Path, reference: TorchRunner, speech: Sequence[Source] = (), *, distances: bool = False
    ) -> None:
        self.reference, self._run, self._distances = reference, run, distances
        self._split = load_split(run)
        labelled = [source for source in speech if get_corpus(source.corpus).labelled]
        try:
            self._items = self._read(labelled) if labelled else self._own
            self._unlabelled = [item for one in speech if one not in labelled for item in read(one, "speech")]
        except DataError as error:
            raise ExportError(
                f"the export is checked on real clips, but {error}; name some with --speech"
            ) from None

    @functools.cached_property
    def compared(self) -> ReferenceClips:
        """The recordings of the gate: unseen ones where there are any, and more for distances.

        They are the run's test part; or where the given speech holds none of that, all of it that the training did
        not use; or where the run trained on all it had, recordings of its training part.

        Raises:
            ExportError: there are none, or too few for a lower precision.
        """
        items, source = self._unseen()
        if not items and not self._split["test"]:
            items, source = pick(self._part("train"), ENOUGH), TRAINED_ON
        if not items:
            raise ExportError(
                "the export is checked on real clips, and all of the given speech was used in the training; name "
                "some of the test part with --speech"
            )
        more = self._more(items) if self._distances else []
        clips = ReferenceClips(items, source, self.reference, more, self._seen, self._accuracy)
        if self._distances and len(clips.items) < FEWEST:
            raise ExportError(
                f"fp16 and int8 cannot be judged: {len(clips.items)} clips, and a distance between probabilities "
                f"takes {FEWEST}; name more with --speech (any voices: unlabelled:FOLDER needs no labels), or "
                "export with --precision fp32"
            )
        return clips

    @functools.cached_property
    def validation(self) -> ReferenceClips:
        """The run's validation part, filled up with training speech; all of it where there is none at hand."""
        parts, calibrated = self._part("val"), {item.key for item in pick(self._needed("train"), CALIBRATION)}
        train = self._part("train")
        others = [item for item in train if item.key not in calibrated] or train
        chosen, source = pick(others, VALIDATION), "of the training part"
        more: list[Item] = []
        if parts:
            chosen, source = pick(parts, VALIDATION), "of the validation part"
            more = pick(others, max(0, FEWEST - len(chosen)))
        return ReferenceClips(chosen, source, self.reference, more, self._seen, self._accuracy)

    @property
    def has_validation(self) -> bool:
        """Whether any of the run's validation part is at hand, and the model was not trained on it."""
        return any(recording_key(item.key) not in self._seen for item in self._part("val"))

    @property
    def cross_validated(self) -> Predictions | None:
        """What models that were not trained on them said of the run's recordings, where it trained on all.

        Raises:
            CheckpointError: the file of the run is damaged.
        """
        if self._split["test"] or self._split["val"] or not (self._run / FILE).exists():
            return None
        return load_predictions(self._run / FILE)

    @functools.cached_property
    def calibration(self) -> NDArray[np.float32]:
        """One window of each of some recordings of the training part, (n, window).

        Raises:
            ExportError: none of them is at hand.
        """
        waveforms, _ = load_all(pick(self._needed("train"), CALIBRATION), self.reference.spec)
        if not waveforms:
            raise ExportError("no recording of the training part could be read; int8 is calibrated on it")
        return first_windows(waveforms, self.reference.spec)

    @functools.cached_property
    def _own(self) -> list[Item]:
        """The speech of the run's own corpora.

        Raises:
            DataError: they cannot be read.
        """
        info = self.reference.info
        own = [*info.speech, *info.target]  # the test may be of the target
        return self._read([parse_source(text) for text in own if not text.startswith("unlabelled:")])

    def _read(self, sources: Sequence[Source]) -> list[Item]:
        config = self.reference.config
        return read_labelled_speech(list(sources), calm_as_neutral=config.calm_as_neutral, boredom=config.boredom)

    @functools.cached_property
    def _seen(self) -> set[str]:
        """What the model was trained on; a head is fitted on the validation part too."""
        parts = ("train", "val", "target") if self.reference.config.recipe == "head" else ("train", "target")
        return {recording_key(key) for part in parts for key in self._split[part]}

    @functools.cached_property
    def _accuracy(self) -> float | None:
        """The share of unseen recordings that are recognised, as the run's scores have it."""
        try:
            return float(read_json(self._run / "metrics.json", finite=False)["test"]["war"])
        except (OSError, ValueError, KeyError, TypeError):  # a run without scores is not exported
            return None

    def _unseen(self) -> tuple[list[Item], str]:
        """List the recordings to count labels on, and say which they are; nothing where there are none."""
        if items := _among(self._items, self._split["test"]):
            return pick(items, CLIPS), "of the test part"
        used = self._seen | {recording_key(key) for key in self._split["val"]}
        others = [item for item in self._items if recording_key(item.key) not in used]
        return pick(others, CLIPS), "of the given speech"

    def _more(self, items: list[Item]) -> list[Item]:
        """List recordings for distances, unseen ones first, so that all are `ENOUGH`; none of `items`."""
        more: list[Item] = []
        parts = (self._unlabelled, self._part("test"), self._part("val"), self._part("train"))
        known = {item.path.resolve() for item in items}
        # A folder may be given under another corpus's name: its files are still those that were trained on.
        seen = {item.path.resolve() for name in ("train", "val") for item in self._part(name)}
        for index, part in enumerate(parts):
            left_out = known | seen if index == 0 else known
            others = [item for item in part if item.path.resolve() not in left_out]
            more += pick(others, max(0, ENOUGH - len(items) - len(more)))
            known |= {item.path.resolve() for item in more}
        return more

    def _part(self, name: str) -> list[Item]:
        """List what is at hand of a part: in the given speech, or else in the run's own corpora."""
        if items := _among(self._items, self._split[name]):
            return items
        try:
            return _among(self._own, self._split[name])
        except DataError:  # they are no longer where the training read them
            return []

    def _needed(self, name: str) -> list[Item]:
        if items := self._part(name):
            return items
        raise ExportError(
            "int8 is calibrated on recordings of the training part, and none is in the given speech; "
            "name the corpora of the training with --speech"
        )


def load_all(items: list[Item], spec: ModelSpec) -> tuple[list[Waveform], list[Item]]:
    """Load recordings as `infer` does, and leave out those that cannot be used."""
    waveforms, kept = [], []
    for item in items:
        try:
            speech = decode.load_speech(item.path, spec.sample_rate, spec.trim_db, high_pass=spec.high_pass)
            waveforms.append(speech)
        except AudioError:
            continue  # reported when the corpus was read for training
        kept.append(item)
    return waveforms, kept


def first_windows(waveforms: list[Waveform], spec: ModelSpec) -> NDArray[np.float32]:
    """Give the first window of each recording, (recordings, window)."""
    batches = (window_batches(waveform, spec.window, spec.window_hop, 1) for waveform in waveforms)
    return np.concatenate([next(iter(batch)) for batch in batches])


def _among(items: list[Item], keys: Sequence[str]) -> list[Item]:
    wanted = {recording_key(key) for key in keys}
    return [item for item in items if recording_key(item.key) in wanted]
