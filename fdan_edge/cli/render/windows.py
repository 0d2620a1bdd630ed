"""What `infer --windows` prints: the stretches of speech in each file."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.cli.render.recognitions import Recognitions
from fdan_edge.streaming.events import Event, segments, to_dict


class Timelines(Recognitions):
    """Prints the segments of each file as rows of a table, or all of its events in a line of JSON."""

    _HEAD = ("start", "end")

    def result(self, path: Path, result: list[Event], channel: str = "") -> None:  # type: ignore[override]  # of --windows
        """Print the segments or events of one file or channel."""
        if self.as_json:
            self._json(channel, {"path": str(path), "events": [to_dict(event) for event in result]})
            return
        self._head()
        in_order, file = segments(result), self._short(path)
        for segment in in_order:
            percent, times = f"{100 * segment.confidence:.0f} %", (f"{segment.start:.2f}", f"{segment.end:.2f}")
            self._row(file, channel, segment.label, percent, *times)
        if not in_order:
            self._row(file, channel, "no speech", "", "", "")
