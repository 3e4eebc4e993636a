"""The loop over a real (small) data set: identical reruns, resumption, repeated settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from selection.errors import StudyStateError
from selection.search import Proposer, propose
from selection.store.cohorts import Cohorts
from selection.store.database import open_database
from selection.store.leases import Worker, new_worker
from selection.store.tables import trial_table
from selection.study.budget import is_finished
from selection.study.lag import Lag
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial, TrialState
from selection.workflows.cohort import Memory
from selection.workflows.sweep import SweepNews
from tests.sweep_bench import Bench, as_row, make_spec


def test_a_sweep_spends_its_budget_and_prunes(bench: Bench) -> None:
    table = bench.table(make_spec())
    assert [row["number"] for row in table] == list(range(9))
    assert [row["cohort"] for row in table] == [0] * 4 + [1] * 4 + [2]
    states = {row["state"] for row in table}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for row in table:
        if row["state"] is TrialState.COMPLETE:
            assert row["epochs"] == 4
            assert len(row["fold_scores"]) == 3
            assert row["value"] == row["fold_means"][-1]
        else:
            assert row["epochs"] < 4
            assert row["value"] is None
    assert max(row["value"] or 0 for row in table) > 0.6, "chance is 1/3"


def test_everyone_sees_that_a_study_trains_between_its_cohorts_too(bench: Bench) -> None:
    held: list[list[int]] = []

    def watch(news: SweepNews) -> None:
        study = bench.records.find_study("iris")
        assert study is not None
        if not held or news.training == 0:
            held.append([cohort.cohort for cohort in bench.repository.leases.running(study)])

    study = bench.run(make_spec(), watch)
    assert held == [[0], [0], [1], [2]]
    assert bench.repository.leases.running(study) == []


def test_an_error_between_two_cohorts_leaves_no_lease(bench: Bench) -> None:
    def stop(news: SweepNews) -> None:
        if news.training == 0:
            raise Killed

    with pytest.raises(Killed):
        bench.run(make_spec(), stop)
    study = bench.records.find_study("iris")
    assert study is not None
    assert bench.repository.leases.running(study) == []
    assert [trial.state.is_finished for trial in bench.records.trials(study)] == [True] * 4


def test_the_same_seed_gives_the_identical_table(bench: Bench, other_bench: Bench) -> None:
    assert bench.table(make_spec()) == other_bench.table(make_spec())


def test_what_the_loop_remembers_is_what_the_record_tells(bench: Bench) -> None:
    table = bench.table(make_spec())
    remembered = [as_row(trial) for trial in bench.news[-1].finished]
    assert remembered == table


class Killed(BaseException):
    """Stand for a kill: nothing in selection catches it on purpose."""


@pytest.mark.parametrize("cohort", [0, 1, 2])
@pytest.mark.parametrize("is_released", [True, False], ids=["interrupted", "killed"])
def test_a_stopped_study_ends_as_the_uninterrupted_one(
    bench: Bench,
    other_bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    cohort: int,
    is_released: bool,
) -> None:
    def stop(news: SweepNews) -> None:
        if news.cohort == cohort and news.epoch is not None and news.epoch.epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        if not is_released:
            patch.setattr(Cohorts, "release", lambda *_: None)
        with pytest.raises(Killed):
            bench.run(make_spec(), stop)
    study = bench.records.find_study("iris")
    assert study is not None
    states = [trial.state for trial in bench.records.trials(study)]
    left = TrialState.WAITING if is_released else TrialState.RUNNING
    assert states.count(left) == len(states) - 4 * cohort > 0
    assert bench.table(make_spec()) == other_bench.table(make_spec())


def test_ahead_each_cohort_is_asked_of_all_trials_but_those_just_before_it(bench: Bench) -> None:
    spec = make_spec(trials=24)
    bench.asks_ahead = True
    study = bench.run(spec)
    trials = bench.records.trials(study)
    fresh = [trial.params for trial in trials]
    for cohort in range(6):
        # The second cohort waits for the first: it has nothing else to learn from.
        finished = [trial for trial in trials if trial.cohort < max(cohort - 1, min(cohort, 1))]
        running = trials[len(finished) : 4 * cohort]
        proposed = propose(spec, finished, 4, cohort, running)
        assert proposed == fresh[4 * cohort : 4 * cohort + 4]
    assert any(
        propose(spec, trials[: 4 * cohort], 4, cohort) != fresh[4 * cohort : 4 * cohort + 4]
        for cohort in range(2, 6)
    ), "the last trials would have been heeded"


@pytest.mark.parametrize("cohort", [3, 5])
def test_ahead_a_stopped_study_ends_as_the_uninterrupted_one(
    bench: Bench, other_bench: Bench, cohort: int
) -> None:
    def stop(news: SweepNews) -> None:
        if news.cohort == cohort and news.epoch is not None:
            raise Killed

    bench.asks_ahead = other_bench.asks_ahead = True
    with pytest.raises(Killed):
        bench.run(make_spec(trials=24), stop)
    assert bench.table(make_spec(trials=24)) == other_bench.table(make_spec(trials=24))


def test_what_was_asked_ahead_is_asked_again_where_it_no_longer_fits() -> None:
    spec = make_spec(trials=24)
    proposer = Proposer(spec, Lag(is_ahead=True))
    running = [Trial(0, TrialState.RUNNING, spec.default, cohort=1)]
    proposer.look_ahead([], 4, 2, running)
    assert proposer.propose([], 3, 2, running) == propose(spec, [], 3, 2, running)
    proposer.look_ahead([], 4, 2, running)
    assert proposer.propose([], 4, 3, running) == propose(spec, [], 4, 3, running)
    proposer.look_ahead([], 4, 2, running)
    assert proposer.propose([], 4, 2, ()) == propose(spec, [], 4, 2)


def test_ahead_of_the_second_cohort_nothing_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counting(spec: StudySpec, finished: Any, n: int, cohort: int, *rest: Any) -> Any:
        asked.append(cohort)
        return propose(spec, finished, n, cohort, *rest)

    monkeypatch.setattr("selection.search.proposer.propose", counting)
    proposer = Proposer(make_spec(), Lag(is_ahead=True))
    first = [Trial(0, TrialState.RUNNING, make_spec().default, cohort=0)]
    proposer.look_ahead([], 4, 1, first)
    assert asked == []
    finished = [replace(first[0], state=TrialState.COMPLETE, value=0.5, fold_means=(0.5,))]
    proposer.propose(finished, 4, 1, ())
    assert asked == [1]


def test_a_sweep_says_once_that_every_setting_was_tried(bench: Bench) -> None:
    space = {"width": {"choices": [4, 8]}}
    study = bench.run(make_spec(space=space, trials=10, cohort=2, sampler="random"))
    (line,) = [line for line in bench.lines if "every setting" in line]
    assert line == (
        "iris: every setting of the space has been tried, 2 in all; "
        "the trials that are left repeat their scores without training"
    )
    widths = [trial.params["width"] for trial in bench.records.trials(study)]
    assert sorted(widths[:2]) == [4, 8]
    assert set(widths[2:]) <= {4, 8}


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_sweep_that_leaves_settings_untried_does_not_say_so(bench: Bench, sampler: str) -> None:
    space = {"width": {"choices": [2, 3, 4, 8]}}
    bench.run(make_spec(space=space, trials=4, cohort=2, sampler=sampler))
    assert [line for line in bench.lines if "every setting" in line] == []


def test_a_finished_study_is_not_trained_again(bench: Bench) -> None:
    first = bench.table(make_spec())
    bench.news.clear()
    assert bench.table(make_spec()) == first
    assert bench.news == []


def test_a_changed_study_is_refused_with_the_difference(bench: Bench) -> None:
    before = bench.table(make_spec())
    with pytest.raises(StudyStateError, match=r"search.cohort: 4 -> 3") as caught:
        bench.run(make_spec(cohort=3, trials=12))
    assert "\n" not in str(caught.value)
    assert bench.table(make_spec()) == before


def test_changed_rows_are_refused(bench: Bench, tmp_path: Path) -> None:
    def table_spec() -> StudySpec:
        return parse_study(
            {
                "name": "t",
                "data": {"path": str(tmp_path / "t.csv"), "target": "y"},
                "cv": {"folds": 2},
                "training": {"epochs": 1},
                "search": {"trials": 1},
            },
            "t.toml",
        )

    lines = [f"{i},{i % 7},{i % 2}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]))
    bench.run(table_spec())
    lines[3] = "3,99,1"
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]))
    with pytest.raises(StudyStateError, match="keeps its rows"):
        bench.run(table_spec())


def test_a_table_may_move_as_long_as_its_rows_are_the_same(bench: Bench) -> None:
    def table_spec(name: str) -> StudySpec:
        data = {"path": str(bench.folder / name), "target": "y"}
        return make_spec({"name": "t", "data": data, "cv": {"folds": 2}}, trials=2, cohort=2)

    lines = [f"{i},{i % 7},{i % 2}" for i in range(40)]
    (bench.folder / "old.csv").write_text("\n".join(["a,b,y", *lines]))
    study = bench.run(table_spec("old.csv"))
    (bench.folder / "old.csv").rename(bench.folder / "new.csv")
    moved = bench.run(table_spec("new.csv"))
    assert moved.uuid == study.uuid
    found = bench.records.find_study("t")
    assert found is not None
    assert found.spec().sections.data.path == str(bench.folder / "new.csv")
    assert found.spec_fingerprint == found.spec().fingerprint
    (bench.folder / "new.csv").write_text("\n".join(["a,b,y", *lines[1:]]))
    with pytest.raises(StudyStateError, match="keeps its rows"):
        bench.run(table_spec("new.csv"))


def test_a_setting_asked_twice_is_answered_from_the_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selection.train.fit import Trainer

    trained: list[int] = []
    honest = Trainer.train

    def counting(self: Trainer, settings: Any, *rest: Any) -> Any:
        trained.append(len(settings))
        return honest(self, settings, *rest)

    monkeypatch.setattr(Trainer, "train", counting)
    space = {"width": {"choices": [4, 8]}, "dropout": {"choices": [0.0, 0.5]}}
    spec = make_spec(space=space, trials=24, cohort=6, sampler="random")
    study = bench.run(spec)
    trials = bench.records.trials(study)
    assert len(trials) == 24
    assert sum(trained) == 4, "there are four settings"
    by_params: dict[Any, list[Trial]] = {}
    for trial in trials:
        by_params.setdefault(tuple(trial.params.items()), []).append(trial)
    for first, *others in by_params.values():
        assert others, "every setting is asked again in 24 trials"
        for other in others:
            assert (other.state, other.value) == (first.state, first.value)
            assert other.fold_means == first.fold_means
            assert other.reason.count(f"same setting as trial {first.number}") == 1
            assert other.reason.count("same setting") == 1
            assert first.number < other.number


def test_a_memory_finds_the_first_settled_trial_of_each_setting() -> None:
    spec = make_spec(space={"width": {"choices": [4, 8]}})
    failed = {"state": TrialState.FAILED, "reason": "out of memory"}
    ends: list[dict[str, Any]] = [failed, {}, {}, {"state": TrialState.FAILED}, {}, failed]
    finished = [
        Trial(number, **{"state": TrialState.COMPLETE, **end}, params={"width": width}, cohort=0)
        for number, (end, width) in enumerate(zip(ends, [4, 8, 8, 4, 4, 8], strict=True))
    ]
    memory = Memory(spec)
    # The last ones are not what a record ever tells.
    for known in (
        finished[:1],
        finished[:1] + finished[2:],
        finished,
        finished[:3],
        finished[2:],
        [],
    ):
        expected: dict[Any, int] = {}
        for trial in known:
            if not trial.reason:
                expected.setdefault(spec.setting(trial.params), trial.number)
        seen = memory.seen(known)
        assert {setting: trial.number for setting, trial in seen.items()} == expected


def test_a_sweep_looks_once_at_each_trial_that_it_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selection.store.records import Records

    read: list[int] = []
    looked_at: list[int] = []
    honest_read, honest_find = Records.trials, Records.finished_numbers

    def reading(self: Records, *args: Any, **options: Any) -> Any:
        read.append(len(options["numbers"]))
        return honest_read(self, *args, **options)

    def finding(self: Records, *args: Any, **options: Any) -> Any:
        found = honest_find(self, *args, **options)
        looked_at.append(len(found))
        return found

    monkeypatch.setattr(Records, "trials", reading)
    monkeypatch.setattr(Records, "finished_numbers", finding)
    bench.run(make_spec(trials=24))
    assert (read, looked_at) == ([], [0] * 6)


def test_a_timeout_ends_the_study_after_the_cohort_it_falls_into(bench: Bench) -> None:
    # A first cohort is always trained; what counts is the time that the record knows of, so that
    # waiting for something else ends no study and another run begins no cohort.
    table = bench.table(make_spec(timeout_seconds=1e-6), lambda news: time.sleep(0.01))
    assert len(table) == 4
    assert bench.table(make_spec(timeout_seconds=1e-6)) == table
    study = bench.records.find_study("iris")
    assert study is not None
    trials = bench.records.trials(study, with_curves=False)
    assert is_finished(study.spec(), trials, bench.records.elapsed_seconds(study))


def test_searched_structure_trains_and_regression_too(bench: Bench) -> None:
    spec = parse_study(
        {
            "name": "diabetes",
            "data": {"dataset": "diabetes"},
            "cv": {"folds": 3, "repeats": 2},
            "training": {"epochs": 3},
            "space": {
                "hidden_layers": {"low": 0, "high": 2},
                "activation": {"choices": ["relu", "sigmoid"]},
                "optimizer": {"choices": ["sgd", "adam"]},
                "batch_size": {"choices": [16, 64]},
                "epochs": {"choices": [2, 3]},
                "init": {"choices": ["default", "xavier_normal"]},
                "width": {"choices": [8, 16]},
                "learning_rate": {"low": 0.001, "high": 0.01, "log": True},
            },
            "search": {"metric": "rmse", "trials": 8, "cohort": 8, "pruner": "none"},
        },
        "d.toml",
    )
    table = bench.table(spec)
    assert all(row["state"] is TrialState.COMPLETE for row in table)
    assert all(len(row["fold_scores"]) == 6 for row in table)
    assert min(row["value"] for row in table) < 77, "the target's standard deviation is 77"


def test_what_another_program_writes_meanwhile_changes_no_trial_of_the_study(
    bench: Bench, other_bench: Bench
) -> None:
    spec = make_spec()
    expected = other_bench.table(spec)
    storage = optuna.storages.RDBStorage(bench.database.address.secret_url)
    told: list[int] = []

    def tell(news: SweepNews) -> None:
        """End a trial of each cohort while it trains."""
        if news.epoch is not None and news.epoch.epoch == 2 and len(told) == news.cohort:
            theirs = optuna.load_study(study_name="iris", storage=storage)
            running = [each for each in theirs.trials if each.state is OptunaState.RUNNING]
            told.append(running[-1].number)
            theirs.tell(running[-1].number, 99.0)

    try:
        table = bench.table(spec, tell)
        assert len(told) == 3
        assert table == expected
        study = bench.records.find_study("iris")
        assert study is not None
        assert bench.assess(study).is_finished
        theirs = optuna.load_study(study_name="iris", storage=storage)
        assert theirs.best_value < 99.0
        theirs.add_trials([create_trial(value=98.0) for _ in range(20)])
        assert bench.assess(study).is_finished
        assert bench.table(make_spec(trials=13))[:9] == expected
        assert len(bench.records.trials(study)) == 13
        assert len(bench.records.others(study)) == 20
        assert bench.assess(study).winner in bench.records.trials(study, with_curves=False)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_a_second_writer_of_a_file_waits_for_the_first(bench: Bench, other_bench: Bench) -> None:
    """As where the file of its lock was removed: neither takes the other's cohort."""
    spec = make_spec()
    expected = other_bench.table(spec)
    other_bench.database.close()
    other_bench.use(open_database(bench.database.address.secret_url, create=False, write=True))
    second = threading.Thread(target=other_bench.run, args=(spec,), kwargs={"worker": a_worker()})

    def start(news: SweepNews) -> None:
        if news.epoch is not None and not second.ident:
            second.start()
            wait_until(lambda: bool(other_bench.lines))

    assert bench.table(spec, start) == expected
    second.join(60.0)
    assert not second.is_alive()
    assert other_bench.lines[0].startswith("iris: waiting for ")
    assert [line for line in bench.lines if "given to another worker" in line] == []
    query = sa.select(trial_table.c.attempt)
    with bench.database.reading() as connection:
        assert set(connection.scalars(query)) == {1}
    other_bench.database.close()


def a_worker() -> Worker:
    return new_worker(60.0, is_alone=True)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
