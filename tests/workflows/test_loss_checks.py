"""Weights and label smoothing that do not fit the rows or the metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selection
from selection.api.study import Study
from selection.errors import DataError
from selection.model.files import load_model
from selection.study.spec import StudySpec, parse_study, read_study
from selection.workflows.study_data import load_study_data

NOWHERE = Path("nowhere")


def make_spec(metric: str = "roc_auc", dataset: str = "wine", **sections: Any) -> StudySpec:
    content = {
        "name": "s",
        "data": {"dataset": dataset},
        "search": {"metric": metric, "trials": 1},
        **sections,
    }
    return parse_study(content, "s.toml")


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"label_smoothing": 0.1}},
        {"space": {"label_smoothing": 0.1}},
        {"space": {"label_smoothing": {"low": 0.0, "high": 0.2}}},
        {"space": {"label_smoothing": {"choices": [0.0, 0.1]}}},
    ],
)
def test_label_smoothing_under_a_score_of_ranks_is_warned_of_once(sections: Any) -> None:
    def said(spec: StudySpec) -> int:
        warnings = load_study_data(spec, NOWHERE).facts.warnings
        return sum("label smoothing" in each for each in warnings)

    assert said(make_spec(**sections)) == 1
    assert said(make_spec("accuracy", **sections)) == 0
    assert said(make_spec()) == 0


def test_a_table_of_weights_names_classes_of_the_rows() -> None:
    load_study_data(make_spec(training={"class_weights": {"class_1": 2.0}}), NOWHERE)
    with pytest.raises(DataError, match='class_weights must name classes of wine, but got "one"'):
        load_study_data(make_spec(training={"class_weights": {"one": 2.0}}), NOWHERE)


def run(weights: Any, **sections: Any) -> Study:
    generator = np.random.default_rng(5)
    features = generator.normal(size=(60, 3))
    target = (features[:, 0] > 0).astype(int)
    content = {
        "cv": {"folds": 3},
        "training": {"epochs": 3, "batch_size": 16},
        "space": {"width": {"choices": [4, 8]}},
        "search": {"sampler": "grid", "pruner": "none", "trials": 2},
        "assessment": {"bootstraps": 100},
        **sections,
    }
    return selection.run(content, features, target, sample_weight=weights, progress=False)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(DataError, match="every fold needs a training row whose weight is above 0"):
        run(np.zeros(60))


def test_weights_train_a_model_that_does_not_ask_for_them(tmp_path: Path) -> None:
    equal, weighed = run(np.full(60, 2.0)), run(np.arange(60.0))
    assert equal.trials["value"].tolist() == run(None).trials["value"].tolist()
    assert equal.trials["value"].tolist() != weighed.trials["value"].tolist()
    weighed.evaluate()
    weighed.export(str(tmp_path / "model"))
    model = load_model(tmp_path / "model")
    assert model.feature_names_in_.tolist() == ["feature_0", "feature_1", "feature_2"]
    assert model.predict(np.zeros((1, 3))).shape == (1,)


def test_an_export_says_how_its_loss_was_weighed_and_trains_it_again(tmp_path: Path) -> None:
    training = {"epochs": 2, "label_smoothing": 0.1, "class_weights": {"1": 2.5}}
    model = {"parametric_activation": True, "input_scaling": True}
    study = run(None, training=training, model=model)
    study.export(str(tmp_path / "model"))
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    for row in (
        "| activation | parametric relu |",
        "| input scaling | learned |",
        "| label smoothing | 0.1 |",
        "| class weights | 1 2.5 |",
    ):
        assert row in card
    again = read_study(tmp_path / "model" / "best.toml")
    setting = again.setting(again.default)
    assert setting.class_weights == (("1", 2.5),)
    assert setting == study.spec.setting(study.best.params)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", {"choices": ["adam", "adamw"]}])
@pytest.mark.parametrize("momentum", [0.9, {"low": 0.5, "high": 0.9}, 0.0])
def test_momentum_that_no_optimizer_has_is_warned_of(optimizer: Any, momentum: Any) -> None:
    spec = make_spec(space={"optimizer": optimizer, "momentum": momentum})
    warnings = load_study_data(spec, NOWHERE).facts.warnings
    is_warned = any("momentum has no effect on ada" in each for each in warnings)
    assert is_warned == (momentum != 0.0 and optimizer != "sgd")


@pytest.mark.usual_recipe
def test_momentum_is_none_of_the_usual_optimizer() -> None:
    spec = make_spec(training={"momentum": 0.9})
    assert any(
        "no effect on adamw" in each for each in load_study_data(spec, NOWHERE).facts.warnings
    )
