"""The corrected estimate of real small studies: every setting competes once, also a pruned one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from selection.report.values import winner_value
from selection.report.verdict import detail_lines, winner_lines
from selection.search import judged_epochs
from selection.store.tables import fold_table
from selection.study.spec import parse_study
from selection.study.trial import TrialState
from selection.workflows.assess import Assessment
from tests.sweep_bench import Bench, make_spec

NO_PRUNER: dict[str, Any] = {"pruner": "none", "pruner_options": {}}
# Keeps so few that most trials are pruned.
HARD: dict[str, Any] = {
    "trials": 12,
    "pruner_options": {"min_resource": 1, "reduction_factor": 3, "finalists": 0},
}


def counts(assessment: Assessment) -> tuple[int, int]:
    states = [trial.state for trial in assessment.trials]
    return states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED)


def test_pruned_trials_compete_with_what_they_had_at_their_last_rung(bench: Bench) -> None:
    spec = make_spec(**HARD)
    study, data = bench.procedure(spec)
    assessment = bench.assess(study)
    complete, pruned = counts(assessment)
    assert pruned >= 4
    correction = assessment.correction
    assert correction is not None
    assert (correction.complete, correction.pruned, correction.left_out) == (complete, pruned, 0)
    assert 0.0 <= correction.pruned_wins < 1.0
    assert correction.lower_bound is not None
    assert correction.lower_bound < correction.estimate
    target = data.dataset.target
    rungs = judged_epochs(spec)
    for trial in assessment.trials:
        members = bench.records.curves(study, trial.number, outputs=True)
        reached = [epoch for epoch in rungs if epoch <= trial.epochs]
        for split, member in zip(data.plan.splits, members, strict=True):
            assert list(member.rungs) == reached
            for epoch, hits in member.rungs.items():
                assert hits.shape == target[split.validation].shape
                assert hits.mean() == pytest.approx(member.curve.points[epoch - 1, -1])


def test_a_pruned_trial_wins_some_bootstraps_of_noise(bench: Bench) -> None:
    study, _ = bench.procedure(noise_spec(bench.folder))
    correction = bench.assess(study).correction
    assert correction is not None
    assert correction.pruned >= 6
    assert 0.0 < correction.pruned_wins < 1.0
    assessment = bench.assess(study)
    assert assessment.winner is not None
    lines = winner_lines(assessment, assessment.winner)
    settings = correction.complete + correction.pruned
    share = f"a pruned trial wins in {correction.pruned_wins:.0%} of the bootstraps"
    assert any(f"among {settings} settings; {share}" in line for line in lines)
    details = detail_lines(assessment)
    assert any(f"{correction.pruned} pruned settings" in line for line in details)
    assert any("accuracy is at least" in line and "whichever trial" in line for line in details)


def test_pruned_trials_take_optimism_away(bench: Bench, other_bench: Bench) -> None:
    with_pruned, without = bench, other_bench
    study, _ = with_pruned.procedure(noise_spec(with_pruned.folder))
    other, _ = without.procedure(noise_spec(without.folder, {"kept_rungs": 0}))
    full, alone = with_pruned.assess(study), without.assess(other)
    assert full.correction is not None
    assert alone.correction is not None
    assert [t.state for t in full.trials] == [t.state for t in alone.trials]
    assert alone.correction.pruned == 0
    assert alone.correction.left_out == full.correction.pruned
    assert full.correction.estimate < alone.correction.estimate


def noise_spec(folder: Path, assessment: dict[str, Any] | None = None) -> Any:
    generator = np.random.default_rng(4)
    table = folder / "noise.csv"
    features = generator.normal(size=(120, 4))
    labels = generator.permutation(np.arange(120) % 2)
    rows = [",".join(map(str, [*row, y])) for row, y in zip(features, labels, strict=True)]
    table.write_text("\n".join(["a,b,c,d,y", *rows]))
    return parse_study(
        {
            "name": "noise",
            "data": {"path": str(table), "target": "y"},
            "cv": {"folds": 4},
            "training": {"epochs": 8, "batch_size": 16},
            "space": {
                "width": {"low": 2, "high": 32},
                "learning_rate": {"low": 0.05, "high": 1.0, "log": True},
            },
            "search": {"trials": 16, "cohort": 8, "sampler": "random"},
            "assessment": assessment or {},
        },
        "noise",
    )


def test_one_complete_trial_among_pruned_ones_is_corrected(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(**{**HARD, "trials": 3, "cohort": 3}))
    assessment = bench.assess(study)
    complete, pruned = counts(assessment)
    assert pruned > 0
    assert assessment.correction is not None
    assert assessment.correction.complete == complete


def test_a_record_without_predictions_at_rungs_says_how_many_are_left_out(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(**HARD))
    complete, pruned = counts(bench.assess(study))
    for trial in bench.assess(study).trials:
        members = bench.records.curves(study, trial.number)
        assert all(member.rungs == {} for member in members)  # read without outputs
    with bench.database.writing() as connection:
        rows = connection.execute(sa.select(fold_table)).all()
        for row in rows:
            old = dict(row._mapping) | {"rungs": None}
            where = (
                (fold_table.c.trial_uuid == row.trial_uuid)
                & (fold_table.c.repeat == row.repeat)
                & (fold_table.c.fold == row.fold)
            )
            old["row_hash"] = rehashed(old)
            connection.execute(sa.update(fold_table).where(where).values(old))
    correction = bench.assess(study).correction
    if complete < 2:
        assert correction is None
        return
    assert correction is not None
    assert (correction.complete, correction.pruned, correction.left_out) == (complete, 0, pruned)


def rehashed(row: dict[str, Any]) -> str:
    from selection.store.codec import FoldRow

    return FoldRow(**{name: row[name] for name in FoldRow.__dataclass_fields__}).row_hash


def test_settings_asked_twice_are_one_candidate(bench: Bench) -> None:
    spec = make_spec(
        space={"width": {"choices": [2, 16]}}, trials=10, cohort=2, sampler="random", **NO_PRUNER
    )
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    assert counts(assessment) == (10, 0)
    assert assessment.correction is not None
    assert assessment.correction.complete == 2
    assert len(assessment.competitors) == 1
    assert winner_value(assessment)["corrected"]["rivals"] == {"complete": 2, "pruned": 0}
    assert assessment.winner is not None
    assert "(for the choice among 2 settings)" in winner_lines(assessment, assessment.winner)[1]


def test_one_setting_asked_often_is_not_corrected(bench: Bench) -> None:
    spec = make_spec(space={"width": {"choices": [4]}}, trials=4, sampler="random", **NO_PRUNER)
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    assert assessment.correction is None
    assert assessment.winner is not None
    lines = winner_lines(assessment, assessment.winner)
    assert lines[1] == (
        "accuracy, no correction: one setting is complete, so none was chosen among several"
    )
    assert not any("corrected" in line for line in lines)
