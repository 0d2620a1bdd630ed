"""What `infer --windows` prints: the stretches of speech in each file."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.cli.render.console import json_line
from fdan_edge.cli.render.recognitions import Recognitions
from fdan_edge.streaming.events import Event, segments, to_dict


class Timelines(Recognitions):
    """Prints the segments of each file as rows of a table, or all of its events in a line of JSON."""

    _HEAD = ("start", "end")

    def result(self, path: Path, result: list[Event]) -> None:  # type: ignore[override]  # of --windows
        """Print the segments or events of one file."""
        if self.as_json:
            json_line({"path": str(path), "events": [to_dict(event) for event in result]})
            return
        self._head()
        in_order = segments(result)
        for segment in in_order:
            percent = f"{100 * segment.confidence:.0f} %"
            self._row(self._short(path), segment.label, percent, f"{segment.start:.2f}", f"{segment.end:.2f}")
        if not in_order:
            self._row(self._short(path), "no speech", "", "", "")
