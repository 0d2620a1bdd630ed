"""Live streams: speech is detected, the model infers its emotion, and events say what and for how long.

Imports no torch.

events             what a stream emits
settings           times and thresholds
session            `Stream`: samples in, events out
intake             from samples as they come to filtered ones, and to what is found in them
input_level        what is wrong with the sound that comes in
speech_turns       where speech begins and ends, and which windows are due
vad                the probability of speech
incremental_mel    mel power of windows, each frame computed once
label_tracker      from probabilities to a steady label
unknown_threshold  the confidence below which a label is "unknown"
offline            the same events for a whole recording
live               from a source to events, with threads
sources            files and pipes
microphone         PortAudio
backlog            the bounded queue between two threads
latency            from the arrival of a sample to its result
annotations        segments as RTTM, csv and Audacity's label tracks
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.settings import StreamSettings

__all__ = ["Stream", "StreamSettings"]


def __getattr__(name: str) -> Any:
    """Import `Stream` and `StreamSettings` when they are first used, so that the command line starts fast."""
    if name == "StreamSettings":
        from fdan_edge.streaming.settings import StreamSettings

        return StreamSettings
    if name == "Stream":
        from fdan_edge.streaming.session import Stream

        return Stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
