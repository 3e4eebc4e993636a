"""Models of several trials as one: by counts, each with its own activation, on disk and in ONNX."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from selection.errors import ExportError
from selection.model.estimator import AnyModel
from selection.model.files import decode_model, load_model
from selection.model.mixture import Part, mix
from selection.model.onnx_graph import encode_onnx
from selection.train.weights import WaveWeights
from tests.model.test_estimator import PARTS, Case, make_case

TRAINING = {
    "rows": [40], "epochs": 5, "batch_size": 8, "batches_per_epoch": [5], "updates": [25],
    "updates_in_cross_validation": 20.0,
}  # fmt: skip


def part(name: str, trial: int, activation: str, count: int, **changes: Any) -> tuple[Case, Part]:
    case = make_case(name, activation=activation, **changes)
    facts = {**case.facts, "trial": trial, "training": {**TRAINING, "epochs": 5 + trial}}
    case = Case(case.recipe, case.dataset, case.spec, facts, case.members, case.table)
    return case, Part(case.model, count)


def mixture(name: str, **changes: Any) -> tuple[AnyModel, list[tuple[Case, Part]]]:
    """Return a model of two trials that count three times and once."""
    parts = [
        part(name, 4, "tanh", 3, widths=(7, 5), **changes),
        part(name, 2, "relu", 1, widths=(4,), **changes),
    ]
    document, weights = mix([each for _, each in parts])
    return decode_model(json.loads(json.dumps(document)), weights, "here"), parts


@pytest.mark.parametrize("name", ["numbers", "holes", "class_ensemble"])
def test_chances_are_the_mean_by_counts(name: str) -> None:
    model, ((case, first), (_, second)) = mixture(name)
    chances = 0.75 * np.exp(chances_of(first, case)) + 0.25 * np.exp(chances_of(second, case))
    np.testing.assert_allclose(np.exp(chances_of(Part(model, 1), case)), chances, atol=1e-6)
    assert len(model.members) == 2 * len(case.members)


def chances_of(each: Part, case: Case) -> Any:
    logits = each.model.outputs(*case.inputs()).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_values_are_the_mean_by_counts() -> None:
    model, ((case, first), (_, second)) = mixture("values")
    each = [one.model.outputs(*case.inputs()) for one in (first, second)]
    np.testing.assert_allclose(
        model.outputs(*case.inputs()), 0.75 * each[0] + 0.25 * each[1], rtol=1e-12
    )


def test_the_document_says_what_was_mixed_and_how_each_was_trained() -> None:
    model, _ = mixture("numbers", parts=PARTS)
    document = model.document
    assert (document["trial"], document["trials"]) == (4, {"4": 3, "2": 1})
    assert document["version"] == 2, "an earlier reader would forget the counts"
    assert [member.activation for member in model.members] == ["tanh"] * 3 + ["relu"] * 3
    assert document["training"]["epochs"] == [9, 9, 9, 7, 7, 7]
    assert document["training"]["rows"] == [40, 40]
    assert document["training"]["updates_in_cross_validation"] == 20.0
    assert make_case("numbers").encoded()[0]["version"] == 1


@pytest.mark.parametrize("name", ["numbers", "holes", "values", "class_ensemble", "value_ensemble"])
def test_the_graph_gives_the_same_outputs(name: str) -> None:
    model, ((case, _), _) = mixture(name)
    session = onnxruntime.InferenceSession(encode_onnx(model), providers=["CPUExecutionProvider"])
    features, categories = case.inputs()
    inputs: dict[str, Any] = {"features": features} if features.shape[1] else {}
    for index, column in enumerate(categories.values()):
        inputs[f"category_{index}"] = column[:, None]
    found = session.run(None, inputs)[0]
    np.testing.assert_allclose(found, model.outputs(*case.inputs()), rtol=1e-5, atol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["trials"]) == {"4": 3, "2": 1}


@pytest.mark.parametrize("numbers", [("none", "pbld"), ("pbld", "none"), ("pl", "pbld")])
@pytest.mark.parametrize("name", ["numbers", "values"])
def test_trials_may_differ_in_embeddings_and_in_shares_of_their_activation(
    name: str, numbers: tuple[str, str]
) -> None:
    parts = [
        part(name, 4, "tanh", 3, widths=(7, 5), is_parametric=numbers[0] == "none"),
        part(name, 2, "relu", 1, widths=(4,), is_parametric=True),
    ]
    parts = [embedded(case, kind, each) for (case, each), kind in zip(parts, numbers, strict=True)]
    case = parts[0][0]
    document, weights = mix([each for _, each in parts])
    assert document["version"] == 2
    model = decode_model(json.loads(json.dumps(document)), weights, "here")
    found = model.outputs(*case.inputs())
    if model.class_names:
        first, second = (np.exp(chances_of(one, case)) for _, one in parts)
        wanted = np.log(0.75 * first + 0.25 * second)
    else:
        first, second = (one.model.outputs(*case.inputs()) for _, one in parts)
        wanted = 0.75 * first + 0.25 * second
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(encode_onnx(model), providers=["CPUExecutionProvider"])
    (graph, *_) = session.run(None, {"features": case.inputs()[0]})
    np.testing.assert_allclose(graph, found, rtol=1e-5, atol=1e-5)
    # What one says of itself alone is not said of the other.
    member = next(each for each in document["members"] if "numeric_embedding" in each)
    member.pop("numeric_embedding")
    with pytest.raises(ExportError):
        decode_model(document, weights, "here")


def embedded(case: Case, kind: str, each: Part) -> tuple[Case, Part]:
    """Return a case whose numeric columns are embedded as well, by weights that are drawn."""
    if kind == "none":
        return case, each
    rng = np.random.default_rng(9)
    columns, count, outputs = (case.recipe.columns, *((16, 3) if kind == "pbld" else (8, 4)))

    def draw(*shape: int) -> Any:
        return (0.3 * rng.normal(size=shape)).astype(np.float32)

    waves = WaveWeights(
        draw(columns, count),
        draw(columns * outputs, 16),
        draw(columns * outputs),
        draw(columns, count) if kind == "pbld" else None,
    )
    members = []
    for member in case.members:
        first, *others = member.layers
        kept = first.weight if kind == "pbld" else first.weight[:, columns:]
        wide = np.hstack([kept, draw(len(kept), columns * outputs)])
        layers = (replace(first, weight=wide, waves=waves), *others)
        members.append(replace(member, layers=layers))
    case = replace(case, members=tuple(members))
    return case, Part(case.model, each.count)


def test_a_mixture_returns_from_its_files(tmp_path: Path) -> None:
    model, (pair, other) = mixture("holes")
    document, weights = mix([pair[1], other[1]])
    (tmp_path / "model.json").write_text(json.dumps(document))
    (tmp_path / "model.safetensors").write_bytes(weights)
    loaded, case = load_model(tmp_path), pair[0]
    np.testing.assert_array_equal(loaded.outputs(*case.inputs()), model.outputs(*case.inputs()))
    document["members"][0]["count"] = 0
    with pytest.raises(ExportError, match="count"):
        decode_model(document, weights, "here")
