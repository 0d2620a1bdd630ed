"""Decode sound and video files; resample; cut into windows. Imports no torch."""
