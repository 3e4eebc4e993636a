"""The connection of this process to a Ray cluster, or to a Ray of this machine's own.

Ray changes the signals, hooks and environment of a process; closing gives them back.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray._private.ray_constants as ray_constants
import ray._private.utils as ray_utils
import ray._private.worker as ray_internals
from ray.exceptions import RayError

from selection.errors import ErrorDetail, StudyStateError, show
from selection.workers.ray_address import probe

WHERE = "--address"


class RayConnection:
    """Connect to a cluster, or use the connection that this process already has, until close().

    Raises: StudyStateError if the cluster does not answer, or runs other versions.
    """

    def __init__(self, address: str | None) -> None:
        self._owns = not ray.is_initialized()
        self._before = _ProcessState()
        if self._owns:
            try:
                _connect(address)
            except BaseException:
                self.close()
                raise
            self._before.restore_signals()

    def close(self) -> None:
        """Disconnect, end a Ray of this machine's own, and give the process back as it was."""
        if self._owns:
            ray.shutdown()
            self._before.restore()


def _connect(address: str | None) -> None:
    """Connect to a cluster, or start one on this machine that nobody else can reach.

    Raises: StudyStateError.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"address": address, "log_to_driver": False}
    if address == "local":
        options |= {"include_dashboard": False}
        _listen_on_loopback()
        # Without a token of its own Ray writes one into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    elif address != "auto":
        _require_answer(address)
    _forget_token()
    try:
        with _discreet(), _interrupted_later():
            ray.init(**options, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise StudyStateError(_why_not(address, error)) from None


def _forget_token() -> None:
    """Make Ray read its token again: it caches the first one that it sees."""
    internals: Any = ray._raylet  # has no types
    internals.AuthenticationTokenLoader.instance().reset_cache()


def _listen_on_loopback() -> None:
    """Let a Ray that starts, and the processes it starts, listen on this machine alone."""
    os.environ.setdefault(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
    # It was read from there when Ray was imported.
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] != "0"


def _require_answer(address: str) -> None:
    rule = "a Ray cluster must answer"
    if address.startswith("ray://"):
        hint = "Run it on a node with --address auto, or submit it: ray job submit."
        raise StudyStateError(
            ErrorDetail(WHERE, "the driver must be part of the cluster", show(address), hint)
        )
    if not address.rpartition(":")[2].isdigit():
        rule, hint = "an address must be auto, local or HOST:PORT", "Ray's usual port is 6379."
        raise StudyStateError(ErrorDetail(WHERE, rule, show(address), hint))
    found = probe(address)
    if found.wants_token:
        rule = "the Ray cluster must know this driver's token"
        hint = (
            "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as on its nodes."
        )
        raise StudyStateError(ErrorDetail(WHERE, rule, f"another or none at {address}", hint))
    if not found.is_there:
        hint = "Check host and port, and that the cluster runs: ray status."
        raise StudyStateError(ErrorDetail(WHERE, rule, f"no answer from {address}", hint))


def _why_not(address: str, error: Exception) -> ErrorDetail:
    """Say in one line why Ray did not connect."""
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        rule = "the cluster and this process must run the same Ray and Python"
        hint = "Install the versions of the cluster here, or run the driver on one of its nodes."
        return ErrorDetail(WHERE, rule, text.partition(": ")[2], hint)
    if address == "auto":
        hint = "Name it, HOST:PORT, or leave it out to start one here."
        return ErrorDetail(WHERE, "auto needs a Ray cluster on this machine", "none", hint)
    return ErrorDetail(
        WHERE, f"Ray must start or answer ({show(address)})", text, "Ray's own logs say more."
    )


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Hold a Ctrl-C back to the end of the block, unless a second one comes.

    Nothing ends the processes of a Ray that has started in part, until this process ends.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    is_interrupted = False

    def hold_back(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        signal.signal(signal.SIGINT, handler)

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if is_interrupted:
        handler(signal.SIGINT, None)


@contextmanager
def _discreet() -> Iterator[None]:
    """Let a Ray that starts print nothing among our results, and hear of no command line.

    It prints deaths of workers. And it shows the command line of a driver to all who use the
    cluster, with the password if the address of a database has one.
    """
    listen, entrypoint = ray_internals.listen_error_messages, ray_utils.get_entrypoint_name
    ray_internals.listen_error_messages = lambda *_: None
    ray_utils.get_entrypoint_name = lambda: "selection"
    try:
        yield
    finally:
        ray_internals.listen_error_messages = listen
        ray_utils.get_entrypoint_name = entrypoint


class _ProcessState:
    """Remember what Ray changes of this process."""

    def __init__(self) -> None:
        self._environment = _ray_variables()
        self._excepthook = sys.excepthook
        self._is_main = threading.current_thread() is threading.main_thread()
        self._handler = signal.getsignal(signal.SIGTERM)
        self._is_cluster = ray_constants.ENABLE_RAY_CLUSTER

    def restore_signals(self) -> None:
        sys.excepthook = self._excepthook
        if self._is_main and self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def restore(self) -> None:
        self.restore_signals()
        for name in _ray_variables().keys() - self._environment.keys():
            del os.environ[name]
        os.environ.update(self._environment)
        _forget_token()
        ray_constants.ENABLE_RAY_CLUSTER = self._is_cluster


def _ray_variables() -> dict[str, str]:
    names = [name for name in os.environ if name.startswith("RAY_") or name == "PYTHONBREAKPOINT"]
    return {name: os.environ[name] for name in names}
