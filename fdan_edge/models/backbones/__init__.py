"""Backbones: each gives features of log-mels or faces."""
