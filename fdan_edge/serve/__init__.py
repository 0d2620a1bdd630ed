"""Emotions in the browser: a small server for live streams. Imports no torch."""
