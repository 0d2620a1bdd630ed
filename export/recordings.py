"""The recordings that an export needs: to calibrate, to choose layers, and for the gate. Each part is its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdan_edge.data.corpora import Item, Source, parse_source, recording_key
from fdan_edge.data.speech import pick, read_labelled_speech
from fdan_edge.errors import DataError, ExportError
from fdan_edge.export.gate import CLIPS, HeldOut, first_windows, load_all
from fdan_edge.runs.run_folder import load_split
from fdan_edge.runs.torch_runner import TorchRunner

CALIBRATION = 128  # recordings of the training part
VALIDATION = 128


class RunRecordings:
    """The parts of a run's speech.

    Args:
        run: a run folder.
        reference: its model.
        speech: where the recordings are; the run's own corpora when there are none.

    Raises:
        ExportError: the corpora cannot be read.
    """

    def __init__(self, run: Path, reference: TorchRunner, speech: Sequence[Source] = ()) -> None:
        self.reference = reference
        own = [*reference.info.speech, *reference.info.target]  # the test may be of the target
        sources = list(speech) or [parse_source(text) for text in own if not text.startswith("unlabelled:")]
        config = reference.config
        try:
            self._items = read_labelled_speech(
                sources, calm_as_neutral=config.calm_as_neutral, boredom=config.boredom
            )
        except DataError as error:
            raise ExportError(
                f"the export is checked on real clips, but {error}; name some with --speech"
            ) from None
        self._split = load_split(run)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """The run's test part, or the given speech where it holds none of that."""
        if items := self._part("test"):
            return HeldOut(pick(items, CLIPS), "of the test part", self.reference)
        used = {recording_key(key) for part in ("train", "val", "target") for key in self._split[part]}
        others = [item for item in self._items if recording_key(item.key) not in used]
        if not others:
            raise ExportError(
                "the export is checked on real clips, and all of the given speech was used in the training; name "
                "some of the test part with --speech"
            )
        return HeldOut(pick(others, CLIPS), "of the given speech", self.reference)

    @functools.cached_property
    def validation(self) -> HeldOut:
        """The run's validation part; where it is not at hand, recordings of the training part."""
        if items := self._part("val"):
            return HeldOut(pick(items, VALIDATION), "of the validation part", self.reference)
        calibrated = {item.key for item in pick(self._needed("train"), CALIBRATION)}
        others = [item for item in self._part("train") if item.key not in calibrated] or self._part("train")
        return HeldOut(pick(others, VALIDATION), "of the training part", self.reference)

    @property
    def has_validation(self) -> bool:
        """Whether any of the run's validation part is at hand."""
        return bool(self._part("val"))

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

    def _part(self, name: str) -> list[Item]:
        keys = {recording_key(key) for key in self._split[name]}
        return [item for item in self._items if recording_key(item.key) in keys]

    def _needed(self, name: str) -> list[Item]:
        if items := self._part(name):
            return items
        raise ExportError(
            "int8 is calibrated on recordings of the training part, and none is in the given speech; "
            "name the corpora of the training with --speech"
        )
