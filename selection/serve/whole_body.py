"""Reads a request whole before a thread sees it, so that a slow client holds none.

Optuna Dashboard answers in a few threads, and each would wait for the rest of a body.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Notes are shorter; Optuna's tables hold no more.
MOST_BYTES = 1_000_000


class WholeBody:
    """Hand on a request once its body is there; how long that may take is the connection's rule."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        # What is only read needs no body; one that is sent all the same is never waited for.
        more = scope["method"] not in ("GET", "HEAD")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BYTES:
                text = f"Content-Length: a request may have {MOST_BYTES:,} bytes at most."
                headers = {"Connection": "close"}
                await PlainTextResponse(text, 413, headers)(scope, receive, send)
                return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_whole() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, receive_whole, send)
