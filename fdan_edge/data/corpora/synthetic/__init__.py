"""The synthetic corpus: voices and faces that are computed, for demos and tests."""
