"""Random tables, from the file to the export and back: every door says the same of every row."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import selection
from selection.data.labels import labels_of, match_names
from selection.model.estimator import AnyModel
from selection.model.tables import predict_table

ROWS = 48
POOLS: dict[str, tuple[Any, ...]] = {
    "words": ("red", "größe", "a,b", 'say "x"'),
    "truth": ("True", "False", "Unknown"),
    "zip codes": ("01234", "00987", "1234"),
    "spelt numbers": ("1.0", "2.0", "other"),
    "blanks": (" 1", "1", "1 "),
    "missing words": ("None", "NA", "nan"),
    "long numbers": ("12345678901234567", "12345678901234568"),
    "prices": ("0.10", "0.20", "0.30"),
    "numbers": (1, 2, 10),
    "fractions": (0.1, 0.25, 0.5),
    "booleans": (True, False),
    "long integers": (12345678901234567, 12345678901234568),
}


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a table: part, numeric features, categories, and a target of classes or numbers."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frame = pd.DataFrame({"part": ["late" if row % 4 == 3 else "early" for row in range(ROWS)]})
    for index in range(draw(st.integers(0, 2))):
        unit = 10.0 ** draw(st.integers(-150, 90))
        offset = draw(st.sampled_from([0.0, 0.0, 1e6]))
        frame[f"x{index}"] = (offset + generator.normal(size=ROWS)) * unit
        if draw(st.booleans()):
            frame.loc[generator.choice(ROWS, 5, replace=False), f"x{index}"] = np.nan
    kinds = draw(st.lists(st.sampled_from(sorted(POOLS)), max_size=2))
    if frame.shape[1] == 1 and not kinds:
        kinds = [draw(st.sampled_from(sorted(POOLS)))]
    for index, kind in enumerate(kinds):
        frame[f"c{index}"] = _drawn(POOLS[kind], generator)
    target = draw(st.sampled_from([*sorted(POOLS), "regression", "regression with an offset"]))
    if target in POOLS:
        frame["y"] = _drawn(POOLS[target], generator)
    else:
        offset = 1.7e12 if "offset" in target else 0.0
        frame["y"] = np.round(offset + 3000 * generator.normal(size=ROWS), 3)
    return frame


def _drawn(pool: tuple[Any, ...], generator: np.random.Generator) -> list[Any]:
    """Return values of a pool, all of them in each part."""
    values = [pool[index % len(pool)] for index in range(ROWS // 4)]
    columns = [generator.permutation(len(values)) for _ in range(4)]
    return [values[columns[row % 4][row // 4]] for row in range(ROWS)]


def content_of(frame: pd.DataFrame, path: str) -> dict[str, Any]:
    is_regression = pd.api.types.is_float_dtype(frame["y"]) and frame["y"].nunique() > 10
    return {
        "name": "round",
        "data": {
            "path": path,
            "target": "y",
            "categorical": [name for name in frame.columns if name.startswith("c")],
            "impute": "median",
            "missing": [""],
            "held_out": {"column": "part", "value": "late"},
        },
        "cv": {"folds": 2},
        "training": {"epochs": 2, "batch_size": 8},
        "space": {"width": 4},
        "search": {"metric": "rmse" if is_regression else "accuracy", "trials": 1},
        "assessment": {"bootstraps": 100, "baselines": []},
    }


def onnx_inputs(model: AnyModel, frame: pd.DataFrame, session: Any) -> dict[str, NDArray[Any]]:
    """Return a table as the graph's documented inputs."""
    inputs: dict[str, NDArray[Any]] = {}
    kinds = {each.name: each.type for each in session.get_inputs()}
    if "features" in kinds:
        names = list(model.document["feature_names"])
        inputs["features"] = frame[names].to_numpy(dtype=np.float64)
    for index, name in enumerate(model.document["categorical"]):
        column, key = frame[name], f"category_{index}"
        if kinds[key] == "tensor(double)":
            inputs[key] = column.to_numpy(dtype=np.float64)[:, None]
        elif kinds[key] == "tensor(bool)":
            inputs[key] = column.to_numpy(dtype=np.bool_)[:, None]
        else:
            texts = labels_of(column).texts()
            inputs[key] = np.array([str(each) for each in texts], dtype=object)[:, None]
    return inputs


@settings(max_examples=10, deadline=None)
@given(frame=tables(), name=st.sampled_from(["t.csv", "t.parquet"]))
def test_every_door_says_the_same_of_a_random_table(frame: pd.DataFrame, name: str) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if name.endswith(".csv"):
            frame.to_csv(name, index=False)
            texts = ["part", *(each for each in frame.columns if each[0] in "cy")]
            kinds = {each: str for each in texts if frame["y"].nunique() <= 10 or each != "y"}
            read = pd.read_csv(
                name, dtype=kinds, keep_default_na=False, na_values={"x0": "", "x1": ""}
            )
        else:
            frame.to_parquet(name)
            read = frame
        study = selection.run(content_of(frame, name), storage="sqlite:///s.db", progress=False)
        result = study.evaluate()
        study.export("exports")
        check_doors(selection.load_model("exports"), read, name, result)


def check_doors(model: AnyModel, read: pd.DataFrame, name: str, result: Any) -> None:
    table = predict_table(model, Path(name))
    found = table.predictions["prediction"].to_numpy()
    assert table.warnings == ()
    features = read.drop(columns=["y", "part"])
    np.testing.assert_array_equal(found, model.predict(features))
    session = onnxruntime.InferenceSession(Path("exports/model.onnx").read_bytes())
    names = [each.name for each in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, onnx_inputs(model, read, session)), strict=True))
    if "unknown_categories" in outputs:
        assert not outputs["unknown_categories"].any()
    late = (read["part"] == "late").to_numpy()
    if not model.class_names:
        np.testing.assert_allclose(outputs["prediction"][:, 0], found, rtol=1e-12, atol=1e-2)
        spread = read["y"].std()
        assert np.abs(outputs["prediction"][:, 0] - found).max() < 1e-5 * spread
        truth = oracle.root_mean_squared_error(read["y"][late], found[late])
        assert result.score == pytest.approx(truth, rel=1e-9)
        return
    chances = model.predict_proba(features)
    np.testing.assert_allclose(outputs["probabilities"], chances, atol=1e-5)
    labels = labels_of(read["y"])
    assert set(labels.names) == set(model.class_names)
    places = match_names(
        [str(each) for each in found], "text", labels.names, model.document["class_kind"]
    )
    assert (places >= 0).all(), "predictions carry the labels of the table"
    truth = oracle.accuracy_score(
        labels.texts()[late].astype(str), labels_of(pd.Series(found)).texts()[late].astype(str)
    )
    assert result.score == pytest.approx(truth)
    assert model.score(features[late], read["y"][late]) == pytest.approx(truth)
