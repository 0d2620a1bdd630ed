"""Give memory that is free back to the system, which the C library keeps for later."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Give back what is free; does nothing where the C library is not glibc.

    It takes milliseconds, in which other threads run.
    """
    if trim := trimmer():
        trim(0)


@cache
def trimmer() -> Any:
    """Return the function of glibc that does it; None where there is none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
