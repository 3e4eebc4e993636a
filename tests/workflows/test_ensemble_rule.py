"""The rule "ensemble" from the choice to the files: one winner that is several trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import sklearn.metrics as oracle
from scipy.special import softmax

import selection
from selection.cli.options import RuleOption
from selection.data import held_out
from selection.data.dataset import load_development
from selection.errors import StudyStateError
from selection.report.earlier_export import Subject, stale_files
from selection.report.model_card import card_title
from selection.stats.selection_rules import RULES
from selection.study.ensemble import CountedTrial, Ensemble, make_ensemble
from selection.study.fields import Rule
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState
from selection.train.device import choose_device
from selection.workflows import nested_cv
from selection.workflows.assess import assess_study
from selection.workflows.final_models import final_models, seed_models
from tests.command_line import Cli
from tests.sweep_bench import Bench, make_spec

STUDY = """
name = "w"
recipe = "book"
[data]
dataset = "{dataset}"
held_out = 0.3
[cv]
folds = 3
[training]
optimizer = "adamw"
epochs = 8
batch_size = 16
[space]
hidden_layers = {{ low = 0, high = 2 }}
width = {{ low = 4, high = 24 }}
activation = {{ choices = ["relu", "tanh"] }}
learning_rate = {{ low = 0.003, high = 0.03, log = true }}
[search]
metric = "{metric}"
trials = 8
pruner = "none"
[selection]
rule = "ensemble"
[assessment]
bootstraps = 100
baselines = ["linear"]
[final]
{final}
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(cli: Cli) -> Run:
    """Run a study in the working directory and return what best --json says."""

    def of(dataset: str = "wine", metric: str = "cross_entropy", final: str = "") -> dict[str, Any]:
        Path("w.toml").write_text(STUDY.format(dataset=dataset, metric=metric, final=final))
        done = cli("run", "w.toml", "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = cli("best", "w", "--json").json
        return found

    return of


def test_the_winner_is_the_mean_prediction_of_several_trials(run: Run) -> None:
    best = run()
    members = best["ensemble"]
    assert len(members) > 1
    assert sum(each["weight"] for each in members) == pytest.approx(1)
    assert members[0]["number"] == best["number"]
    assert members[0]["params"] == best["params"]
    counts = [each["count"] for each in members]
    assert counts == sorted(counts, reverse=True)
    assert best["observed"]["mean"] == pytest.approx(np.mean(best["observed"]["folds"]))
    study = selection.open_study("w")
    assert best["observed"]["folds"] == pytest.approx(observed_by_hand(study, members), rel=1e-5)
    singles = study.trials["value"]
    assert best["observed"]["mean"] < singles.min(), "better than each of its trials"
    assert best["corrected"]["low"] < best["corrected"]["estimate"] < best["corrected"]["high"]
    assert best["corrected"]["rivals"] == {"complete": 8, "pruned": 0}
    assert best["lower_bound"] is None
    assert {each["number"] for each in best["competitors"]} == set(range(8))
    assert study.best.ensemble == {each["number"]: each["weight"] for each in members}


def observed_by_hand(study: selection.Study, members: Any) -> list[float]:
    """Return the log loss of the mean chances on each fold."""
    with study._reading() as (repository, record):
        facts = repository.evidence.rows(record)
        assert facts is not None
        folds = [repository.records.curves(record, m["number"], outputs=True) for m in members]
    scores = []
    for fold in range(3):
        outputs = [softmax(np.asarray(own[fold].outputs, float), axis=1) for own in folds]
        mean = np.average(outputs, axis=0, weights=[each["count"] for each in members])
        scores.append(float(oracle.log_loss(facts.targets[facts.folds[0] == fold], mean)))
    return scores


def test_what_is_said_of_it(cli: Cli, run: Run) -> None:
    best = run()
    said = cli("best", "w").out
    count = len(best["ensemble"])
    first = best["ensemble"][0]
    assert f"winner: the ensemble of {count} trials\n" in said
    assert f"weights: trial {first['number']} {first['weight']:.2f}, trial " in said
    assert "rule ensemble: the best mean of the predictions of several trials" in said
    assert "rank  trial  weight  hidden_layers" in cli("run", "w.toml").out
    assert cli("diagnose", "w").out.startswith(f"study w, trial {first['number']}: ")
    assert cli("report", "w").code == 0
    page = Path("report.html").read_text()
    assert f"the ensemble of {count} trials</p>" in page
    assert f"Trial {first['number']}, which leads the ensemble" in page
    assert f'"leads the ensemble, trial {first["number"]}"' in page
    compared = cli("best", "w", "--rule", "best", "--json").json
    assert "ensemble" not in compared
    assert compared["lower_bound"] is not None


@pytest.mark.parametrize(
    "final", ["", 'model = "refit_ensemble"\nseeds = 2', 'model = "fold_ensemble"']
)
def test_its_model_is_evaluated_and_exported_as_one(cli: Cli, run: Run, final: str) -> None:
    best = run(final=final)
    counts = {each["number"]: each["count"] for each in best["ensemble"]}
    value = cli("evaluate", "w", "--json").json
    assert value["ensemble"] == {str(number): count for number, count in counts.items()}
    members = {"": 1, "m": 2, "f": 3}["" if not final else "m" if "refit" in final else "f"]
    assert len(value["training"]["updates"]) == members * len(counts)
    assert len(value["seeds"]) == (2 if "refit" in final else 1)
    done = cli("export", "w", "--to", "out")
    assert f"the ensemble of {len(counts)} trials of study w in out: " in done.out
    model = selection.load_model("out")
    assert len(model.members) == members * len(counts)
    study = selection.open_study("w")
    rows = held_out_rows(study.spec)
    score = oracle.log_loss(rows.target, softmax(outputs_of(model, rows), axis=1))
    assert value["score"] == pytest.approx(score, rel=1e-5)
    if "refit" in final:
        alone = [softmax(outputs_of(each, rows), axis=1) for each in seed_models(model)]
        each = [oracle.log_loss(rows.target, chances) for chances in alone]
        assert value["seeds"] == pytest.approx(each, rel=1e-5)
    card = Path("out/MODEL_CARD.md").read_text()
    assert card.startswith("# w: the ensemble of trials ")
    assert "| ensemble led by " in card
    exported = json.loads(Path("out/best.json").read_text())
    assert exported["ensemble"] == best["ensemble"]
    assert set(exported["study_files"]) == set(map(str, counts))
    assert exported["study_files"][str(best["number"])] == exported["study_file"]
    assert cli("run", "out/best.toml", "--json").code == 0


def held_out_rows(spec: StudySpec) -> Any:
    folder = Path("none")
    return held_out.open_held_out(spec, load_development(spec, folder), folder)


def outputs_of(model: Any, rows: Any) -> Any:
    return model.outputs(rows.features, rows.categories).astype(float)


def test_a_regression_averages_values(cli: Cli, run: Run) -> None:
    run("diabetes", "rmse")
    value = cli("evaluate", "w", "--json").json
    model = selection.open_study("w").model()
    rows = held_out_rows(selection.open_study("w").spec)
    score = oracle.root_mean_squared_error(rows.target, outputs_of(model, rows)[:, 0])
    assert value["score"] == pytest.approx(score, rel=1e-6)


def test_the_held_out_set_is_opened_once_whatever_the_rule(cli: Cli, run: Run) -> None:
    best = run()
    assert cli("evaluate", "w").code == 0
    refused = cli("evaluate", "w", "--rule", "best")
    assert refused.code == 3
    assert f"an evaluation for the ensemble of {len(best['ensemble'])} trials at" in refused.err
    number = cli("best", "w", "--rule", "best", "--json").json["number"]
    again = cli("evaluate", "w", "--again", "--reason", "one", "--rule", "best", "--json").json
    assert (again["number"], again["against"]["evaluation"]) == (number, 1)
    assert "ensemble" not in again
    assert len(again["against"]["ensemble"]) == len(best["ensemble"])
    third = cli("evaluate", "w", "--again", "--reason", "two", "--json").json
    assert third["against"]["number"] == number
    assert "ensemble" not in third["against"]
    ledger = cli("best", "w", "--json").json["held_out"]["ledger"]
    assert [each["rule"] for each in ledger] == ["ensemble", "best", "ensemble"]


def ensemble_spec(**search: Any) -> StudySpec:
    sections = {
        "selection": {"rule": "ensemble"},
        "training": {"epochs": 20, "batch_size": 8, "optimizer": "adam"},
    }
    space = {
        "width": {"low": 4, "high": 16},
        "learning_rate": {"low": 0.005, "high": 0.05, "log": True},
    }
    return make_spec(sections, metric="cross_entropy", space=space, **search)


def test_files_of_it_are_none_of_its_leading_trial(cli: Cli, run: Run) -> None:
    best = run()
    cli("export", "w", "--to", "out")
    number = best["number"]
    counts = {each["number"]: each["count"] for each in best["ensemble"]}
    ensemble = Subject("w", number, card_title("w", number, counts), counts)
    assert stale_files(Path("out"), ensemble) == []
    for other in (None, counts | {number: counts[number] + 1}):
        subject = Subject("w", number, card_title("w", number, other), other)
        assert {path.name for path in stale_files(Path("out"), subject)} >= {"model.onnx"}


def test_it_stands_beside_the_winner_of_another_study(cli: Cli, run: Run) -> None:
    best = run()
    text = Path("w.toml").read_text().replace('rule = "ensemble"', 'rule = "best"')
    Path("v.toml").write_text(text.replace('name = "w"', 'name = "v"'))
    assert cli("run", "v.toml", "--json").code == 0
    assert f"the ensemble of {len(best['ensemble'])} trials" in cli("compare", "w", "v").out
    found = cli("compare", "w", "v", "--json").json
    assert found["studies"][0]["ensemble"] == best["ensemble"]
    assert found["difference"] < 0, "its cross-entropy is lower on the same folds"
    study = selection.open_study("w")
    assert f"winner: the ensemble of {len(best['ensemble'])} trials" in study._repr_html_()


def test_a_study_may_be_read_by_this_rule_later(cli: Cli, run: Run) -> None:
    run()
    text = Path("w.toml").read_text().replace('rule = "ensemble"', 'rule = "best"')
    Path("v.toml").write_text(text.replace('name = "w"', 'name = "v"'))
    assert cli("run", "v.toml", "--json").code == 0
    done = cli("run", "v.toml", "--set", "selection.rule=ensemble", "--json")
    assert done.code == 0, done.err
    assert len(done.json["best"]["ensemble"]) > 1
    assert "selection.rule was changed from" in cli("best", "v").out


def test_its_model_is_made_of_those_of_its_trials(bench: Bench) -> None:
    spec = ensemble_spec(pruner="none", pruner_options={})
    study, data = bench.procedure(spec)
    trials = [each for each in bench.records.trials(study) if each.state is TrialState.COMPLETE]
    winner = make_ensemble(trials[:3], [1, 2, 1], [0.1, 0.1, 0.1])
    assert isinstance(winner, Ensemble)
    device, features = choose_device("cpu"), data.dataset.features
    (model,) = final_models(study, spec, data, winner, bench.evidence, device)
    mean = np.zeros((len(data.dataset), 3))
    for member in winner.counted:
        (own,) = final_models(study, spec, data, member.trial, bench.evidence, device)
        chances = softmax(own.outputs(features, {}).astype(float), axis=1)
        mean += member.count / sum(winner.counts.values()) * chances
    np.testing.assert_allclose(softmax(model.outputs(features, {}), axis=1), mean, atol=1e-6)


def test_pruned_trials_do_not_join(bench: Bench) -> None:
    spec = ensemble_spec(trials=12)
    study, _ = bench.procedure(spec)
    found = bench.assess(study)
    complete = {each.number for each in found.trials if each.state is TrialState.COMPLETE}
    assert len(complete) < 12
    assert found.winner is not None
    assert isinstance(found.winner, Ensemble)
    assert set(found.winner.counts) <= complete
    assert found.correction is not None
    assert found.correction.pruned > 0
    assert found.winner.value is not None
    assert found.correction.estimate > found.winner.value, "a loss is corrected upwards"


def test_the_outer_model_of_nested_cross_validation_is_the_ensemble_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(
        {"selection": {"rule": "ensemble"}, "assessment": {"nested": True}},
        metric="cross_entropy", trials=4, pruner="none", pruner_options={},
    )  # fmt: skip
    seen: list[tuple[Any, float]] = []
    score_winner = nested_cv._score_winner

    def spy(outer: Any, winner: Trial) -> float:
        score = score_winner(outer, winner)
        seen.append((winner, score))
        if isinstance(winner, Ensemble):
            trainer = nested_cv._trainer(outer, outer.dataset, [outer.split])
            chances = 0.0
            for member in winner.counted:
                (result,) = trainer.train([spec.setting(member.trial.params)])
                outputs = result.folds[0].outputs
                assert outputs is not None
                weight = member.count / sum(winner.counts.values())
                chances = chances + weight * softmax(outputs.astype(float), axis=1)
            truth = oracle.log_loss(outer.dataset.target[outer.split.validation], chances)
            assert score == pytest.approx(truth, rel=1e-5)
        return score

    monkeypatch.setattr(nested_cv, "_score_winner", spy)
    study, _ = bench.procedure(spec)
    assert [outer.score for outer in bench.evidence.outer_folds(study)] == [s for _, s in seen]
    assert any(isinstance(winner, Ensemble) for winner, _ in seen)


def test_a_record_without_rows_has_nothing_to_choose_an_ensemble_by(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = bench.procedure(make_spec(pruner="none", pruner_options={}))
    monkeypatch.setattr(type(bench.evidence), "rows", lambda self, study: None)
    with pytest.raises(StudyStateError, match="selection run FILE adds them"):
        assess_study(study, bench.repository, "ensemble")


def test_an_ensemble_of_one_trial_is_that_trial() -> None:
    trials = [Trial(n, TrialState.COMPLETE, {"width": n}, 0, value=0.5) for n in (3, 5, 8)]
    assert make_ensemble(trials, [0, 4, 0], [0.1]) is trials[1]
    found = make_ensemble(trials, [1, 2, 2], [0.25, 0.75])
    assert isinstance(found, Ensemble)
    assert found.counted == (
        CountedTrial(trials[1], 2),
        CountedTrial(trials[2], 2),
        CountedTrial(trials[0], 1),
    )
    assert (found.number, found.value, found.fold_scores) == (5, 0.5, (0.25, 0.75))


def test_the_card_calls_an_ensemble_of_one_trial_that_trial(cli: Cli) -> None:
    Path("w.toml").write_text(STUDY.format(dataset="wine", metric="accuracy", final=""))
    assert cli("run", "w.toml", "--trials", 1).code == 0
    assert cli("evaluate", "w").code == 0
    assert cli("export", "w", "--to", "out").code == 0
    assert "| 0 | ensemble | evaluated |" in Path("out/MODEL_CARD.md").read_text()


def test_every_rule_has_words_and_can_be_asked_for() -> None:
    assert set(get_args(Rule)) == set(RULES)
    assert set(get_args(get_args(get_args(RuleOption)[0])[0])) == set(RULES)
