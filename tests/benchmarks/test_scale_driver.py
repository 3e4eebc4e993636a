"""The virtual clock of simulated workers: who idles for how long can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.replayed_workers import VirtualClock, Work, idle_share
from benchmarks.scale_driver import EQUAL, UNIT, Speed, replay


@pytest.mark.parametrize(
    ("speed", "lag", "expected"),
    [
        # Both end at once, and both get their next cohort at once.
        (EQUAL, 2, 0.0),
        (EQUAL, None, 0.0),
        # Worker 1 ends cohort 1 while cohort 0 trains for another second, and cohort 2 has to know
        # cohort 0; and so on: it trains one second of two, and worker 0 always.
        (Speed(slow=2.0), 2, 1 / 4),
        # Cohort k waits for k - 4 only: worker 1 may train two while worker 0 trains one.
        (Speed(slow=2.0), 4, 0.0),
        (Speed(slow=2.0), None, 0.0),
    ],
)
def test_workers_idle_as_worked_out_by_hand(
    tmp_path: Path, speed: Speed, lag: int | None, expected: float
) -> None:
    found = replay(
        f"sqlite:///{tmp_path}/s.db",
        UNIT,
        2,
        8,
        lag=lag,
        sampler="random",
        speed=speed,
        is_charged=False,
    )
    assert found.idle == pytest.approx(expected, abs=1e-9)
    assert found.sent > 0
    assert found.returned > 50 * 2 * 4


def test_what_the_driver_spends_makes_workers_idle(tmp_path: Path) -> None:
    found = replay(f"sqlite:///{tmp_path}/s.db", UNIT, 1, 4, lag=1, sampler="random")
    assert 0 < found.idle < 1
    assert 0 < found.proposing + found.database < found.driver


def test_the_first_task_of_a_worker_is_no_idle_time() -> None:
    done = [Work(0, 0, 5.0, None), Work(0, 1, 3.0, 1.0), Work(1, 2, 2.0, None)]
    assert idle_share(done) == pytest.approx(1 / 4)
    assert idle_share(done[:1]) == 0.0


def test_a_jump_never_goes_back() -> None:
    clock = VirtualClock(is_charged=False)
    clock.jump(2.0)
    clock.jump(1.0)
    clock.charge()
    assert clock.now == 2.0
