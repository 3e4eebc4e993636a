"""A real Ray cluster of one node, on loopback and behind a token, and a look at its processes."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ACTOR = "ray::RayWorker"


@dataclass(frozen=True)
class RayHead:
    """Hold a cluster: its address, what the environment of a driver must have, its processes."""

    address: str
    environment: Mapping[str, str]
    folder: Path

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the cluster, without those of its workers."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.folder) in " ".join(process.info["cmdline"] or [])
        ]

    def actors(self) -> list[psutil.Process]:
        """Return the processes of our actors."""
        own = {process.pid for process in self.processes()}
        return [
            process
            for process in psutil.process_iter(["cmdline", "ppid"])
            if process.info["ppid"] in own
            and " ".join(process.info["cmdline"] or []).startswith(ACTOR)
        ]

    def training(self) -> list[psutil.Process]:
        """Return those that train now: Ray names a process after the method that runs."""
        named = f"{ACTOR}.train"
        return [each for each in self.actors() if named in " ".join(each.info["cmdline"])]


@contextmanager
def ray_head(cpus: int = 2) -> Iterator[RayHead]:
    """Start a cluster with so many cores, and end it with the block."""
    # The names of sockets in it may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        # Loopback only: a node address of 127.0.0.1 alone does not see to that.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}"),
        *(f"--num-cpus={cpus}", f"--object-store-memory={100 * 2**20}"),
        *("--include-dashboard=false", "--disable-usage-stats"),
    ]
    head = RayHead(f"127.0.0.1:{port}", environment, folder)
    try:
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
        yield head
    finally:
        for process in [*head.actors(), *head.processes()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)
