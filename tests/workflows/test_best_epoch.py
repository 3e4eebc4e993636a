"""A study whose trials are scored after the best mean, from the sweep to the final model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from selection.model.estimator import make_model
from selection.model.files import decode_model
from selection.report.model_card import model_card
from selection.report.terminal import text
from selection.report.values import trial_rows, winner_value
from selection.report.verdict import winner_lines
from selection.search import judged_epochs, replay_pruner
from selection.stats.classes import confusion
from selection.stats.scores import log_softmax
from selection.store.copy_study import copy_study
from selection.store.database import open_database
from selection.store.doctor import examine
from selection.store.recovery import RecoveryFiles
from selection.store.repository import repository_of
from selection.store.study_record import StudyRecord
from selection.study.best_epoch import best_epoch, candidate_epochs
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial, TrialResult, TrialState, fold_means
from selection.train.device import choose_device
from selection.train.fit import Trainer
from selection.workflows.assess import Assessment
from selection.workflows.audit import audited_trials
from selection.workflows.cautions import edge_of_space
from selection.workflows.correct import Correction
from selection.workflows.diagnose import complete_trial, diagnose_complete
from selection.workflows.final_models import final_models
from selection.workflows.out_of_fold import out_of_fold
from selection.workflows.validation_curve import Subject, trace_curve
from tests.sweep_bench import Bench, as_row, make_spec
from tests.workflows.test_correct import noise_spec

CPU = choose_device("cpu")
EPOCHS = 24


def spec_of(sections: dict[str, Any] | None = None, **search: Any) -> StudySpec:
    """Return a study of iris whose means go up and down."""
    training = {"epochs": EPOCHS, "batch_size": 16, "epoch": "best_mean", "patience": 8}
    options = {"min_resource": 2, "reduction_factor": 2, "finalists": 3}
    search = {"trials": 12, "cohort": 6, "audit": 2, "pruner_options": options, **search}
    return make_spec({"training": training, **(sections or {})}, **search)


def complete(trials: Any) -> list[Trial]:
    return [trial for trial in trials if trial.state is TrialState.COMPLETE]


def test_the_record_holds_the_score_of_the_best_epoch(bench: Bench) -> None:
    spec = spec_of()
    study, data = bench.procedure(spec)
    trials = bench.records.trials(study)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in complete(trials):
        best = best_epoch(trial.fold_means, EPOCHS, is_minimised=False)
        assert trial.best_epoch == best
        assert trial.value == trial.fold_means[best - 1] == max(
            trial.fold_means[epoch - 1]
            for epoch in candidate_epochs(EPOCHS)
            if epoch <= trial.epochs
        )  # fmt: skip
        assert trial.value == pytest.approx(np.mean(trial.fold_scores))
        folds = bench.records.curves(study, trial.number, outputs=True)
        assert trial.fold_scores == tuple(fold.score for fold in folds)
        assert trial.train_scores == tuple(
            fold.curve.column("training_score")[best - 1] for fold in folds
        )
        for fold, split in zip(folds, data.plan.splits, strict=True):
            assert fold.outputs is not None
            hits = fold.outputs.argmax(axis=1) == data.dataset.target[split.validation]
            assert hits.mean() == pytest.approx(fold.score)
    assert all(t.best_epoch is None for t in trials if t.state is TrialState.PRUNED)
    assert any(trial.best_epoch != trial.epochs for trial in complete(trials))
    assert any(trial.epochs < EPOCHS for trial in complete(trials)), "patience ran out"
    assert examine(bench.database) == []
    shown = optuna.load_study(study_name="iris", storage=str(bench.database.url)).trials
    assert [trial.user_attrs.get("best_epoch") for trial in shown] == [
        trial.best_epoch for trial in trials
    ]


def test_an_interrupted_study_ends_with_the_same_trials(bench: Bench, other_bench: Bench) -> None:
    class Killed(BaseException):
        pass

    def stop(news: Any) -> None:
        if news.cohort == 1:
            raise Killed

    with pytest.raises(Killed):
        bench.run(spec_of(), stop)
    assert bench.table(spec_of()) == other_bench.table(spec_of())


def test_a_setting_that_is_asked_again_keeps_its_epoch(bench: Bench) -> None:
    table = bench.table(spec_of(space={"width": {"choices": [3, 9]}}, pruner="none",
                                pruner_options={}, trials=5, cohort=2))  # fmt: skip
    by_width: dict[Any, set[Any]] = {}
    for row in table:
        by_width.setdefault(row["params"]["width"], set()).add((row["best_epoch"], row["value"]))
    assert len(by_width) == 2
    assert all(len(ends) == 1 for ends in by_width.values())


def test_the_pruner_replayed_on_the_record_decides_as_the_sweep_did(bench: Bench) -> None:
    spec = spec_of(trials=24, pruner_options={"min_resource": 1, "finalists": 4})
    trials = bench.records.trials(bench.run(spec))
    assert any(trial.epochs < EPOCHS for trial in complete(trials))
    judged = judged_epochs(spec)
    means = np.array(
        [
            [trial.fold_means[e - 1] if e <= trial.epochs else np.nan for e in judged]
            for trial in trials
        ]
    )
    lengths = [
        trial.epochs + 1 if trial in complete(trials) and trial.epochs < EPOCHS else EPOCHS
        for trial in trials
    ]
    (ends,) = replay_pruner(
        spec,
        [trial.number for trial in trials],
        [trial.cohort for trial in trials],
        lengths,
        judged,
        means[None],
    )
    assert ends.tolist() == [trial.state is TrialState.COMPLETE for trial in trials]


def with_best_mean(spec: StudySpec) -> StudySpec:
    content = spec.to_json()
    content["training"] |= {"epoch": "best_mean", "epochs": 20}
    content["name"] = "best"
    return parse_study(without_none(content), "noise")


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_none(each) for name, each in value.items() if each is not None}
    return value


def correction_of(assessment: Assessment) -> Correction:
    assert assessment.correction is not None
    return assessment.correction


def test_the_correction_takes_the_choice_of_the_epoch_away(bench: Bench) -> None:
    spec = with_best_mean(noise_spec(bench.folder))
    study, data = bench.procedure(spec)
    assessment = bench.assess(study)
    winner = assessment.winner
    assert winner is not None
    assert winner.value is not None
    assert correction_of(assessment).estimate < winner.value - 0.03
    bound = correction_of(assessment).lower_bound
    assert bound is not None
    assert bound < 0.5
    # All predictions of every epoch that competes are on record.
    for trial in complete(assessment.trials):
        for fold, split in zip(
            bench.records.curves(study, trial.number, outputs=True), data.plan.splits, strict=True
        ):
            competing = set(candidate_epochs(20))
            assert competing <= set(fold.rungs)
            for epoch in competing:
                assert len(fold.rungs[epoch]) == len(split.validation)
                score = fold.curve.column("validation_score")[epoch - 1]
                assert fold.rungs[epoch].mean() == pytest.approx(score)


def test_predictions_and_verdicts_are_those_of_the_best_epoch(bench: Bench) -> None:
    study, data = bench.procedure(spec_of())
    assessment = bench.assess(study)
    winner = assessment.winner
    assert winner is not None
    assert winner.value == max(trial.value or 0 for trial in assessment.trials)
    folds = bench.records.curves(study, winner.number, outputs=True)
    predicted = np.zeros(len(data.dataset), dtype=np.int64)
    for fold, split in zip(folds, data.plan.splits, strict=True):
        assert fold.outputs is not None
        predicted[split.validation] = fold.outputs.argmax(axis=1)
    found = out_of_fold(study, bench.repository, winner.number)
    assert found is not None
    np.testing.assert_array_equal(found.counts, confusion(data.dataset.target, predicted, 3))
    trial = next(t for t in complete(assessment.trials) if (t.best_epoch or 0) < t.epochs)
    at = (trial.best_epoch or 0) - 1
    diagnosis = diagnose_complete(study, bench.repository, trial.number).diagnosis
    curves = [fold.curve for fold in bench.records.curves(study, trial.number)]
    for name in ("training_loss", "validation_loss", "training_score", "validation_score"):
        expected = np.mean([curve.column(name)[at] for curve in curves])
        assert getattr(diagnosis, name).mean == pytest.approx(expected)
    assert diagnosis.validation_score.mean == pytest.approx(trial.value)
    assert "Set epochs" not in diagnosis.advice


def test_what_pruning_cost_is_the_best_mean_too(bench: Bench) -> None:
    spec = spec_of()
    study, _ = bench.procedure(spec)
    points = bench.repository.curves.audited(study)
    found = audited_trials(spec, study, bench.records.trials(study), bench.repository)
    assert len(found) == len(points) == 2
    for audited, point in zip(found, points, strict=True):
        means = fold_means([fold.curve for fold in point.folds])
        best = best_epoch(means, EPOCHS, is_minimised=False)
        assert {fold.best_epoch for fold in point.folds} == {best}
        assert audited.mean == means[best - 1]


@pytest.mark.parametrize("kind", ["refit", "fold_ensemble"])
def test_the_final_model_trains_as_many_epochs_as_the_best(bench: Bench, kind: str) -> None:
    training = spec_of().to_json()["training"] | {"schedule": "cosine"}  # of the whole training
    spec = spec_of({"final": {"model": kind}, "training": without_none(training)})
    study, data = bench.procedure(spec)
    assessment = bench.assess(study)
    trial = next(t for t in complete(assessment.trials) if (t.best_epoch or 0) < t.epochs)
    final_models(study, spec, data, trial, bench.evidence, CPU)
    (stored,) = bench.evidence.models(study, trial.number)
    training = stored.document["training"]
    assert (training["epochs"], training["most_epochs"]) == (trial.best_epoch, EPOCHS)
    assert training["updates"] == [
        batches * training["epochs"] for batches in training["batches_per_epoch"]
    ]
    card = model_card(assessment, trial, stored.document)
    assert f"| epochs | {trial.best_epoch} of {EPOCHS}, those of the best mean" in card
    if kind == "refit":
        return
    # Its members are those of the cross-validation, as they were after that epoch.
    model = decode_model(stored.document, stored.weights, "test")
    folds = bench.records.curves(study, trial.number, outputs=True)
    for member, fold, split in zip(model.members, folds, data.plan.splits, strict=True):
        assert fold.outputs is not None
        alone = make_model(model.document, [member])
        outputs = alone.outputs(data.dataset.features[split.validation], {})
        own, other = (np.exp(log_softmax(each)) for each in (outputs, fold.outputs))
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_an_outer_fold_is_scored_after_the_epoch_that_was_chosen_inside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Any] = []
    train = Trainer.train

    def spy(own: Trainer, *args: Any, **options: Any) -> list[TrialResult]:
        results = train(own, *args, **options)
        if "stop_after" in options:
            ends.append((options["stop_after"], results[0]))
        return results

    monkeypatch.setattr(Trainer, "train", spy)
    sections = {"assessment": {"nested": True, "bootstraps": 100}}
    study, _ = bench.procedure(spec_of(sections, trials=4, cohort=4))
    outer = bench.evidence.outer_folds(study)
    assert len(outer) == len(ends) == 3
    for fold, (epochs, result) in zip(outer, ends, strict=True):
        assert result.epochs == epochs
        assert result.best_epoch is None, "the rows that score it choose nothing"
        assert fold.score == result.fold_means[-1]
    assert any(epochs < EPOCHS for epochs, _ in ends)


@pytest.mark.parametrize("over", ["width", "rows"])
def test_each_point_of_a_curve_has_its_own_epoch(bench: Bench, over: str) -> None:
    spec = spec_of()
    study, data = bench.procedure(spec)
    trial = complete_trial(study, bench.repository, None)
    subject = Subject(spec, study, data, trial, over)
    values = [2, 8, 16] if over == "width" else [20, 40, 80]
    for _ in range(2):  # trained, and read from the record
        points = trace_curve(
            subject, values, bench.repository, CPU, lambda _: None, bench.lines.append
        )
        for point in points:
            means = fold_means([fold.curve for fold in point.folds])
            horizon = EPOCHS if over == "width" else len(means)
            best = best_epoch(means, horizon, is_minimised=False)
            assert {fold.best_epoch for fold in point.folds} == {best}
    assert examine(bench.database) == []


def test_a_copy_and_a_kept_cohort_know_the_best_epochs(bench: Bench, tmp_path: Path) -> None:
    study, _ = bench.procedure(spec_of())
    before = [as_row(trial) for trial in bench.records.trials(study)]
    results, params = {}, {}
    for trial in bench.records.trials(study):
        folds = bench.records.curves(study, trial.number, outputs=True)
        results[trial.number] = TrialResult(trial.state, "", folds, trial.epochs, 1.0)
        params[trial.number] = trial.params
    files = RecoveryFiles(bench.database.address, study)
    assert files.keep(0, params, results) is not None
    again = files.take(0, params)
    assert again is not None
    for number, result in again.items():
        assert (result.best_epoch, result.value) == (
            results[number].best_epoch,
            results[number].value,
        )
    with open_database(f"sqlite:///{tmp_path}/copy.db", create=True, write=True) as target:
        copy_study(bench.database, study, target)
        assert examine(target) == []
        copied = repository_of(target)
        there = copied.records.find_study("iris")
        assert isinstance(there, StudyRecord)
        assert [as_row(trial) for trial in copied.records.trials(there)] == before
        points = [bench.repository.curves.audited(study), copied.curves.audited(there)]
        assert [[p.folds[0].best_epoch for p in found] for found in points] == [
            [p.folds[0].best_epoch for p in points[0]]
        ] * 2


def test_reports_say_which_epoch_it_was(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    study, _ = bench.procedure(spec_of())
    assessment = bench.assess(study)
    winner = assessment.winner
    assert winner is not None
    line = next(line for line in winner_lines(assessment, winner) if "observed" in line)
    assert f"after {winner.best_epoch} of {winner.epochs} epochs" in line
    rows = trial_rows(study, assessment.trials)
    assert [row["best_epoch"] for row in rows] == [t.best_epoch for t in assessment.trials]
    text.leaderboard(text.make_console(), study, assessment.trials)
    assert "best_epoch" in capsys.readouterr().out
    assert winner_value(assessment)["number"] == winner.number


def test_a_winner_that_peaked_early_needs_no_more_epochs(bench: Bench) -> None:
    space = {"epochs": {"low": 8, "high": 40}, "learning_rate": {"low": 0.3, "high": 1.0}}
    search: dict[str, Any] = {
        "default": {"epochs": 40},
        "pruner": "none",
        "pruner_options": {},
        "trials": 2,
    }
    study, _ = bench.procedure(spec_of(space=space, **search))
    assessment = bench.assess(study)
    default = assessment.default
    assert default is not None
    assert default.best_epoch != 40
    found = edge_of_space(assessment, default)
    names = [] if found is None else [edge.name for edge in found.edges]
    assert "epochs" not in names
