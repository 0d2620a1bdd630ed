"""What `infer --windows` prints: the stretches of speech in each file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fdan_edge.cli.render.console import json_line
from fdan_edge.cli.render.recognitions import Recognitions
from fdan_edge.streaming.events import Event, segments, to_dict


class Timelines(Recognitions):
    """Prints the segments of each file as rows of a table, or all of its events in a line of JSON."""

    _HEAD = ("start", "end")

    def recognize(self, runner: Any, path: Path) -> None:
        """Follow one file with a runner for streams, and print its segments or events."""
        from fdan_edge.audio import decode
        from fdan_edge.streaming.offline import recording_events

        self.timeline(path, recording_events(runner, decode.load(path, runner.spec.sample_rate)))

    def timeline(self, path: Path, events: list[Event]) -> None:
        """Print the segments or events of one file."""
        self.count += 1
        if self.as_json:
            json_line({"path": str(path), "events": [to_dict(event) for event in events]})
            return
        if self.count == 1:
            self._head()
        in_order = segments(events)
        for segment in in_order:
            percent = f"{100 * segment.confidence:.0f} %"
            self._row(self._short(path), segment.label, percent, f"{segment.start:.2f}", f"{segment.end:.2f}")
        if not in_order:
            self._row(self._short(path), "no speech", "", "", "")
