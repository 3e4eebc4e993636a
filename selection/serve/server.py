"""The server's process: listen on a port, print the addresses, answer until stopped."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from selection.errors import ErrorDetail, ServeError
from selection.serve.app import ROOT, make_app
from selection.serve.app_state import AppState
from selection.serve.connections import BACKLOG, BoundedProtocol, connection_cap
from selection.serve.dashboard import DashboardStorage
from selection.serve.guard import Rules, is_loopback
from selection.serve.log_limit import limited_log
from selection.store.database import open_database
from selection.store.repository import repository_of

# How long stopping waits for answers that are still being sent.
GRACE_SECONDS = 2


def serve_database(
    url: str,
    listener: socket.socket,
    rules: Rules,
    evaluate: Callable[[str], str],
    say: Callable[[str], None],
) -> None:
    """Serve a database until SIGINT or SIGTERM; evaluate as in AppState.

    Raises: StorageError where the database cannot be opened.
    """
    # The dashboard logs an error for every importance that it cannot compute.
    logging.getLogger("optuna_dashboard").setLevel(logging.ERROR)
    BoundedProtocol.most = connection_cap()
    with limited_log(), open_database(url, create=False, write=False) as database:
        app_state = AppState(repository_of(database), evaluate)
        storage = DashboardStorage(
            database.address.secret_url, app_state.dashboard_additions, write=rules.allow_edit
        )
        config = uvicorn.Config(
            make_app(app_state, storage, rules),
            http=BoundedProtocol,
            ws="none",
            backlog=BACKLOG,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        try:
            _say_where(listener, rules, say)
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            app_state.assessments.close()
            storage.remove_session()
            storage.engine.dispose()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a free port.

    Raises: ServeError where it is taken, or the host is not a name of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        rule = "the server needs a free port of this machine"
        # Python adds the address to what the system says of it.
        got = (error.strerror or str(error)).partition(" (while ")[0]
        hint = "Name another: --host HOST --port 8081."
        raise ServeError(ErrorDetail(f"{host}:{port}", rule, got, hint)) from None


def _say_where(listener: socket.socket, rules: Rules, say: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    query = ""
    if rules.token is not None:
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else shown
        query = f"?token={rules.token}"
        is_reached = rules.proxy_host or not is_loopback(host)
        why = "other machines can reach this server, so it" if is_reached else "this server"
        say(f"{why} asks each browser once for a token")
    if rules.proxy_host:
        say(f"by the proxy:     https://{rules.proxy_host}{ROOT}{query}")
    say(f"model selection:  http://{shown}:{port}{ROOT}{query}")
    say(f"Optuna Dashboard: http://{shown}:{port}/dashboard{query}")
    what = "writes only notes" if rules.allow_edit else "only reads"
    say(f"the server {what}; press Ctrl-C to stop it")
