"""The events of a whole recording, computed from whole windows, by the batch.

A live stream's ring buffer and shared frames are not used, so each proves the other. Imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from fdan_edge.audio import decode
from fdan_edge.audio.recording import MOST_KEPT
from fdan_edge.audio.windows import Waveform
from fdan_edge.runtime.log_mel import FrameRunner
from fdan_edge.runtime.runner import Probabilities, Runner
from fdan_edge.streaming.events import Ended, Event
from fdan_edge.streaming.incremental_mel import WholeWindowRunner
from fdan_edge.streaming.intake import Finding, Intake
from fdan_edge.streaming.label_tracker import LabelTracker
from fdan_edge.streaming.session import (
    Stream,
    center_window,
    check_finite,
    events_from_findings,
    window_model,
)
from fdan_edge.streaming.settings import StreamSettings
from fdan_edge.streaming.speech_turns import WindowDue
from fdan_edge.streaming.unknown_threshold import unknown_threshold

_BATCH = 16


def recording_events(
    runner: Runner | FrameRunner, waveform: Waveform, settings: StreamSettings | None = None
) -> list[Event]:
    """Return the events of a recording (n,) at the model's rate, not yet filtered.

    Raises:
        ConfigError, MissingDependencyError: as `Stream`.
        AudioError: the model gave no finite numbers.
    """
    settings, spec = settings or StreamSettings(), runner.spec
    grid = window_model(runner).grid
    intake = Intake(spec, grid, settings)
    threshold = unknown_threshold(spec, settings.unknown_below)
    tracker = LabelTracker(spec.labels, settings, threshold, intake.hop / spec.sample_rate)
    blocks, findings = [np.zeros(0, np.float32)], list[Finding]()
    for block in intake(waveform):
        if block.factor != 1:
            blocks = [before * np.float32(block.factor) for before in blocks]
        blocks.append(block.samples)
        findings += block.findings
    findings += intake.end()
    waveform = np.concatenate(blocks)
    due = [finding for finding in findings if isinstance(finding, WindowDue)]
    rows = iter([row for batch in _predict(runner, waveform, due, grid) for row in batch])
    events = list(events_from_findings(findings, tracker, spec.sample_rate, lambda _: next(rows)))
    return [*events, Ended(len(waveform) / spec.sample_rate, "the sound ended")]


def file_events(runner: Runner | FrameRunner, path: Path, channel: str = "auto") -> list[Event]:
    """Return the events of a sound file; a long one goes through a stream, which keeps its last seconds only.

    Raises:
        ConfigError, MissingDependencyError: as `Stream`, or as `decode.load`.
        AudioError: as `decode.load`; or the model gave no finite numbers.
    """
    rate, blocks, length = runner.spec.sample_rate, list[Waveform](), 0
    stream: Stream | None = None
    events: list[Event] = []
    for block in decode.mono_blocks(path, rate, channel=channel):
        length += len(block)
        blocks.append(block)
        if stream or length > MOST_KEPT * rate:
            stream = stream or Stream(runner)
            events += [event for waiting in blocks for event in stream.push(waiting)]
            blocks = []
    if stream:
        return [*events, *stream.finish()]
    return recording_events(runner, np.concatenate(blocks))


def _predict(
    runner: Runner | FrameRunner, waveform: Waveform, due: list[WindowDue], grid: int
) -> Iterator[Probabilities]:
    whole = WholeWindowRunner(cast("FrameRunner", runner)) if hasattr(runner, "frontend") else runner
    for first in range(0, len(due), _BATCH):
        batch = itertools.islice(due, first, first + _BATCH)
        windows = [center_window(waveform[mark.start : mark.end], runner.spec.window, grid) for mark in batch]
        yield check_finite(whole.predict(np.stack(windows)))
