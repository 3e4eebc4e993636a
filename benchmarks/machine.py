"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def where_it_ran(*packages: str) -> str:
    """Return processor, cores, versions and load as one line of Markdown."""
    versions = ", ".join(
        f"{name} {version(name)}" if _is_installed(name) else f"{name} not installed"
        for name in packages
    )
    return (
        f"On {processor()}, {os.cpu_count()} cores; Python {platform.python_version()},\n"
        f"{versions};\nload average {os.getloadavg()[1]:.1f} over the last five minutes."
    )


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
