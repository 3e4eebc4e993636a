"""An array that grows as rows are read, without a second copy of all of it.

Its memory is mapped: what is not yet written to is not the process's own, so room is taken
generously, and what is let go goes back to the system at once, which malloc does not promise.
"""

from __future__ import annotations

import mmap
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
FIRST_ROOM = 2**10
LEAST_MAPPED = 2**20


class GrowingArray(Generic[Scalar]):
    """Collect the parts of an array. Shape: (N,)."""

    def __init__(self, kind: type[Scalar]) -> None:
        self._kind = kind
        self._room = self._make_room(FIRST_ROOM)
        self._count = 0

    def append(self, part: NDArray[Scalar]) -> None:
        """Add a part at the end."""
        end = self._count + len(part)
        if end > len(self._room):
            larger = self._make_room(max(end, 2 * len(self._room)))
            larger[: self._count] = self._room[: self._count]
            self._room = larger
        self._room[self._count : end] = part
        self._count = end

    def _make_room(self, count: int) -> NDArray[Scalar]:
        size = np.dtype(self._kind).itemsize
        if count * size < LEAST_MAPPED:  # a process may have some ten thousand maps
            return np.empty(count, dtype=self._kind)
        room: NDArray[Scalar] = np.frombuffer(mmap.mmap(-1, count * size), dtype=self._kind)
        return room

    def array(self) -> NDArray[Scalar]:
        """Return what was collected. Shape: (N,)."""
        return self._room[: self._count]
