"""Where the command begins: what is slow to import comes after Ctrl-C is taken care of."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Run the command line; until it has a handler of its own, Ctrl-C ends it without a stack."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from selection.cli.main import main as run

    run()
