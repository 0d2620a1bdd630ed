"""Engines of an export; a Jetson builds its own at load, so the builder is `fdan_edge.engines`."""

from fdan_edge.engines import Engine, build_for, find_tensorrt

__all__ = ["Engine", "build_for", "find_tensorrt"]
