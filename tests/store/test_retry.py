"""Retries while a database does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from selection.errors import (
    LostCohortError,
    StorageError,
    StudyStateError,
    UnreachableError,
)
from selection.store.retry import LONGEST_PAUSE_SECONDS as LONGEST_WAIT
from selection.store.retry import retry
from tests.store.study_case import (
    ERROR,
)


class MadeUpTime:
    """Be a clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MadeUpTime:
    made = MadeUpTime()
    monkeypatch.setattr("selection.store.retry.time", made)
    return made


def test_what_succeeds_is_done_once(clock: MadeUpTime) -> None:
    said: list[str] = []
    assert retry(lambda: 7, said.append) == 7
    assert (said, clock.pauses) == ([], [])


def test_server_that_does_not_answer_is_asked_again(clock: MadeUpTime) -> None:
    assessments: list[Any] = [UnreachableError(ERROR)] * 9 + [7]
    said: list[str] = []

    def act() -> int:
        answer = assessments.pop(0)
        if isinstance(answer, UnreachableError):
            raise answer
        return int(answer)

    assert retry(act, said.append) == 7
    assert said == [f"{ERROR} Trying again for 300 seconds."]
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[0] < 1
    assert clock.pauses[-1] == LONGEST_WAIT


@pytest.mark.parametrize("seconds", [0.0, 0.1, 3.0, 60.0])
def test_patience_ends(clock: MadeUpTime, seconds: float) -> None:
    tries: list[float] = []

    def act() -> None:
        tries.append(clock.now)
        raise UnreachableError(ERROR)

    with pytest.raises(UnreachableError):
        retry(act, lambda line: None, seconds)
    assert tries[-1] <= seconds
    assert seconds - tries[-1] <= LONGEST_WAIT


@pytest.mark.parametrize("kind", [StorageError, StudyStateError, LostCohortError, KeyError])
def test_other_errors_are_not_waited_for(clock: MadeUpTime, kind: type[Exception]) -> None:
    tries: list[None] = []

    def act() -> None:
        tries.append(None)
        raise kind(ERROR)

    with pytest.raises(kind):
        retry(act, lambda line: None)
    assert len(tries) == 1
    assert clock.pauses == []
