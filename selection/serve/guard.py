"""Decides who may ask for what, before anything else sees the request.

A page that reads a database is a door to it: any site that a browser visits can send requests to
this machine.
Source: OWASP, "HTTP Headers" and "Cross-Site Request Forgery Prevention" cheat sheets.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from asyncio import sleep
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selection.errors import ErrorDetail, ServeError
from selection.serve import guesses
from selection.serve.guesses import Guesses

READING = ("GET", "HEAD")
# What --allow-edit lets Optuna Dashboard write. Its other edits would break a study of ours: a
# rename copies the study and deletes ours, and a trial completed by hand has no folds.
EDITS = (
    ("PUT", re.compile(r"/api/studies/\d+/note")),
    ("PUT", re.compile(r"/api/studies/\d+/\d+/note")),
)
COOKIE = "selection_token"
# As many as a token of a dozen random bytes has.
LEAST_CHARACTERS = 16
NO_STORE = {"Cache-Control": "no-store"}
COMMON_POLICY = (
    "default-src 'none'; connect-src 'self'; font-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; "
)
OUR_POLICY = COMMON_POLICY + "script-src 'self'"
# Its parallel coordinates are drawn by a library that builds functions from text.
DASHBOARD_POLICY = COMMON_POLICY + "worker-src 'self' blob:; script-src 'self' 'unsafe-eval'"
OUR_ROOT = "/selection/"


@dataclass(frozen=True)
class Rules:
    """Say who may ask: by which names of this machine, with which token, and whether to write.

    proxy_host is the name by which a proxy in front is known, "" without one.
    """

    hosts: frozenset[str]
    token: str | None
    allow_edit: bool
    proxy_host: str = ""


def is_loopback(host: str) -> bool:
    """Say whether a host to listen on can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_rules(host: str, token: str, *, allow_edit: bool, proxy_host: str = "") -> Rules:
    """Return the rules for a server that listens on host.

    It has a token where others can reach it: off loopback, or behind a proxy of the name
    proxy_host; also where one is given. Without one given there is a new one each time.

    Raises: ServeError if the token is short enough to be guessed.
    """
    if token and len(token) < LEAST_CHARACTERS:
        rule = f"a token must have at least {LEAST_CHARACTERS} characters"
        got, hint = f"{len(token)} of them", "Leave it out: the server makes one and prints it."
        raise ServeError(ErrorDetail("--token", rule, got, hint))
    names = {"localhost"}
    if proxy_host:
        names.add(proxy_host.lower())
    elif is_loopback(host) and not token:
        return Rules(frozenset(names), None, allow_edit)
    if not is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower(), host.lower()}
    return Rules(frozenset(names), token or secrets.token_urlsafe(24), allow_edit, proxy_host)


class Guard:
    """Refuse what the rules do not allow, and set the headers that browsers protect us by."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        policy = OUR_POLICY if scope["path"].startswith(OUR_ROOT) else DASHBOARD_POLICY

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
            await send(message)

        refusal = await self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that goes no further."""
        headers = Headers(scope=scope)
        if not self._is_trusted(headers.get("host", "")):
            rule = "this server answers only requests for the names of its own machine"
            return PlainTextResponse(f"Host: {rule}.", status_code=400)
        if self._rules.token is not None:
            asked = await self._ask_token(scope, headers, self._rules.token)
            if asked is not None:
                return asked
        method = scope["method"]
        if method in READING:
            return None
        if not self._rules.allow_edit:
            text = f"{method}: this server only reads. Start it with --allow-edit to write notes."
            return PlainTextResponse(text, status_code=405, headers={"Allow": "GET, HEAD"})
        if not any(method == allowed and path.fullmatch(scope["path"]) for allowed, path in EDITS):
            text = f"{method}: this server writes only notes. Use the selection command."
            return PlainTextResponse(text, status_code=403)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers["host"]:
            return PlainTextResponse("Origin: another site must not write.", status_code=403)
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("Content-Type: a note must be JSON.", status_code=415)
        return None

    def _is_trusted(self, host: str) -> bool:
        """Say whether a Host header names this machine: no name in DNS can lead here but these.

        Addresses cannot be made to point elsewhere; off loopback all of them are the machine's.
        """
        name = host_name(host)
        if name in self._rules.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._rules.token is not None

    async def _ask_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), None)
        kept = _cookie(headers)
        address = scope["client"][0] if scope.get("client") else ""
        if given or kept:
            await sleep(self._guesses.pause(address))
        if given is not None and _is_same(given, token):
            # Out of the address, where it would be copied and logged, and into a cookie.
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            # One slash: two would begin the name of another host.
            path = "/" + scope["raw_path"].decode("latin-1").lstrip("/\\")
            target = path + (f"?{rest}" if rest else "")
            response = RedirectResponse(target, status_code=303, headers=NO_STORE)
            is_secure = scope["scheme"] == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=is_secure)
            return response
        if _is_same(kept, token):
            return None
        wrong = [each for each in (given, kept) if each]
        for each in wrong:
            self._guesses.add(address, each)
        if wrong:
            await sleep(guesses.WRONG_SECONDS)
        text = (
            "This server asks for a token, which it printed when it started: add ?token=TOKEN to "
            "the address once."
        )
        return PlainTextResponse(text, status_code=401, headers=NO_STORE)


def host_name(host: str) -> str:
    """Return the name of a Host header without its port, IPv6 without its brackets."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(:\d{1,5})?", host.lower())
    return found[1].strip("[]") if found else ""


def _is_same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(errors="replace"), token.encode())


def _cookie(headers: Headers) -> str:
    # As browsers send them: another program's cookie may be anything.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
