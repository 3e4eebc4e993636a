"""The facts of a study's data: stored as they always were, and read from any version."""

from __future__ import annotations

import json

from selection.study.data_facts import DataFacts

STORED = (
    '{"rows": 120, "held_out_rows": 30, "features": 4, "inputs": 6, "outputs": 3, '
    '"class_counts": {"setosa": 40, "versicolor": 40, "virginica": 40}, '
    '"fold_kind": "stratified", "folds": ["34d9", "3b9b"], "duplicate_rows": 0, '
    '"warnings": ["a class is rare"]}'
)


def test_facts_are_stored_as_they_always_were() -> None:
    facts = DataFacts.from_json(json.loads(STORED))
    assert json.dumps(facts.to_json()) == STORED
    assert facts.class_counts == {"setosa": 40, "versicolor": 40, "virginica": 40}
    assert (facts.folds, facts.warnings) == (("34d9", "3b9b"), ("a class is rare",))


def test_the_earliest_records_have_the_ends_of_an_mlp_by_their_features_and_classes() -> None:
    value = json.loads(STORED)
    del value["inputs"], value["outputs"]
    facts = DataFacts.from_json(value)
    assert (facts.inputs, facts.outputs) == (4, 3)
    regression = DataFacts.from_json(value | {"class_counts": {}})
    assert (regression.inputs, regression.outputs) == (4, 1)
