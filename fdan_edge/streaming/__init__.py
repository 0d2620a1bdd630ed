"""Emotions from a live stream: what is heard, when somebody speaks, what the model says of it, and for how long.

Imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdan_edge.streaming.session import Stream
    from fdan_edge.streaming.settings import StreamSettings

__all__ = ["Stream", "StreamSettings"]


def __getattr__(name: str) -> Any:
    """Imported when they are first asked for: the command line needs some modules of this package at once."""
    if name == "StreamSettings":
        from fdan_edge.streaming.settings import StreamSettings

        return StreamSettings
    if name == "Stream":
        from fdan_edge.streaming.session import Stream

        return Stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
