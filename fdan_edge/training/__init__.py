"""One training, from corpora to a run folder."""
