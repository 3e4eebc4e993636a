"""Settings that people, Optuna and a warm start ask for, in whole studies on both databases."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import tomli_w
from optuna.trial import create_trial

import selection
from selection.study.trial import Trial, TrialState
from tests.command_line import Cli
from tests.serve.serve_bench import Page, cells, open_server
from tests.sweep_bench import Bench, as_row, make_spec

STUDY: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "iris", "held_out": 0.2},
    "cv": {"folds": 3},
    "training": {"epochs": 2, "batch_size": 16},
    "space": {
        "width": {"low": 2, "high": 16},
        "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
        "activation": {"choices": ["relu", "tanh"]},
    },
    "search": {"metric": "accuracy", "trials": 6, "cohort": 2, "pruner": "none"},
    "assessment": {"bootstraps": 100},
}


def content(name: str = "small", **search: Any) -> dict[str, Any]:
    changed = copy.deepcopy(STUDY) | {"name": name}
    changed["search"] |= search
    return changed


@contextmanager
def as_optuna(url: str, name: str = "small") -> Iterator[optuna.Study]:
    """Open a study as another program with Optuna alone."""
    storage = optuna.storages.RDBStorage(url)
    yield optuna.load_study(study_name=name, storage=storage)
    storage.remove_session()
    storage.engine.dispose()


class AfterCohort:
    """Do something once, when the first trials have ended."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_epoch(self, event: selection.EpochEvent) -> None:
        pass

    def on_trial_end(self, trial: Trial) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()

    def on_study_end(self, study: selection.Study) -> None:
        pass


def test_what_is_asked_for_during_a_run_is_trained_with_the_next_cohort(
    storage_url: str, cli: Cli
) -> None:
    done = []

    def ask() -> None:
        study = selection.open_study("small", storage=storage_url)
        done.append(study.enqueue({"width": np.int64(5)}))
        with as_optuna(storage_url) as theirs:
            theirs.enqueue_trial({"activation": "tanh", "learning_rate": 0.25})
            theirs.enqueue_trial({"widht": 3})
            theirs.add_trial(create_trial(value=1.0))

    study = selection.run(
        content(), storage=storage_url, progress=False, callbacks=[AfterCohort(ask)]
    )
    default = dict(study.spec.default)
    assert done[0].params == {**default, "width": 5}
    assert done[0].from_default == ("learning_rate", "activation")
    trials = study.view().trials
    assert len(trials) == 6
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 6, 7]
    asked = [trial for trial in trials if trial.asked_for]
    assert [trial.number for trial in asked] == [2, 3]
    assert [dict(trial.params) for trial in asked] == [
        {**default, "width": 5},
        {**default, "activation": "tanh", "learning_rate": 0.25},
    ]
    assert study.best.number in {trial.number for trial in trials}
    assert study.best.observed.mean <= 1.0
    assert study.trials["origin"].to_dict() == {
        0: "default",
        1: "sampler",
        2: "enqueued",
        3: "enqueued",
        6: "sampler",
        7: "sampler",
    }
    listed = {each["number"]: each for each in _json(cli, "trials", "small", storage_url)}
    assert list(listed) == list(range(8))
    assert [listed[number]["state"] for number in (4, 5)] == ["foreign", "foreign"]
    assert listed[4]["reason"].startswith("refused: a setting may only set what [space] searches")
    assert listed[5]["reason"] == "complete with 1.0000, put in by another program"
    assert [listed[number]["value"] for number in (4, 5)] == [None, None]
    assert all(set(each) == set(listed[0]) for each in listed.values())
    status = _json(cli, "status", "small", storage_url)
    assert (status["queued"], status["foreign"]) == (0, 2)
    doctor = cli("doctor", "--storage", storage_url)
    assert (doctor.code, doctor.out) == (0, "nothing is wrong\n")
    shown = cli("trials", "small", "--storage", storage_url).out
    assert "enqueued" in shown
    assert "put in by other programs, and never ranked: 2 trials" in shown
    with open_server(storage_url) as client:
        page = client.get("/selection/studies/small/").text
        assert client.get("/selection/api/studies/small/trials").json() == list(listed.values())
    rows = cells(page, "Queue and foreign trials")
    assert [row[0] for row in rows] == ["4", "5"]
    assert "foreign complete with 1.0000, put in by another program" in Page(page).text


def _json(cli: Cli, command: str, name: str, url: str) -> Any:
    done = cli(command, name, "--json", "--storage", url)
    assert done.code == 0, done.err
    return done.json


def test_the_command_says_what_the_default_gives_and_where_it_waits(
    storage_url: str, cli: Cli
) -> None:
    study = selection.run(content(), storage=storage_url, progress=False)
    done = cli("enqueue", "small", "--set", "width=3", "--storage", storage_url)
    assert done.code == 0, done.err
    assert "asked for in study small, as trial 6: width = 3" in done.out
    assert "from the default, because it was left out: learning_rate = 0.1, activation = relu" in (
        done.out
    )
    assert "the budget of trials is spent" in done.out
    value = cli(
        *("enqueue", "small", "--set", "activation=tanh", "--set", "width=4", "--json"),
        *("--storage", storage_url),
    ).json
    assert value == {
        "study": "small",
        "number": 7,
        "params": {"width": 4, "learning_rate": 0.1, "activation": "tanh"},
        "from_default": ["learning_rate"],
        "budget_left": 0,
    }
    wrong = cli("enqueue", "small", "--set", "width=99", "--set", "lr=1", "--storage", storage_url)
    assert wrong.code == 1
    assert wrong.err.splitlines() == [
        "study small: width must be a whole number from 2 to 16, but got 99. "
        "Ask for a value that the search space has.",
        "study small: a setting may only set what [space] searches, but got lr = 1. "
        "Did you mean learning_rate?",
    ]
    assert [each.number for each in study.view().others] == [6, 7]
    listed = _json(cli, "trials", "small", storage_url)
    assert [(each["state"], each["origin"]) for each in listed[6:]] == [("waiting", "enqueued")] * 2
    Path("small.toml").write_text(tomli_w.dumps(content()))
    for words in (("trials", "small"), ("run", "small.toml")):
        shown = cli(*words, "--storage", storage_url).out
        assert "asked for and not yet trained: 2 settings; the budget of trials is spent" in shown
    status = cli("status", "small", "--storage", storage_url).out
    assert "asked for and not yet trained: 2 settings" in status
    more = cli("run", "small.toml", "--trials", "+1", "--storage", storage_url)
    assert more.code == 0, more.err
    assert [each.number for each in study.view().others] == [7]
    last = study.view().trials[-1]
    assert (last.number, last.params["width"], last.asked_for) == (6, 3, "enqueued")
    study.evaluate()
    refused = cli("enqueue", "small", "--set", "width=3", "--storage", storage_url)
    assert (refused.code, "after its held-out set was opened" in refused.err) == (3, True)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_stopped_study_with_a_queue_ends_as_the_uninterrupted_one(
    bench: Bench, other_bench: Bench, sampler: str
) -> None:
    space: dict[str, Any] = {"width": {"low": 2, "high": 5}, "nesterov": {"choices": [False, True]}}
    spec = make_spec({"training": {"epochs": 2, "momentum": 0.9}}, sampler=sampler, space=space)
    queue = [{"width": 5, "nesterov": True}, {"width": 3}, {"width": 3, "nesterov": True}]
    for each, stops in ((bench, True), (other_bench, False)):
        _run_with_queue(each, spec, queue, stops=stops)
    tables = [each.table(spec) for each in (bench, other_bench)]
    assert tables[0] == tables[1]
    assert [row["asked_for"] for row in tables[0]].count("enqueued") == 3
    assert [row["number"] for row in tables[0]] == list(range(len(tables[0])))
    if sampler == "grid":
        points = [(tuple(row["params"].values()), row["asked_for"]) for row in tables[0]]
        asked = {point for point, who in points if who}
        proposed = [point for point, who in points[4:] if not who]
        assert len(set(proposed)) == len(proposed) == spec.budget - 7
        assert not asked & set(proposed), "the grid skips what was asked for"


class Killed(BaseException):
    """Stand for a kill: nothing in selection catches it on purpose."""


def _run_with_queue(bench: Bench, spec: Any, queue: list[dict[str, Any]], *, stops: bool) -> None:
    """Run a study that is asked for settings after its first cohort; it may stop in the next."""

    def watch(news: Any) -> None:
        bench.news.append(news)
        study = bench.records.find_study(spec.name)
        assert study is not None
        if news.cohort == 0 and news.training == 0 and news.finished:
            with as_optuna(bench.database.address.secret_url, spec.name) as theirs:
                for setting in queue:
                    theirs.enqueue_trial(setting)
        if stops and news.cohort == 1 and news.epoch is not None:
            raise Killed

    if stops:
        with pytest.raises(Killed):
            bench.run(spec, watch)
    else:
        bench.run(spec, watch)


def test_what_the_loop_remembers_is_what_the_record_tells(bench: Bench) -> None:
    _run_with_queue(bench, make_spec(), [{"width": 5}], stops=False)
    table = bench.table(make_spec())
    assert [row["asked_for"] for row in table].count("enqueued") == 1
    assert [as_row(trial) for trial in bench.news[-1].finished] == table
