"""Scores, their intervals, calibration and plots."""
