"""The rules of a team: who is started when, who is waited for, and what stops the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from selection.errors import DeviceError, ErrorDetail, StudyStateError
from selection.study.setting import Setting
from selection.study.trial import TrialResult, TrialState
from selection.train.fit import EpochNews
from selection.workers import team as team_module
from selection.workers.launcher import (
    Advanced,
    Died,
    Event,
    Ready,
    Refused,
    Said,
    Trained,
    WorkerFacts,
)
from selection.workers.team import Team
from selection.workflows.cohort import CohortTask
from tests.sweep_bench import make_spec

TASK = CohortTask(3, {}, None)
NEWS = EpochNews(2, 4, 3, 9, 0)


def ready(slot: int) -> Ready:
    return Ready(slot, WorkerFacts(f"host:{slot}", {"device": "cpu"}, asks_ahead=False))


def died(slot: int) -> Died:
    return Died(slot, "with exit code 9")


class FakeLauncher:
    """Note what it is asked for, and return the events that the test has put there."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.now = 0.0
        self.starts: list[tuple[int, float]] = []
        self.given: list[tuple[int, CohortTask]] = []
        self.next: list[list[Event]] = []
        self.has_stopped = False

    def start(self, slot: int) -> None:
        self.starts.append((slot, self.now))

    def train(self, slot: int, task: CohortTask) -> None:
        self.given.append((slot, task))

    def events(self, seconds: float) -> list[Event]:
        self.now += seconds
        return self.next.pop(0) if self.next else []

    def stop(self) -> None:
        self.has_stopped = True


class Case:
    """Hold a team of fakes, and what it says."""

    def __init__(self, workers: int) -> None:
        self.launcher = FakeLauncher(workers)
        self.lines: list[str] = []
        self.team = Team(lambda: self.launcher, self.lines.append)

    def happen(self, *events: Event) -> None:
        self.launcher.next.append(list(events))
        # One is handled at a time.
        for _ in events:
            self.team.advance(0.0)


@pytest.fixture
def new_case(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Case]:
    """A function that returns a team of so many workers, with a clock that the launcher moves."""

    def make(workers: int) -> Case:
        case = Case(workers)
        clock = SimpleNamespace(monotonic=lambda: case.launcher.now)
        monkeypatch.setattr(team_module, "time", clock)
        return case

    return make


def test_all_workers_are_started_once(new_case: Callable[[int], Case]) -> None:
    case = new_case(3)
    assert case.team.workers == 3
    for _ in range(3):
        case.team.advance()
    assert case.launcher.starts == [(0, 0.0), (1, 0.0), (2, 0.0)]
    assert case.team.idle() == []


def test_a_worker_is_idle_from_its_start_to_its_task_and_from_its_end_on(
    new_case: Callable[[int], Case],
) -> None:
    case = new_case(2)
    case.happen(ready(1))
    assert case.team.idle() == [1]
    case.team.give(1, TASK)
    assert case.launcher.given == [(1, TASK)]
    assert case.team.idle() == []
    case.happen(ready(0), Trained(1, {}))
    assert case.team.idle() == [0, 1]


def test_news_are_those_of_the_task(new_case: Callable[[int], Case]) -> None:
    case = new_case(1)
    case.happen(ready(0))
    case.team.give(0, TASK)
    assert case.team.news(0) == ("host:0", None)
    case.happen(Advanced(0, NEWS))
    assert case.team.news(0) == ("host:0", NEWS)
    case.happen(Trained(0, {}))
    assert case.team.news(0) == ("host:0", None)


def test_the_facts_are_those_of_the_first_that_is_ready(new_case: Callable[[int], Case]) -> None:
    case = new_case(2)
    case.launcher.next = [[], [Said("a word")], [ready(1)], [ready(0)]]
    assert case.team.facts().host == "host:1"
    assert case.launcher.next == [[ready(0)]]


def test_what_is_said_is_said_and_is_no_event(new_case: Callable[[int], Case]) -> None:
    case = new_case(1)
    case.launcher.next = [[Said("worker 0: so it is"), ready(0)]]
    assert case.team.advance() == []
    assert case.team.advance() == [ready(0)]
    assert case.lines == ["worker 0: so it is"]


def test_the_pause_after_a_failure_doubles_up_to_the_longest(
    new_case: Callable[[int], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(team_module, "LONGEST_PAUSE_SECONDS", 5.0)
    case = new_case(1)
    case.happen(ready(0))
    for pause in (1, 2, 4, 5, 5):
        case.happen(died(0))
        died_at, starts = case.launcher.now, len(case.launcher.starts)
        while len(case.launcher.starts) == starts:
            case.team.advance(0.5)
        assert case.launcher.starts[-1] == (0, died_at + pause)
        line = f"worker 0 ended with exit code 9; restarting it in {pause} seconds"
        assert case.lines.pop() == line


def test_a_worker_that_fails_too_often_is_given_up_and_the_last_one_stops_the_study(
    new_case: Callable[[int], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 0.0)
    case = new_case(2)
    case.happen(ready(0), ready(1))
    for _ in range(11):
        case.happen(died(0))
    assert case.lines.pop() == (
        "worker 0 ended with exit code 9, and is given up after 11 failures in a row"
    )
    assert len(case.lines) == 10
    starts = len(case.launcher.starts)
    case.team.advance(100.0)
    assert len(case.launcher.starts) == starts
    assert case.team.ready() == {1}
    for _ in range(10):
        case.happen(died(1))
    with pytest.raises(StudyStateError) as caught:
        case.happen(died(1))
    assert str(caught.value) == (
        "worker 1: a worker may fail at most 10 times in a row, but got 11 failures, the last "
        "with exit code 9. "
        "Fix the cause and run the same command again; finished trials are kept."
    )


def test_workers_that_never_start_stop_the_study_sooner(
    new_case: Callable[[int], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 0.0)
    case = new_case(1)
    for _ in range(3):
        case.happen(died(0))
    with pytest.raises(StudyStateError, match="at most 3 times in a row, but got 4 failures"):
        case.happen(died(0))


def test_a_finished_task_makes_the_next_failure_a_first(
    new_case: Callable[[int], Case],
) -> None:
    case = new_case(2)
    for is_first in (True, False, True, False):
        if is_first:
            case.happen(ready(0))
            case.team.give(0, TASK)
            case.happen(Trained(0, {}))
        # What others finish says nothing of this worker.
        case.happen(Trained(1, {}), died(0))
    assert [line.split()[-2] for line in case.lines] == ["0.5", "1", "0.5", "1"]


def test_the_worker_that_failed_least_comes_first(new_case: Callable[[int], Case]) -> None:
    case = new_case(3)
    case.happen(ready(0), died(0), ready(2), ready(1), ready(0))
    assert case.team.idle() == [1, 2, 0]


def test_a_worker_that_died_has_neither_facts_nor_a_task(new_case: Callable[[int], Case]) -> None:
    case = new_case(1)
    case.happen(ready(0))
    case.team.give(0, TASK)
    case.happen(Advanced(0, NEWS), died(0))
    assert case.team.idle() == []
    assert case.team.news(0) == ("worker 0", None)
    case.happen(ready(0))
    assert case.team.idle() == [0]


def test_a_worker_that_refuses_raises_its_own_error(new_case: Callable[[int], Case]) -> None:
    case = new_case(2)
    error = DeviceError(ErrorDetail("--device", "cuda needs a device", "none", "Use the CPU."))
    case.launcher.next = [[Said("worker 1: hm"), Refused(1, error)]]
    with pytest.raises(DeviceError) as caught:
        case.team.facts()
    assert caught.value is error
    assert case.lines == ["worker 1: hm"]


def test_settings_beside_the_sweep_are_trained_again_if_their_worker_dies(
    new_case: Callable[[int], Case],
) -> None:
    case = new_case(2)
    spec = make_spec()
    settings: list[Setting] = [spec.setting(spec.default)] * 2
    results = {n: TrialResult(TrialState.FAILED, f"{n}", (), 0, 0.0) for n in range(2)}
    case.launcher.next = [[ready(1)], [died(1)], [ready(0)], [Advanced(0, NEWS), ready(1)]]
    case.launcher.next.append([Trained(0, results)])
    assert case.team.train(settings) == [results[0], results[1]]
    assert [slot for slot, _ in case.launcher.given] == [1, 0]
    for _, task in case.launcher.given:
        assert list(task.settings.values()) == settings
        assert task.pruner is None
    assert case.team.idle() == [0, 1]


def test_stop_ends_what_was_launched_and_launches_nothing() -> None:
    launcher = FakeLauncher(1)
    launched = []

    def launch() -> FakeLauncher:
        launched.append(launcher)
        return launcher

    team = Team(launch, print)
    team.stop()
    assert not launched
    team.advance(0.0)
    team.stop()
    assert launched == [launcher]
    assert launcher.has_stopped


def test_unequal_devices_are_named_once(new_case: Callable[[int], Case]) -> None:
    case = new_case(3)
    facts = ready(0).facts
    other = replace(facts, hardware={"device": "B100", "threads": 9})
    case.happen(Ready(0, facts), Ready(1, facts))
    assert case.lines == []
    case.happen(Ready(2, other), died(1), Ready(1, other))
    (line,) = [line for line in case.lines if "unequal" in line]
    assert "B100, 9 threads" in line
    assert line.endswith("results repeat to the bit only on equal devices")
