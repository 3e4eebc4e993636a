"""Which members train together: everyone once, in packs of like work, one for each core."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.study.setting import Setting
from selection.train import plan as plan_module
from selection.train.batches import Rows, load_rows
from selection.train.plan import (
    CPU_LEAST_WORK,
    STEP_OVERHEAD,
    PackPlan,
    _buckets,
    count_side_by_side,
    deal,
    most_processes,
    padded_weights,
    plan_packs,
)
from tests.train.examples import make_folds, make_setting

CPU = torch.device("cpu")


def make_rows(folds: int = 5) -> Rows:
    made = make_folds(rows=60, features=20, folds=folds)
    return load_rows(made, "classification", CPU, torch.float32, torch.float32)


ROWS = make_rows()


def members(plans: list[PackPlan]) -> Counter[tuple[int, int]]:
    return Counter(
        member for plan in plans for member in itertools.product(plan.trials, plan.folds)
    )


def slow_buckets(widths: list[tuple[int, ...]], rows: Rows, folds: int) -> float:
    """Return the least cost over all ways to cut trials, sorted by width, into buckets."""
    made = [make_setting(depth=len(w), widths=w) for w in sorted(widths)]
    best = [0.0]
    for end in range(1, len(made) + 1):
        best.append(
            min(best[start] + cost_of(made[start:end], rows, folds) for start in range(end))
        )
    return best[-1]


def cost_of(bucket: list[Setting], rows: Rows, folds: int) -> float:
    flops = 6.0 * bucket[0].kind.batch_size * folds
    return flops * len(bucket) * padded_weights(bucket, rows) + STEP_OVERHEAD["cpu"]


@settings(deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda depth: st.lists(
            st.tuples(*[st.sampled_from([1, 30, 200, 900, 4000])] * depth), min_size=1, max_size=16
        )
    )
)
def test_buckets_cost_least_of_all_cuts(widths: list[tuple[int, ...]]) -> None:
    made = [make_setting(depth=len(w), widths=w) for w in widths]
    buckets = _buckets(range(len(made)), made, ROWS, 5)
    assert sorted(itertools.chain.from_iterable(buckets)) == list(range(len(made)))
    cost = sum(cost_of([made[trial] for trial in bucket], ROWS, 5) for bucket in buckets)
    assert cost == pytest.approx(slow_buckets(widths, ROWS, 5), rel=1e-12)


def test_many_alike_trials_are_planned_at_once() -> None:
    made = [make_setting(widths=[64])] * 2000
    (plan,) = plan_packs(made, ROWS, max_members=10_000)
    assert plan.buckets == (tuple(range(2000)),)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 600), st.sampled_from([8, 32]), st.sampled_from([1, 2])),
        min_size=1,
        max_size=24,
    ),
    st.integers(1, 16),
    st.sampled_from([0, 1, 3, 7, 100]),
)
def test_every_member_is_in_one_pack(
    kinds: list[tuple[int, int, int]], cores: int, most: int
) -> None:
    made = [make_setting(widths=[w], batch_size=b, epochs=e) for w, b, e in kinds]
    plans = plan_packs(made, ROWS, most, cores)
    assert members(plans) == Counter(itertools.product(range(len(made)), range(5)))
    assert all(plan.members <= most for plan in plans if most)
    for plan in plans:
        assert len({(made[t].kind.batch_size, made[t].kind.epochs) for t in plan.trials}) == 1


def work_of(plan: PackPlan, widths: list[int], batch: int) -> float:
    made = [make_setting(widths=[width]) for width in widths]
    return sum(6.0 * batch * padded_weights([made[t]], ROWS) * len(plan.folds) for t in plan.trials)


@pytest.mark.parametrize("cores", [2, 4, 8])
@pytest.mark.parametrize("trials", [8, 16, 24])
def test_each_core_has_a_pack_of_like_work(cores: int, trials: int) -> None:
    widths = [(6_000 + 1_500 * cores) // trials + trial for trial in range(trials)]
    made = [make_setting(widths=[width], batch_size=256) for width in widths]
    loads = [work_of(plan, widths, 256) for plan in plan_packs(made, ROWS, cores=cores)]
    assert len(loads) == cores
    assert max(loads) < 1.6 * min(loads)


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("width", [8, 60, 200, 1_000])
def test_no_more_packs_than_their_steps_have_work_for(width: int, cores: int) -> None:
    """Sixteen cores were ten times slower than one on the tables of benchmarks/many_cores.py."""
    made = [make_setting(widths=[width], batch_size=32)] * 16
    plans = plan_packs(made, ROWS, cores=cores)
    side_by_side = count_side_by_side(plans, made, ROWS, cores)
    assert side_by_side == min(cores, len(plans)), "they are cut for those that train at once"
    if len(plans) > 1:
        assert work_of(plans[0], [width] * 16, 32) > 0.7 * side_by_side * CPU_LEAST_WORK
    elif cores > 1:
        assert work_of(plans[0], [width] * 16, 32) < 2**2 * CPU_LEAST_WORK


@pytest.mark.parametrize(("width", "expected"), [(8, 1), (20_000, 16)])
def test_packs_of_unlike_batches_take_turns_where_steps_are_small(
    width: int, expected: int
) -> None:
    made = [make_setting(widths=[width], batch_size=8 * (trial + 1)) for trial in range(16)]
    plans = plan_packs(made, ROWS, cores=16)
    assert len(plans) >= 16
    assert count_side_by_side(plans, made, ROWS, 16) == expected


@pytest.mark.parametrize("cores", [1, 4])
def test_a_cohort_without_settings_has_no_packs(cores: int) -> None:
    assert plan_packs([], ROWS, cores=cores) == []
    (whole,) = deal([], ROWS, 0, cores)
    assert whole.trials == ()


@pytest.mark.parametrize(
    ("cores", "trials", "expected"),
    [(1, 8, 1), (2, 8, 2), (4, 8, 3), (5, 1, 5), (9, 8, 5), (10, 8, 10), (16, 8, 15), (20, 2, 10)],
)
def test_long_cohorts_of_small_steps_are_dealt_to_processes(
    monkeypatch: pytest.MonkeyPatch, cores: int, trials: int, expected: int
) -> None:
    """Every member to one of them, folds first, then trials of similar work."""
    monkeypatch.setattr(plan_module, "CPU_MEMORY_BYTES", 2**40)
    monkeypatch.setattr(plan_module, "physical_memory", lambda: 2**40)
    made = [make_setting(widths=[30 + trial], epochs=10**6) for trial in range(trials)]
    shares = deal(made, ROWS, 0, cores)
    assert len(shares) == expected <= most_processes(ROWS, cores)
    dealt = Counter(
        member for share in shares for member in itertools.product(share.trials, share.folds)
    )
    assert dealt == Counter(itertools.product(range(trials), range(5)))
    counts = [len(share.trials) * len(share.folds) for share in shares]
    assert max(counts) <= 2 * min(counts) + 1


def test_processes_are_no_more_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_setting(widths=[30], epochs=10**6)] * 8
    monkeypatch.setattr(plan_module, "CPU_MEMORY_BYTES", 3 * 401 * 2**20)
    assert len(deal(made, ROWS, 0, 16)) == 3
    monkeypatch.setattr(plan_module, "physical_memory", lambda: 2 * 3 * 401 * 2**20)
    monkeypatch.setattr(plan_module, "CPU_MEMORY_BYTES", 2**40)
    assert len(deal(made, ROWS, 0, 16)) == 3, "half of the machine's at most"
    monkeypatch.setattr(plan_module, "CPU_MEMORY_BYTES", 2**20)
    assert len(deal(made, ROWS, 0, 16)) == 1


def test_one_process_trains_what_ends_soon_or_keeps_all_cores_busy() -> None:
    short = [make_setting(widths=[30], epochs=10)] * 8
    large = [make_setting(widths=[3000], batch_size=4096, epochs=10**6)] * 8
    packs = [make_setting(widths=[30], epochs=10**6)] * 8
    assert len(deal(short, ROWS, 0, 16)) == 1
    assert len(deal(large, ROWS, 0, 4)) == 1
    assert len(deal(packs, ROWS, 7, 16)) == 1, "the packs of a run that sizes them are its own"


@pytest.mark.parametrize("folds", [(0,), (1, 3), (0, 1, 2, 3, 4)])
def test_the_packs_of_some_folds_are_of_these_folds(folds: tuple[int, ...]) -> None:
    made = [make_setting(widths=[width], batch_size=256) for width in (100, 900, 3000)]
    for cores, most in ((1, 0), (4, 0), (4, 2)):
        plans = plan_packs(made, ROWS, most, cores, folds)
        assert members(plans) == Counter(itertools.product(range(3), folds))


def test_little_work_is_one_pack_and_much_is_many() -> None:
    little = [make_setting(widths=[2], batch_size=4)] * 4
    assert work_of(PackPlan(((0,),), (0,)), [2], 4) * 20 < CPU_LEAST_WORK
    assert len(plan_packs(little, ROWS, cores=8)) == 1
    much = [make_setting(widths=[3000], batch_size=4096)] * 4
    plans = plan_packs(much, ROWS, cores=2)
    assert len(plans) > 4
    assert len(plans[0].folds) < 5, "trials of one fold share its rows: folds are parted first"
