"""Bound the connections that were not let in yet, so that they keep out nobody who may come in.

A connection is a guest from the moment it is accepted until its first message was found right, and again from its
end until its socket is closed. Guests have a deadline. Where there are too many, the address that has most of them
loses its oldest: a flood from one address meets itself, and one from the address of an honest client still leaves
that client the time in which a whole set of guests is replaced.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Why connections were cut off, for the metrics.
CROWDED, SLOW, FLOOD, MALFORMED = "crowded", "slow", "flood", "malformed"
_LONGEST_NAME = 64  # characters of what is no address


@dataclass(eq=False)
class Guest:
    """A connection."""

    group: str  # of addresses that count as one
    deadline: float  # on the clock of its `Guests`
    cut: Callable[[str], None] = lambda _: None  # closes the socket at once; is given the reason
    admitted: bool = False  # it was let in, and may have ended since
    gone: bool = False  # its socket is closed


class Guests:
    """All guests of a server; used on the event loop only.

    Args:
        limit: how many there may be.
        patience: seconds that a guest has, from each of its steps to the next.
        count: is told why a connection was cut off.
    """

    def __init__(
        self,
        limit: int,
        patience: float,
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.count = count
        self._patience, self._clock = patience, clock
        self._groups: dict[str, dict[Guest, None]] = {}  # the oldest first
        self._number = 0

    def __len__(self) -> int:
        """Number of guests."""
        return self._number

    def enter(self, address: str) -> Guest:
        """Add a connection; where there are too many, another one is cut off."""
        guest = Guest(address_group(address), math.inf)
        self._add(guest)
        return guest

    def extend(self, guest: Guest) -> None:
        """Give a guest the whole time for its next step."""
        guest.deadline = self._clock() + self._patience

    def admit(self, guest: Guest) -> None:
        """Let a guest in: it has no deadline from here on, and is never cut off for others."""
        guest.admitted = True
        self._remove(guest)

    def dismiss(self, guest: Guest) -> None:
        """Make a connection that was let in, and that ends, a guest again."""
        if not guest.gone:
            self._remove(guest)
            self._add(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a connection whose socket is closed."""
        guest.gone = True
        guest.cut = _nothing  # which knows the transport
        self._remove(guest)

    def evict(self) -> bool:
        """Cut off the oldest guest of the address that has most; return whether there was one."""
        if not self._groups:
            return False
        crowd: dict[Guest, None] = max(self._groups.values(), key=len)
        self._cut(next(iter(crowd)), CROWDED)
        return True

    def sweep(self) -> None:
        """Cut off the guests whose time is over."""
        now = self._clock()
        late = [guest for group in self._groups.values() for guest in group if guest.deadline < now]
        for guest in late:
            self._cut(guest, SLOW)

    def _cut(self, guest: Guest, why: str) -> None:
        cut = guest.cut
        self.leave(guest)
        self.count(why)
        cut(why)

    def _add(self, guest: Guest) -> None:
        if self._number >= self.limit:
            self.evict()
        self.extend(guest)
        self._groups.setdefault(guest.group, {})[guest] = None
        self._number += 1

    def _remove(self, guest: Guest) -> None:
        group = self._groups.get(guest.group, {})
        if guest in group:
            del group[guest]
            self._number -= 1
        if not group:
            self._groups.pop(guest.group, None)


def address_group(address: str) -> str:
    """Return what one person can easily have all of: an IPv4 address, or the network of 64 bits of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST_NAME]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed.packed, 64), strict=False))


def _nothing(_: str) -> None:
    """Do nothing."""
