"""A real browser on real pages, and a list of what it complains of.

Run as a program it installs Debian's Chromium where it is missing and can be had.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A browser that looks for news at its start asks hosts that no page of ours names.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str | None:
    """Return the path of a browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser; there must be one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """Collect errors of a page, questions it asks, and requests to hosts other than its own."""

    def __init__(self, page: Any, host: str) -> None:
        self.lines: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.lines.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._request(request, host))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.lines.append(f"{message.type}: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.lines.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any, host: str) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != host:
            self.lines.append(f"request to another host: {request.url}")


@contextmanager
def served(folder: Path, *words: str) -> Iterator[str]:
    """Start `selection serve` in a folder and return the address of our pages."""
    process = subprocess.Popen(
        [sys.executable, "-m", "selection", "serve", "--port", "0", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+/selection/\S*", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def install() -> None:
    """Install a browser if that is possible; without one the tests are skipped with a reason."""
    if browser_path() or shutil.which("apt-get") is None or os.geteuid() != 0:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    fetch = ["install", "-qq", "-y", "--no-install-recommends", "chromium"]
    for words in (["update", "-qq"], fetch):
        done = subprocess.run(["apt-get", *words], env=environment, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            print("browser: apt-get could not install chromium", file=sys.stderr)
            return


if __name__ == "__main__":
    install()
