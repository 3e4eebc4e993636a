"""A worker as a process of this machine: python -m selection.workers.child FILE_DESCRIPTOR.

It gets its setup and its tasks over a connection, and ends when its driver does.
"""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selection.train.fit import EpochNews


def main() -> None:
    """Train what comes over the connection until its other end is closed."""
    threading.Thread(target=_end_with_driver, daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The driver is gone, or no longer needs this worker.
        os._exit(0)


def _serve(connection: Connection) -> None:
    # These take seconds to import, and the driver may end meanwhile.
    from selection.errors import SelectionError
    from selection.train.lockstep import EpochScores, Judgement
    from selection.workers.shared import CohortShare
    from selection.workers.training import TrainingWorker

    try:
        worker = TrainingWorker(connection.recv())
        connection.send(worker.facts)

        def report(news: EpochNews) -> None:
            connection.send(news)

        def exchange(scores: EpochScores) -> Judgement:
            connection.send(scores)
            judged: Judgement = connection.recv()
            return judged

        while True:
            task = connection.recv()
            if isinstance(task, CohortShare):
                connection.send(worker.trainer.train_share(task.settings, task.folds, exchange))
            else:
                connection.send(worker.train(task, report))
    except SelectionError as error:
        connection.send(error)


def _end_with_driver() -> None:
    """End at once when the driver has ended, however it did: its end of the pipe closes."""
    while os.read(0, 1024):
        pass
    # Nothing is lost with this process: the driver alone records.
    os._exit(0)


if __name__ == "__main__":
    main()
