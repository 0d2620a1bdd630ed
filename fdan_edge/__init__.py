"""fdan-edge: from face-guided training (FDAN) to a small voice model on the edge."""

__version__ = "0.1.0"
