"""What other tools did to a database, and the doctor: first what it would do, then done, undone."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

from tests.cli.test_growing_study import table, write_study
from tests.command_line import Cli

URL = "sqlite:///study.db"
OURS = ("study", "trial", "fold", "rows", "baseline", "model", "ledger")


@pytest.fixture(autouse=True)
def before(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A finished study with an evaluation; what is read of it."""
    monkeypatch.setenv("SELECTION_STORAGE", URL)
    assert cli("run", write_study(4, ""), "--json").code == 0
    assert cli("evaluate", "more", "--json").code == 0
    return answers(cli, "more")


def answers(cli: Cli, name: str) -> dict[str, Any]:
    best = cli("best", name, "--json").json
    return {"trials": table(cli, name), "best": {**best, "study": "", "name": ""}}


def counts() -> dict[str, int]:
    with closing(sqlite3.connect("study.db")) as connection:
        return {
            name: connection.execute(f"SELECT count(*) FROM selection_{name}").fetchone()[0]
            for name in OURS
        }


def rename_in_the_dashboard(name: str) -> None:
    """Rename the study as Optuna Dashboard does when its button is pressed."""
    storage = RDBStorage(URL)
    body = json.dumps({"study_name": name}).encode()
    (study,) = storage.get_all_studies()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/api/studies/{study._study_id}/rename",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT_ENCODING": "",
    }
    status: list[str] = []
    answer = wsgi(storage)(environ, lambda line, *_: status.append(line))
    assert (status[0][:3], b"".join(answer)[:1]) == ("201", b"{")
    storage.engine.dispose()


def test_a_study_renamed_in_the_dashboard_goes_on_under_its_new_name(
    cli: Cli, before: dict[str, Any]
) -> None:
    rows = counts()
    rename_in_the_dashboard("other")
    for words in (["status"], ["best", "more"], ["best", "other"], ["run", "study.toml"]):
        refused = cli(*words)
        assert refused.code == 1
        assert "selection doctor --fix" in " ".join(refused.err.split())
        assert counts() == rows
    dry = cli("doctor", "--fix", "--dry-run", "--json")
    assert dry.code == 1
    assert [each["check"] for each in dry.json["would_fix"]] == ["link"]
    assert dry.json["fixed"] == []
    text = cli("doctor", "--fix", "--dry-run")
    assert "would fix: other: " in text.out
    fixed = cli("doctor", "--fix", "--json")
    assert fixed.code == 0
    assert fixed.json["fixed"] == dry.json["would_fix"]
    assert (fixed.json["wrong"], fixed.json["quarantine"]) == ([], 0)
    assert counts() == rows
    assert answers(cli, "other") == before
    assert cli("run", "study.toml", "--name", "other", "--json").code == 0


def test_a_study_with_a_bogus_mark_is_linked_again(cli: Cli, before: dict[str, Any]) -> None:
    rows = counts()
    optuna.load_study(study_name="more", storage=URL).set_user_attr("selection_uuid", "bogus")
    refused = cli("best", "more")
    assert refused.code == 1
    assert "selection doctor --fix" in " ".join(refused.err.split())
    assert cli("doctor").code == 1
    assert cli("doctor", "--fix").code == 0
    assert counts() == rows
    assert answers(cli, "more") == before


def test_what_belongs_to_nothing_stays_in_the_quarantine(cli: Cli) -> None:
    rows = counts()
    optuna.delete_study(study_name="more", storage=URL)
    assert counts() == rows
    dry = cli("doctor", "--fix", "--dry-run")
    assert "into the quarantine" in " ".join(dry.out.split())
    assert counts() == rows
    fixed = cli("doctor", "--fix")
    assert fixed.code == 0
    assert "selection doctor --restore" in fixed.out
    assert (counts()["study"], counts()["fold"]) == (0, 0)
    # A new study of the name, which on SQLite has the ids of the old one.
    assert cli("run", "study.toml", "--name", "more").code == 0
    kept = cli("doctor", "--json").json["quarantine"]
    restored = cli("doctor", "--restore")
    assert restored.code == 0, restored.out
    assert f"stay in the quarantine: {kept} rows; their study or trial is not there" in " ".join(
        restored.out.split()
    )
    assert cli("doctor", "--restore", "--json").json["restored"] == {}
    assert cli("doctor", "--json").json["quarantine"] == kept


@pytest.mark.parametrize("words", [["--dry-run"], ["--fix", "--restore"]])
def test_options_that_do_not_go_together_are_a_wrong_usage(cli: Cli, words: list[str]) -> None:
    assert cli("doctor", *words).code == 2


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE trial_params SET param_value = param_value * 1.01 WHERE trial_id = 1", "trial"),
        ("UPDATE trials SET state = 'PRUNED' WHERE trial_id = 2", "trial"),
        ("UPDATE selection_study SET spec_json = replace(spec_json, '0.05', '0.04')", "spec"),
        ("UPDATE selection_study SET facts_json = '{}'", "file"),
        ("UPDATE selection_ledger SET result_json = replace(result_json, '0.', '0.1')", "damage"),
        ("DELETE FROM selection_ledger", "ledger"),
    ],
)
def test_the_doctor_sees_what_was_altered(cli: Cli, statement: str, check: str) -> None:
    assert cli("doctor").code == 0
    with closing(sqlite3.connect("study.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    found = cli("doctor", "--json")
    assert found.code == 1
    assert [each["check"] for each in found.json["wrong"]] == [check]
