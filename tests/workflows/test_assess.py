"""The verdict on real small studies, beside plain loops over the same record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle

from selection.report.values import winner_value
from selection.seeds import seed_for
from selection.stats.intervals import bootstrap_counts
from selection.stats.selection_rules import choose_trial
from selection.study.baselines import baselines_of, constant_name
from selection.study.setting import Setting
from selection.study.spec import parse_study
from selection.study.trial import Trial, TrialState
from selection.workflows.assess import Assessment, mlp_ends
from tests.sweep_bench import Bench, make_spec

NO_PRUNER: dict[str, Any] = {"pruner": "none", "pruner_options": {}}


def complete(assessment: Assessment) -> list[Trial]:
    return [trial for trial in assessment.trials if trial.state is TrialState.COMPLETE]


def test_the_corrected_estimate_is_that_of_a_plain_loop(bench: Bench) -> None:
    study, data = bench.procedure(make_spec(**NO_PRUNER))
    assessment = bench.assess(study)
    trials = complete(assessment)
    assert len(trials) == 9
    target = data.dataset.target
    predicted = np.empty((len(trials), len(target)), dtype=np.int64)
    folds = np.empty(len(target), dtype=np.int64)
    for index, trial in enumerate(trials):
        for split, fold in zip(
            data.plan.splits,
            bench.records.curves(study, trial.number, outputs=True),
            strict=True,
        ):
            assert fold.outputs is not None
            predicted[index, split.validation] = fold.outputs.argmax(axis=1)
            folds[split.validation] = split.fold
    scores = []
    for block in bootstrap_counts(len(target), None, 1000, seed_for(0, "bootstrap")):
        for counts in block:
            means = [
                np.mean(
                    [
                        np.average((line == target)[folds == fold], weights=counts[folds == fold])
                        for fold in range(3)
                    ]
                )
                for line in predicted
            ]
            chosen, left_out = int(np.argmax(np.round(means, 12))), counts == 0
            scores.append(oracle.accuracy_score(target[left_out], predicted[chosen][left_out]))
    assert assessment.correction is not None
    assert assessment.correction.estimate == pytest.approx(np.mean(scores), abs=2e-4)
    low, high = np.quantile(scores, [0.025, 0.975])
    assert assessment.correction.low == pytest.approx(low, abs=2e-3)
    assert assessment.correction.high == pytest.approx(high, abs=2e-3)
    assert assessment.correction.complete == 9
    assert assessment.correction.pruned == assessment.correction.left_out == 0
    assert assessment.correction.pruned_wins == 0.0


def test_one_complete_trial_gets_a_sentence_and_no_correction(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(trials=1))
    assessment = bench.assess(study)
    assert assessment.correction is None
    assert assessment.why_uncorrected == (
        "one setting is complete, so none was chosen among several"
    )
    value = winner_value(assessment)
    assert value["corrected"] is None
    assert value["number"] == 0
    assert value["observed"]["mean"] > 0
    assert value["baselines"]["majority"]["out_of_bag"] is None


def test_an_assessment_repeats_itself(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    assert winner_value(bench.assess(study)) == winner_value(bench.assess(study))


def test_the_rule_of_one_standard_error_chooses_a_simpler_trial(bench: Bench) -> None:
    spec = make_spec(**NO_PRUNER)
    study, _ = bench.procedure(spec)
    best, simple = bench.assess(study), bench.assess(study, "one_standard_error")
    assert best.winner is not None
    assert simple.winner is not None
    assert best.winner.standard_error is not None
    assert best.winner.value is not None
    near = best.winner.value - best.winner.standard_error
    widths = {
        trial.number: trial.params["width"]
        for trial in complete(best)
        if trial.value is not None and trial.value >= near
    }
    assert simple.winner.params["width"] == min(widths.values())
    assert simple.winner.number != best.winner.number
    assert simple.rule == "one_standard_error"
    assert simple.correction is not None
    assert best.correction is not None
    assert simple.correction.estimate != best.correction.estimate


def test_the_rule_of_the_study_file_is_the_default_rule(bench: Bench) -> None:
    spec = make_spec({"selection": {"rule": "one_standard_error"}}, **NO_PRUNER)
    study, _ = bench.procedure(spec)
    assert bench.assess(study).rule == "one_standard_error"
    assert bench.assess(study, "best").rule == "best"


def test_competitors_are_distinguished_from_the_winner_by_the_corrected_t(bench: Bench) -> None:
    space = {"learning_rate": {"choices": [0.1, 1e-5]}, "width": {"choices": [8, 9]}}
    spec = make_spec(
        {"training": {"epochs": 30, "batch_size": 8}},
        space=space,
        trials=4,
        sampler="grid",
        default={"learning_rate": 0.1, "width": 8},
        **NO_PRUNER,
    )
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    assert assessment.winner is not None
    assert assessment.winner.params["learning_rate"] == 0.1
    alike = [
        trial.number
        for trial in assessment.trials
        if trial.params["learning_rate"] == 0.1 and trial.number != assessment.winner.number
    ]
    assert assessment.indistinguishable == alike
    assert [competitor.number for competitor in assessment.competitors] == sorted(
        {0, 1, 2, 3} - {assessment.winner.number}
    )
    for competitor in assessment.competitors:
        total = competitor.chances.better + competitor.chances.equal + competitor.chances.worse
        assert total == pytest.approx(1)


def test_a_signal_beats_the_majority_and_noise_does_not(bench: Bench) -> None:
    training = {"training": {"epochs": 30, "batch_size": 8}}
    study, _ = bench.procedure(make_spec(training, **NO_PRUNER))
    assert bench.assess(study).baselines["majority"].is_beaten
    generator = np.random.default_rng(3)
    lines = [",".join(map(str, row)) for row in generator.normal(size=(100, 3)).round(4)]
    table = "a,b,c,y\n" + "\n".join(
        f"{line},{label}"
        for line, label in zip(lines, generator.permutation([0, 1] * 50), strict=True)
    )
    (bench.folder / "noise.csv").write_text(table)
    sections = {
        "name": "noise",
        "data": {"path": str(bench.folder / "noise.csv"), "target": "y"},
        **training,
    }
    study, _ = bench.procedure(make_spec(sections, **NO_PRUNER))
    assessment = bench.assess(study)
    assert not assessment.baselines["majority"].is_beaten
    assert not assessment.baselines["linear"].is_beaten


METRICS = ["accuracy", "balanced_accuracy", "macro_f1", "cross_entropy", "roc_auc"]


@pytest.mark.parametrize("metric", [*METRICS, "rmse", "mae", "r2"])
def test_every_metric_has_a_correction_near_its_observed_score(bench: Bench, metric: str) -> None:
    is_classes = metric in METRICS
    sections: dict[str, Any] = {
        "data": {"dataset": "iris" if is_classes else "diabetes"},
        "cv": {"folds": 3, "repeats": 2},
        "training": {"epochs": 10, "batch_size": 16},
        "space": {
            "width": {"low": 4, "high": 16},
            "learning_rate": {"low": 0.01, "high": 0.1, "log": True},
        },
    }
    spec = make_spec(sections, metric=metric, trials=6, cohort=6, **NO_PRUNER)
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    assert assessment.winner is not None
    assert assessment.winner.value is not None
    assert assessment.correction is not None
    correction, observed = assessment.correction, assessment.winner.value
    assert correction.low < correction.estimate < correction.high
    assert correction.low < observed < correction.high
    assert set(assessment.baselines) == set(baselines_of(spec.task))
    assert assessment.baselines[constant_name(spec.task)].is_beaten
    ranked = [trial.value for trial in complete(assessment) if trial.value is not None]
    assert observed == (min(ranked) if spec.is_minimised else max(ranked))


def test_rows_of_one_group_are_drawn_together(bench: Bench) -> None:
    generator = np.random.default_rng(1)
    rows = [
        f"{x:.3f},{generator.normal():.3f},{group},{int(x > 0)}"
        for group in range(20)
        for x in generator.normal(size=6)
    ]
    (bench.folder / "g.csv").write_text("a,b,g,y\n" + "\n".join(rows))
    sections = {
        "data": {"path": str(bench.folder / "g.csv"), "target": "y", "groups": "g"},
        "training": {"epochs": 5, "batch_size": 8},
    }
    study, data = bench.procedure(make_spec(sections, **NO_PRUNER))
    facts = bench.evidence.rows(study)
    assert facts is not None
    assert facts.groups is not None
    assert data.dataset.groups is not None
    np.testing.assert_array_equal(facts.groups, data.dataset.groups)
    assert bench.assess(study).correction is not None


def test_time_series_leave_rows_that_were_never_validated_out(bench: Bench) -> None:
    sections = {"cv": {"folds": 3, "kind": "time_series"}, "data": {"dataset": "diabetes"}}
    spec = make_spec(
        {**sections, "training": {"epochs": 3, "batch_size": 16}},
        metric="mae",
        space={"learning_rate": {"low": 0.001, "high": 0.05, "log": True}},
        trials=4,
        cohort=4,
        **NO_PRUNER,
    )
    study, data = bench.procedure(spec)
    facts = bench.evidence.rows(study)
    assert facts is not None
    assert (facts.folds == -1).sum() == len(data.plan.splits[0].training)
    found = bench.assess(study).correction
    assert found is not None
    assert np.isfinite(found.estimate)
    # Without bounds, the spread of the interval says from how many rows it was derived.
    assert found.prediction_interval is not None
    validated = (facts.folds >= 0).any(axis=0).sum()
    spread = np.sqrt((1 + validated / study.facts.held_out_rows) / (np.e - 1))
    width = np.ptp(found.prediction_interval)
    assert width == pytest.approx(spread * (found.high - found.low))


def test_parameters_are_counted_with_the_inputs_that_an_mlp_sees(bench: Bench) -> None:
    rows = [f"{i},{'rgb'[i % 3]},{i % 2}" for i in range(40)]
    (bench.folder / "c.csv").write_text("a,colour,y\n" + "\n".join(rows))
    data = {"path": str(bench.folder / "c.csv"), "target": "y", "categorical": ["colour"]}
    study, _ = bench.procedure(make_spec({"data": data}, trials=2))
    assert mlp_ends(study) == (4, 2)
    spec = study.spec()
    setting: Setting = spec.setting({"width": 5, "learning_rate": 0.1})
    assert setting.count_parameters(*mlp_ends(study)) == (4 + 1) * 5 + (5 + 1) * 2


def test_equally_simple_trials_are_ranked_by_their_mean() -> None:
    spec = make_spec()
    trials = [
        Trial(
            number=number,
            state=TrialState.COMPLETE,
            params={"width": 4, "learning_rate": 0.1},
            cohort=0,
            value=float(np.mean(scores)),
            fold_scores=scores,
        )
        for number, scores in enumerate([(0.7, 0.8, 0.9), (0.72, 0.81, 0.9)])
    ]
    settings = [spec.setting(trial.params) for trial in trials]
    chosen = choose_trial(trials, "one_standard_error", settings, 4, 3, is_minimised=False)
    assert chosen is trials[1]
    assert choose_trial([], "best", [], 4, 3, is_minimised=False) is None


def test_a_study_begun_before_its_rows_were_kept_says_what_to_do(bench: Bench) -> None:
    study = bench.run(make_spec(**NO_PRUNER))
    assessment = bench.assess(study)
    assert assessment.winner is not None
    assert assessment.correction is None
    assert "selection run FILE adds them" in assessment.why_uncorrected
    assert assessment.baselines == {}


def test_old_studies_without_the_new_sections_go_on(bench: Bench) -> None:
    spec = make_spec(trials=4)
    study = bench.run(spec)
    old = {
        name: value
        for name, value in study.spec_json.items()
        if name not in ("selection", "assessment", "final", "provenance")
    }
    assert parse_study(old, "old").to_json() == spec.to_json()


def test_the_interval_behind_a_claim_covers_folds_and_rows_out_of_bag(bench: Bench) -> None:
    for spec in (make_spec(**NO_PRUNER), make_spec({"name": "one"}, trials=1)):
        study, _ = bench.procedure(spec)
        for value in winner_value(bench.assess(study))["baselines"].values():
            found = [value["advantage"]["low"], value["advantage"]["high"]]
            both = [each for each in (found, value["out_of_bag"]) if each and each[0] is not None]
            if both:
                low, high = min(each[0] for each in both), max(each[1] for each in both)
                assert value["interval"] == [low, high]
            assert value["is_beaten"] == (bool(both) and value["interval"][0] > 0)


def test_a_linear_problem_has_a_linear_baseline_that_the_winner_does_not_beat(
    bench: Bench,
) -> None:
    """From a default learning rate at which nothing is learned in the epochs there are."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 10)).round(3)
    margin = features @ generator.normal(size=10) + 0.3 * generator.normal(size=600)
    rows = [
        ",".join(map(str, row)) + f",{int(above)}"
        for row, above in zip(features, margin > 0, strict=True)
    ]
    names = ",".join(f"f{index}" for index in range(10))
    (bench.folder / "linear.csv").write_text(f"{names},y\n" + "\n".join(rows))
    sections: dict[str, Any] = {
        "data": {"path": str(bench.folder / "linear.csv"), "target": "y"},
        "cv": {"folds": 5},
        "training": {"epochs": 6, "batch_size": 64},
        "space": {"width": 32, "learning_rate": {"low": 1e-5, "high": 1.0, "log": True}},
        "assessment": {"bootstraps": 100},
    }
    spec = make_spec(
        sections, trials=4, sampler="random", default={"learning_rate": 1e-5}, **NO_PRUNER
    )
    study, _ = bench.procedure(spec)
    baselines = bench.assess(study).baselines
    assert baselines["linear"].mean > 0.93
    assert not baselines["linear"].is_beaten
    assert baselines["majority"].mean < 0.6
