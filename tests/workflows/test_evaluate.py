"""The held-out set is opened once, on record, and never before."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
from scipy.stats import binomtest

from selection.data import held_out
from selection.data.dataset import load_development
from selection.data.rows import Rows
from selection.errors import DataError, ErrorDetail, RefusedError, StudyStateError
from selection.model.files import load_model
from selection.report.verdict import held_out_lines
from selection.seeds import seed_for
from selection.stats.intervals import bootstrap_counts, wilson
from selection.store.claims import Limits, ResumedCohort
from selection.store.cohorts import Cohorts
from selection.store.doctor import examine
from selection.store.leases import Lease
from selection.store.ledger import Ledger
from selection.study.spec import parse_study
from selection.study.trial import TrialState
from selection.train.device import choose_device, describe_device
from selection.workflows import evaluate as final
from selection.workflows import final_models as models
from selection.workflows.study_data import enter_study, load_study_data, make_trainer, row_facts
from selection.workflows.sweep import SweepNews, run_sweep
from tests.command_line import Cli, Outcome
from tests.sweep_bench import ALONE, Bench, make_spec

STUDY = """
name = "{name}"
recipe = "book"
[data]
path = "t.csv"
target = "y"
held_out = {{ column = "part", value = "late" }}
{data}
[cv]
folds = 3
[training]
epochs = 8
batch_size = 16
[space]
width = {{ low = 4, high = 16 }}
learning_rate = {{ low = 0.05, high = 0.5, log = true }}
[search]
metric = "{metric}"
trials = 6
cohort = 3
pruner = "none"
{extra}
"""
EVALUATION_KEYS = [
    "study", "number", "metric", "score", "low", "high", "level", "rows", "seeds", "evaluations",
    "corrected_estimate", "gap",
]  # fmt: skip


@pytest.fixture
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(5)
    x = generator.normal(size=(160, 3))
    signal = x[:, 0] - x[:, 1] + 0.8 * generator.normal(size=160)
    return pd.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "value": signal,
            "y": np.array(["no", "yes", "maybe"])[np.digitize(signal, [-0.7, 0.7])],
            "site": np.arange(160) // 4,
            "part": np.where(np.arange(160) % 4 == 0, "late", "early"),
        }
    )


Write = Callable[..., Path]


@pytest.fixture
def write(frame: pd.DataFrame) -> Write:
    """Write the table and a study of it into the working directory."""

    def make(name: str = "s", *, metric: str = "accuracy", data: str = "", extra: str = "") -> Path:
        table = frame.drop(columns=["site"] if "groups" not in data else [])
        if metric in ("rmse", "mae", "r2"):
            table = table.drop(columns="y").rename(columns={"value": "y"})
        else:
            table = table.drop(columns="value")
        table.to_csv("t.csv", index=False)
        path = Path(f"{name}.toml")
        path.write_text(STUDY.format(name=name, metric=metric, data=data, extra=extra))
        return path

    return make


def late(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["part"] == "late"]


def test_evaluate_prints_the_json_of_its_contract(cli: Cli, write: Write) -> None:
    best = cli("run", write(), "--json").json["best"]
    done = cli("evaluate", "s", "--json")
    assert done.code == 0, done.err
    value = done.json
    assert list(value)[: len(EVALUATION_KEYS)] == EVALUATION_KEYS
    assert (value["study"], value["number"]) == ("s", best["number"])
    assert (value["metric"], value["rows"], value["evaluations"]) == ("accuracy", 40, 1)
    assert value["low"] < value["score"] < value["high"]
    assert (value["low"], value["high"]) == wilson(round(40 * value["score"]), 40, 0.95)
    assert value["seeds"] == [value["score"]]
    corrected = cli("best", "s", "--json").json["corrected"]["estimate"]
    assert value["corrected_estimate"] == corrected
    assert value["gap"] == value["score"] - corrected
    training = value["training"]
    (loss,), (score,) = training.pop("running_loss"), training.pop("running_score")
    assert loss > 0
    assert round(120 * score) == pytest.approx(120 * score)
    assert training == {
        "rows": [120],
        "epochs": 8,
        "batch_size": 16,
        "batches_per_epoch": [8],
        "updates": [64],
        "updates_in_cross_validation": 40.0,
    }


def test_the_score_is_scikit_learn_s_of_the_exported_model_in_a_fresh_process(
    cli: Cli, write: Write, frame: pd.DataFrame
) -> None:
    cli("run", write())
    value = cli("evaluate", "s", "--json").json
    assert cli("export", "s", "--to", "out").code == 0
    late(frame).to_csv("late.csv", index=False)
    script = (
        "import json, pandas as pd; from selection import load_model\n"
        "table = pd.read_csv('late.csv'); model = load_model('out')\n"
        "print(json.dumps([model.score(table, table['y']), model.predict(table).tolist(),"
        " model.predict_proba(table).tolist(), list(model.classes_)]))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    score, predicted, chances, classes = json.loads(fresh.stdout)
    assert score == value["score"]
    true = late(frame)["y"].to_numpy()
    assert classes == ["maybe", "no", "yes"]
    counts = oracle.confusion_matrix(true, predicted, labels=classes)
    assert value["confusion"] == counts.tolist()
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        true, predicted, labels=classes, zero_division=0
    )
    for index, line in enumerate(value["per_class"]):
        assert line["name"] == classes[index]
        assert line["rows"] == support[index]
        assert line["recall"] == pytest.approx(recall[index])
        assert line["precision"] in (None, pytest.approx(precision[index]))
        assert line["f1"] == pytest.approx(f1[index])
    calibration = value["calibration"]
    assert calibration["nll"] == pytest.approx(oracle.log_loss(true, chances, labels=classes))
    brier = oracle.brier_score_loss(true, np.array(chances), labels=classes, scale_by_half=False)
    assert calibration["brier"] == pytest.approx(brier)


@pytest.mark.parametrize(
    ("final_model", "metric"),
    [
        ("refit", "cross_entropy"),
        pytest.param("refit", "rmse", marks=pytest.mark.slow),
        pytest.param("fold_ensemble", "cross_entropy", marks=pytest.mark.slow),
        pytest.param("fold_ensemble", "rmse", marks=pytest.mark.slow),
    ],
)
def test_an_exported_model_scores_to_the_last_bit_in_a_fresh_process(
    cli: Cli, write: Write, frame: pd.DataFrame, metric: str, final_model: str
) -> None:
    cli("run", write(metric=metric, extra=f'[final]\nmodel = "{final_model}"'))
    value = cli("evaluate", "s", "--json").json
    cli("export", "s", "--to", "out", "--format", "safetensors")
    late(frame).to_csv("late.csv", index=False)
    script = (
        "import json, numpy as np, pandas as pd; from selection import load_model\n"
        "from selection.stats.scores import reduce_outputs, weighted_scores\n"
        "table = pd.read_csv('late.csv'); model = load_model('out')\n"
        "outputs = model.outputs(table[['a', 'b', 'c']].to_numpy(), {})\n"
        "names = list(model.class_names)\n"
        "y = np.array([names.index(each) for each in table['y']]) if names else table['value']\n"
        f"reduced = reduce_outputs('{metric}', outputs, np.asarray(y))[None]\n"
        f"scores = weighted_scores('{metric}', reduced, np.asarray(y), np.ones((1, len(y))))\n"
        "print(json.dumps(float(scores[0, 0])))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(fresh.stdout) == value["score"]


@pytest.mark.parametrize(
    "metric",
    ["balanced_accuracy", "macro_f1", "cross_entropy", "roc_auc", "rmse", "mae", "r2"],
)
def test_other_metrics_have_a_bootstrap_interval(
    cli: Cli, write: Write, frame: pd.DataFrame, metric: str
) -> None:
    cli("run", write(metric=metric))
    value = cli("evaluate", "s", "--json").json
    assert cli("export", "s", "--to", "out", "--format", "safetensors").code == 0
    from selection.model.estimator import ClassifierModel
    from selection.model.files import load_model

    model, table = load_model("out"), late(frame)

    def score(rows: Any) -> float:
        part = table.iloc[rows]
        if not isinstance(model, ClassifierModel):
            true, predicted = part["value"], model.predict(part)
            scorers = {
                "rmse": oracle.root_mean_squared_error,
                "mae": oracle.mean_absolute_error,
                "r2": oracle.r2_score,
            }
            return float(scorers[metric](true, predicted))
        true, chances = part["y"], model.predict_proba(part)
        match metric:
            case "cross_entropy":
                return float(oracle.log_loss(true, chances, labels=model.classes_))
            case "roc_auc":
                return float(oracle.roc_auc_score(true, chances, multi_class="ovr"))
            case "macro_f1":
                return float(oracle.f1_score(true, model.predict(part), average="macro"))
        return float(oracle.balanced_accuracy_score(true, model.predict(part)))

    assert value["score"] == pytest.approx(score(np.arange(40)), abs=1e-6)
    seed = seed_for(0, "bootstrap", 1)
    counts = np.concatenate(list(bootstrap_counts(40, None, 1000, seed)))[:1000:10]
    draws = [score(np.repeat(np.arange(40), line)) for line in counts]
    # A tenth of the draws: their percentiles lie near those of all.
    spread = value["high"] - value["low"]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert abs(value["low"] - low) < 0.25 * spread
    assert abs(value["high"] - high) < 0.25 * spread
    if metric in ("rmse", "mae", "r2"):
        assert value["scores"][metric] == value["score"]
        assert list(value["scores"]) == ["rmse", "mae", "r2"]


def test_groups_are_resampled_whole_even_for_accuracy(
    cli: Cli, write: Write, frame: pd.DataFrame
) -> None:
    # Whole sites are held out here, so that groups stay on one side.
    frame["part"] = np.where(frame["site"] % 4 == 0, "late", "early")
    cli("run", write(data='groups = "site"'))
    value = cli("evaluate", "s", "--json").json
    assert value["rows"] == 40
    hits = round(40 * value["score"])
    assert (value["low"], value["high"]) != wilson(hits, 40, 0.95)
    assert value["low"] <= value["score"] <= value["high"]


def test_rows_in_time_are_resampled_in_runs_even_for_accuracy(cli: Cli, write: Write) -> None:
    path = write()
    path.write_text(path.read_text().replace("folds = ", 'kind = "time_series"\nfolds = '))
    assert cli("run", path).code == 0
    value = cli("evaluate", "s", "--json").json
    hits = round(40 * value["score"])
    assert (value["low"], value["high"]) != wilson(hits, 40, 0.95)
    assert value["low"] <= value["score"] <= value["high"]


def test_a_second_evaluation_is_refused_and_prints_the_first_result(cli: Cli, write: Write) -> None:
    cli("run", write())
    first = cli("evaluate", "s", "--json").json
    again = cli("evaluate", "s", "--json")
    assert again.code == 3
    assert again.json == first
    assert "the held-out set may be opened only once, but got an evaluation for trial" in again.err
    assert "--again --reason" in again.err
    assert len(again.err.splitlines()) == 1
    text = cli("evaluate", "s")
    assert text.code == 3
    assert f"accuracy, held out: {first['score']:.4f}" in text.out


def test_another_evaluation_is_on_record_and_every_report_says_so(cli: Cli, write: Write) -> None:
    cli("run", write())
    first = cli("evaluate", "s", "--json").json
    second = cli("evaluate", "s", "--again", "--reason", "the labels were fixed", "--json").json
    assert second["evaluations"] == 2
    assert second["score"] == first["score"]
    held = cli("best", "s", "--json").json["held_out"]
    assert list(held)[:5] == ["state", "score", "low", "high", "evaluations"]
    assert (held["state"], held["score"], held["evaluations"]) == ("evaluated", first["score"], 2)
    assert held["ledger"][1]["reason"] == "the labels were fixed"
    for words in (["best", "s"], ["status", "s"], ["run", "s.toml"]):
        assert "re-used (n = 2)" in cli(*words).out, words
    third = cli("evaluate", "s")
    assert third.code == 3
    assert "held-out set re-used (n = 2): the labels were fixed" in third.out
    cli("export", "s", "--to", "out", "--format", "model-card")
    card = Path("out/MODEL_CARD.md").read_text()
    assert "Re-used (n = 2)" in card
    assert "the labels were fixed" in card


def test_another_trial_is_compared_row_by_row(cli: Cli, write: Write) -> None:
    other_rule = ["--rule", "one_standard_error"]
    for seed in range(10):
        name = f"s{seed}"
        study = write(name)
        study.write_text(f"seed = {seed}\n{study.read_text()}")
        best = cli("run", study, "--json").json["best"]["number"]
        if cli("best", name, *other_rule, "--json").json["number"] != best:
            break
    first = cli("evaluate", name, "--json").json
    again = ["--again", "--reason", "r", "--json"]
    second = cli("evaluate", name, *other_rule, *again).json
    assert (first["rule"], second["rule"]) == ("best", "one_standard_error")
    assert second["number"] != first["number"], "no seed told the rules apart"
    against = second["against"]
    assert (against["evaluation"], against["number"]) == (1, first["number"])
    with_more = against["gained"] - against["lost"]
    assert second["score"] - first["score"] == pytest.approx(with_more / 40)
    discordant = against["gained"] + against["lost"]
    expected = binomtest(against["gained"], discordant).pvalue if discordant else 1.0
    assert against["p"] == pytest.approx(expected)
    third = cli("evaluate", name, "--again", "--reason", "back to the first")
    assert f"against trial {second['number']} of evaluation 2" in third.out
    assert f"{against['lost']} rows gained, {against['gained']} lost" in third.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--again"], 2, "belong together"),
        (["--reason", "why"], 2, "belong together"),
        (["--again", "--reason", " "], 2, "belong together"),
        (["--again", "--reason", "why"], 1, "a second evaluation needs a first one"),
        (["--rule", "luck"], 2, "luck"),
        (["--again", "--reason", "a\nb"], 2, "one line"),
        (["--again", "--reason", "\udcff"], 2, "one line"),
    ],
)
def test_what_cannot_be_asked_opens_nothing(
    cli: Cli, write: Write, words: list[str], code: int, said: str
) -> None:
    cli("run", write())
    done = cli("evaluate", "s", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert cli("best", "s", "--json").json["held_out"] is None


def interrupt_after_first_cohort(cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        honest = Cohorts.begin

        def begin(self: Any, own: Any, lease: Lease, *rest: Any) -> Any:
            if lease.cohort == 1:
                raise RuntimeError("stopped for a test")
            return honest(self, own, lease, *rest)

        patch.setattr(Cohorts, "begin", begin)
        with pytest.raises(RuntimeError, match="stopped for a test"):
            cli("run", study)


def test_a_study_with_trials_left_is_ended_by_request_only(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write()
    interrupt_after_first_cohort(cli, study, monkeypatch)
    refused = cli("evaluate", "s")
    assert refused.code == 1
    assert "opened after the last trial, but got 3 of 6 trials begun" in refused.err
    assert cli("best", "s", "--json").json["held_out"] is None
    assert cli("evaluate", "s", "--unfinished").code == 0
    late_run = cli("run", study)
    assert late_run.code == 0
    assert "epoch" not in late_run.err
    assert "the majority baseline scores" in cli("best", "s").out
    assert len(cli("trials", "s", "--json").json) == 3
    assert cli("status", "s", "--json").json["is_finished"] is True
    assert cli("evaluate", "s", "--again", "--reason", "why not").code == 0


def test_an_evaluation_ends_the_trials_that_wait_and_run(bench: Bench) -> None:
    """A cohort that trains while the evaluation is claimed cannot end behind its back."""
    spec = make_spec({"assessment": {"nested": True}}, trials=4, cohort=2)
    data = load_study_data(spec, bench.folder)
    study = enter_study(spec, data, bench.records, describe_device(choose_device("cpu")))
    bench.evidence.keep_rows(study, row_facts(data))
    trainer = make_trainer(spec, data, choose_device("cpu"), 0)

    class Stopped(BaseException):
        pass

    def stop(news: SweepNews) -> None:
        if news.cohort == 1:
            raise Stopped

    with pytest.raises(Stopped):
        run_sweep(spec, study, bench.repository, trainer, ALONE, bench.view(stop))
    first_cohort = bench.records.elapsed_seconds(study)
    claim = bench.repository.cohorts.claim(study, ALONE, Limits(trials=4, cohort=2))
    assert isinstance(claim, ResumedCohort)
    assert [trial.number for trial in claim.trials] == [2, 3]
    assessment = bench.assess(study)
    words = (data, bench.evidence, bench.ledger, choose_device("cpu"), bench.folder, "", print)
    final.evaluate(assessment, *words)
    for trial in bench.records.trials(study)[2:]:
        assert trial.state is TrialState.FAILED
        assert trial.reason == "the study was ended by an evaluation of its held-out set"
    results = trainer.train([spec.setting(trial.params) for trial in assessment.trials[2:]])
    with pytest.raises(RefusedError, match="a study takes no trials after"):
        bench.repository.cohorts.finish(study, claim.lease, dict(zip((2, 3), results, strict=True)))
    assert bench.records.elapsed_seconds(study) == first_cohort, "an evaluation is no training"
    bench.procedure(spec)
    assert bench.evidence.outer_folds(study) == [], "they would search on where the study stopped"
    assert bench.evidence.baselines(study) != []


def test_a_claim_needs_the_record_that_was_assessed(bench: Bench) -> None:
    spec = make_spec(trials=4, cohort=2)
    study, _ = bench.procedure(spec)
    with pytest.raises(StudyStateError, match="have the 3 finished trials of its assessment"):
        bench.ledger.claim(study, 0, "best", evaluation=1, reason="", finished=3)
    assert bench.ledger.evaluations(study) == []
    assert bench.ledger.claim(study, 0, "best", evaluation=1, reason="", finished=4)


def test_without_a_complete_trial_there_is_nothing_to_evaluate(cli: Cli, write: Write) -> None:
    study = write()
    text = study.read_text().replace("low = 0.05, high = 0.5", "low = 1e37, high = 1e38")
    study.write_text(text.replace("[search]", "[search]\ndefault = { learning_rate = 1e38 }"))
    assert cli("run", study).code == 1
    assert cli("best", "s", "--json").json["number"] is None
    assert "none has won" in cli("best", "s").out
    for words in (["evaluate", "s"], ["export", "s", "--to", "out"]):
        done = cli(*words)
        assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
        assert "a winner must be complete" in done.err
    assert not Path("out").exists()


def broken(*_: Any) -> Rows:
    raise DataError(ErrorDetail("held-out rows", "must be readable", "nonsense", "Fix them."))


def test_a_failure_before_a_score_gives_the_claim_back(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", write())
    with monkeypatch.context() as patch:
        patch.setattr(final, "open_held_out", broken)
        done = cli("evaluate", "s")
    assert done.code == 1
    assert "the claim was given back: nothing was scored" in done.err
    assert "but got nonsense" in done.err
    best = cli("best", "s", "--json").json
    assert best["held_out"] is None
    (returned,) = best["returned_claims"]
    assert "nonsense" in returned["note"]
    assert "was given back, no score was seen: held-out rows" in cli("best", "s").out
    done = cli("evaluate", "s", "--json")
    assert (done.code, done.json["evaluations"]) == (0, 1)
    assert "re-used" not in cli("best", "s").out


def test_a_process_that_dies_behind_the_claim_leaves_the_claim(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", write())
    with monkeypatch.context() as patch:
        patch.setattr(final, "open_held_out", broken)
        patch.setattr(Ledger, "give_back", lambda *_: None)  # as if it was killed
        assert cli("evaluate", "s").code == 1
    for words in (["best", "s"], ["status", "s"]):
        assert "claimed" in cli(*words).out
    assert cli("best", "s", "--json").json["held_out"]["state"] == "claimed"
    refused = cli("evaluate", "s")
    assert refused.code == 3
    assert refused.out == ""
    assert "got a claim without a result for trial" in refused.err
    cli("export", "s", "--to", "out", "--format", "model-card")
    assert "| claimed |" in Path("out/MODEL_CARD.md").read_text()
    done = cli("evaluate", "s", "--again", "--reason", "the machine stopped", "--json")
    assert done.code == 0
    assert done.json["evaluations"] == 1, "one of the claims has seen the rows"


def test_a_score_that_cannot_be_defined_is_refused_before_anything_is_trained(
    cli: Cli, write: Write, frame: pd.DataFrame
) -> None:
    frame.loc[frame["part"] == "late", "y"] = "yes"
    done = cli("run", write(metric="roc_auc"))
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert "roc_auc needs 2 different classes among the held-out rows, but got 1" in done.err
    assert cli("run", write(metric="accuracy")).code == 0


def test_changed_rows_are_refused_before_the_claim(
    cli: Cli, write: Write, frame: pd.DataFrame
) -> None:
    cli("run", write())
    for part in ("early", "late"):
        changed = frame.copy()
        changed.loc[changed["part"] == part, "a"] = 0.5
        changed.drop(columns=["site", "value"]).to_csv("t.csv", index=False)
        done = cli("evaluate", "s")
        assert done.code == 1
        assert "keeps its rows and folds" in done.err
    assert cli("best", "s", "--json").json["held_out"] is None


GARBAGE = {"a": "1e6", "b": "-1e30", "c": "7e29"}


def verdict_of(cli: Cli, study: Path, folder: str) -> dict[str, Any]:
    """Run, choose and refit; return all that is decided on the way."""
    assert cli("run", study, "--storage", f"sqlite:///{folder}.db").code == 0
    storage = ["--storage", f"sqlite:///{folder}.db"]
    trials = cli("trials", "s", "--json", *storage).json
    best = cli("best", "s", "--json", *storage).json
    for baseline in best["baselines"].values():
        baseline["note"] = re.sub(r"trained in [\d.]+ s", "trained", baseline["note"])
    done = cli("export", "s", "--to", folder, "--format", "safetensors", *storage)
    assert done.code == 0, done.err
    return {
        "trials": [{**trial, "seconds": None} for trial in trials],
        "best": best,
        "weights": Path(folder, "model.safetensors").read_bytes(),
        "document": Path(folder, "model.json").read_bytes(),
    }


def test_garbage_in_the_held_out_rows_changes_no_bit_of_sweep_choice_and_refit(
    cli: Cli, write: Write
) -> None:
    study = write(extra="[assessment]\nnested = true")
    true = verdict_of(cli, study, "true")
    garbage = pd.read_csv("t.csv").astype(str)
    is_late = garbage["part"] == "late"
    garbage.loc[is_late, list(GARBAGE)] = list(GARBAGE.values())
    garbage.loc[is_late, "y"] = garbage.loc[~is_late, "y"].iloc[0]
    garbage.to_csv("t.csv", index=False)
    assert verdict_of(cli, study, "garbage") == true


def test_nothing_before_evaluate_comes_near_the_door(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    honest = held_out.open_held_out

    def counting(*words: Any) -> Rows:
        rows = honest(*words)
        opened.append(len(rows))
        return rows

    monkeypatch.setattr(final, "open_held_out", counting)
    cli("run", write(extra="[assessment]\nnested = true"))
    for words in (["status"], ["trials", "s"], ["best", "s"], ["export", "s", "--to", "out"]):
        assert cli(*words).code == 0
    assert opened == []
    assert cli("evaluate", "s").code == 0
    assert opened == [40]
    assert cli("evaluate", "s").code == 3
    assert cli("export", "s", "--to", "out", "--force").code == 0
    assert opened == [40]


def test_another_study_on_the_same_rows_is_reported(cli: Cli, write: Write) -> None:
    cli("run", write())
    cli("evaluate", "s")
    other = write("other", extra="default = { width = 5 }")
    run = cli("run", other)
    said = "these held-out rows were opened once before, by s"
    assert f"warning: {said}" in run.err
    assert said in run.out
    assert said in cli("best", "other").out
    assert cli("best", "other", "--json").json["held_out"] is None
    assert cli("best", "other", "--json").json["held_out_openings_by_others"] == 1
    evaluated = cli("evaluate", "other")
    assert (evaluated.code, said in evaluated.err) == (0, True)
    assert "by other" in cli("best", "s").out
    cli("export", "other", "--to", "out", "--format", "model-card")
    assert said in Path("out/MODEL_CARD.md").read_text()


def test_seeds_show_the_spread_and_the_first_is_scored(cli: Cli, write: Write) -> None:
    cli("run", write(extra="[final]\nseeds = 3"))
    value = cli("evaluate", "s", "--json").json
    assert len(value["seeds"]) == 3
    assert value["seeds"][0] == value["score"]
    assert len(set(value["seeds"])) > 1
    assert "the same setting from 3 seeds" in cli("evaluate", "s").out


def test_an_evaluated_refit_ensemble_shows_its_seeds_beside_its_score(
    cli: Cli, write: Write
) -> None:
    cli("run", write(extra='[final]\nmodel = "refit_ensemble"'))
    value = cli("evaluate", "s", "--json").json
    assert value["model"] == "refit_ensemble"
    assert len(value["seeds"]) == 5
    assert len(value["training"]["updates"]) == 5
    said = cli("evaluate", "s").out
    assert "each of its 5 seeds alone: " in said
    assert "model: mean of 5 refits on all development rows, 8 epochs" in said
    cli("export", "s", "--to", "out")
    assert "each of its 5 seeds alone" in Path("out/MODEL_CARD.md").read_text()
    model = load_model("out")
    assert len(model.members) == 5


def test_the_claim_is_written_before_the_door_opens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    study, data = bench.procedure(spec)
    seen: list[list[str]] = []
    honest = held_out.open_held_out

    def watching(*words: Any) -> Rows:
        seen.append([evaluation.state for evaluation in bench.ledger.evaluations(study)])
        return honest(*words)

    monkeypatch.setattr(final, "open_held_out", watching)
    assessment, device = bench.assess(study), choose_device("cpu")
    words = (data, bench.evidence, bench.ledger, device, bench.folder, "", print)
    final.evaluate(assessment, *words)
    assert seen == [["claimed"]]
    assert [evaluation.state for evaluation in bench.ledger.evaluations(study)] == ["evaluated"]
    # The assessment is of before the evaluation: as if another process had been sooner.
    with pytest.raises(RefusedError, match="opened only once"):
        final.evaluate(assessment, *words)
    assert len(seen) == 1


def test_the_final_model_is_trained_before_the_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, data = bench.procedure(make_spec())
    assessment, device = bench.assess(study), choose_device("cpu")
    words = (data, bench.evidence, bench.ledger, device, bench.folder, "", print)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "fit_members", interrupted)
    with pytest.raises(KeyboardInterrupt):
        final.evaluate(assessment, *words)
    monkeypatch.undo()
    assert bench.ledger.evaluations(study) == bench.ledger.returned_claims(study) == []
    assert final.evaluate(assessment, *words).evaluations == 1


@pytest.mark.parametrize("where", ["open_held_out", "_outputs", "_result"])
def test_a_claim_after_which_nothing_was_scored_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    study, data = bench.procedure(make_spec())
    device = choose_device("cpu")
    words = (data, bench.evidence, bench.ledger, device, bench.folder, "", print)

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(final, where, full)
        with pytest.raises(OSError, match="No space left"):
            final.evaluate(bench.assess(study), *words)
    assessment = bench.assess(study)
    (line,) = assessment.returned_claims
    assert "No space left on device" in line.note
    assert any(
        "was given back, no score was seen" in each for each in held_out_lines(assessment, "")
    )
    result = final.evaluate(assessment, *words)
    assert result.evaluations == 1
    assert [each.evaluation for each in bench.ledger.evaluations(study)] == [2]
    assert examine(bench.database) == []


def test_a_score_that_cannot_be_recorded_is_said(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", write())
    database, moved = Path("selection.db"), Path("moved.db")
    results = []

    def moved_behind_the_door(*words: Any) -> Any:
        results.append(_result(*words))
        database.rename(moved)
        return results[0]

    _result = final._result
    with monkeypatch.context() as patch:
        patch.setattr(final, "_result", moved_behind_the_door)
        done = cli("evaluate", "s")
    assert (done.code, done.out) == (1, "")
    *_, said, error = done.err.splitlines()
    assert said == (
        f"held-out accuracy {results[0].score:.4g} of trial {results[0].number} is not on record; "
        "the claim stays on record without a result."
    )
    assert "its file must stay where it is while it is written" in error
    moved.rename(database)
    assert cli("best", "s", "--json").json["held_out"]["state"] == "claimed"


def test_every_named_data_set_can_be_evaluated(bench: Bench) -> None:
    for name, metric in (("cubic_polynomial", "rmse"), ("moons", "accuracy")):
        spec = parse_study(
            {
                "name": name,
                "data": {"dataset": name},
                "cv": {"folds": 3},
                "training": {"epochs": 2},
                "space": {"learning_rate": {"choices": [0.01, 0.001]}},
                "search": {"metric": metric, "trials": 2, "pruner": "none"},
            },
            name,
        )
        study, data = bench.procedure(spec)
        result = final.evaluate(
            bench.assess(study),
            data,
            bench.evidence,
            bench.ledger,
            choose_device("cpu"),
            bench.folder,
            "",
            print,
        )
        assert result.rows == load_development(spec, bench.folder).held_out_rows
        assert all(trial.state is TrialState.COMPLETE for trial in bench.records.trials(study))
    assert isinstance(bench.ledger, Ledger)


def test_text_and_json_say_the_same(cli: Cli, write: Write) -> None:
    cli("run", write())
    value = cli("evaluate", "s", "--json").json
    text: Outcome = cli("evaluate", "s")
    assert f"{value['low']:.4f}, {value['high']:.4f}] at 95% on 40 rows" in text.out
    higher = "higher" if value["gap"] > 0 else "lower"
    assert f"the held-out score is {abs(value['gap']):.4f} {higher}" in text.out
    assert "true \\ predicted" in text.out
    assert f"ECE {value['calibration']['ece']:.4f}" in text.out
    assert "64 updates" in text.out
