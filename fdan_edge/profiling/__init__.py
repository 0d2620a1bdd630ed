"""Latency, memory, cold start, rooflines, and what works on this machine. Imports no torch."""
