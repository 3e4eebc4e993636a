"""What the server keeps between requests is what the record says, at the cost of what is new."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

import pytest
import sqlalchemy as sa

from selection.errors import ErrorDetail, StorageError
from selection.report.html.stored_curves import show_curves
from selection.report.study_view import StudyView, view_study
from selection.serve import assessment_cache
from selection.serve import chart_cache as module
from selection.serve import live as watch
from selection.serve.assessment_cache import AssessmentCache
from selection.serve.chart_cache import ChartCache
from selection.serve.live import LiveStudies, LiveStudy
from selection.study.trial import TrialState
from selection.workflows.assess import assess_study
from tests.serve.serve_bench import add_curve, open_server, wait_for_answer
from tests.sweep_bench import Bench, make_spec


@pytest.fixture(autouse=True)
def _always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH_SECONDS", -1.0)


def facts(view: StudyView) -> dict[str, Any]:
    """Return what a view says; lately depends on the moment, evaluations on their identity."""
    fields = {field.name: getattr(view, field.name) for field in dataclasses.fields(view)}
    evaluations = [(evaluation.evaluation, evaluation.state) for evaluation in view.evaluations]
    spec = view.spec.to_json()
    return {
        **fields,
        "study": view.study.uuid,
        "evaluations": evaluations,
        "spec": spec,
        "lately": None,
    }


def test_a_watch_of_a_sweep_says_what_the_record_says(bench: Bench) -> None:
    spec = make_spec(trials=12, cohort=3)
    live: dict[str, LiveStudy] = {}
    states: set[tuple[str, int]] = set()

    def evaluation(_news: Any) -> None:
        study = bench.repository.study("iris")
        seen = live.setdefault("iris", LiveStudy(bench.repository)).view(study)
        assert facts(seen) == facts(view_study(study, bench.repository))
        states.add((seen.state, seen.finished))

    study = bench.run(spec, evaluation)
    assert states >= {("training", 0), ("training", 3), ("training", 9)}
    last = live["iris"].view(study)
    assert facts(last) == facts(view_study(study, bench.repository))
    assert last.state == "finished"
    assert last.finished == 12


def test_what_is_finished_is_read_once(bench: Bench) -> None:
    spec = make_spec(trials=30, cohort=10)
    study = bench.run(spec)
    watched = LiveStudy(bench.repository)
    watched.view(study)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(bench.database.engine, "before_cursor_execute", note)
    watched.view(study)
    assert statements
    assert not [text for text in statements if "selection_fold" in text or "trial_params" in text]


def test_a_study_that_is_stopped_says_so(bench: Bench) -> None:
    class StopError(Exception):
        pass

    def stop(news: Any) -> None:
        if len(news.finished) >= 4:
            raise StopError

    with pytest.raises(StopError):
        bench.run(make_spec(), stop)
    view = LiveStudy(bench.repository).view(bench.repository.study("iris"))
    assert view.state == "stopped"
    assert view.per_minute is None
    waiting = view.counts[TrialState.WAITING]
    assert view.finished + waiting == len(view.trials)


def test_a_deleted_study_is_forgotten_and_its_name_is_another_study(bench: Bench) -> None:
    from selection.store.delete_study import delete_study

    first, _ = bench.procedure(make_spec())
    live = LiveStudies(bench.repository)
    assert live.find("iris").study.uuid == first.uuid
    delete_study(bench.database, first)
    assert bench.repository.studies.names() == []
    second = bench.run(make_spec(trials=4, cohort=4))
    seen = live.find("iris")
    assert seen.study.uuid == second.uuid
    assert len(seen.trials) == 4


def test_a_new_study_of_the_same_name_is_another_page(bench: Bench) -> None:
    from selection.store.delete_study import delete_study

    address, url = "/selection/studies/iris/", bench.database.address.secret_url
    spec = make_spec(trials=4, cohort=4)
    first, _ = bench.procedure(spec)
    with open_server(url) as client:
        before = wait_for_answer(client, "iris")
        etag = client.get(address).headers["etag"]
        delete_study(bench.database, first)
        bench.procedure(spec)
        client.get("/selection/api/studies/iris/best")
        answer = client.get(address, headers={"If-None-Match": etag})
        assert answer.status_code == 200
        versions = [re.findall(r'data-version="(\w+)"', text) for text in (before, answer.text)]
        assert versions[0] != versions[1]


def test_an_evaluation_by_another_study_shows_at_once(bench: Bench) -> None:
    bench.procedure(make_spec())
    other, _ = bench.procedure(make_spec({"name": "other"}))
    with open_server(bench.database.address.secret_url) as client:
        best = "/selection/api/studies/iris/best"
        assert client.get(best).json()["held_out_openings_by_others"] == 0
        before = client.get("/selection/studies/iris/").headers["etag"]
        claimed = bench.ledger.claim(other, 0, "best", evaluation=1, reason="", finished=9)
        assert claimed
        assert client.get(best).json()["held_out_openings_by_others"] == 1
        answer = client.get("/selection/studies/iris/", headers={"If-None-Match": before})
        assert answer.status_code == 200
        assert "opened once before, by other" in wait_for_answer(client, "iris")


def test_a_changed_rule_and_a_longer_budget_show_at_once(bench: Bench) -> None:
    sections = {"assessment": {"bootstraps": 100}}
    bench.procedure(make_spec(sections, trials=4))
    with open_server(bench.database.address.secret_url) as client:
        best, page = "/selection/api/studies/iris/best", "/selection/studies/iris/"
        assert client.get(best).json()["rule"] == "best"
        before = client.get(page).headers["etag"]
        rule = {"rule": "one_standard_error"}
        bench.procedure(make_spec({**sections, "selection": rule}, trials=4))
        assert client.get(best).json()["rule"] == "one_standard_error"
        assert client.get(page, headers={"If-None-Match": before}).status_code == 200
        assert "selection.rule was changed from" in wait_for_answer(client, "iris")
        assert "after 4 trials, at 20" in client.get(page).text
        bench.procedure(make_spec({**sections, "selection": rule}, trials=8))
        status = client.get("/selection/api/studies/iris").json()
        assert (status["budget"], status["trials"]["waiting"]) == (8, 0)
        assert status["is_finished"]


def test_no_assessment_is_computed_while_a_worker_trains(bench: Bench) -> None:
    spec = make_spec(trials=6, cohort=3)
    assessments = AssessmentCache(bench.repository)
    said: list[str] = []

    def ask(_news: Any) -> None:
        view = view_study(bench.repository.study("iris"), bench.repository)
        # Behind the last cohort nothing trains any more, and an assessment may be there at once.
        if view.is_training:
            answer = assessments.get(view)
            assert answer.assessment is None
            said.append(answer.waiting)

    study = bench.run(spec, ask)
    assert "no trial is complete yet" in said
    assert "computed when training ends" in said
    view = view_study(study, bench.repository)
    assessment = assessments.require(view)
    assert assessments.get(view).assessment is assessment
    assert assessment.winner is not None
    assessments.close()


def test_an_assessment_is_made_again_when_the_record_has_changed(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    assessments = AssessmentCache(bench.repository)
    view = view_study(study, bench.repository)
    first = assessments.require(view)
    assert assessments.require(view_study(study, bench.repository)) is first
    changed = dataclasses.replace(view, evidence=(0, 0))
    assert assessments.require(changed) is not first
    assessments.close()


def test_a_curve_changes_pages_and_no_verdict(bench: Bench) -> None:
    study, data = bench.procedure(make_spec())
    assessments = AssessmentCache(bench.repository)
    before = view_study(study, bench.repository)
    assessment = assessments.require(before)
    add_curve(bench, study, data, "width", [1, 2])
    after = view_study(study, bench.repository)
    assert after.version != before.version
    assert assessments.require(after) is assessment
    assessments.close()


def test_a_chart_is_drawn_again_only_when_something_is_new() -> None:
    charts, drawn = ChartCache(), []

    def draw() -> list[int]:
        drawn.append(1)
        return [len(drawn)]

    assert charts.get("a", 1, draw, is_busy=False) == "[1]"
    assert charts.get("a", 1, draw, is_busy=False) == "[1]"
    assert charts.get("b", 1, draw, is_busy=False) == "[2]"
    assert charts.get("a", 2, draw, is_busy=False) == "[3]"


def test_a_costly_chart_waits_while_workers_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    charts, drawn = ChartCache(), []
    monkeypatch.setattr(module, "LEAST_PAUSE_SECONDS", 0.0)

    def draw() -> list[int]:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        drawn.append(1)
        return [len(drawn)]

    assert charts.get("a", 1, draw, is_busy=True) == "[1]"
    assert charts.get("a", 2, draw, is_busy=True) == "[1]"
    assert charts.get("a", 2, draw, is_busy=False) == "[2]"


def test_a_cheap_chart_is_drawn_now_and_then_while_workers_are_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charts = ChartCache()
    assert charts.get("a", 1, lambda: 1, is_busy=True) == "1"
    assert charts.get("a", 2, lambda: 2, is_busy=True) == "1"
    monkeypatch.setattr(module, "LEAST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "PAUSE_PER_SECOND", 0.0)
    assert charts.get("a", 2, lambda: 2, is_busy=True) == "2"


def test_a_chart_is_drawn_anew_when_points_are_added(bench: Bench) -> None:
    study, data = bench.procedure(make_spec())
    number = add_curve(bench, study, data, "width", [4, 8])
    address = f"/selection/studies/iris/figures/point-curve.json?over=width&trial={number}"
    with open_server(bench.database.address.secret_url) as client:
        wait_for_answer(client, "iris")
        page = client.get("/selection/studies/iris/")
        assert client.get(address).json()["data"][0]["x"] == [4, 8]
        add_curve(bench, study, data, "width", [2, 4, 8])
        assert client.get(address).json()["data"][0]["x"] == [2, 4, 8]
        kept = {"If-None-Match": page.headers["etag"]}
        assert client.get("/selection/studies/iris/", headers=kept).status_code == 200


def test_as_many_curves_are_shown_as_a_page_can_bear(bench: Bench) -> None:
    study, data = bench.procedure(make_spec(trials=2, cohort=2))
    number = add_curve(bench, study, data, "width", [4, 8])
    points = bench.repository.curves.points(study)
    names = ["momentum", "batch_size", "epochs", "l2", "dropout", "init", "loss", "x", "y"]
    for name in names:
        bench.repository.curves.keep(
            study, [dataclasses.replace(each, over=name) for each in points]
        )
    view = view_study(study, bench.repository)
    assert view.curve_folds == 10 * 2 * 3
    curves = show_curves(view, bench.repository)
    assert curves.left_out == 2
    assert len(curves.shown) == 8
    assert {dict(each.chart.query)["trial"] for each in curves.shown} == {str(number)}
    none = show_curves(dataclasses.replace(view, curve_folds=0), bench.repository)
    assert (list(none.shown), none.left_out) == ([], 0)


class AwayError(StorageError):
    """Stand for a database that does not answer for a while."""


def fail_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the first assessment fail, and return the list that counts them."""
    asked: list[int] = []

    def assess(*arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise AwayError(ErrorDetail("database", "it must answer", "silence", "Wait."))
        return assess_study(*arguments)

    monkeypatch.setattr(assessment_cache, "assess_study", assess)
    return asked


def test_an_assessment_that_failed_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = bench.procedure(make_spec())
    view = view_study(study, bench.repository)
    asked, assessments = fail_once(monkeypatch), AssessmentCache(bench.repository)
    with pytest.raises(AwayError):
        assessments.require(view)
    assert assessments.require(view).winner is not None
    assert len(asked) == 2
    assessments.close()


def test_an_open_page_tries_again_after_a_pause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = bench.procedure(make_spec())
    view = view_study(study, bench.repository)
    asked, assessments = fail_once(monkeypatch), AssessmentCache(bench.repository)
    with pytest.raises(AwayError):
        assessments.require(view)
    for _ in range(3):
        assert "silence" in assessments.get(view).waiting
    assert len(asked) == 1
    monkeypatch.setattr(assessment_cache, "RETRY_SECONDS", 0.0)
    assessments.get(view)
    assert assessments.require(view) is assessments.get(view).assessment
    assert len(asked) == 2
    assessments.close()


def test_studies_that_were_asked_for_last_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_KEPT", 2)
    live = LiveStudies(bench.repository)
    for name in ("one", "two", "three", "two"):
        if name not in {each.name for each in bench.repository.studies.names()}:
            bench.run(make_spec({"name": name}, trials=2, cohort=2))
        live.find(name)
    kept = {each.uuid: each.name for each in bench.repository.studies.names()}
    assert [kept[uuid] for uuid in live._studies] == ["three", "two"]
