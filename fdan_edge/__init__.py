"""fdan-edge: from face-guided training (FDAN) to a small voice model on the edge."""

import logging
from typing import TYPE_CHECKING, Any

from fdan_edge._version import __version__

if TYPE_CHECKING:
    from fdan_edge.recognizer import Recognizer

__all__ = ["Recognizer", "__version__"]

#: Messages go through `logging`; without a handler of the user's own, none is shown.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """`Recognizer`, imported when it is first asked for: commands that need none of it start faster."""
    if name == "Recognizer":
        from fdan_edge.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
