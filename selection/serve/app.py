"""The routes: our pages, JSON and downloads under /selection/, and Optuna Dashboard at the root.

Every answer is read from the database; nothing here trains or opens the held-out set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlencode
from uuid import uuid4

from a2wsgi import WSGIMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from selection.errors import SelectionError, StorageError
from selection.report import values
from selection.report.comparison import (
    comparison_lines,
    comparison_rows,
    comparison_value,
)
from selection.report.html import render as html
from selection.report.leaderboard import RANK, Order, sortable
from selection.report.other_trials import trial_values
from selection.report.plots.charts import CHARTS
from selection.serve.app_state import AppState
from selection.serve.dashboard import DashboardStorage, dashboard_app
from selection.serve.downloads import DOWNLOADS, downloads, make_download
from selection.serve.guard import Guard, Rules
from selection.serve.list_page import list_page
from selection.serve.whole_body import WholeBody
from selection.study.trial import TrialState

ROOT = "/selection/"
# How a request names the two studies that it compares.
SIDES = ("first", "second")
LIVE_SECONDS, QUIET_SECONDS = 2, 10
# A browser may keep a static file forever: its address changes with its content.
KEEP = {"Cache-Control": "public, max-age=31536000, immutable"}
# A page of another server process may be of another version of this program.
THIS_SERVER = uuid4().hex
NEVER_KEEP = {"Cache-Control": "no-store"}


def make_app(app_state: AppState, storage: DashboardStorage, rules: Rules) -> ASGIApp:
    """Return the whole server."""
    pages = Pages(app_state)
    study = "/studies/{name}"
    routes = [
        Route("/", pages.studies),
        Route(f"{study}", pages.to_study),
        Route(f"{study}/", pages.study),
        Route(f"{study}/trials/{{number}}", pages.trial),
        Route(f"{study}/figures/{{figure}}.json", pages.figure),
        Route(f"{study}/export/{{file}}", pages.download),
        Route("/compare", pages.compare),
        Route("/static/{file}", pages.static),
        Route("/api/studies", pages.api_studies),
        Route("/api/compare", pages.api_compare),
        Route(f"/api{study}", pages.api_status),
        Route(f"/api{study}/trials", pages.api_trials),
        Route(f"/api{study}/best", pages.api_best),
    ]
    errors: Mapping[Any, Any] = {SelectionError: pages.user_error, HTTPException: pages.missing}
    own = Starlette(routes=routes, exception_handlers=errors)
    # It would take the name of this machine from the request, and unquote the path once more.
    own.router.redirect_slashes = False
    # Their types of ASGI differ in name alone.
    # Without a bound of its own, a thread would wait for a client that reads slowly.
    middleware: Any = WSGIMiddleware(dashboard_app(storage), send_queue_size=0)
    dashboard = WholeBody(middleware)
    to_pages = Route(ROOT.rstrip("/"), lambda _: RedirectResponse(ROOT))
    mounts = [to_pages, Mount(ROOT.rstrip("/"), RawSegments(own)), Mount("/", dashboard)]
    return Guard(Starlette(routes=mounts), rules)


class RawSegments:
    """Route by the path as it was sent, so that a slash in a study's name stays in its segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        await self._app({**scope, "path": path}, receive, send)


class Pages:
    """Answer requests; each method is one route."""

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state

    def studies(self, request: Request) -> Response:
        query = dict(request.query_params)
        listed = list_page(self._app_state.repository.studies, _page(query))
        is_live = any(line.is_training for line in listed.lines)
        poll = LIVE_SECONDS if is_live else QUIET_SECONDS
        return _live(
            request,
            (listed, query),
            lambda etag: html.render(
                "studies.html",
                **self._links(),
                listed=listed,
                link=partial(_link, query),
                storage=self._app_state.repository.database.url,
                poll=poll,
                etag=etag,
            ),
        )

    def to_study(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{ROOT}studies/{_segment(view)}/{query}", status_code=307)

    def study(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        known = self._app_state.assessments.get(view)
        query = dict(request.query_params)
        order = _order(query, sortable(view.spec))
        is_waiting = bool(view.ranked) and known.assessment is None
        poll = LIVE_SECONDS if view.is_training or is_waiting else QUIET_SECONDS
        shown = (view.study.uuid, view.version, known.assessment is not None)
        version = (shown, view.counts, view.running, view.lately, known.waiting, query)

        def page(etag: str) -> str:
            return html.render(
                "study.html",
                **self._links(view.study.optuna_study_id),
                page=self._app_state.study_page(view, known, order, query),
                base=f"{ROOT}studies/{_segment(view)}/",
                states=list(TrialState),
                link=partial(_link, query),
                kept=partial(_kept, query),
                downloads=downloads(view),
                poll=poll,
                etag=etag,
                version=_hash(shown),
            )

        return _live(request, version, page)

    def trial(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        number = request.path_params["number"]
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise HTTPException(404, "There is no such trial.")
        page = html.render(
            "trial.html",
            **self._links(view.study.optuna_study_id),
            page=self._app_state.trial_page(view, int(number)),
            base=f"{ROOT}studies/{_segment(view)}/",
        )
        return Response(page, media_type="text/html", headers=NEVER_KEEP)

    def figure(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        name, query = request.path_params["figure"], dict(request.query_params)
        if name not in CHARTS:
            raise HTTPException(404, f"No such chart. The charts are {', '.join(CHARTS)}.")
        text = self._app_state.chart(view, name, query)
        return Response(text, media_type="application/json", headers=NEVER_KEEP)

    def download(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        file = unquote(request.path_params["file"])
        if file not in DOWNLOADS:
            raise HTTPException(404, f"No such file. The downloads are {', '.join(DOWNLOADS)}.")
        content, kind = make_download(self._app_state, view, file)
        headers = {"Content-Disposition": f'attachment; filename="{file}"', **NEVER_KEEP}
        return Response(content, media_type=kind, headers=headers)

    def compare(self, request: Request) -> Response:
        """Show two studies beside each other, or the form that asks for two."""
        names = [name for each in SIDES if (name := request.query_params.get(each))]
        views = [self._app_state.live.find(name) for name in names]
        found = self._app_state.known_comparison(*views) if len(views) == len(SIDES) else ""
        page = html.render(
            "compare.html",
            **self._links(),
            names=[study.name for study in self._app_state.repository.studies.names()],
            asked=[(view.study.name, _segment(view)) for view in views],
            lines=[found] if isinstance(found, str) else comparison_lines(found),
            rows=[] if isinstance(found, str) else comparison_rows(found),
        )
        return Response(page, media_type="text/html", headers=NEVER_KEEP)

    def static(self, request: Request) -> Response:
        file = request.path_params["file"]
        if file not in html.STATIC_FILES:
            raise HTTPException(404, "There is no such file.")
        kind = html.STATIC_FILES[file]
        return Response(html.static_file(file), media_type=kind, headers=KEEP)

    def api_studies(self, request: Request) -> Response:
        summaries = self._app_state.repository.studies.summaries()
        return _json([values.summary_value(each) for each in summaries])

    def api_status(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        return _json(
            values.status_value(
                view.study, view.trials, view.seconds, view.evaluations, view.running, view.others
            )
        )

    def api_trials(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        return _json(trial_values(view.trials, view.others))

    def api_best(self, request: Request) -> Response:
        view = self._app_state.live.find(_name(request))
        return _json(values.winner_value(self._app_state.assessments.require(view)))

    def api_compare(self, request: Request) -> Response:
        names = [request.query_params.get(each, "") for each in SIDES]
        first, second = (self._app_state.live.find(name) for name in names)
        return _json(comparison_value(self._app_state.comparison(first, second)))

    def user_error(self, request: Request, error: SelectionError) -> Response:
        """Answer with what is wrong and how to fix it; a server that is away comes back."""
        status = 503 if isinstance(error, StorageError) else 404
        return self._error(request, status, str(error).splitlines())

    def missing(self, request: Request, error: HTTPException) -> Response:
        return self._error(request, error.status_code, [error.detail])

    def _error(self, request: Request, status: int, lines: list[str]) -> Response:
        if request.url.path.startswith(f"{ROOT}api/"):
            return _json({"error": " ".join(lines)}, status)
        title = "The database does not answer" if status == 503 else "Not found"
        page = html.render("error.html", **self._links(), title=title, lines=lines)
        return Response(page, status_code=status, media_type="text/html", headers=NEVER_KEEP)

    def _links(self, optuna_study_id: int | None = None) -> dict[str, str]:
        path = "" if optuna_study_id is None else f"/studies/{optuna_study_id}"
        return {"root": ROOT, "dashboard": f"/dashboard{path}"}


def _live(request: Request, version: Any, page: Callable[[str], str]) -> Response:
    """Answer with a page, or with 304 where the browser has this version of it."""
    etag = f'"{_hash(version)}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(page(etag), media_type="text/html", headers=headers)


def _hash(version: Any) -> str:
    return sha256(repr((THIS_SERVER, version)).encode()).hexdigest()[:20]


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, indent=2, allow_nan=False)
    return Response(text, status, media_type="application/json", headers=NEVER_KEEP)


def _order(query: Mapping[str, str], sortable: list[str]) -> Order:
    """Return the order a reader asks for; a choice that makes no sense is ignored."""
    sort, state = (query.get(name, "") for name in ("sort", "state"))
    return Order(
        sort=sort if sort in sortable else RANK,
        is_descending=query.get("order") == "descending",
        state=TrialState(state) if state in list(TrialState) else None,
        page=_page(query),
    )


def _page(query: Mapping[str, str]) -> int:
    """Return the page a reader asks for, the first where it is no number."""
    page = query.get("page", "")
    return int(page) if page.isdecimal() and len(page) < 10 else 1


def _link(query: Mapping[str, str], **changes: Any) -> str:
    """Return the address of the same page in another order, or of another page of it."""
    kept = {name: value for name, value in query.items() if name != "page"}
    if "sort" in changes:
        order = "descending" if changes.pop("descending") else "ascending"
        changes["order"] = order
    return "?" + urlencode({**kept, **changes})


def _kept(query: Mapping[str, str], *without: str) -> list[tuple[str, str]]:
    """Return the choices of a reader that another form leaves as they are."""
    return [(name, value) for name, value in query.items() if name not in without]


def _name(request: Request) -> str:
    return unquote(request.path_params["name"])


def _segment(view: Any) -> str:
    return html.study_segment(view.study.name, view.study.uuid)
