"""Says within seconds whether a Ray cluster answers: ray.init itself tries for minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

PROBE_SECONDS = 8.0
# Ray reads these when it is imported: it then tries to connect once, for this many seconds.
SHORT_TIMEOUTS = {
    "RAY_gcs_rpc_server_connect_timeout_s": "1",
    "RAY_py_gcs_connect_timeout_s": "3",
    "RAY_gcs_server_port_wait_time_s": "1",
}
# Some ways to fail end the whole process, and all of them write to its stderr.
PROBE_PROGRAM = """
import json, sys
from ray._raylet import GcsClient
try:
    client = GcsClient(address=sys.argv[1])
    client.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=3)
    print(json.dumps({"is_there": True}))
except Exception as error:
    print(json.dumps({"is_there": False, "error": type(error).__name__}))
"""


@dataclass(frozen=True)
class Probe:
    """Say whether a cluster answered, and whether it wants a token."""

    is_there: bool
    wants_token: bool = False


def probe(address: str) -> Probe:
    """Ask for a cluster at HOST:PORT."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE_PROGRAM, address],
            env={**os.environ, **SHORT_TIMEOUTS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(is_there=False)
    lines = done.stdout.splitlines()
    if not lines:
        # Ray ends the process if RAY_AUTH_MODE demands a token and there is none.
        return Probe(is_there=False, wants_token=True)
    found: dict[str, Any] = json.loads(lines[-1])
    return Probe(found["is_there"], found.get("error") == "AuthenticationError")
