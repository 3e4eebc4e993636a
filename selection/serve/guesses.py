"""Slows those who guess the token.

The same wrong token counts once: a browser that kept the token of an earlier server asks with it
again and again, and is nobody who guesses.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256

# Units: seconds. Every wrong token is answered late; after a few different ones from an address,
# all from there wait before they are compared, right or wrong, so that waiting tells nothing.
WRONG_SECONDS, SUSPECT_SECONDS = 1.0, 3.0
FREE_GUESSES, REMEMBERED_SECONDS = 5, 600.0
MOST_ADDRESSES = 1000


class Guesses:
    """Remember the wrong tokens of the last minutes, by the address that they came from."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, dict[bytes, float]] = OrderedDict()

    def pause(self, address: str) -> float:
        """Return how long a token from this address waits before it is compared."""
        since = time.monotonic() - REMEMBERED_SECONDS
        known = self._wrong.get(address, {})
        recent = sum(moment > since for moment in known.values())
        return SUSPECT_SECONDS if recent > FREE_GUESSES else 0.0

    def add(self, address: str, token: str) -> None:
        """Remember a wrong token."""
        known = self._wrong.setdefault(address, {})
        self._wrong.move_to_end(address)
        digest = sha256(token.encode()).digest()
        known.pop(digest, None)
        known[digest] = time.monotonic()
        # As many as decide; the oldest are forgotten first.
        while len(known) > FREE_GUESSES + 1:
            del known[next(iter(known))]
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
