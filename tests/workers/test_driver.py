"""A study by several workers equals itself, whoever is fast, whoever dies, however often it starts.

The workers are made up, and the trainer, the record and the databases are real.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from selection.errors import StudyStateError
from selection.store.claims import Limits, NewCohort, ResumedCohort
from selection.store.leases import Lease, Progress, RunningCohort, new_worker
from selection.store.repository import Repository, open_repository
from selection.store.tables import lease_table
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState
from selection.train.device import choose_device, describe_device
from selection.train.fit import Trainer
from selection.workers import driver as driver_module
from selection.workers import team as team_module
from selection.workers.driver import run_team
from selection.workers.team import Team
from selection.workflows import sweep as sweep_module
from selection.workflows.audit import audit_pruned
from selection.workflows.cohort import CohortTask
from selection.workflows.study_data import enter_study, load_study_data, make_trainer
from selection.workflows.sweep import run_sweep
from selection.workflows.sweep_record import SweepRecord
from tests.record_content import content_of
from tests.sweep_bench import make_spec
from tests.workers.made_up import MadeUpLauncher

CPU = choose_device("cpu")


class Killed(BaseException):
    """Stands for a kill of the driver: nothing of it runs afterwards."""


class Watcher:
    """Be the view of a team that keeps what it is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.running: list[Sequence[RunningCohort]] = []
        self.finished: list[int] = []

    def show(self, news: Any) -> None:
        raise AssertionError("a team has a view of its own")

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        self.finished.append(len(finished))
        self.running.append(running)

    def say(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class Case:
    """Hold a database, and what runs of one study share."""

    url: str
    spec: StudySpec
    folder: Path
    is_alone: bool

    def trainer(self) -> Trainer:
        return make_trainer(self.spec, load_study_data(self.spec, self.folder), CPU, 0)

    def run(
        self,
        launcher: MadeUpLauncher,
        lag: int | None,
        view: Watcher | None = None,
        max_retries: int | None = None,
    ) -> Watcher:
        """Run the study by a team, as a process of its own would."""
        view = view or Watcher()
        with open_repository(self.url, create=True, write=True) as repository:
            data = load_study_data(self.spec, self.folder)
            study = enter_study(self.spec, data, repository.records, describe_device(CPU))
            team = Team(lambda: launcher, view.say)
            me = replace(new_worker(60.0, is_alone=self.is_alone), process="")
            try:
                words = (team, self.spec, study, repository, me, view)
                run_team(*words, lag=lag, max_retries=max_retries)
            except Killed:
                self.die(repository)
                raise
            finally:
                team.stop()
        return view

    def run_alone(self, lag: int | None = None) -> None:
        """Run the study by this process alone."""
        with open_repository(self.url, create=True, write=True) as repository:
            data = load_study_data(self.spec, self.folder)
            study = enter_study(self.spec, data, repository.records, describe_device(CPU))
            me = new_worker(60.0, is_alone=self.is_alone)
            view: Any = Watcher()
            view.show = lambda news: None
            trainer = self.trainer()
            run_sweep(self.spec, study, repository, trainer, me, view, lag=lag)
            audit_pruned(self.spec, study, repository, trainer.train, view.say)

    def die(self, repository: Repository) -> None:
        """Let the leases of a killed driver end."""
        with repository.database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM selection_lease")

    def content(self) -> list[dict[str, Any]]:
        with open_repository(self.url) as repository:
            return content_of(repository, self.spec.name)

    def unfinished(self) -> set[int]:
        """Return the cohorts that have begun and not finished."""
        return {trial["cohort"] for trial in self.content() if not trial["state"].is_finished}


@pytest.fixture(params=["sqlite", "postgres"])
def new_case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Case]:
    """A function that returns a case with a database of its own."""
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(team_module, "POLL_SECONDS", 0.0)
    count = iter(range(1000))

    def make(**search: Any) -> Case:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/{next(count)}.db"
        else:
            url = request.getfixturevalue("new_postgres")()
        spec = make_spec(**{"trials": 26, "cohort": 3, **search})
        return Case(url, spec, tmp_path, is_alone=request.param == "sqlite")

    return make


def launcher_of(case: Case, workers: int, seed: int, **options: Any) -> MadeUpLauncher:
    return MadeUpLauncher(workers, case.trainer(), random.Random(seed), **options)


def test_one_worker_trains_the_trials_of_a_run_without_workers(
    new_case: Callable[..., Case],
) -> None:
    alone, team = new_case(), new_case()
    alone.run_alone()
    launcher = launcher_of(team, 1, 0)
    view = team.run(launcher, 1)
    assert team.content() == alone.content()
    assert view.finished[-1] == 26
    assert launcher.has_stopped


@pytest.mark.parametrize("is_ahead", [False, True])
def test_trials_depend_neither_on_speed_nor_on_deaths(
    new_case: Callable[..., Case], is_ahead: bool
) -> None:
    calm = new_case()
    launcher = launcher_of(calm, 3, 0, asks_ahead=is_ahead)
    calm.run(launcher, 3)
    assert launcher.most == 3, "all workers train at once"
    content = calm.content()
    assert {trial["state"] for trial in content} > {TrialState.PRUNED}
    for seed in range(1, 5):
        other = new_case()
        other.run(launcher_of(other, 3, seed, deaths=0.3, asks_ahead=is_ahead), 3)
        assert other.content() == content, f"seed {seed}"


def test_a_worker_trains_while_the_cohorts_of_the_others_are_proposed(
    new_case: Callable[..., Case],
) -> None:
    case = new_case()
    launcher = launcher_of(case, 3, 0)
    begun: list[int] = []

    def train(slot: int, task: CohortTask) -> None:
        MadeUpLauncher.train(launcher, slot, task)
        begun.append(len(case.content()) // 3)

    launcher.train = train  # type: ignore[method-assign]
    case.run(launcher, 3)
    assert begun[:3] == [1, 2, 3]


def test_fewer_workers_with_the_same_lag_train_the_same_trials(
    new_case: Callable[..., Case],
) -> None:
    three, one, alone = new_case(), new_case(), new_case()
    three.run(launcher_of(three, 3, 0), 3)
    one.run(launcher_of(one, 1, 0), 3)
    alone.run_alone(3)
    assert one.content() == three.content()
    assert alone.content() == three.content()


def test_another_lag_proposes_other_trials(new_case: Callable[..., Case]) -> None:
    short, long = new_case(), new_case()
    short.run(launcher_of(short, 2, 0), 2)
    long.run(launcher_of(long, 2, 0), 4)
    assert long.content() != short.content()


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_driver_that_is_killed_again_and_again_ends_with_the_same_record(
    new_case: Callable[..., Case], is_ahead: bool
) -> None:
    calm, killed = new_case(), new_case()
    calm.run(launcher_of(calm, 2, 0, asks_ahead=is_ahead), 2)
    generator = random.Random(7)
    kills = 0
    while True:
        left = generator.randrange(1, 9)

        def die() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        launcher = launcher_of(
            killed, 2, generator.randrange(100), deaths=0.2, before=die, asks_ahead=is_ahead
        )
        try:
            killed.run(launcher, 2)
        except Killed:
            kills += 1
            continue
        break
    assert kills > 3
    assert killed.content() == calm.content()


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_free_lag_trains_the_budget_once_and_keeps_all_workers_busy(
    new_case: Callable[..., Case], is_ahead: bool
) -> None:
    case = new_case()
    launcher = launcher_of(case, 4, 5, deaths=0.2, asks_ahead=is_ahead)
    case.run(launcher, None)
    assert launcher.most == 4
    content = case.content()
    assert [trial["number"] for trial in content] == list(range(26))
    assert all(trial["state"].is_finished for trial in content)
    assert {trial["known_cohorts"] for trial in content} == {None}


def test_what_a_cohort_knew_is_on_record(new_case: Callable[..., Case]) -> None:
    case = new_case()
    case.run(launcher_of(case, 3, 0), 3)
    known = {trial["cohort"]: trial["known_cohorts"] for trial in case.content()}
    assert known == {cohort: max(cohort - 2, 0) for cohort in range(9)}


def test_a_cohort_whose_workers_always_die_is_failed_and_the_study_goes_on(
    new_case: Callable[..., Case],
) -> None:
    case = new_case(trials=9)
    launcher = launcher_of(case, 1, 0)
    deadly = [2]

    def events(seconds: float) -> list[Any]:
        if any(task.cohort in deadly for task in launcher.training.values()):
            launcher.deaths = 1.0
        found = MadeUpLauncher.events(launcher, seconds)
        launcher.deaths = 0.0
        return found

    launcher.events = events  # type: ignore[method-assign]
    view = Watcher()
    with open_repository(case.url, create=True, write=True) as repository:
        data = load_study_data(case.spec, case.folder)
        study = enter_study(case.spec, data, repository.records, describe_device(CPU))
        me = new_worker(60.0, is_alone=True)
        team = Team(lambda: launcher, view.say)
        run_team(team, case.spec, study, repository, me, view, lag=1, max_retries=2)
    content = case.content()
    assert [t["state"] for t in content[6:]] == [TrialState.FAILED] * 3
    assert content[6]["reason"] == "lost: 3 workers in a row died while they trained it"
    assert all(trial["state"] is not TrialState.FAILED for trial in content[:6])
    assert len([task for task in launcher.given if task.cohort == 2]) == 3


def test_a_worker_that_dies_again_and_again_stops_the_study(
    new_case: Callable[..., Case],
) -> None:
    case = new_case()
    launcher = launcher_of(case, 2, 0, deaths=1.0)
    view = Watcher()
    with pytest.raises(StudyStateError) as caught:
        case.run(launcher, 2, view)
    assert "a worker may fail at most 10 times in a row, but got 11 failures" in str(caught.value)
    assert launcher.has_stopped
    _assert_all_is_given_back(case)


def test_all_audits_are_trained_by_workers(new_case: Callable[..., Case]) -> None:
    alone, case = new_case(), new_case()
    alone.run_alone()
    case.run(launcher_of(case, 2, 3, deaths=0.3), 1)
    audited = []
    for each in (alone, case):
        with open_repository(each.url) as repository:
            points = repository.curves.audited(repository.study("iris"))
            audited.append([(p.number, [f.curve.points.tolist() for f in p.folds]) for p in points])
    assert len(audited[0]) == 2
    assert audited[0] == audited[1]


@pytest.mark.parametrize(("lag", "is_ahead"), [(2, False), (2, True), (1, False), (1, True)])
def test_a_worker_gets_its_next_cohort_before_its_last_is_recorded(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch, lag: int, is_ahead: bool
) -> None:
    case = new_case(trials=12)
    launcher = launcher_of(case, 1, 0, asks_ahead=is_ahead)
    happened: list[str] = []
    finish = SweepRecord.finish

    def noted(record: SweepRecord, begun: Any, results: Any) -> None:
        given = [task.cohort for task in launcher.given]
        happened.append(f"recorded {begun.lease.cohort}, given {given}")
        finish(record, begun, results)

    monkeypatch.setattr(SweepRecord, "finish", noted)
    case.run(launcher, lag)
    # A cohort that is to know the one before has to wait for it.
    ahead = 1 if lag == 2 else 0
    assert happened == [
        f"recorded {cohort}, given {list(range(min(cohort + 1 + ahead, 4)))}" for cohort in range(4)
    ]


def test_an_interrupt_gives_back_a_cohort_whose_worker_has_died(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = new_case()
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 60.0)
    launcher = launcher_of(case, 2, 0)
    has_died = False

    def events(seconds: float) -> list[Any]:
        nonlocal has_died
        if has_died:
            raise KeyboardInterrupt
        has_died = len(launcher.training) == 2
        launcher.deaths = float(has_died)
        return MadeUpLauncher.events(launcher, seconds)

    launcher.events = events  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        case.run(launcher, 2)
    _assert_all_is_given_back(case)


def test_an_interrupt_while_a_cohort_begins_gives_it_back(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = new_case()
    begin = SweepRecord.begin

    def interrupt(record: SweepRecord, claim: NewCohort) -> None:
        begin(record, claim)
        raise KeyboardInterrupt

    monkeypatch.setattr(SweepRecord, "begin", interrupt)
    with pytest.raises(KeyboardInterrupt):
        case.run(launcher_of(case, 2, 0), 2)
    _assert_all_is_given_back(case)


def _assert_all_is_given_back(case: Case) -> None:
    assert {trial["state"] for trial in case.content()} == {TrialState.WAITING}
    with open_repository(case.url) as repository:
        assert repository.leases.running(repository.study("iris")) == []


def _kill_with_a_cohort_begun_ahead(case: Case) -> None:
    """Leave two cohorts that trained, and one that is to know the first of them."""

    def die() -> None:
        if len(launcher.given) > 6 and len(launcher.training) == 2:
            raise Killed

    launcher = launcher_of(case, 2, 0, asks_ahead=True, before=die)
    with pytest.raises(Killed):
        case.run(launcher, 2)
    assert case.unfinished() == {5, 6, 7}
    assert {trial["known_cohorts"] for trial in case.content() if trial["cohort"] == 7} == {6}


def test_a_cohort_begun_ahead_knows_what_it_is_to_know_whoever_goes_on_with_it(
    new_case: Callable[..., Case],
) -> None:
    calm, killed = new_case(), new_case()
    calm.run(launcher_of(calm, 2, 0, asks_ahead=True), 2)
    _kill_with_a_cohort_begun_ahead(killed)
    training = set[int]()

    def look() -> None:
        training.update(task.cohort for task in launcher.training.values())
        assert 7 not in training or 5 not in killed.unfinished()

    launcher = launcher_of(killed, 4, 0, before=look)
    killed.run(launcher, 2)
    assert training >= {5, 6, 7}
    # Later ones are proposed by a sampler that is not asked ahead.
    same = [trial["cohort"] <= 7 for trial in calm.content()].index(False)
    assert killed.content()[:same] == calm.content()[:same]


@pytest.mark.parametrize("is_team", [True, False])
def test_who_holds_a_cohort_begun_ahead_takes_over_what_it_waits_for(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch, is_team: bool
) -> None:
    calm, case = new_case(), new_case()
    calm.run(launcher_of(calm, 2, 0, asks_ahead=True), 2)
    _kill_with_a_cohort_begun_ahead(case)
    waited = 0

    def let_the_other_die(*_: float) -> None:
        nonlocal waited
        waited += 1
        if waited == 5:
            assert case.unfinished() == {5, 6, 7}
            with open_repository(case.url, write=True) as repository:
                case.die(repository)

    with open_repository(case.url, write=True) as repository:
        for cohort in (5, 6):
            other = replace(new_worker(60.0, is_alone=False), process="")
            claim = repository.cohorts.claim(repository.study("iris"), other, Limits(26, 3))
            assert isinstance(claim, ResumedCohort)
            assert claim.lease.cohort == cohort
    case.is_alone = False
    if is_team:
        case.run(launcher_of(case, 1, 0, before=let_the_other_die), 2)
    else:
        clock = SimpleNamespace(sleep=let_the_other_die)
        monkeypatch.setattr(sweep_module, "time", clock)
        case.run_alone(2)
    assert waited >= 5
    same = [trial["cohort"] <= 7 for trial in calm.content()].index(False)
    assert case.content()[:same] == calm.content()[:same]


class Beating:
    """Be the heartbeat of a driver that only notes which leases it keeps alive."""

    def __init__(self) -> None:
        self.held: set[Lease] = set()

    def hold(self, lease: Lease) -> None:
        self.held.add(lease)

    def let_go(self, lease: Lease) -> None:
        self.held.remove(lease)

    def report(self, lease: Lease, progress: Progress) -> None:
        assert lease in self.held


@pytest.mark.parametrize("lag", [3, None])
@pytest.mark.parametrize("is_ahead", [False, True])
def test_the_leases_of_all_cohorts_that_train_are_renewed_and_no_others(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch, is_ahead: bool, lag: int | None
) -> None:
    case, beating = new_case(), Beating()
    monkeypatch.setattr(driver_module, "heartbeat", lambda *_: nullcontext(beating))

    def look() -> None:
        renewed = sorted(lease.cohort for lease in beating.held)
        training = {task.cohort for task in launcher.training.values() if task.cohort >= 0}
        assert training <= set(renewed)
        assert len(renewed) <= len(training) + is_ahead + len(launcher.starting)

    launcher = launcher_of(case, 3, 1, deaths=0.2, asks_ahead=is_ahead, before=look)
    case.run(launcher, lag)
    assert not beating.held


def test_a_worker_that_dies_once_in_every_cohort_stops_nothing(
    new_case: Callable[..., Case],
) -> None:
    case = new_case(trials=13, cohort=1)
    launcher = launcher_of(case, 1, 0)
    seen = set[int]()

    def die_at_first() -> None:
        cohorts = {task.cohort for task in launcher.training.values()}
        launcher.deaths = float(not cohorts <= seen)
        seen.update(cohorts)

    launcher.before = die_at_first
    view = case.run(launcher, 1)
    assert sum("restarting" in line for line in view.lines) > team_module.MAX_FAILURES
    assert all(trial["state"].is_finished for trial in case.content())


def test_an_interrupt_after_a_cohort_leaves_no_lease(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = new_case()
    launcher = launcher_of(case, 1, 0)

    def finish(record: SweepRecord, *ended: Any) -> None:
        finish_for_good(record, *ended)
        monkeypatch.setattr(SweepRecord, "claim", interrupt)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    finish_for_good = SweepRecord.finish
    monkeypatch.setattr(SweepRecord, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        case.run(launcher, 1)
    assert len(case.content()) == 3
    with open_repository(case.url) as repository:
        assert repository.leases.running(repository.study("iris")) == []


def test_one_broken_worker_costs_no_trial(new_case: Callable[..., Case]) -> None:
    case = new_case(trials=24)
    launcher = launcher_of(case, 3, 0)

    def events(seconds: float) -> list[Any]:
        # Of the first worker, every task is its death.
        launcher.deaths = float(0 in launcher.training)
        if launcher.deaths:
            others: dict[int, CohortTask] = {
                slot: launcher.training.pop(slot) for slot in (1, 2) if slot in launcher.training
            }
            found = MadeUpLauncher.events(launcher, seconds)
            launcher.training |= others
            return found
        return MadeUpLauncher.events(launcher, seconds)

    launcher.events = events  # type: ignore[method-assign]
    view = Watcher()
    case.run(launcher, 3, view, 1)
    assert all(trial["state"] is not TrialState.FAILED for trial in case.content())
    assert any("worker 0 ended by signal SIGKILL" in line for line in view.lines)


def test_a_lease_is_renewed_while_its_cohort_is_proposed(
    new_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = new_case(trials=6)
    begin, held = SweepRecord.begin, list[bool]()

    def slow(record: SweepRecord, claim: NewCohort) -> Any:
        before = [row.expires_at for row in leases(record)]
        deadline = time.monotonic() + 30.0
        while [row.expires_at for row in leases(record)] == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        held.append(True)
        return begin(record, claim)

    def leases(record: SweepRecord) -> Any:
        with record.repository.database.reading() as connection:
            query = sa.select(lease_table).order_by(lease_table.c.cohort.desc()).limit(1)
            return connection.execute(query).all()

    monkeypatch.setattr(SweepRecord, "begin", slow)
    monkeypatch.setattr("selection.store.heartbeat.LONGEST_PAUSE_SECONDS", 0.05)
    case.run(launcher_of(case, 1, 0), 1)
    assert len(held) == 2
