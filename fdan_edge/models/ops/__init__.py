"""LMMD and its native kernels."""
