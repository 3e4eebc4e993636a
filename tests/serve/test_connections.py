"""Clients that send slowly, read slowly or come in hundreds keep nobody else from an answer."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from selection.serve import connections
from selection.serve.connections import BoundedProtocol, connection_cap
from tests.serve.test_server import said, start_server

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after the body is there, at /large with more than a socket takes at once."""
    while scope["method"] == "PUT":
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            break
    size = 30_000_000 if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * size})


@contextmanager
def running(most: int) -> Iterator[int]:
    """Serve on a free port with so many connections at most; give the port."""
    protocol = type("Protocol", (BoundedProtocol,), {"most": most})
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def connect(stack: ExitStack, port: int, text: bytes) -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    client.sendall(text)
    return client


def is_closed(client: socket.socket) -> bool:
    """Wait for the server to end the connection, and say whether it did."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("limit", "text"),
    [("HEADER_SECONDS", b""), ("HEADER_SECONDS", HALF), ("BODY_SECONDS", BODY)],
)
def test_half_a_request_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, limit: str, text: bytes
) -> None:
    monkeypatch.setattr(connections, limit, 0.3)
    with running(10) as port, ExitStack() as stack:
        started = time.monotonic()
        client = connect(stack, port, text)
        assert is_closed(client)
        assert 0.2 < time.monotonic() - started < 5.0


@pytest.mark.parametrize(("limit", "text"), [("HEADER_SECONDS", HALF), ("BODY_SECONDS", BODY)])
def test_a_byte_now_and_then_buys_no_time(
    monkeypatch: pytest.MonkeyPatch, limit: str, text: bytes
) -> None:
    monkeypatch.setattr(connections, limit, 0.5)
    with running(10) as port, ExitStack() as stack:
        started = time.monotonic()
        client = connect(stack, port, text)
        with suppress(ConnectionError):
            while time.monotonic() - started < 5.0:
                client.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - started < 3.0


def test_a_header_in_two_parts_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 5.0)
    with running(10) as port, ExitStack() as stack:
        client = connect(stack, port, HALF)
        time.sleep(0.1)
        client.sendall(b"no\r\n\r\n" + WHOLE)
        received = b""
        while received.count(b"200 OK") < 2:
            received += client.recv(65536)


def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.3)
    with running(10) as port, ExitStack() as stack:
        client = connect(stack, port, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        received = 0
        with suppress(ConnectionError):
            while part := client.recv(1_000_000):
                received += len(part)
        assert received < 30_000_000


def test_a_new_request_takes_the_place_of_one_that_only_waits() -> None:
    with running(5) as port, ExitStack() as stack:
        idle = [connect(stack, port, HALF) for _ in range(5)]
        for _ in range(20):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                assert answer.read() == b"xx"
        assert is_closed(idle[0])


@pytest.mark.parametrize(
    ("limit", "cap"),
    [(resource.RLIM_INFINITY, 512), (100_000, 512), (256, 64), (64, 8)],
)
def test_connections_are_fewer_than_files(
    monkeypatch: pytest.MonkeyPatch, limit: int, cap: int
) -> None:
    def read_limit(_kind: int) -> tuple[int, int]:
        return limit, limit

    monkeypatch.setattr(resource, "getrlimit", read_limit)
    assert connection_cap() == cap


def test_hundreds_of_half_requests_lock_nobody_out(sqlite_study: str) -> None:
    process = start_server(sqlite_study, before=_few_files)
    address = said(process, 3).split()[2]
    port = int(address.split(":")[2].split("/")[0])
    with ExitStack() as stack:
        for _ in range(300):
            connect(stack, port, HALF)
        for _ in range(3):
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert err.count("\n") < 20


def _few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
