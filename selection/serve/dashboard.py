"""Optuna Dashboard on our database, with a note and two charts added to each study of ours.

They are added to what the dashboard reads, not to the database: they are always up to date, a
database that may not be written to shows them too, and nothing is stored twice.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from optuna.storages import get_storage
from optuna.study._frozen import FrozenStudy
from optuna_dashboard import wsgi

from selection.serve.log_limit import LogWriter
from selection.store.optuna_storage import BatchedStorage
from selection.store.study_transaction import UUID_ATTR

# Where Optuna and its dashboard look for them, in the system attributes of a study.
METRIC_NAMES = "study:metric_names"
NOTE_VERSION, NOTE_TEXT, PLOT = "dashboard:note_ver", "dashboard:note_str:0", "dashboard:plot_data:"
STUDY_PATH = re.compile(r"/api/studies/(\d{1,18})")

# The study that the request being answered is about. The dashboard reads all studies to find one
# and does not tell the storage which; charts, which are slow to draw, are added to that one only.
requested_study: ContextVar[int | None] = ContextVar("requested_study", default=None)

# Returns system attributes by the uuid of each study of ours; charts are among those of the one
# study with this number of Optuna's.
Additions = Callable[[int | None], Mapping[str, Mapping[str, Any]]]


class DashboardStorage(BatchedStorage):
    """Let the dashboard read the database, with what is added to each study."""

    def __init__(self, url: str, additions: Additions, *, write: bool) -> None:
        super().__init__(url, write=write)
        self._additions = additions

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return every study, ours with additions; an attribute that somebody wrote is kept."""
        studies = super().get_all_studies()
        every = self._additions(requested_study.get())
        for study in studies:
            added = dict(every.get(study.user_attrs.get(UUID_ATTR, ""), {}))
            if NOTE_VERSION in study.system_attrs:
                added.pop(NOTE_TEXT, None)
            study.system_attrs = {**added, **study.system_attrs}
        return studies


def additions(metric: str, note: str, charts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the system attributes that name the score, show a note, and charts by their ids."""
    drawn = {f"{PLOT}{name}:0": json.dumps(chart) for name, chart in charts.items()}
    return {METRIC_NAMES: [metric], NOTE_VERSION: 0, NOTE_TEXT: note, **drawn}


def dashboard_app(storage: DashboardStorage) -> Callable[..., Iterable[bytes]]:
    """Return Optuna Dashboard as a WSGI application; it must be mounted at the root."""
    dashboard = wsgi(get_storage(storage))

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found = STUDY_PATH.fullmatch(environ.get("PATH_INFO", ""))
        token = requested_study.set(None if found is None else int(found[1]))
        # The dashboard relies on this header, which every browser sends.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        # By itself it writes each error to stdout, without a limit.
        environ["wsgi.errors"] = LogWriter(logging.getLogger("selection.dashboard"))
        try:
            answer: Iterable[bytes] = dashboard(environ, start_response)
            return answer
        finally:
            requested_study.reset(token)

    return app
