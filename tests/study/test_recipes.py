"""Recipes: what a study file leaves out is filled in, what it says stays, and all of it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.study.explained import explain
from selection.study.recipes import RecipeFacts, usual_batch_size, usual_epochs
from selection.study.spec import StudySpec, parse_study

pytestmark = pytest.mark.usual_recipe

FACTS = RecipeFacts(rows=1000, folds=5, is_image=False, categorical=("colour",))


def minimal(**sections: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "s",
        "data": {"path": "s.csv", "target": "y"},
        "search": {"metric": "accuracy", "trials": 24},
    }
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section if isinstance(section, dict) else section
    return content


def finished(content: dict[str, Any], facts: RecipeFacts = FACTS) -> StudySpec:
    return parse_study(content, "s.toml").with_rows(facts)


def test_a_file_of_five_values_is_a_whole_study() -> None:
    spec = finished(minimal())
    assert spec.sections.recipe == "tabular"
    assert {"hidden_layers", "width", "dropout", "learning_rate", "weight_decay"} <= set(spec.space)
    setting = spec.setting(spec.default)
    assert setting.kind.optimizer == "adamw"
    assert setting.kind.batch_size == 32
    assert spec.sections.data.categorical == ("colour",)
    assert spec.sections.data.impute == "median"


@pytest.mark.parametrize("rows", [80, 300, 700, 2_000, 8_000, 40_000, 400_000])
def test_training_takes_at_least_1500_updates(rows: int) -> None:
    batch = usual_batch_size(rows)
    epochs = usual_epochs(rows, batch)
    assert epochs * -(-rows // batch) >= 1_500


def test_the_record_gives_the_same_study_whatever_recipes_become() -> None:
    spec = finished(minimal())
    again = parse_study(spec.to_json(), "record")
    assert again == spec
    assert again.with_rows(RecipeFacts(rows=10, folds=2, is_image=True)) == spec


def test_what_the_file_says_stays() -> None:
    content = minimal(
        data={"prepare": "none", "categorical": []},
        model={"hidden_layers": 1},
        training={"optimizer": "sgd", "epochs": 3},
        space={"width": 8, "batch_size": {"choices": [16, 32]}},
    )
    spec = finished(content)
    assert spec.sections.data.prepare == "none"
    assert spec.sections.data.categorical == ()
    setting = spec.setting(spec.default)
    assert (setting.kind.optimizer, setting.kind.epochs, setting.widths) == ("sgd", 3, (8,))
    assert set(spec.space) == {"batch_size"}
    # The learning rate of AdamW is none for SGD.
    assert setting.learning_rate == 0.1


def test_a_value_that_is_fixed_is_not_searched() -> None:
    spec = finished(minimal(model={"hidden_layers": 2}))
    assert "hidden_layers" not in spec.space
    assert spec.setting(spec.default).kind.hidden_layers == 2


def test_a_usual_space_goes_with_an_optimizer_of_the_file() -> None:
    spec = finished(minimal(training={"optimizer": "adam"}))
    assert "weight_decay" not in spec.space
    assert spec.setting(spec.default).kind.optimizer == "adam"


def test_widths_for_each_layer_say_how_many_there_are() -> None:
    spec = finished(minimal(space={"width": [64, 32, 16], "dropout": {"low": 0.0, "high": 0.5}}))
    assert spec.setting(spec.default).widths == (64, 32, 16)


def test_one_trial_searches_nothing() -> None:
    spec = finished(minimal(search={"trials": 1}))
    assert not spec.space
    assert spec.setting({}).widths == (256, 256)


def test_images_are_scaled_by_their_pixels() -> None:
    facts = RecipeFacts(rows=1000, folds=5, is_image=True)
    spec = finished({"name": "s", "data": {"dataset": "fashion_mnist"}}, facts)
    assert spec.sections.data.prepare == "scale"


def test_the_book_is_plain_sgd() -> None:
    spec = finished(minimal(recipe="book", search={"trials": 1}))
    setting = spec.setting(spec.default)
    assert (setting.kind.optimizer, setting.kind.epochs, setting.kind.batch_size) == (
        "sgd",
        10,
        256,
    )
    assert (setting.widths, setting.dropout, setting.learning_rate) == ((256,), (0.0,), 0.1)
    assert spec.sections.data.prepare == "standardize"
    assert spec.sections.data.impute is None


def test_each_value_is_explained() -> None:
    content = minimal(training={"epochs": 7})
    read = parse_study(content, "s.toml")
    values = explain(content, read, read.with_rows(FACTS))
    origins = {(each.section, each.key): each.origin for each in values}
    assert origins["training", "epochs"] == "file"
    assert origins["training", "optimizer"] == "recipe"
    assert origins["training", "batch_size"] == "rows"
    assert origins["data", "categorical"] == "rows"
    assert origins["model", "init"] == "default"
    assert origins["space", "width"] == "recipe"
    assert origins["search", "pruner"] == "default"
    assert origins["search", "trials"] == "file"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_default_space_goes_with_the_optimizer_of_the_file(optimizer: str) -> None:
    spec = finished(minimal(training={"optimizer": optimizer}))
    assert ("weight_decay" in spec.space) == (optimizer != "adam")
    # Trial 0 has the usual rate of its optimizer.
    usual = {"sgd": 0.1, "adam": 0.001, "adamw": 0.002}[optimizer]
    assert spec.setting(spec.default).learning_rate == usual


def test_without_hidden_layers_nothing_of_them_is_searched() -> None:
    spec = finished(minimal(model={"hidden_layers": 0}))
    assert not {"width", "dropout"} & set(spec.space)


def test_a_dropout_for_each_layer_meets_the_layers_of_the_recipe() -> None:
    spec = finished(minimal(search={"trials": 1}, space={"dropout": [0.1, 0.2]}))
    assert spec.setting({}).dropout == (0.1, 0.2)


def test_a_grid_without_space_is_told_that_it_has_none() -> None:
    with pytest.raises(StudyFileError, match="constants only") as caught:
        finished(minimal(search={"sampler": "grid"}))
    assert len(caught.value.details) == 1


@pytest.mark.parametrize("entry", [{"choices": [16, 64]}, {"low": 16, "high": 64}])
def test_the_largest_batches_that_are_searched_decide_the_epochs(entry: dict[str, Any]) -> None:
    spec = finished(minimal(space={"batch_size": entry}))
    assert spec.sections.training.epochs == usual_epochs(800, 64)


def test_what_the_space_replaces_is_not_explained() -> None:
    content = minimal(space={"batch_size": {"choices": [16, 64]}})
    read = parse_study(content, "s.toml")
    keys = [(each.section, each.key) for each in explain(content, read, read.with_rows(FACTS))]
    assert ("space", "batch_size") in keys
    assert ("training", "batch_size") not in keys


def test_a_file_that_was_exported_before_there_were_recipes_is_of_the_book() -> None:
    exported = minimal(recipe="book", search={"trials": 1})
    exported["provenance"] = {
        "study": "t", "number": 3, "rule": "best", "data_fingerprint": "d",
        "held_out_fingerprint": "h", "fold_fingerprint": "f",
    }  # fmt: skip
    spec = finished(exported)
    del exported["recipe"]
    assert finished(exported) == spec
