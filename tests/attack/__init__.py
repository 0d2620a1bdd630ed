"""Attacks on the real server and on real commands, each in a process of its own: `make attack`."""
