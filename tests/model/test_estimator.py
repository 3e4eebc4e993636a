"""Final models beside arithmetic by hand, on disk and back, and in the hands of scikit-learn."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.base import is_classifier, is_regressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, get_scorer, log_loss, r2_score

import selection
from selection.data.dataset import Dataset
from selection.data.folds import Split
from selection.data.prepare import fit_preparation, prepare_folds
from selection.data.scaling import scaling_to_json
from selection.errors import ExportError
from selection.model.estimator import (
    AnyModel,
    ClassifierModel,
    ModelMember,
    RegressorModel,
    make_model,
)
from selection.model.files import decode_model, encode_model, load_model
from selection.study.spec import StudySpec, parse_study
from selection.train.refit import fit_members
from selection.train.weights import LayerWeights
from tests import reference

# Tables of these tests have unknown categories; that they are warned of is a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*the model never saw")
ROWS = 60
EVERYTHING = np.arange(ROWS)
# Each part leaves a third of the rows out, and with them their rare category.
PARTS = tuple(np.setdiff1d(EVERYTHING, np.arange(first, first + 20)) for first in (0, 20, 40))


@dataclass(frozen=True)
class Recipe:
    """Say what a model is made of; each of parts holds the training rows of one member."""

    classes: tuple[str, ...] = ("ash", "birch", "cedar")
    prepare: str = "standardize"
    columns: int = 4
    is_image: bool = False
    is_imputed: bool = False
    has_indicators: bool = False
    has_gaps: bool = False
    categorical: tuple[str, ...] = ()
    widths: tuple[int, ...] = (6,)
    activation: str = "relu"
    is_parametric: bool = False
    parts: tuple[NDArray[np.int64], ...] = (EVERYTHING,)


@dataclass(frozen=True, eq=False)
class Case:
    """Hold a model, the rows that its constants come from, and a table to predict."""

    recipe: Recipe
    dataset: Dataset
    spec: StudySpec
    facts: Mapping[str, Any]
    members: tuple[ModelMember, ...]
    table: pd.DataFrame

    @property
    def model(self) -> AnyModel:
        return make_model(self.encoded()[0], self.members)

    def encoded(self) -> tuple[dict[str, Any], bytes]:
        return encode_model(self.facts, self.members)

    def inputs(
        self, table: pd.DataFrame | None = None
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.object_]]]:
        """Return the arguments of Model.outputs for a table, or for the case's own."""
        table = self.table if table is None else table
        features = table[list(self.dataset.feature_names)].to_numpy(dtype=np.float64)
        return features.copy(), {
            name: np.array(table[name].fillna("").tolist(), dtype=object)
            for name in self.recipe.categorical
        }


RECIPES = {
    "numbers": Recipe(),
    "holes": Recipe(
        is_imputed=True, categorical=("colour", "site"), widths=(7, 5), activation="tanh"
    ),
    "images": Recipe(
        classes=tuple("01234"),
        prepare="scale",
        columns=16,
        is_image=True,
        activation="sigmoid",
    ),
    "values": Recipe(classes=(), activation="tanh"),
    "text": Recipe(classes=("no", "yes"), columns=0, categorical=("colour", "site"), widths=()),
    "linear": Recipe(prepare="scale", widths=()),
    "raw_values": Recipe(classes=(), prepare="none", is_imputed=True, widths=()),
    "indicators": Recipe(
        is_imputed=True, has_indicators=True, categorical=("colour",), parts=PARTS
    ),
    "gaps": Recipe(is_imputed=True, has_gaps=True, categorical=("colour", "site"), parts=PARTS),
    "robust": Recipe(prepare="robust", is_imputed=True, categorical=("colour",)),
    "quantile": Recipe(prepare="quantile", is_imputed=True, categorical=("colour",)),
    "quantile_values": Recipe(classes=(), prepare="quantile", parts=PARTS),
    "class_ensemble": Recipe(is_imputed=True, categorical=("colour",), parts=PARTS),
    "parametric": Recipe(widths=(7, 5), activation="mish", is_parametric=True, parts=PARTS),
    "value_ensemble": Recipe(classes=(), categorical=("colour",), widths=(5, 4), parts=PARTS),
}
CLASSIFIERS = [name for name, recipe in RECIPES.items() if recipe.classes]


def make_spec(recipe: Recipe, **sections: Any) -> StudySpec:
    data: dict[str, Any] = {
        "path": "t.csv",
        "target": "y",
        "prepare": recipe.prepare,
        "categorical": list(recipe.categorical),
    }
    if recipe.is_imputed:
        data |= {"impute": "median", "missing_indicators": recipe.has_indicators}
    metric = "accuracy" if recipe.classes else "rmse"
    search = {"metric": metric, "trials": 1}
    return parse_study({"name": "oaks", "data": data, "search": search, **sections}, "s.toml")


def make_dataset(recipe: Recipe) -> Dataset:
    rng = np.random.default_rng(3)
    features = _features(recipe, rng, ROWS)
    names = tuple(f"x{index}" for index in range(recipe.columns))
    signal = rng.normal(size=ROWS)
    if recipe.columns:
        first = np.nan_to_num(features[:, 0].astype(np.float64))
        signal += (first - first.mean()) / first.std()
    target: Any = 1000.0 + 50.0 * signal
    if recipe.classes:
        cuts = np.quantile(signal, np.linspace(0, 1, len(recipe.classes) + 1)[1:-1])
        target = np.digitize(signal, cuts).astype(np.int64)
    colour = rng.choice(["red", "grün", "blue"], size=ROWS).astype(object)
    colour[[0, 20, 40]] = ["only first", "only second", "only third"]
    site = rng.choice(["10", "9", "b"], size=ROWS).astype(object)
    if recipe.has_gaps:
        colour[[10, 11, 50]] = ""
        site[3] = ""  # one member has no such row
    categories = {"colour": colour, "site": site}
    return Dataset(
        name="t",
        task="classification" if recipe.classes else "regression",
        features=features,
        feature_names=names,
        categories={name: categories[name] for name in recipe.categorical},
        target=target,
        class_names=recipe.classes,
        groups=None,
        fingerprint="f",
        held_out_fingerprint="h",
        held_out_rows=1,
    )


def _features(recipe: Recipe, rng: np.random.Generator, count: int) -> NDArray[Any]:
    if recipe.is_image:
        return rng.integers(0, 256, size=(count, recipe.columns), dtype=np.uint8)
    centers, scales = [0.0, 100.0, -5.0, 3.0], [1.0, 30.0, 0.01, 2.0]
    values = rng.normal(centers, scales, size=(count, 4))[:, : recipe.columns]
    if recipe.is_imputed:
        values[rng.random(values.shape) < 0.2] = np.nan
        if recipe.has_indicators:
            # Two columns that are not missing: for every member, and for the first of three.
            values[:, 3] = np.nan_to_num(values[:, 3])
            values[20:, 1] = np.nan_to_num(values[20:, 1])
    return values


def make_table(recipe: Recipe, count: int = 23) -> pd.DataFrame:
    """Return rows that no model has seen, with unknown categories among them."""
    rng = np.random.default_rng(8)
    features = _features(recipe, rng, count)
    columns: dict[str, Any] = {f"x{index}": column for index, column in enumerate(features.T)}
    values: dict[str, list[str | None]] = {
        "colour": ["grün", "violet", "only first", "only second", "red", "blue"],
        "site": ["10", "9", "b", "never seen", "9.5"],
    }
    if recipe.has_gaps:
        values = {name: [None, *known] for name, known in values.items()}
    for name in recipe.categorical:
        columns[name] = list(itertools.islice(itertools.cycle(values[name]), count))
    return pd.DataFrame(columns)


def make_facts(dataset: Dataset, activation: str) -> dict[str, Any]:
    return {
        "study": "oaks",
        "trial": 4,
        "activation": activation,
        "feature_names": list(dataset.feature_names),
        "categorical": list(dataset.categories),
        "class_names": list(dataset.class_names),
    }


def make_case(name: str, **changes: Any) -> Case:
    """Return a model of random weights whose members are prepared on rows of their own."""
    recipe = replace(RECIPES[name], **changes)
    dataset, spec = make_dataset(recipe), make_spec(recipe)
    rng = np.random.default_rng(5)
    gain = 3.0 if recipe.classes else 0.8
    members = []
    for rows in recipe.parts:
        preparation = fit_preparation(dataset, rows, spec)
        inputs = recipe.columns + preparation.appended.width
        sizes = [inputs, *recipe.widths, len(recipe.classes) or 1]
        layers = [
            LayerWeights(
                (gain * rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32),
                (0.3 * rng.normal(size=fan_out)).astype(np.float32),
            )
            for fan_in, fan_out in itertools.pairwise(sizes)
        ]
        if recipe.is_parametric:
            mixes = [rng.normal(1.0, 0.5, size=width).astype(np.float32) for width in recipe.widths]
            hidden = zip(layers[:-1], mixes, strict=True)
            layers = [*(replace(layer, mix=mix) for layer, mix in hidden), layers[-1]]
        members.append(ModelMember(preparation, tuple(layers)))
    facts = make_facts(dataset, recipe.activation)
    if recipe.is_imputed:
        facts["impute"] = "median"
    return Case(recipe, dataset, spec, facts, tuple(members), make_table(recipe))


# The slow truth: NumPy in float64, from the rows themselves and not from the preparation.


def by_hand(case: Case, table: pd.DataFrame | None = None) -> NDArray[np.float64]:
    """Return logits, or values; of an ensemble the logarithms of mean chances, or mean values."""
    table = case.table if table is None else table
    each = [
        _member_by_hand(case, rows, member.layers, table)
        for rows, member in zip(case.recipe.parts, case.members, strict=True)
    ]
    if len(each) == 1:
        return each[0]
    if not case.recipe.classes:
        return np.asarray(np.mean(each, axis=0))
    return np.asarray(np.log(np.mean([softmax(logits) for logits in each], axis=0)))


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _member_by_hand(
    case: Case, rows: NDArray[np.int64], layers: Sequence[LayerWeights], table: pd.DataFrame
) -> NDArray[np.float64]:
    unit = _prepared_by_hand(case, rows, table)
    for index, layer in enumerate(layers):
        unit = unit @ layer.weight.T.astype(np.float64) + layer.bias
        if index < len(layers) - 1:
            straight = unit
            match case.recipe.activation:
                case "relu":
                    unit = np.where(unit > 0, unit, 0.0)
                case "tanh":
                    unit = np.tanh(unit)
                case "sigmoid":
                    unit = 0.5 + 0.5 * np.tanh(0.5 * unit)  # cannot overflow
                case other:
                    torch_unit = getattr(torch.nn.functional, other)(torch.from_numpy(unit))
                    unit = torch_unit.numpy()
            if layer.mix is not None:
                unit = straight + layer.mix.astype(np.float64) * (unit - straight)
    if not case.recipe.classes and case.recipe.prepare not in ("scale", "none"):
        target = case.dataset.target[rows]
        unit = unit * target.std() + target.mean()
    return unit


def _prepared_by_hand(
    case: Case, rows: NDArray[np.int64], table: pd.DataFrame
) -> NDArray[np.float64]:
    columns: list[Any] = []
    indicators: list[Any] = []
    for index, name in enumerate(case.dataset.feature_names):
        seen = case.dataset.features[rows, index].astype(np.float64)
        values = table[name].to_numpy(dtype=np.float64)
        if case.recipe.has_indicators and np.isnan(seen).any():
            indicators.append(np.where(np.isnan(values), 1.0, 0.0))
        if case.recipe.is_imputed:
            median = np.median(seen[~np.isnan(seen)])
            seen, values = (np.where(np.isnan(each), median, each) for each in (seen, values))
        match case.recipe.prepare:
            case "standardize":
                values = (values - seen.mean()) / seen.std()
            case "robust":
                lower, middle, upper = np.quantile(seen, [0.25, 0.5, 0.75])
                if upper == lower:
                    upper, lower = seen.max() / 2, seen.min() / 2
                scaled = (values - middle) / (upper - lower) if upper > lower else 0.0 * values
                values = scaled / np.hypot(1.0, scaled / 3.0)
            case "quantile":
                values = _scores_by_hand(seen, values)
            case "scale" if case.recipe.is_image:
                values = values / 255.0
            case "scale":
                values = (values - seen.min()) / (seen.max() - seen.min())
        columns.append(values)
    columns += indicators
    for name in case.recipe.categorical:
        known = sorted(set(case.dataset.categories[name][rows]))
        columns += [[float(value == each) for value in table[name].fillna("")] for each in known]
    return np.array(columns, dtype=np.float64).T


def _scores_by_hand(seen: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return normal scores of levels between ten quantiles; equal ones have their mean level."""
    if seen.min() == seen.max():
        return np.zeros_like(values)
    quantiles = np.quantile(seen, np.arange(10) / 9)
    knots = np.unique(quantiles)
    levels = np.array([np.flatnonzero(quantiles == knot).mean() / 9 for knot in knots])
    levels[0], levels[-1] = 0.0, 1.0
    found = np.clip(np.interp(values, knots, levels), 1e-7, 1.0 - 1e-7)
    return np.array([NormalDist().inv_cdf(level) for level in found])


def assert_close(ours: NDArray[Any], truth: NDArray[Any]) -> None:
    assert ours.shape == truth.shape
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_outputs_equal_arithmetic_by_hand(name: str) -> None:
    case = make_case(name)
    outputs = case.model.outputs(*case.inputs())
    assert outputs.dtype == (np.float32 if case.recipe.classes else np.float64)
    assert_close(outputs, by_hand(case))
    assert len(np.unique(outputs.round(3), axis=0)) > 3, "rows differ"


@pytest.mark.parametrize("name", RECIPES)
def test_predictions_of_a_table_equal_arithmetic_by_hand(name: str) -> None:
    case = make_case(name)
    model, truth = case.model, by_hand(case)
    predicted = model.predict(case.table)
    if not case.recipe.classes:
        assert isinstance(model, RegressorModel)
        assert predicted.dtype == np.float64
        np.testing.assert_allclose(predicted, truth[:, 0], rtol=1e-5)
        return
    assert isinstance(model, ClassifierModel)
    chances = model.predict_proba(case.table)
    assert_close(chances, softmax(truth))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-12)
    assert [str(each) for each in model.classes_] == list(case.recipe.classes)
    named = [case.recipe.classes[index] for index in truth.argmax(axis=1)]
    assert [str(each) for each in predicted] == named
    assert list(predicted) == list(model.classes_[chances.argmax(axis=1)])
    assert len(set(predicted)) > 1


def test_an_unknown_category_is_no_category() -> None:
    case = make_case("text")
    unknown = pd.DataFrame({"colour": ["violet", "", "RED"], "site": ["z", " 9", "9.5"]})
    (layer,) = case.members[0].layers
    np.testing.assert_allclose(
        case.model.outputs(*case.inputs(unknown)), np.tile(layer.bias, (3, 1)), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["class_ensemble", "value_ensemble"])
def test_an_ensemble_is_the_mean_of_its_members(name: str) -> None:
    case = make_case(name)
    known = [member.preparation.categories["colour"] for member in case.members]
    assert len(set(known)) == 3, "members know different categories"
    alone = [make_model(case.encoded()[0], [member]) for member in case.members]
    if case.recipe.classes:
        each = np.stack([model.predict_proba(case.table) for model in alone])
        assert_close(case.model.predict_proba(case.table), each.mean(axis=0))
    else:
        each = np.stack([model.predict(case.table) for model in alone])
        np.testing.assert_allclose(case.model.predict(case.table), each.mean(axis=0), rtol=1e-5)
    assert each.std(axis=0).max() > 0.05, "members differ"


def enlarge(case: Case, factor: float) -> Case:
    """Return a case whose last layers are so many times larger."""
    members = []
    for member in case.members:
        last = member.layers[-1]
        wide = LayerWeights(last.weight * np.float32(factor), last.bias * np.float32(factor))
        members.append(ModelMember(member.preparation, (*member.layers[:-1], wide)))
    return replace(case, members=tuple(members))


def test_an_ensemble_that_rules_a_class_out_has_finite_logits() -> None:
    case = enlarge(make_case("class_ensemble"), 1e5)
    with np.errstate(divide="ignore"):
        truth = by_hand(case)
    assert np.isneginf(truth).any(), "a chance is 0 in float64"
    assert np.isfinite(case.model.outputs(*case.inputs())).all()
    assert_close(case.model.predict_proba(case.table), np.exp(truth))


@pytest.mark.parametrize("name", ["numbers", "holes", "text", "values", "class_ensemble"])
def test_a_trained_model_predicts_what_plain_torch_would(name: str) -> None:
    # As final_models.py makes models: the same preparation, the same engine, the same rows.
    case = make_case(name)
    searched = {"width": 6, "learning_rate": 0.05}
    spec = make_spec(case.recipe, space=searched, training={"batch_size": 8, "epochs": 3})
    setting = spec.setting(spec.default)
    splits = [
        Split(0, fold, rows.astype(np.int64), EVERYTHING[:0])
        for fold, rows in enumerate(case.recipe.parts)
    ]
    folds = prepare_folds(case.dataset, splits, spec)
    fitted = fit_members(setting, folds, spec.task, spec.metric, spec.seed, torch.device("cpu"))
    members = [
        ModelMember(fit_preparation(case.dataset, split.training, spec), each.layers)
        for split, each in zip(splits, fitted, strict=True)
    ]
    facts = make_facts(case.dataset, "relu")
    model = make_model(encode_model(facts, members)[0], members)
    outputs = []
    for fold in folds:
        scored = replace(fold, validation=EVERYTHING)
        truth = reference.train(setting, scored, spec.metric, spec.seed, torch.float32)
        outputs.append(truth.outputs)
    ours: Any = model.outputs(case.dataset.features, case.dataset.categories)
    if len(folds) > 1:
        ours, outputs = softmax(ours), [softmax(each) for each in outputs]
    np.testing.assert_allclose(ours, np.mean(outputs, axis=0), rtol=1e-4, atol=1e-4)


# On disk and back.


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_returns_from_text_bit_for_bit(name: str) -> None:
    case = make_case(name)
    document, weights = case.encoded()
    text = json.dumps(document, allow_nan=False)
    again = decode_model(json.loads(text), weights, "here")
    assert type(again) is type(case.model)
    before, after = case.model.outputs(*case.inputs()), again.outputs(*case.inputs())
    assert before.tobytes() == after.tobytes()
    for member, other in zip(case.members, again.members, strict=True):
        assert other.preparation.fill.tobytes() == member.preparation.fill.tobytes()
        kept = scaling_to_json(other.preparation.scaling)
        assert kept == scaling_to_json(member.preparation.scaling)
        assert other.preparation.indicators == member.preparation.indicators
        assert other.preparation.categories == member.preparation.categories
        assert np.isnan(other.preparation.fill).all() == (not case.recipe.is_imputed)


def write(folder: Path, document: Any, weights: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "model.json").write_text(text, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.mark.parametrize("name", ["holes", "value_ensemble"])
def test_a_model_is_loaded_from_a_folder(name: str, tmp_path: Path) -> None:
    case = make_case(name)
    model = load_model(write(tmp_path / "m", *case.encoded()))
    np.testing.assert_array_equal(model.predict(case.table), case.model.predict(case.table))
    assert load_model(str(tmp_path / "m")).document == model.document
    assert repr(model) == repr(case.model)


def test_a_model_of_an_earlier_version_is_loaded(tmp_path: Path) -> None:
    """Its preparation had center and scale beside fill."""
    case = make_case("holes")
    document, weights = case.encoded()
    preparation = document["members"][0]["preparation"]
    scaling = preparation.pop("scaling")
    preparation |= {"center": scaling["center"], "scale": scaling["scale"]}
    model = load_model(write(tmp_path / "m", document, weights))
    np.testing.assert_array_equal(model.predict(case.table), case.model.predict(case.table))
    preparation["center"] = "zero"
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, weights))


def refusal(folder: Path) -> str:
    """Return the one line with which a folder is refused."""
    with pytest.raises(ExportError) as caught:
        load_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{folder}: ")
    return text


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere")
    assert "No such file" in refusal(tmp_path)
    folder = write(tmp_path / "m", *make_case("numbers").encoded())
    (folder / "model.safetensors").unlink()
    assert "must hold model.json and model.safetensors" in refusal(folder)
    (folder / "model.json").unlink()
    (folder / "model.json").mkdir()
    assert "must hold" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", '{"format": }', "model"])
def test_text_that_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    assert "model.json must be JSON" in refusal(write(tmp_path / "m", text, b""))


def test_a_document_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", "{}", b"")
    (folder / "model.json").write_bytes(b'{"format": "\xff"}')
    assert "model.json must be JSON" in refusal(folder)


@pytest.mark.parametrize("document", [[], [1], "null", "3", '"selection-model"', {}])
def test_json_that_is_no_model_is_refused(document: Any, tmp_path: Path) -> None:
    assert "a model must be" in refusal(write(tmp_path / "m", document, b""))


@pytest.mark.parametrize(("key", "value"), [("format", "onnx"), ("version", 3), ("version", None)])
def test_another_format_or_version_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    document, weights = make_case("numbers").encoded()
    document[key] = value
    text = refusal(write(tmp_path / "m", document, weights))
    assert "must be of format selection-model 1" in text
    assert str(value) in text


def test_other_weights_are_refused(tmp_path: Path) -> None:
    document, weights = make_case("numbers").encoded()
    flipped = weights[:-1] + bytes([weights[-1] ^ 1])
    for other in (flipped, weights + b"\0", b"", make_case("linear").encoded()[1]):
        assert "other bytes" in refusal(write(tmp_path / "m", document, other))


def rewritten(weights: bytes, document: dict[str, Any], edit: Callable[[Any], object]) -> bytes:
    """Return edited weights, and make the document speak of them."""
    tensors = load(weights)
    edit(tensors)
    content = bytes(save(tensors))
    document["weights"]["sha256"] = sha256(content).hexdigest()
    return content


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.pop("member_0.layer_1.bias"),
        lambda tensors: tensors.update({"member_0.layer_0.weight": np.zeros((6, 5), np.float32)}),
        lambda tensors: tensors.update({"member_0.layer_0.bias": np.zeros(7, np.float32)}),
        lambda tensors: tensors.update({"member_0.layer_1.bias": np.zeros(2, np.float32)}),
    ],
    ids=["a bias missing", "first width", "hidden width", "last width"],
)
def test_weights_that_lack_something_are_refused(
    edit: Callable[[Any], object], tmp_path: Path
) -> None:
    document, weights = make_case("numbers").encoded()
    content = rewritten(weights, document, edit)
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, content))


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.update({"member_0.layer_0.weight": np.zeros((9, 4), np.float32)}),
        lambda tensors: tensors.update({"member_0.layer_1.weight": np.zeros((3, 9), np.float32)}),
        lambda tensors: tensors.update({"member_0.layer_0.weight": np.zeros(4, np.float32)}),
    ],
    ids=["taller than its bias", "wider than the layer below", "a vector"],
)
def test_layers_that_do_not_fit_each_other_are_refused(
    edit: Callable[[Any], object], tmp_path: Path
) -> None:
    document, weights = make_case("numbers").encoded()
    content = rewritten(weights, document, edit)
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, content))


def test_cut_weights_with_the_right_hash_are_refused(tmp_path: Path) -> None:
    document, weights = make_case("numbers").encoded()
    cut = weights[:-4]
    document["weights"]["sha256"] = sha256(cut).hexdigest()
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, cut))


def put(document: Any, path: Sequence[str | int], value: Any) -> None:
    *above, last = path
    for step in above:
        document = document[step]
    document[last] = value


MEMBER = ("members", 0)
PREPARATION = (*MEMBER, "preparation")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*MEMBER, "sizes"), [4, 7, 3]),
        ((*MEMBER, "sizes"), [5, 6, 3]),
        ((*MEMBER, "sizes"), [4, 6, 4]),
        ((*MEMBER, "sizes"), [4, 6, 3, 3]),
        ((*MEMBER, "sizes"), None),
        (("members",), None),
        (("weights",), "model.safetensors"),
        (PREPARATION, []),
        ((*PREPARATION, "scaling"), []),
        ((*PREPARATION, "scaling", "center"), "zero"),
        ((*PREPARATION, "scaling", "kind"), "cube"),
        ((*PREPARATION, "target_std"), None),
    ],
    ids=str,
)
def test_a_broken_document_is_refused(
    path: Sequence[str | int], value: Any, tmp_path: Path
) -> None:
    document, weights = make_case("numbers").encoded()
    put(document, path, value)
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, weights))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("members",), []),
        ((*MEMBER, "sizes"), []),
        ((*MEMBER, "sizes"), [4]),
        ((*MEMBER, "sizes"), [4, 6]),
        ((*PREPARATION, "categories"), []),
        ((*PREPARATION, "categories"), {"colour": ["red"]}),
        ((*PREPARATION, "scaling", "center"), [0.0]),
        ((*PREPARATION, "scaling"), {"kind": "quantile", "quantiles": [[0.0, 1.0]]}),
        ((*PREPARATION, "scaling"), {"kind": "quantile", "quantiles": [[1.0, 0.0]] * 4}),
        ((*PREPARATION, "scaling"), {"kind": "quantile", "quantiles": [[]] * 4}),
        ((*PREPARATION, "fill"), [None, None]),
        ((*PREPARATION, "indicators"), [0]),
        ((*PREPARATION, "indicators"), [4]),
        (("feature_names",), ["x0", "x1"]),
        (("feature_names",), ["x0", "x0", "x2", "x3"]),
        (("class_names",), ["ash", "birch"]),
        (("class_names",), ["ash", "birch", "ash"]),
        (("class_names",), []),
        (("class_kind",), "other"),
        (("csv",), {"missing": 3}),
        (("impute",), "mean"),
        (("activation",), "swish"),
    ],
    ids=str,
)
def test_a_document_whose_parts_do_not_fit_is_refused(
    path: Sequence[str | int], value: Any, tmp_path: Path
) -> None:
    document, weights = make_case("numbers").encoded()
    put(document, path, value)
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, weights))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    case = make_case("numbers")
    first, *others = case.members[0].layers
    bias = first.bias.copy()
    bias[1] = value
    broken = replace(case.members[0], layers=(replace(first, bias=bias), *others))
    document, weights = encode_model(case.facts, [broken])
    assert "weights that are not finite" in refusal(write(tmp_path / "m", document, weights))


def test_a_deeply_nested_document_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", *make_case("numbers").encoded())
    (folder / "model.json").write_text("[" * 100_000 + "]" * 100_000)
    assert "model.json must be JSON" in refusal(folder)


@pytest.mark.parametrize("key", ["members", "weights"])
def test_a_document_without_members_or_weights_is_refused(key: str, tmp_path: Path) -> None:
    document, weights = make_case("numbers").encoded()
    del document[key]
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, weights))


@pytest.mark.parametrize("key", ["feature_names", "categorical", "activation", "study"])
def test_a_document_that_lacks_what_predicting_needs_is_refused(key: str, tmp_path: Path) -> None:
    document, weights = make_case("numbers").encoded()
    del document[key]
    assert "a model must be whole" in refusal(write(tmp_path / "m", document, weights))


# In the hands of scikit-learn.


def test_names_and_numbers_of_features_are_those_of_the_study() -> None:
    model = make_case("holes").model
    assert list(model.feature_names_in_) == ["x0", "x1", "x2", "x3", "colour", "site"]
    assert model.n_features_in_ == 6
    assert make_case("text").model.n_features_in_ == 2


@pytest.mark.parametrize("name", RECIPES)
def test_scikit_learn_knows_what_a_model_is(name: str) -> None:
    case = make_case(name)
    is_class = bool(case.recipe.classes)
    assert is_classifier(case.model) == is_class
    assert is_regressor(case.model) == (not is_class)
    assert hasattr(case.model, "predict_proba") == is_class
    assert hasattr(case.model, "classes_") == is_class
    assert case.model.get_params() == {}


@pytest.mark.parametrize("name", RECIPES)
def test_the_representation_is_short(name: str) -> None:
    case = make_case(name)
    text = repr(case.model)
    assert len(text) < 60
    assert "\n" not in text
    sizes = case.members[0].layers
    assert f"{sizes[0].weight.shape[1]}-" in text
    assert ("3 x " in text) == (len(case.members) == 3)
    assert "oaks" in text


def codes(case: Case) -> NDArray[np.int64]:
    """Return right classes for some rows of the table and wrong ones for the others."""
    right = by_hand(case).argmax(axis=1)
    rng = np.random.default_rng(0)
    return np.where(rng.random(len(right)) < 0.6, right, rng.integers(0, 2, len(right)))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_score_of_a_classifier_is_its_accuracy(name: str) -> None:
    case = make_case(name)
    names = np.array(case.recipe.classes, dtype=object)[codes(case)]
    truth = accuracy_score(names, [str(each) for each in case.model.predict(case.table)])
    assert 0.3 < truth < 1.0
    for target in (names, names.astype(str), list(names), pd.Series(names)):
        assert case.model.score(case.table, target) == pytest.approx(truth, rel=1e-12)
    assert case.model.score(case.table, case.model.predict(case.table)) == 1.0


@pytest.mark.parametrize(
    "kind", [np.int64, np.uint8, list, pd.Series], ids=lambda kind: kind.__name__
)
def test_classes_may_be_given_as_the_whole_numbers_that_they_spell(kind: Any) -> None:
    case = make_case("images")
    numbers = codes(case)
    truth = accuracy_score(numbers, by_hand(case).argmax(axis=1))
    assert 0.3 < truth < 1.0
    target = (
        numbers.astype(kind)
        if isinstance(kind, type) and issubclass(kind, np.integer)
        else (kind(numbers))
    )
    assert case.model.score(case.table, target) == pytest.approx(truth, rel=1e-12)


def test_classes_may_be_given_as_floats_as_in_the_table_of_a_study() -> None:
    # A study reads a column of 0.0, 1.0, ... as the classes "0", "1", ... (data/columns.py).
    case = make_case("images")
    truth = case.model.score(case.table, codes(case))
    assert case.model.score(case.table, codes(case).astype(np.float64)) == truth > 0.3


@pytest.mark.parametrize("name", ["values", "raw_values", "value_ensemble"])
def test_the_score_of_a_regressor_is_its_r2(name: str) -> None:
    case = make_case(name)
    truth = by_hand(case)[:, 0]
    target = truth + np.random.default_rng(0).normal(scale=0.5 * truth.std(), size=len(truth))
    expected = r2_score(target, truth)
    assert 0.3 < expected < 1.0
    for given in (target, list(target), pd.Series(target)):
        assert case.model.score(case.table, given) == pytest.approx(expected, rel=1e-4)


def test_scorers_take_a_model() -> None:
    case = make_case("numbers")
    names = np.array(case.recipe.classes, dtype=object)[codes(case)]
    truth = log_loss(names, softmax(by_hand(case)))
    loss = -get_scorer("neg_log_loss")(case.model, case.table, names)
    assert loss == pytest.approx(truth, rel=1e-5)
    accuracy = get_scorer("accuracy")(case.model, case.table, names)
    assert accuracy == case.model.score(case.table, names)
    values = make_case("values")
    target = by_hand(values)[:, 0] + 3.0
    error = get_scorer("neg_mean_absolute_error")(values.model, values.table, target)
    assert error == pytest.approx(-3.0, rel=1e-3)


@pytest.mark.parametrize("name", ["linear", "values"])
@pytest.mark.parametrize("is_frame", [True, False])
def test_permutation_importance_takes_a_model(name: str, is_frame: bool) -> None:
    case = make_case(name)
    layers = case.members[0].layers
    layers[0].weight[:, 1] = 0.0  # the second feature has no effect
    table = case.table if is_frame else case.inputs()[0]
    target = case.model.predict(table)
    found = permutation_importance(case.model, table, target, n_repeats=5, random_state=0)
    assert found.importances_mean[1] == 0.0
    assert found.importances_mean[0] > 0.05


def test_columns_are_found_by_name_and_others_are_ignored() -> None:
    case = make_case("holes")
    turned = case.table[case.table.columns[::-1]].copy()
    turned.insert(2, "note", "not a number")
    turned.index = pd.Index(range(100, 123))
    np.testing.assert_array_equal(
        case.model.predict_proba(turned),
        case.model.predict_proba(case.table),
    )


def test_an_array_a_list_and_a_table_of_whole_numbers_are_the_same_rows() -> None:
    case = make_case("images")
    pixels = case.table.to_numpy()
    assert pixels.dtype == np.uint8
    expected = case.model.predict_proba(case.table)
    for given in (pixels, pixels.tolist(), pixels.astype(np.float32), case.table.astype("Int64")):
        np.testing.assert_array_equal(
            case.model.predict_proba(given),
            expected,
        )


@pytest.mark.parametrize("kind", [object, "str", "category"])
def test_categories_may_be_text_of_any_kind(kind: Any) -> None:
    case = make_case("text")
    np.testing.assert_array_equal(
        case.model.predict(case.table.astype(kind)), case.model.predict(case.table)
    )


def test_categories_that_are_numbers_are_the_text_that_they_spell() -> None:
    case = make_case("text")
    numbers = pd.DataFrame({"colour": ["red", "red", "red"], "site": [9, 10, 11]})
    spelt = numbers.assign(site=["9", "10", "11"])
    np.testing.assert_array_equal(
        case.model.outputs(*case.model._read(numbers)), case.model.outputs(*case.inputs(spelt))
    )
    assert len(np.unique(case.model.predict_proba(numbers), axis=0)) == 3


@pytest.mark.parametrize("name", RECIPES)
def test_no_rows_give_no_predictions(name: str) -> None:
    case = make_case(name)
    assert case.model.predict(case.table[:0]).shape == (0,)
    if case.recipe.classes:
        chances = case.model.predict_proba(case.table[:0])
        assert chances.shape == (0, len(case.recipe.classes))


@pytest.mark.parametrize("missing", ["x2", "site"])
def test_a_missing_column_is_named(missing: str) -> None:
    case = make_case("holes")
    with pytest.raises(ValueError, match=missing):
        case.model.predict(case.table.drop(columns=missing))


def test_another_shape_is_refused() -> None:
    model = make_case("numbers").model
    for shape in ((5, 3), (5, 5), (4,), (2, 4, 1), ()):
        with pytest.raises(ValueError, match=r"\(N, 4\)"):
            model.predict(np.zeros(shape))


def test_categories_need_a_table() -> None:
    with pytest.raises(ValueError, match="DataFrame"):
        make_case("holes").model.predict(np.zeros((5, 4)))


def test_text_in_a_numeric_column_is_refused() -> None:
    case = make_case("numbers")
    with pytest.raises(ValueError, match="many"):
        case.model.predict(case.table.astype(object).assign(x1="many"))


CONTAINERS: dict[str, Callable[[NDArray[np.float64]], Any]] = {
    "float64": lambda values: values,
    "float32": lambda values: values.astype(np.float32),
    "list": lambda values: values.tolist(),
    "table": lambda values: pd.DataFrame(values, columns=["x0", "x1", "x2", "x3"]),
    "nullable table": lambda values: pd.DataFrame(
        values, columns=["x0", "x1", "x2", "x3"]
    ).convert_dtypes(),
    "object table": lambda values: pd.DataFrame(
        values, columns=["x0", "x1", "x2", "x3"], dtype=object
    ),
    "object": lambda values: values.astype(object),
    "text": lambda values: values.astype(str),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["numbers", "values"])
def test_a_missing_value_is_refused_where_none_is_filled(name: str, container: str) -> None:
    case = make_case(name)
    values = case.inputs()[0]
    values[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"."):
        case.model.predict(CONTAINERS[container](values))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["numbers", "raw_values"])
def test_an_infinite_value_is_refused(name: str, container: str, value: float) -> None:
    case = make_case(name)
    values = np.nan_to_num(case.inputs()[0])
    values[3, 2] = value
    with pytest.raises(ValueError, match=r"."):
        case.model.predict(CONTAINERS[container](values))


@pytest.mark.parametrize("container", ["float64", "list", "table", "nullable table", "object"])
def test_a_missing_value_is_filled_where_the_study_did(container: str) -> None:
    case = make_case("raw_values")
    values = case.inputs()[0]
    assert np.isnan(values).any()
    np.testing.assert_allclose(
        case.model.predict(CONTAINERS[container](values)), by_hand(case)[:, 0], rtol=1e-5
    )


# In a process of its own.


def test_a_fresh_process_loads_a_model_and_imports_nothing_heavy_before(tmp_path: Path) -> None:
    case = make_case("numbers")
    folder = write(tmp_path / "m", *case.encoded())
    code = """
import json, sys
import selection
heavy = sorted({"torch", "sklearn", "pandas", "optuna"} & set(sys.modules))
from selection import load_model
rows = json.loads(sys.stdin.read())
print(json.dumps([heavy, load_model(sys.argv[1]).predict_proba(rows).tolist()]))
"""
    rows = case.inputs()[0].tolist()
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=True,
    )
    heavy, chances = json.loads(done.stdout)
    assert heavy == []
    np.testing.assert_allclose(chances, softmax(by_hand(case)), rtol=1e-5, atol=1e-5)


def test_the_package_has_one_public_name() -> None:
    assert selection.load_model is load_model
    with pytest.raises(AttributeError, match="load_models"):
        selection.load_models  # noqa: B018


def test_numbers_that_name_no_category_are_refused() -> None:
    """Zip codes lose their zeros where pandas reads them as numbers."""
    model = make_case("text").model
    with pytest.raises(ValueError, match="no value of site is a category: read it as text"):
        model.predict(pd.DataFrame({"colour": ["red", "blue"], "site": [1234, 2345]}))
    model.predict(pd.DataFrame({"colour": ["red", "blue"], "site": ["01234", "02345"]}))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("1", "2", "10"), "i"),
        (("-1", "1"), "i"),
        (("1", "10", "2"), "O"),
        (("01", "2"), "O"),
        (("1", "99999999999999999999"), "O"),
        (("1", "b"), "O"),
    ],
)
def test_classes_are_numbers_only_where_they_were_sorted_as_numbers(
    names: tuple[str, ...], kind: str
) -> None:
    model = make_model({"class_names": names}, [])
    assert isinstance(model, ClassifierModel)
    assert model.classes_.dtype.kind == kind
    assert [str(each) for each in model.classes_] == list(names)


@pytest.mark.filterwarnings("error")
def test_unknown_categories_are_warned_of() -> None:
    model = make_case("text").model
    known = pd.DataFrame({"colour": ["red", "blue"], "site": ["9", "10"]})
    model.predict(known)
    with pytest.warns(UserWarning, match='colour: 1 of 2 rows hold a category .* such as "violet"'):
        model.predict(known.assign(colour=["red", "violet"]))


# Learned factors.


def test_a_document_says_that_activations_are_parametric_only_where_they_are() -> None:
    for member in make_case("parametric").encoded()[0]["members"]:
        assert member["parametric_activation"] is True
    for member in make_case("numbers").encoded()[0]["members"]:
        assert "parametric_activation" not in member


def test_weights_of_another_kind_than_the_document_says_are_refused() -> None:
    document, weights = make_case("parametric").encoded()
    document["members"][0].pop("parametric_activation")
    with pytest.raises(ExportError, match="a model must be whole"):
        decode_model(document, weights, "here")
    document, weights = make_case("numbers").encoded()
    document["members"][0]["parametric_activation"] = True
    with pytest.raises(ExportError, match="a model must be whole"):
        decode_model(document, weights, "here")


@pytest.mark.parametrize("kind", ["a study that did not fill", "a study that did"])
def test_a_missing_category_is_refused_or_unknown_where_no_row_had_one(kind: str) -> None:
    case = make_case("text")
    document = {**case.encoded()[0], "impute": "median" if kind.endswith("did") else None}
    model = make_model(document, case.members)
    assert isinstance(model, ClassifierModel)
    table = pd.DataFrame({"colour": ["red", None], "site": ["9", "10"]})
    if not kind.endswith("did"):
        with pytest.raises(ValueError, match=r"must not be missing, as in .'colour'"):
            model.predict(table)
        return
    with pytest.warns(UserWarning, match='colour: 1 of 2 rows hold a category .* such as ""'):
        chances = model.predict_proba(table)
    violet = table.assign(colour=["red", "violet"])
    np.testing.assert_array_equal(chances, model.predict_proba(violet))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, ""])
def test_a_missing_category_is_one_of_its_own(gap: Any) -> None:
    case = make_case("gaps", parts=(EVERYTHING,))
    row = {"x0": [0.5, 0.5], "x1": 110.0, "x2": -5.0, "x3": 1.0, "site": "9"}
    table = pd.DataFrame({**row, "colour": pd.Series(["red", gap], dtype=object)})
    chances = case.model.predict_proba(table)
    assert np.abs(chances[0] - chances[1]).max() > 0.01
    plain = table.assign(colour=np.array(["red", None], dtype=object))
    np.testing.assert_array_equal(chances, case.model.predict_proba(plain))
    assert_close(chances, softmax(by_hand(case, plain)))
