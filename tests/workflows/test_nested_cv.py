"""Nested cross-validation: outer folds score the whole procedure, and survive a kill."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from selection.data.dataset import Dataset
from selection.data.folds import make_splits
from selection.data.prepare import prepare_folds
from selection.errors import DataError
from selection.report.values import winner_value
from selection.store.records import Records
from selection.study.spec import StudySpec
from selection.study.trial import Trial
from selection.train.device import choose_device
from selection.workflows import nested_cv as nested
from selection.workflows.study_data import StudyData, make_trainer
from selection.workflows.sweep import run_sweep
from tests import reference
from tests.store.store_examples import FACTS
from tests.sweep_bench import ALONE, Bench, Watcher, as_row, make_spec

SECTIONS: dict[str, Any] = {"assessment": {"nested": True, "bootstraps": 100}}


def nested_spec(**search: Any) -> StudySpec:
    return make_spec(SECTIONS, trials=6, cohort=3, **search)


def sweep_on(bench: Bench, dataset: Dataset) -> list[Trial]:
    """Run the ordinary recorded sweep on a part of the rows."""
    spec = make_spec(trials=6, cohort=3)
    data = StudyData(spec, dataset, make_splits(dataset, spec), FACTS)
    study = bench.records.create_study(spec, "d", "h", data.facts, {"versions": {}})
    trainer = make_trainer(spec, data, choose_device("cpu"), 0)
    run_sweep(spec, study, bench.repository, trainer, ALONE, bench.view())
    return bench.records.trials(study)


def test_an_outer_fold_is_a_sweep_inside_and_a_plain_training_outside(
    bench: Bench, other_bench: Bench
) -> None:
    spec = nested_spec()
    study, data = bench.procedure(spec)
    outer_folds = bench.evidence.outer_folds(study)
    assert [outer.fold for outer in outer_folds] == [0, 1, 2]
    outer, split = outer_folds[1], data.plan.splits[1]
    inside = sweep_on(other_bench, data.dataset.take(split.training))
    values = [-1.0 if trial.value is None else trial.value for trial in inside]
    assert outer.number == int(np.argmax(values))
    assert outer.inner_score == max(values)
    assert dict(outer.params) == dict(inside[outer.number].params)
    (fold,) = prepare_folds(data.dataset, [split], spec)
    alone = reference.train(spec.setting(outer.params), fold, "accuracy", spec.seed, torch.float32)
    assert outer.score == pytest.approx(alone.points[-1, -1], abs=1e-6)


def test_the_inner_sweep_never_sees_the_outer_rows(bench: Bench, other_bench: Bench) -> None:
    spec = nested_spec()
    study, data = bench.procedure(spec)
    seen = data.plan.splits[0].training
    assert len(seen) == len(data.dataset) - len(data.plan.splits[0].validation)
    garbage = data.dataset.features.copy()
    garbage[data.plan.splits[0].validation] = 1e6

    spoilt = StudyData(
        data.spec, dataclasses.replace(data.dataset, features=garbage), data.plan, data.facts
    )
    other = other_bench.records.create_study(spec, "d", "h", data.facts, {"versions": {}})
    nested.score_procedure(
        spec, spoilt, other, other_bench.evidence, choose_device("cpu"), lambda line: None
    )
    clean, dirty = bench.evidence.outer_folds(study)[0], other_bench.evidence.outer_folds(other)[0]
    assert (dirty.number, dirty.params, dirty.inner_score) == (
        clean.number,
        clean.params,
        clean.inner_score,
    )
    assert dirty.score != clean.score


def test_a_killed_study_goes_on_with_the_outer_fold_it_was_in(
    bench: Bench, other_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def stop(line: str) -> None:
        if "outer fold 1" in line:
            raise Killed

    spec = nested_spec()
    with monkeypatch.context() as patch:
        patch.setattr(bench, "view", lambda: Watcher(bench.news.append, stop))
        with pytest.raises(Killed):
            bench.procedure(spec)
    study = bench.records.find_study("iris")
    assert study is not None
    assert [outer.fold for outer in bench.evidence.outer_folds(study)] == [0]
    assert winner_value(bench.assess(study))["nested"] is None
    table = [as_row(trial) for trial in Records(bench.database).trials(study)]
    bench.procedure(spec)
    assert [line for line in bench.lines if "outer fold 0" in line] == []
    whole, _ = other_bench.procedure(spec)
    assert bench.evidence.outer_folds(study) == other_bench.evidence.outer_folds(whole)
    assert [as_row(trial) for trial in bench.records.trials(study)] == table


def test_the_score_is_printed_beside_the_others(bench: Bench) -> None:
    study, _ = bench.procedure(nested_spec())
    value = winner_value(bench.assess(study))["nested"]
    scores = [outer.score for outer in bench.evidence.outer_folds(study)]
    assert value["folds"] == scores
    assert value["mean"] == pytest.approx(np.mean(scores))
    assert value["standard_error"] == pytest.approx(np.std(scores, ddof=1) / np.sqrt(3))
    assert len(value["winners"]) == 3


def test_too_few_rows_for_inner_folds_are_refused_at_the_start(bench: Bench) -> None:
    from selection.workflows.study_data import load_study_data

    rows = [f"{i},{'ab'[i % 2]}" for i in range(12)]
    (bench.folder / "few.csv").write_text("x,y\n" + "\n".join(rows))
    data = {"path": str(bench.folder / "few.csv"), "target": "y", "held_out": 0.2}
    spec = make_spec({**SECTIONS, "data": data, "cv": {"folds": 4}})
    loaded = load_study_data(spec, bench.folder)
    with pytest.raises(DataError, match="4 folds need a class with at least 4"):
        nested.check_nested(spec, loaded)
    nested.check_nested(make_spec({"data": data, "cv": {"folds": 4}}), loaded)
