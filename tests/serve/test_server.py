"""The server as a process: where it listens, what it says, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

import pytest

from selection.serve.server import listen
from tests.command_line import Cli


def start_server(
    url: str, *words: str, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "selection", "serve", "--port", "0", "--storage", url, *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before
    )


def said(process: subprocess.Popen[str], lines: int) -> str:
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(lines))


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_it_says_where_it_is_and_ends_when_told(sqlite_study: str, number: signal.Signals) -> None:
    process = start_server(sqlite_study)
    text = said(process, 3)
    pattern = (
        r"model selection:  (http://127\.0\.0\.1:\d+/selection/)\n"
        r"Optuna Dashboard: (http://127\.0\.0\.1:\d+/dashboard)\n"
        r"the server only reads; press Ctrl-C to stop it\n"
    )
    found = re.fullmatch(pattern, text)
    assert found, text
    for address in found.groups():
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_off_this_machine_it_asks_for_a_token_and_says_why(sqlite_study: str) -> None:
    process = start_server(sqlite_study, "--host", "0.0.0.0")
    text = said(process, 4)
    process.terminate()
    process.communicate(timeout=30)
    assert "other machines can reach this server, so it asks each browser once for a token" in text
    tokens = re.findall(r"http://\S+\?token=(\S{20,})$", text, re.MULTILINE)
    assert len(set(tokens)) == 1
    assert len(tokens) == 2


def test_without_the_token_it_answers_nothing(sqlite_study: str) -> None:
    process = start_server(sqlite_study, "--host", "0.0.0.0", "--token", "m" * 16)
    port = re.findall(r":(\d+)/", said(process, 4))[0]
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/selection/", timeout=30)
    assert refused.value.code == 401
    refused.value.close()
    with socket.create_connection(("127.0.0.1", int(port))) as bare:
        bare.sendall(b"GET http://evil.example/selection/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert bare.recv(64).startswith(b"HTTP/1.1 400")
    process.terminate()
    process.communicate(timeout=30)


def test_a_taken_port_is_an_error_in_one_line(cli: Cli, sqlite_study: str) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        outcome = cli("serve", "--port", port, "--storage", sqlite_study)
    assert outcome.code == 1
    assert outcome.err == (
        f"127.0.0.1:{port}: the server needs a free port of this machine, but got "
        "Address already in use. Name another: --host HOST --port 8081.\n"
    )


def test_a_host_that_is_not_this_machine_is_an_error_in_one_line(
    cli: Cli, sqlite_study: str
) -> None:
    outcome = cli("serve", "--host", "no.such.host.invalid", "--storage", sqlite_study)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1


def test_a_missing_database_is_an_error_in_one_line(cli: Cli) -> None:
    outcome = cli("serve", "--port", 0)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "selection run" in outcome.err
    assert not list(Path().iterdir())


def test_a_server_that_is_looked_at_does_without_torch() -> None:
    code = "import sys, selection.serve.server; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_behind_a_proxy_it_asks_for_a_token_by_its_public_name(sqlite_study: str) -> None:
    process = start_server(sqlite_study, "--proxy-host", "studies.example")
    text = said(process, 5)
    process.terminate()
    process.communicate(timeout=30)
    assert re.search(r"https://studies\.example/selection/\?token=\S{20,}\n", text)
    assert "http://127.0.0.1" in text


def test_a_short_token_is_an_error_in_one_line(cli: Cli, sqlite_study: str) -> None:
    outcome = cli("serve", "--port", 0, "--token", "mine", "--storage", sqlite_study)
    assert outcome.code == 1
    assert outcome.err == (
        "--token: a token must have at least 16 characters, but got 4 of them. "
        "Leave it out: the server makes one and prints it.\n"
    )
