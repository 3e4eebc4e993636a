"""Bounds what clients can hold open: how many connections there are, and how long each may wait.

A server that waits for ever for half a request is locked out by a few hundred of them.
Source: uvicorn/protocols/http/h11_impl.py, version 0.54; Apache's mod_reqtimeout for the limits.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Units: seconds. A whole header, a whole body, and a part of an answer must be through by then.
HEADER_SECONDS, BODY_SECONDS, STALLED_SECONDS = 10.0, 30.0, 30.0
# Connections are a part of the files that a process may open; the database needs some, and so do
# connections that the kernel has accepted and nobody has counted yet.
MOST_CONNECTIONS, FEWEST_CONNECTIONS, OTHER_FILES, BACKLOG = 512, 8, 128, 64


def connection_cap() -> int:
    """Return how many connections may be open, fewer than this process may open files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(max(limit - OTHER_FILES - BACKLOG, FEWEST_CONNECTIONS), MOST_CONNECTIONS)


class BoundedProtocol(H11Protocol):
    """Speak HTTP with a client that may be slow on purpose.

    A new connection that would be one too many takes the place of the one that has waited longest
    for its client, so that who sends a whole request at once is always answered.
    """

    most: int = MOST_CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        # What the client owes: "" while an answer is being made.
        self._awaited = ""
        self._waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await("header", HEADER_SECONDS)
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._await("", 0.0)
        self._end_stall()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin_stall()

    def resume_writing(self) -> None:
        self._end_stall()
        super().resume_writing()
        self._watch()

    def abort(self) -> None:
        """End the connection without waiting for the client to read what is left."""
        self.transport.abort()

    def _watch(self) -> None:
        """Set the deadline of what the client is to do next."""
        if self.transport.is_closing():
            # It still has to read what was written.
            self._await("", 0.0)
            self._begin_stall()
        elif self.conn.their_state is h11.SEND_BODY:
            self._await("body", BODY_SECONDS)
        elif self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            # Between two requests uvicorn's own, shorter, limit comes first.
            self._await("header", HEADER_SECONDS)
        else:
            self._await("", 0.0)

    def _await(self, awaited: str, seconds: float) -> None:
        """Begin to wait; what is awaited already keeps its deadline however much of it comes."""
        if awaited == self._awaited:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaited, self._deadline = awaited, None
        if awaited:
            self._waiting_since = self.loop.time()
            self._deadline = self.loop.call_later(seconds, self.abort)

    def _begin_stall(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self.abort)

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _make_room(self) -> None:
        others = (cast(BoundedProtocol, each) for each in self.connections if each is not self)
        waiting = [each for each in others if each._awaited and not each.transport.is_closing()]
        min(waiting, key=lambda each: each._waiting_since, default=self).abort()
