"""What Optuna Dashboard shows of a study of ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from selection.store.database import open_database
from tests.serve.serve_bench import open_server
from tests.serve.test_guard import EDIT
from tests.sweep_bench import Bench, make_spec


def test_it_shows_a_note_two_charts_and_what_the_score_is(study_url: str) -> None:
    with open_server(study_url) as client:
        (summary,) = client.get("/api/studies").json()["study_summaries"]
        assert summary["study_name"] == "iris"
        detail = client.get(f"/api/studies/{summary['study_id']}").json()
        note = detail["note"]["body"]
        assert "(/selection/studies/iris/)" in note
        assert client.get("/selection/studies/iris/").status_code == 200
        charts = {each["id"]: each["graph_object"] for each in detail["plotly_graph_objects"]}
        assert set(charts) == {"learning-curves", "fold-scores"}
        for chart in charts.values():
            assert len(chart) < 50_000
            assert json.loads(chart)["data"]
        assert detail["objective_names"] == ["accuracy, observed"]


def test_every_trial_has_sortable_numbers_and_few_intermediate_values(study_url: str) -> None:
    with open_server(study_url) as client:
        detail = client.get("/api/studies/1").json()
    sortable = {each["key"] for each in detail["union_user_attrs"] if each["sortable"]}
    assert sortable >= {"fold_0", "fold_1", "fold_2", "cv_standard_error", "train_score", "epochs"}
    complete = [trial for trial in detail["trials"] if trial["state"] == "Complete"]
    assert complete
    assert all(0 < len(trial["intermediate_values"]) <= 20 for trial in complete)


def test_other_peoples_studies_are_shown_as_they_are(bench: Bench) -> None:
    bench.procedure(make_spec())
    other = optuna.create_study(study_name="theirs", storage=bench.database.storage)
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with open_server(str(bench.database.address.secret_url)) as client:
        studies = client.get("/api/studies").json()["study_summaries"]
        number = next(each["study_id"] for each in studies if each["study_name"] == "theirs")
        detail = client.get(f"/api/studies/{number}").json()
        assert detail["note"]["body"] == ""
        assert detail["plotly_graph_objects"] == []
        assert "theirs" not in client.get("/selection/").text


def test_a_note_is_written_and_read_back_only_with_allow_edit(
    sqlite_study: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(sa.make_url(sqlite_study).database or "", copy)
    url = f"sqlite:///{copy}"
    with open_server(url, EDIT) as client:
        before = client.get("/api/studies/1").json()["note"]
        body = {"version": before["version"] + 1, "body": "mine"}
        origin = {"Origin": "http://localhost:8080"}
        assert client.put("/api/studies/1/note", json=body, headers=origin).status_code == 204
        assert client.get("/api/studies/1").json()["note"]["body"] == "mine"
    with open_server(url) as client:
        assert client.get("/api/studies/1").json()["note"]["body"] == "mine"


@pytest.mark.parametrize("path", ["/favicon.ico", "/static/bundle.js"])
def test_its_files_are_there_for_the_plainest_reader(client: TestClient, path: str) -> None:
    del client.headers["accept-encoding"]
    assert client.get(path).status_code == 200


def test_a_study_with_an_endless_number_is_not_found(client: TestClient) -> None:
    assert client.get(f"/api/studies/{'9' * 30}").status_code == 404


def test_reading_writes_nothing(sqlite_study: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(sa.make_url(sqlite_study).database or "", copy)
    with open_database(f"sqlite:///{copy}", create=False, write=True) as database:
        database.engine.dispose()
    before = copy.read_bytes()
    with open_server(f"sqlite:///{copy}") as client:
        for path in (
            "/api/studies/1",
            "/selection/studies/iris/",
            "/selection/api/studies/iris/best",
        ):
            assert client.get(path).status_code == 200
    assert copy.read_bytes() == before
