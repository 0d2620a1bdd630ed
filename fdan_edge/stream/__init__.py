"""Emotions from a live stream: what is heard, when somebody speaks, what the model says of it, and for how long.

Imports no torch.
"""
