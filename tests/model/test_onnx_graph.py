"""Every kind of final model as ONNX, run by onnxruntime beside Model itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from numpy.typing import NDArray

from selection.data.labels import labels_of
from selection.data.prepare import Preparation
from selection.data.scaling import identity
from selection.errors import ExportError
from selection.model.estimator import ModelMember, make_model
from selection.model.files import encode_model
from selection.model.onnx_graph import encode_onnx
from selection.study.activations import ACTIVATIONS
from selection.study.fields import Prepare
from selection.train.weights import LayerWeights
from tests.model.test_estimator import (
    PARTS,
    RECIPES,
    Case,
    by_hand,
    enlarge,
    make_case,
    make_table,
    softmax,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*the model never saw")


def session_of(case: Case) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        encode_onnx(case.model), options, providers=["CPUExecutionProvider"]
    )


def feed(case: Case, table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return a table as the inputs of the graph."""
    features, categories = case.inputs(table)
    inputs: dict[str, NDArray[Any]] = {"features": features} if features.shape[1] else {}
    for index, column in enumerate(categories.values()):
        inputs[f"category_{index}"] = column[:, None]
    return inputs


def run(case: Case, table: pd.DataFrame) -> Mapping[str, NDArray[np.float32]]:
    session = session_of(case)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feed(case, table)), strict=True))


def assert_equal_to_model(case: Case, table: pd.DataFrame) -> None:
    found = dict(run(case, table))
    outputs = case.model.outputs(*case.inputs(table))
    if case.recipe.categorical:
        unknown = [
            ~np.isin(column, case.model.known_categories(name))
            for name, column in case.inputs(table)[1].items()
        ]
        count = found.pop("unknown_categories")
        np.testing.assert_array_equal(count[:, 0], np.sum(unknown, axis=0))
    if not case.recipe.classes:
        assert list(found) == ["prediction"]
        assert found["prediction"].shape == (len(table), 1)
        np.testing.assert_allclose(found["prediction"], outputs, rtol=1e-5)
        np.testing.assert_allclose(found["prediction"], by_hand(case, table), rtol=1e-4)
        return
    assert list(found) == ["logits", "probabilities"]
    assert found["logits"].shape == (len(table), len(case.recipe.classes))
    np.testing.assert_allclose(found["logits"], outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found["probabilities"], case.model.predict_proba(table), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        found["probabilities"], softmax(by_hand(case, table)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("rows", [0, 1, 23, 1500])
@pytest.mark.parametrize("name", RECIPES)
def test_every_model_gives_the_same_outputs(name: str, rows: int) -> None:
    case = make_case(name)
    assert_equal_to_model(case, make_table(case.recipe, rows))


@pytest.mark.parametrize("widths", [(), (6,), (7, 5), (4, 3, 2, 5)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["numbers", "holes", "values"])
def test_every_activation_and_depth_gives_the_same_outputs(
    name: str, activation: str, widths: tuple[int, ...]
) -> None:
    case = make_case(name, activation=activation, widths=widths)
    assert_equal_to_model(case, case.table)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["numbers", "values"])
def test_every_parametric_activation_gives_the_same_outputs(name: str, activation: str) -> None:
    case = make_case(name, activation=activation, widths=(7, 5), is_parametric=True)
    assert_equal_to_model(case, case.table)


@pytest.mark.parametrize("prepare", get_args(Prepare))
@pytest.mark.parametrize("kind", ["image", "numbers", "holes"])
def test_every_preparation_gives_the_same_outputs(kind: str, prepare: str) -> None:
    columns = 16 if kind == "image" else 4
    marks = {"is_image": kind == "image", "is_imputed": kind == "holes"}
    case = make_case("images", columns=columns, prepare=prepare, **marks)
    assert_equal_to_model(case, case.table)


@pytest.mark.parametrize("classes", [(), ("no", "yes")], ids=["regression", "classification"])
@pytest.mark.parametrize("categorical", [(), ("colour",)], ids=str)
@pytest.mark.parametrize("marks", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("prepare", get_args(Prepare))
def test_preparations_with_all_that_goes_with_them_give_the_same_outputs(
    prepare: str, marks: tuple[bool, bool], categorical: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    is_imputed, has_indicators = marks
    case = make_case(
        "numbers",
        prepare=prepare,
        is_imputed=is_imputed,
        has_indicators=has_indicators,
        categorical=categorical,
        classes=classes,
        parts=PARTS,
    )
    assert_equal_to_model(case, case.table)


@pytest.mark.parametrize(
    ("kind", "names", "cells", "input_kind"),
    [
        ("text", ["ash", "birch"], ["ash", "birch", "", "oak"], "string"),
        ("number", ["1.5", "2"], [1.5, 2.0, np.nan, 3.0], "double"),
        ("number", ["1", "12345678901234567"], ["1", "12345678901234567", "", "7"], "string"),
        ("boolean", ["False", "True"], ["False", "True", "", "maybe"], "string"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_a_missing_category_is_one_of_its_own_in_every_kind_of_column(
    kind: str, names: list[str], cells: list[Any], input_kind: str, is_known: bool
) -> None:
    known = tuple(sorted(["", *names])) if is_known else tuple(names)
    weight = np.arange(1, 1 + len(known), dtype=np.float32)
    layer = LayerWeights(np.stack([weight, -weight]), np.zeros(2, np.float32))
    preparation = Preparation(np.empty(0), identity(0), {"c": known})
    facts = {
        "study": "s",
        "trial": 0,
        "activation": "relu",
        "feature_names": [],
        "categorical": ["c"],
        "category_kinds": {"c": kind},
        "class_names": ["no", "yes"],
        "impute": "median",
    }
    member = ModelMember(preparation, (layer,))
    model = make_model(encode_model(facts, [member])[0], [member])
    session = onnxruntime.InferenceSession(encode_onnx(model), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    if kind == "boolean" and not is_known:
        assert given.type == "tensor(bool)"
        return
    assert given.type == f"tensor({input_kind})"
    column = np.array(cells, dtype=object if input_kind == "string" else np.float64)
    logits, _, unknown = session.run(None, {"category_0": column[:, None]})
    truth = pd.DataFrame({"c": [None if cell != cell or cell == "" else cell for cell in cells]})
    theirs = model.outputs(np.empty((4, 0)), model.categories({"c": labels_of(truth["c"])}))
    np.testing.assert_array_equal(logits, theirs)
    np.testing.assert_array_equal(unknown[:, 0], [0, 0, 0 if is_known else 1, 1])


@pytest.mark.parametrize("name", ["text", "holes"])
@pytest.mark.parametrize("categorical", [("colour",), ("site",), ("site", "colour")], ids=str)
@pytest.mark.parametrize("classes", [(), ("no", "yes")], ids=["regression", "classification"])
def test_every_choice_of_categories_gives_the_same_outputs(
    classes: tuple[str, ...], categorical: tuple[str, ...], name: str
) -> None:
    case = make_case(name, classes=classes, categorical=categorical)
    assert_equal_to_model(case, case.table)


@pytest.mark.parametrize("name", ["numbers", "holes", "images", "values", "text"])
def test_every_model_as_an_ensemble_gives_the_same_outputs(name: str) -> None:
    case = make_case(name, parts=PARTS)
    assert len(case.members) == 3
    assert_equal_to_model(case, case.table)


def test_an_ensemble_that_rules_a_class_out_gives_the_same_outputs() -> None:
    case = enlarge(make_case("class_ensemble"), 1e5)
    outputs = case.model.outputs(*case.inputs())
    assert outputs.min() < -80, "a chance is below the smallest float32"
    found = run(case, case.table)
    np.testing.assert_allclose(found["logits"], outputs, rtol=1e-5, atol=1e-5)
    chances = case.model.predict_proba(case.table)
    np.testing.assert_allclose(found["probabilities"], chances, rtol=1e-5, atol=1e-5)


def test_rows_with_holes_are_filled_and_unknown_categories_are_none() -> None:
    case = make_case("holes")
    table = pd.DataFrame(
        {
            **{f"x{index}": [np.nan, np.nan, 1.0] for index in range(4)},
            "colour": ["violet", "grün", ""],
            "site": ["9", "never", "10"],
        }
    )
    assert np.isfinite(run(case, table)["logits"]).all()
    assert_equal_to_model(case, table)


@pytest.mark.parametrize("name", ["holes", "text", "numbers", "value_ensemble"])
def test_inputs_and_outputs_say_what_they_are(name: str) -> None:
    case = make_case(name)
    session = session_of(case)
    columns = case.recipe.columns
    expected = [("features", "tensor(double)", ["N", columns])] if columns else []
    expected += [
        (f"category_{index}", "tensor(string)", ["N", 1])
        for index in range(len(case.recipe.categorical))
    ]
    assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == expected
    width = len(case.recipe.classes) or 1
    outputs = {output.name: output for output in session.get_outputs()}
    unknown = outputs.pop("unknown_categories", None)
    assert (unknown is not None) == bool(case.recipe.categorical)
    assert unknown is None or (unknown.type, unknown.shape) == ("tensor(int64)", ["N", 1])
    for output in outputs.values():
        kind = "float" if case.recipe.classes else "double"
        assert (output.type, output.shape) == (f"tensor({kind})", ["N", width])


@pytest.mark.parametrize("name", ["holes", "values"])
def test_metadata_holds_the_names_of_features_and_classes(name: str) -> None:
    case = make_case(name)
    proto = onnx.load_from_string(encode_onnx(case.model))
    facts = {prop.key: json.loads(prop.value) for prop in proto.metadata_props}
    assert facts == {
        "study": "oaks",
        "trial": 4,
        "feature_names": ["x0", "x1", "x2", "x3"],
        "categorical": list(case.recipe.categorical),
        "class_names": list(case.recipe.classes),
    }
    meta = session_of(case).get_modelmeta()
    assert json.loads(meta.custom_metadata_map["class_names"]) == list(case.recipe.classes)
    assert meta.producer_name == "selection"


def test_one_model_makes_one_file() -> None:
    case = make_case("holes")
    assert encode_onnx(case.model) == encode_onnx(make_case("holes").model)


def test_without_onnx_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install 'selection-sweep\[onnx\]'") as caught:
        encode_onnx(make_case("numbers").model)
    assert "\n" not in str(caught.value)
