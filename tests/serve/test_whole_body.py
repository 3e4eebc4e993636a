"""No thread of Optuna Dashboard waits for a client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from selection.serve import whole_body
from selection.serve.whole_body import WholeBody


def ask(method: str, *messages: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Send a request; return the messages that the application got, and those it answered."""
    got: list[Any] = []
    sent: list[Any] = []
    left = [{"type": "http.request", **each} if "type" not in each else each for each in messages]

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        got.append(await receive())

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": []}
    asyncio.run(WholeBody(app)(scope, receive, send))
    return got, sent


def test_a_body_in_parts_arrives_whole() -> None:
    parts = ({"body": b"a", "more_body": True}, {"body": b"b", "more_body": True}, {"body": b"c"})
    got, _ = ask("PUT", *parts)
    assert got == [{"type": "http.request", "body": b"abc", "more_body": False}]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_reads_does_not_wait_for_a_body(method: str) -> None:
    got, _ = ask(method)
    assert got == [{"type": "http.request", "body": b"", "more_body": False}]


def test_who_goes_away_is_not_answered() -> None:
    assert ask("PUT", {"body": b"a", "more_body": True}, {"type": "http.disconnect"}) == ([], [])


def test_a_long_body_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_body, "MOST_BYTES", 3)
    got, sent = ask("PUT", {"body": b"abcd", "more_body": True})
    assert got == []
    assert sent[0]["status"] == 413
