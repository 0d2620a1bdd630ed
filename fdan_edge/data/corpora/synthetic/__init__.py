"""Voices and faces that are computed, for demos and tests."""
