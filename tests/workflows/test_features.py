"""MLPs that see the first inputs alone: checked against the data, simpler, and exported so."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from selection.data.folds import Split
from selection.data.prepare import prepare_folds
from selection.errors import DataError, StudyStateError
from selection.model.onnx_graph import encode_onnx
from selection.seeds import seed_for
from selection.stats.selection_rules import choose_trial, simplicity_ranks
from selection.study.fields import Rule
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState
from selection.train.device import choose_device, describe_device
from selection.workflows.assess import mlp_ends
from selection.workflows.final_models import final_models
from selection.workflows.study_data import enter_study, load_study_data
from tests import reference
from tests.sweep_bench import Bench, make_spec

CPU = choose_device("cpu")
RATE = {"low": 0.01, "high": 1.0, "log": True}


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"features": 5}},
        {"space": {"features": 5, "learning_rate": RATE}},
        {"space": {"features": {"low": 1, "high": 5}}},
        {"space": {"features": {"choices": [5, 1]}}},
    ],
)
def test_more_features_than_inputs_are_refused_in_one_line(
    bench: Bench, sections: dict[str, Any]
) -> None:
    with pytest.raises(DataError) as caught:
        load_study_data(make_spec(sections), bench.folder)
    assert str(caught.value) == (
        "iris: [model] features: features must be at most the 4 inputs of iris, but got 5. "
        "Lower it, or leave it out to see all."
    )


def test_a_default_outside_the_space_is_checked_too(bench: Bench) -> None:
    space = {"features": {"low": 1, "high": 4}}
    spec = make_spec(space=space, default={"features": 5})
    with pytest.raises(DataError, match="at most the 4 inputs of iris, but got 5"):
        load_study_data(spec, bench.folder)


def test_each_category_is_an_input(bench: Bench) -> None:
    frame = pd.DataFrame({"a": np.arange(40.0), "c": list("xyzx") * 10})
    frame["y"] = frame["a"] % 7
    frame.to_csv(bench.folder / "t.csv", index=False)
    data = {"path": str(bench.folder / "t.csv"), "target": "y", "categorical": ["c"]}
    sections: dict[str, Any] = {"data": data, "model": {"features": 4}}
    spec = make_spec(sections, metric="rmse")
    assert load_study_data(spec, bench.folder).dataset.inputs == 4
    spec = make_spec({**sections, "model": {"features": 5}}, metric="rmse")
    with pytest.raises(DataError, match="at most the 4 inputs"):
        load_study_data(spec, bench.folder)


def test_each_indicator_of_missing_numbers_is_an_input(bench: Bench) -> None:
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) ** 2, "c": list("xyzx") * 10})
    frame["y"] = frame["a"] % 7
    frame.loc[::3, "b"] = np.nan
    frame.to_csv(bench.folder / "t.csv", index=False)
    data: dict[str, Any] = {"path": str(bench.folder / "t.csv"), "target": "y"}
    data |= {
        "categorical": ["c"],
        "impute": "median",
        "missing_indicators": True,
        "prepare": "robust",
    }
    sections: dict[str, Any] = {"data": data, "model": {"features": 6}}
    loaded = load_study_data(make_spec(sections, metric="rmse"), bench.folder)
    assert (loaded.dataset.inputs, loaded.facts.inputs, loaded.facts.features) == (6, 6, 3)
    with pytest.raises(DataError, match="at most the 6 inputs"):
        load_study_data(
            make_spec({**sections, "model": {"features": 7}}, metric="rmse"), bench.folder
        )


def test_diagnostics_may_be_switched_on_later_and_features_may_not(bench: Bench) -> None:
    training = {"epochs": 3, "batch_size": 16}
    spec = make_spec({"training": training, "model": {"features": 2}}, trials=4, pruner="none",
                     pruner_options={})  # fmt: skip
    study = bench.run(spec)
    assert {fold.layers for fold in bench.records.curves(study, 0)} == {None}
    on = make_spec(
        {"training": {**training, "diagnostics": True}, "model": {"features": 2}},
        trials=4,
        pruner="none",
        pruner_options={},
    )
    again = bench.run(on)
    assert (again.uuid, again.spec_fingerprint) == (study.uuid, on.fingerprint)
    assert again.spec().sections.training.diagnostics

    for features in ({"features": 3}, {}):
        other = make_spec(
            {"training": training, "model": features}, trials=4, pruner="none", pruner_options={}
        )
        data = load_study_data(other, bench.folder)
        with pytest.raises(StudyStateError, match=r"keeps its file, but got model\.features: 2 ->"):
            enter_study(other, data, bench.records, describe_device(CPU))


def test_trials_that_are_trained_after_the_switch_have_layers(bench: Bench) -> None:
    options: dict[str, Any] = {"trials": 4, "cohort": 2, "pruner": "none", "pruner_options": {}}

    def spec_of(diagnostics: bool) -> StudySpec:
        training = {"epochs": 3, "batch_size": 16, "diagnostics": diagnostics}
        return make_spec({"training": training}, **options)

    class Stopped(BaseException):
        pass

    def stop(news: Any) -> None:
        if len(news.finished) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        bench.run(spec_of(False), stop)
    study = bench.run(spec_of(True))
    found = {
        trial.number: [fold.layers for fold in bench.records.curves(study, trial.number)]
        for trial in bench.records.trials(study)
    }
    assert [layers[0] is None for layers in found.values()] == [True, True, False, False]
    for layers in (*found[2], *found[3]):
        assert layers is not None
        assert layers.points.shape == (3, 2, 3)
        assert np.isnan(layers.column("dead_share")[:, -1]).all(), "the output layer has no ReLU"
        assert (layers.column("weight_norm") > 0).all()


def test_of_trials_within_one_error_that_with_the_fewest_seen_inputs_wins() -> None:
    space = {"features": {"low": 1, "high": 20}}
    data = {"dataset": "cubic_polynomial"}
    spec = make_spec({"data": data, "model": {"hidden_layers": 1}}, space=space, metric="rmse")
    counts = (20, 3, 7, 1)
    settings = [spec.setting({"features": count}) for count in counts]
    assert simplicity_ranks(settings, 20, 1).tolist() == [3, 1, 2, 0]
    scores = [(1.0, 1.2, 1.4), (1.1, 1.2, 1.4), (1.1, 1.2, 1.4), (9.0, 9.2, 9.4)]
    trials = [
        Trial(index, TrialState.COMPLETE, {"features": count}, 0, value=float(np.mean(line)),
              fold_scores=line)
        for index, (count, line) in enumerate(zip(counts, scores, strict=True))
    ]  # fmt: skip
    numbers: dict[Rule, int] = {"best": 0, "one_standard_error": 1}
    for rule, number in numbers.items():
        chosen = choose_trial(trials, rule, settings, 20, 1, is_minimised=True)
        assert chosen is not None
        assert chosen.number == number


def test_the_record_knows_how_many_inputs_there_are(bench: Bench) -> None:
    study = bench.run(make_spec({"model": {"features": 2}}, trials=1, pruner_options={}))
    assert mlp_ends(study) == (4, 3)


@pytest.mark.parametrize("dataset", ["iris", "cubic_polynomial"])
@pytest.mark.parametrize("model", ["refit", "fold_ensemble"])
def test_an_exported_model_looks_at_its_features_alone(
    bench: Bench, dataset: str, model: str
) -> None:
    is_regression = dataset == "cubic_polynomial"
    sections = {
        "data": {"dataset": dataset},
        "model": {"features": 2},
        "training": {"epochs": 6, "batch_size": 16},
        "final": {"model": model},
    }
    metric = "rmse" if is_regression else "accuracy"
    spec = make_spec(sections, metric=metric, trials=2, cohort=2, pruner="none", pruner_options={})
    study, data = bench.procedure(spec)
    winner = bench.assess(study).winner
    assert winner is not None
    (made,) = final_models(study, spec, data, winner, bench.evidence, CPU)
    for member in made.members:
        weight = member.layers[0].weight
        assert weight.shape[1] == data.dataset.inputs
        assert np.abs(weight[:, :2]).max() > 0
        assert (weight[:, 2:] == 0).all()
    features = data.dataset.features
    outputs = made.outputs(features, {})
    if model == "refit":
        everything = np.arange(len(data.dataset))
        (rows,) = prepare_folds(data.dataset, [Split(0, 0, everything, everything)], spec)
        seed = seed_for(spec.seed, "final")
        setting = spec.setting(winner.params)
        truth = reference.train(setting, rows, metric, seed, torch.float32)
        np.testing.assert_allclose(outputs, truth.outputs, rtol=1e-3, atol=1e-3)
    moved = features.copy()
    moved[:, 2:] = 7.0 - moved[:, 2:]
    np.testing.assert_array_equal(made.outputs(moved, {}), outputs)

    session = onnxruntime.InferenceSession(encode_onnx(made), providers=["CPUExecutionProvider"])
    for table in (features, moved):
        found = session.run(None, {"features": table.astype(np.float64)})[0]
        np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-5)
