"""A few pruned trials are trained to their end, on record beside the trials, and never rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selection.report.values import winner_value
from selection.store.curve_points import AUDIT
from selection.store.database import open_database
from selection.study.trial import Trial, TrialState
from selection.workflows.audit import trials_to_audit
from tests.sweep_bench import Bench, as_row, make_spec


def pruned_of(bench: Bench, study: Any) -> list[Trial]:
    trials = bench.records.trials(study)
    return [trial for trial in trials if trial.state is TrialState.PRUNED]


def test_audited_trials_are_stored_beside_the_record(bench: Bench, storage_url: str) -> None:
    spec = make_spec()
    with open_database(storage_url, create=True, write=True) as database:
        bench.use(database)
        study, data = bench.procedure(spec)
        pruned = {trial.number: trial for trial in pruned_of(bench, study)}
        assert len(pruned) > 2
        points = bench.repository.curves.audited(study)
        assert bench.lines[0] == "audit: training 2 of the pruned trials to their end"
        assert len(points) == 2
        assert bench.repository.curves.count_audited(study) == 2 * len(data.plan.splits)
        for point in points:
            trial = pruned[point.number]
            assert (point.over, point.value, point.reason) == (AUDIT, 4, "")
            assert trial.epochs < 4
            # The same training as before, and then the epochs that it was denied.
            for fold, before in zip(point.folds, bench.records.curves(study, trial.number),
                                    strict=True):  # fmt: skip
                assert len(fold.curve.points) == 4
                again = fold.curve.points[: trial.epochs]
                np.testing.assert_allclose(again, before.curve.points, rtol=1e-5)
        found = bench.assess(study)
        assert [each.number for each in found.audited] == [point.number for point in points]
        for each, point in zip(found.audited, points, strict=True):
            assert each.mean == pytest.approx(np.mean([fold.score for fold in point.folds]))
        # They are no curves, and no trials.
        assert bench.repository.curves.points(study) == []
        assert bench.repository.curves.count(study) == 0
        assert not {each.number for each in found.competitors} & set(pruned)


def test_the_trials_are_those_of_a_study_without_an_audit(bench: Bench, other_bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    other, _ = other_bench.procedure(make_spec(audit=0))
    rows = [as_row(trial) for trial in bench.records.trials(study)]
    assert rows == [as_row(trial) for trial in other_bench.records.trials(other)]
    assert other_bench.repository.curves.audited(other) == []
    assert not any("audit" in line for line in other_bench.lines)
    winners = [bench.assess(study).winner, other_bench.assess(other).winner]
    assert len({winner and winner.number for winner in winners}) == 1


def test_what_is_on_record_is_not_trained_again(bench: Bench) -> None:
    bench.procedure(make_spec(audit=1))
    assert "audit: training 1 of the pruned trials to their end" in bench.lines
    bench.lines.clear()
    bench.procedure(make_spec(audit=1))
    assert bench.lines == []
    # The number may change later.
    study, _ = bench.procedure(make_spec(audit=99))
    count = len({make_spec().setting(trial.params) for trial in pruned_of(bench, study)})
    assert len(bench.repository.curves.audited(study)) == count
    study, _ = bench.procedure(make_spec(audit=1))
    assert len(bench.assess(study).audited) == 1, "as many as the study asks for"


def test_nothing_is_trained_once_the_held_out_set_was_opened(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(audit=0))
    assert bench.ledger.claim(study, 0, "best", evaluation=1, reason="", finished=9)
    bench.procedure(make_spec(audit=2))
    assert bench.repository.curves.audited(study) == []


def test_a_study_that_prunes_nothing_has_no_audit(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(pruner="none", pruner_options={}))
    assert bench.assess(study).audited == []
    assert not any("audit" in line for line in bench.lines)


def some_trials(count: int) -> list[Trial]:
    return [
        Trial(number, TrialState.PRUNED if number % 2 else TrialState.COMPLETE,
              {"width": 2 + number // 4, "learning_rate": 0.1}, number // 4)
        for number in range(count)
    ]  # fmt: skip


def test_the_choice_follows_from_the_seed_and_each_setting_counts_once() -> None:
    spec = make_spec(audit=4)
    chosen = [trial.number for trial in trials_to_audit(spec, some_trials(40))]
    assert chosen == sorted(chosen)
    assert len(chosen) == 4
    assert all(number % 4 == 1 for number in chosen), "the first of two with one setting"
    assert chosen == [trial.number for trial in trials_to_audit(spec, some_trials(40))]
    others = [
        tuple(trial.number for trial in trials_to_audit(make_spec({"seed": seed}, audit=4),
                                                        some_trials(40)))
        for seed in range(5)
    ]  # fmt: skip
    assert len(set(others)) == 5
    assert trials_to_audit(spec, []) == []


def test_the_values_for_scripts_hold_the_audit(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    found = bench.assess(study)
    audit = winner_value(found)["audit"]
    assert audit == [
        {"number": each.number, "mean": each.mean, "reason": ""} for each in found.audited
    ]
    assert len(audit) == 2
