"""Emotions from a live stream: what is heard, when somebody speaks, what the model says of it, and for how long.

Imports no torch.
"""

from fdan_edge.stream.engine import Stream
from fdan_edge.stream.settings import Settings

__all__ = ["Settings", "Stream"]
